use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tenantscope_table::TableError;

use crate::removal::keep_removing;
use crate::session::Queries;
use crate::store::Store;
use crate::{OpenError, Options, logs, spans};

/// The ids of the journals that the lake stands behind.
#[derive(Debug, Clone, Copy)]
pub struct Journals {
    /// The id of the journal of logs.
    pub logs: u128,
    /// The id of the journal of spans.
    pub spans: u128,
}

/// Logs and spans. One for the process, shared by reference; it owns a thread for each signal, which [`Lake::close`]
/// (or the drop) ends after a last flush, and one that ends removals which were interrupted.
pub struct Lake {
    pub(crate) logs: Arc<Store>,
    pub(crate) spans: Arc<Store>,
    pub(crate) queries: Queries,
    pub(crate) options: Options,
    keepers: Mutex<Vec<JoinHandle<()>>>,
}

impl Lake {
    /// Opens the tables in a folder, or makes them. Blocks on files.
    pub fn open(dir: &Path, journals: Journals, options: Options) -> Result<Self, OpenError> {
        let open = |form: &'static crate::form::Form, journal| {
            Store::open(dir, form, journal, options.clone())
                .map(Arc::new)
                .map_err(|source| OpenError::Table { signal: form.signal, source })
        };
        let logs = open(&logs::FORM, journals.logs)?;
        let spans = open(&spans::FORM, journals.spans)?;
        let deletions = [&logs, &spans].map(|store| Arc::clone(&store.early_deletions));
        let queries = Queries::new(&options, deletions)?;
        let mut keepers = Vec::new();
        for store in [&logs, &spans] {
            let kept = Arc::clone(store);
            let thread = std::thread::Builder::new().name(format!("lake-{}", store.form.signal));
            keepers.push(thread.spawn(move || kept.keep()).map_err(OpenError::Thread)?);
        }
        let stores = [Arc::clone(&logs), Arc::clone(&spans)];
        let thread = std::thread::Builder::new().name("lake-removals".to_owned());
        keepers.push(thread.spawn(move || keep_removing(&stores)).map_err(OpenError::Thread)?);
        Ok(Self { logs, spans, queries, options, keepers: Mutex::new(keepers) })
    }

    /// Where stamped logs go.
    pub fn logs(&self) -> Arc<Store> {
        Arc::clone(&self.logs)
    }

    /// Where stamped spans go.
    pub fn spans(&self) -> Arc<Store> {
        Arc::clone(&self.spans)
    }

    /// Writes what is buffered into the tables now. Blocks on files.
    pub fn flush(&self) -> Result<(), TableError> {
        self.logs.flush()?;
        self.spans.flush()?;
        Ok(())
    }

    /// Retention, compaction and expiry now, rather than when they are due. Blocks on files.
    pub fn maintain(&self) {
        self.logs.maintain();
        self.spans.maintain();
    }

    /// Flushes a last time and ends the threads. Blocks on files; what is applied later is in the journal only.
    pub fn close(&self) {
        for store in [&self.logs, &self.spans] {
            store.state.lock().closing = true;
            store.wake.notify_all();
            store.closes.notify_all();
        }
        for keeper in self.keepers.lock().drain(..) {
            if keeper.join().is_err() {
                tracing::error!("a thread of the lake ended by a panic");
            }
        }
    }
}

impl Drop for Lake {
    fn drop(&mut self) {
        self.close();
    }
}
