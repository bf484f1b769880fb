//! The way in, for every sender.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tenantscope_journal::{Journal, Options, make_folder};
use tenantscope_model::{FamilyMetadata, Reporting, Scope, Seen, Signal, StampedSeries};
use tenantscope_tenancy::{Agents, CostConfig, Identity, Registry};
use tenantscope_wire::Refused;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::counts::Counts;
use crate::doubt::Doubt;
use crate::epochs::Epochs;
use crate::in_flight::InFlight;
use crate::limits::Limits;
use crate::line::{Line, LineError, LineOptions};
use crate::pace::Pace;
use crate::presence::Presence;
use crate::refusal;
use crate::relays::Relays;
use crate::removals::Removals;
use crate::store::Stores;
use crate::taking::blocking;
use crate::telemetry;
use crate::usage::Usage;

/// Takes batches: dedups, decides, makes durable, hands to the store, acknowledges. One for the program's life.
pub struct Intake {
    pub(crate) lines: [Arc<Line>; 3],
    pub(crate) identity: Arc<Identity>,
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) agents: Option<Arc<Agents>>,
    pub(crate) epochs: Epochs,
    limits: RwLock<Arc<Limits>>,
    pub(crate) tenant_info: Presence,
    pub(crate) coverage: Presence,
    pub(crate) counts: Arc<Counts>,
    pub(crate) cost: RwLock<Arc<CostConfig>>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) removals: Arc<Removals>,
    pub(crate) in_flight: InFlight,
    pub(crate) pace: Pace,
    pub(crate) relays: Relays,
    pub(crate) doubt: Arc<Doubt>,
    asked_for_room: Arc<Notify>,
}

/// Between two looks whether a journal has the room that was asked for, while it has not; at first and at most.
const FIRST_LOOK_FOR_ROOM: Duration = Duration::from_millis(50);
const LAST_LOOK_FOR_ROOM: Duration = Duration::from_secs(2);

/// Why the way in can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The folder.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A signal's line.
    #[error("{signal}: {source}")]
    Line {
        /// Which.
        signal: Signal,
        /// What is wrong.
        source: Box<LineError>,
    },
}

impl Intake {
    /// Opens the three journals in `dir`, loads their states, and brings the stores up to date. Blocks, possibly for
    /// long.
    ///
    /// `journal` bounds each of the journals. Without a registry there is no `tenantscope_tenant_info`.
    pub fn open(
        dir: &Path,
        stores: &Stores,
        identity: Arc<Identity>,
        registry: Option<Arc<Registry>>,
        limits: Limits,
        journal: &Options,
    ) -> Result<Self, IntakeError> {
        let at = |source| IntakeError::Io { path: dir.to_owned(), source };
        make_folder(dir).map_err(at)?;
        let epochs = Epochs::open(&dir.join("epochs")).map_err(at)?;
        let list = dir.join("removals");
        let removals = Removals::open(list.clone(), registry.clone());
        let removals = Arc::new(removals.map_err(|source| IntakeError::Io { path: list, source })?);
        let usage = Arc::new(Usage::new(limits.quotas(), registry.clone()));
        let counts: Arc<Counts> = Arc::default();
        let asked_for_room = Arc::new(Notify::new());
        let options = LineOptions {
            journal: journal.clone(),
            max_decoding: limits.max_decoding,
            asked_for_room: Arc::clone(&asked_for_room),
            usage: Arc::clone(&usage),
            counts: Arc::clone(&counts),
            removals: Arc::clone(&removals),
        };
        let open = |signal: Signal| {
            Line::open(dir, signal, stores.of(signal), &options)
                .map(Arc::new)
                .map_err(|source| IntakeError::Line { signal, source: Box::new(source) })
        };
        let lines = [open(Signal::Metrics)?, open(Signal::Logs)?, open(Signal::Spans)?];
        if lines.iter().any(|line| line.journal.end() > 0) {
            usage.settle(now_ms());
        }
        let (in_flight, relays) = (InFlight::default(), Relays::new(limits.relays));
        let (tenant_info, coverage) = (Presence::default(), Presence::default());
        Ok(Self {
            lines,
            identity,
            registry,
            agents: None,
            epochs,
            limits: RwLock::new(Arc::new(limits)),
            tenant_info,
            coverage,
            counts,
            cost: RwLock::default(),
            usage,
            removals,
            in_flight,
            pace: Pace::default(),
            relays,
            doubt: Arc::default(),
            asked_for_room,
        })
    }

    /// With what agents go by, which they are told with their tokens.
    #[must_use]
    pub fn with_agents(self, agents: Arc<Agents>) -> Self {
        Self { agents: Some(agents), ..self }
    }

    /// The journal of a signal, for forward targets.
    pub fn journal(&self, signal: Signal) -> &Journal {
        &self.line(signal).journal
    }

