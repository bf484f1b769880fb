//! The audit log: who was let in and who was not, what was changed and deleted, and who read across tenants.
//!
//! Any room tells of such a thing by an event with the target [`AUDIT`](tenantscope_tenancy::AUDIT), whose fields are chosen
//! there and never hold a secret. A layer of the program's subscriber makes a JSON object of it, and a thread appends it as a
//! line, with an fsync for all that came meanwhile. What can come often is added up by its fields (`per_minute`: refusals,
//! reads) and written once a minute with how often it came, or written once a day (`once_a_day`: agents that come again).
//!
//! There is no index beside the lines: they are few, and a file that only grows is what other systems take in and what
//! nobody has to trust a database for. The file is bounded in bytes and age; older files stand beside it.

mod changes;
mod file;
mod layer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use tenantscope_model::{Bytes, TimeSpan};

pub(crate) use changes::{Sections, follow_registry};
pub use layer::AuditLayer;

use file::Lines;
use layer::{HowOften, OnceADay, PerMinute, Told};

/// `audit:`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditConfig {
    /// Where the lines go. Default: `audit.jsonl` in the data folder.
    pub file: Option<PathBuf>,
    /// The largest that one file gets. Default 64 MiB.
    pub max_bytes: Bytes,
    /// How many older files are kept. Default 8.
    pub max_files: usize,
    /// How long a line is kept at least, as far as the files above hold it; a tenth longer at most. Default 400 d.
    pub max_age: TimeSpan,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { file: None, max_bytes: Bytes(64 << 20), max_files: 8, max_age: TimeSpan::from_secs(400 * 86_400) }
    }
}

/// Events that wait for the disk; past that they are counted as lost.
const MAX_WAITING: usize = 4096;
/// How often what comes often is written.
const MINUTE: Duration = Duration::from_secs(60);

/// The thread that writes. Dropped, it writes what it has and ends.
pub struct Audit {
    to_thread: SyncSender<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Audit {
    /// Opens the file for appending.
    pub fn open(config: &AuditConfig, folder: &Path, data_dir: &Path) -> Result<Self> {
        let path = config.file.as_ref().map_or_else(|| data_dir.join("audit.jsonl"), |file| folder.join(file));
        let lines = Lines::open(&path, config).with_context(|| format!("audit log {}", path.display()))?;
        let (to_thread, told) = sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || write(lines, &told))?;
        Ok(Self { to_thread, thread: Some(thread) })
    }

    /// What takes events to the thread.
    pub fn layer(&self) -> AuditLayer {
        AuditLayer::new(self.to_thread.clone())
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // The layers outlive this, so the thread is told to end.
        self.to_thread.send(Told::End).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn write(mut lines: Lines, told: &Receiver<Told>) {
    let (mut per_minute, mut once_a_day) = (PerMinute::default(), OnceADay::default());
    let mut due = Instant::now() + MINUTE;
    loop {
        let mut is_end = false;
        match told.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(first) => {
                // All that came meanwhile shares an fsync.
                for told in std::iter::once(first).chain(told.try_iter().take(MAX_WAITING)) {
                    match told {
                        Told::Event(event) if event.how_often == HowOften::PerMinute => per_minute.add(event),
                        Told::Event(event) if !once_a_day.is_due(&event) => {}
                        Told::Event(event) => lines.append(&event.to_json(None)),
                        Told::End => is_end = true,
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => is_end = true,
        }
        if is_end || Instant::now() >= due {
            per_minute.take().iter().for_each(|line| lines.append(line));
            due = Instant::now() + MINUTE;
        }
        lines.sync();
        if is_end {
            return;
        }
    }
}
