use std::path::PathBuf;
use std::sync::Arc;

use tenantscope_journal::{CursorError, Journal};
use tenantscope_model::{RemovedTenants, Signal};
use tenantscope_wire::Name;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{self, TargetConfig, TargetError};
use crate::lane::Lane;
use crate::target::Target;
use crate::telemetry::Telemetry;

/// The three journals that everything stamped goes through.
#[derive(Clone)]
pub struct Journals {
    /// Metrics.
    pub metrics: Journal,
    /// Logs.
    pub logs: Journal,
    /// Spans.
    pub spans: Journal,
}

impl Journals {
    /// The journal of a signal.
    pub fn of(&self, signal: Signal) -> &Journal {
        match signal {
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
            Signal::Spans => &self.spans,
        }
    }
}

/// Who we are to the targets, and where their files are.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name that another collector sees, as an agent's.
    pub node: Name,
    /// The folder that token files are relative to.
    pub base: PathBuf,
    /// Tenants of whom nothing is forwarded that stands before their tombstones.
    pub removed: watch::Receiver<Arc<RemovedTenants>>,
}

/// Why the forwarder did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A target can't be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A cursor can't be read, made or deleted.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The runtime ended meanwhile.
    #[error("forwarder: {0}")]
    Runtime(#[from] tokio::task::JoinError),
}

/// The running lanes, one task for each target and signal.
pub struct Forwarder {
    stop: watch::Sender<bool>,
    lanes: Vec<JoinHandle<()>>,
}

/// Every cursor of ours begins with it; the target's name follows.
const CURSOR_PREFIX: &str = "forward.";

impl Forwarder {
    /// Starts a lane for each target and signal at its own cursor. A new target starts at the journal's end, and the
    /// cursors of targets (and signals) that are not configured any more are deleted.
    ///
    /// Whoever holds the journals must call this before the journals are written to, even with no target, so that a
    /// removed target does not hold their segments.
    pub async fn start(targets: Vec<TargetConfig>, journals: Journals, options: Options) -> Result<Self, StartError> {
        config::check(&targets, &options.base)?;
        let (stop, stopped) = watch::channel(false);
        let opened = tokio::task::spawn_blocking(move || open_lanes(targets, &journals, &options, &stopped)).await??;
        let lanes = opened.into_iter().map(|lane| tokio::spawn(lane.run())).collect();
        Ok(Self { stop, lanes })
    }

    /// Ends every lane: a batch whose answer is not there yet is sent again at the next start.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for lane in self.lanes {
            if let Err(error) = lane.await {
                tracing::error!(%error, "a forward lane failed");
            }
        }
    }
}

fn open_lanes(
    targets: Vec<TargetConfig>,
    journals: &Journals,
    options: &Options,
    stopped: &watch::Receiver<bool>,
) -> Result<Vec<Lane>, StartError> {
    for signal in Signal::ALL {
        remove_old_cursors(&targets, journals.of(signal), signal)?;
    }
    let mut lanes = Vec::new();
    for config in targets {
        let target = Arc::new(Target::open(config, options.base.clone())?);
        for signal in target.config().signals.iter().copied() {
            lanes.push(open_lane(&target, journals.of(signal), signal, options, stopped)?);
        }
    }
    Ok(lanes)
}

fn open_lane(
    target: &Arc<Target>,
    journal: &Journal,
    signal: Signal,
    options: &Options,
    stopped: &watch::Receiver<bool>,
) -> Result<Lane, StartError> {
    let name = target.name();
    let cursor = journal.cursor(&format!("{CURSOR_PREFIX}{name}"), journal.end())?;
    // Positions begin anew with a new journal, so its id is part of the lane: an old lane's place means nothing to it.
    let lane = format!("{name}/{signal}/{:032x}", journal.id());
    let lane = Name::try_new(&lane).map_err(|_| TargetError::Name(name.to_owned()))?;
    let journal_share = journal.options().max_bytes / 4 * 3;
    Ok(Lane {
        target: Arc::clone(target),
        signal,
        journal: journal.clone(),
        cursor: Arc::new(cursor),
        agent: options.node.clone(),
        lane,
        max_bytes: target.config().max_bytes.min(journal_share),
        compression: target.config().compression,
        telemetry: Telemetry::new(name, signal),
        removed: options.removed.clone(),
        stop: stopped.clone(),
    })
}

fn remove_old_cursors(targets: &[TargetConfig], journal: &Journal, signal: Signal) -> Result<(), CursorError> {
    for cursor_name in journal.cursor_names() {
        let Some(name) = cursor_name.strip_prefix(CURSOR_PREFIX) else { continue };
        let configured = targets.iter().any(|target| target.name == name && target.signals.contains(&signal));
        if !configured {
            tracing::info!(target_name = name, %signal, "target was removed, its cursor is deleted");
            journal.cursor(&cursor_name, 0)?.remove()?;
        }
    }
    Ok(())
}
