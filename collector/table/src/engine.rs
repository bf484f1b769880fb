use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use object_store::local::LocalFileSystem;
use parking_lot::Mutex;

use crate::TableError;

pub(crate) type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// The process's engine. It has threads of its own and no state of a table, and it is never dropped, because a tokio
/// runtime must not be dropped where a caller may be async. Checkpoints need the multi-thread executor.
pub(crate) fn engine() -> Result<Arc<Engine>, TableError> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    if let Some(engine) = ENGINE.get() {
        return Ok(Arc::clone(engine));
    }
    let executor = TokioMultiThreadExecutor::new_owned_runtime(Some(1), Some(4))?;
    let builder = DefaultEngineBuilder::new(Arc::new(LocalFileSystem::new()));
    let engine = Arc::new(builder.with_task_executor(Arc::new(executor)).build());
    Ok(Arc::clone(ENGINE.get_or_init(|| engine)))
}

/// Makes a folder's entries durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), TableError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(TableError::io(folder))
}