    /// The bounds in force.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read())
    }

    /// Puts other bounds in force for the requests that come from now on; those under way go by the bounds with which they
    /// came. The intervals hold until the next start.
    pub fn reload(&self, limits: &Limits) {
        self.usage.replace(limits.quotas());
        self.relays.replace(limits.relays);
        for line in &self.lines {
            line.decoding.resize(limits.max_decoding);
        }
        *self.limits.write() = Arc::new(limits.clone());
    }

    /// Stores series of our own (rule results, our own counts): durable and queryable when this returns.
    pub async fn write_own(&self, series: Vec<StampedSeries>) -> Result<(), Refused> {
        self.write_own_families(series, Vec::new()).await
    }

    /// As [`Intake::write_own`], with what their families say of themselves.
    pub async fn write_own_families(
        &self,
        mut series: Vec<StampedSeries>,
        mut metadata: Vec<FamilyMetadata>,
    ) -> Result<(), Refused> {
        self.removals.leave_out(&mut series, &mut metadata);
        if series.is_empty() && metadata.is_empty() {
            return Ok(());
        }
        let line = Arc::clone(self.line(Signal::Metrics));
        let queued = blocking(move || line.take_own(series, metadata, now_ms())).await;
        let stored = match queued {
            Ok(append) => append.await.map(drop).map_err(|error| refusal::of_append(&error)),
            Err(refused) => Err(refused),
        };
        stored.inspect_err(|refused| telemetry::refused(Signal::Metrics, refused.reason))
    }

    /// Writes state files, tenant information and tenants' counts, and lets the cursors follow the stores, until `stop`
    /// ends; then once more. Where a journal nears its bound, it does so at once, and the store is asked to flush.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let limits = self.limits();
        let mut cursors = interval(limits.cursor_interval.0);
        let mut states = interval(limits.state_interval.0);
        let mut own_series = interval(limits.own_series_interval.0);
        let (mut room_due, mut pause) = (None, FIRST_LOOK_FOR_ROOM);
        loop {
            tokio::select! {
                () = &mut stop => break,
                is_asked = self.room_wanted(room_due) => {
                    pause = if is_asked { FIRST_LOOK_FOR_ROOM } else { LAST_LOOK_FOR_ROOM.min(pause * 2) };
                    room_due = self.make_room().await.then(|| Instant::now() + pause);
                }
                _ = cursors.tick() => self.each_line(Line::follow_store).await,
                _ = states.tick() => self.each_line(Line::write_state).await,
                _ = own_series.tick() => self.write_own_round().await,
            }
        }
        self.write_counts().await;
        self.upkeep().await;
    }

    /// One round of what [`Intake::run`] does for the journals.
    pub async fn upkeep(&self) {
        self.each_line(Line::write_state).await;
        self.each_line(Line::follow_store).await;
    }

    /// Waits until somebody asks for room in a journal, or until the next look is due; says whether somebody asked.
    async fn room_wanted(&self, due: Option<Instant>) -> bool {
        let asked = self.asked_for_room.notified();
        match due {
            Some(due) => tokio::time::timeout_at(due, asked).await.is_ok(),
            None => {
                asked.await;
                true
            }
        }
    }

    /// Makes room where it was asked for; says whether to look again.
    async fn make_room(&self) -> bool {
        let mut look_again = false;
        for line in &self.lines {
            let line = Arc::clone(line);
            let made = tokio::task::spawn_blocking(move || {
                line.make_room().unwrap_or_else(|error| {
                    tracing::error!(signal = %line.signal, %error, "no room could be made in a journal, trying again");
                    true
                })
            });
            look_again |= made.await.unwrap_or(true);
        }
        look_again
    }

    async fn write_own_round(&self) {
        self.write_tenant_info().await;
        self.write_coverage().await;
        self.write_counts().await;
    }

    async fn each_line(&self, work: fn(&Line) -> Result<(), LineError>) {
        for line in &self.lines {
            let line = Arc::clone(line);
            let done = tokio::task::spawn_blocking(move || {
                work(&line).inspect_err(|error| {
                    tracing::error!(signal = %line.signal, %error, "upkeep failed, trying again later");
                })
            });
            if let Err(error) = done.await {
                tracing::error!(%error, "upkeep ended early");
            }
        }
    }

    pub(crate) fn line(&self, signal: Signal) -> &Arc<Line> {
        let [metrics, logs, spans] = &self.lines;
        match signal {
            Signal::Metrics => metrics,
            Signal::Logs => logs,
            Signal::Spans => spans,
        }
    }
}

fn interval(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(every.max(Duration::from_millis(100)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

impl Reporting for Intake {
    fn seen(&self, scope: &Scope) -> Vec<Seen> {
        let mut seen = Vec::new();
        for line in &self.lines {
            let state = line.state.lock();
            seen.extend(state.seen().filter(|(reporter, _)| scope.allows(Some(&reporter.tenant))).map(
                |(reporter, last_ms)| Seen {
                    tenant: reporter.tenant.clone(),
                    account: reporter.account,
                    signal: line.signal,
                    last_ms,
                },
            ));
        }
        seen
    }
}
