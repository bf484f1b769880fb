//! What every room is told of a tenant's removal, in the order in which they need it, again and again until all is gone.
//!
//! ```text
//! begun (durable; nothing of the tenant is taken) → tombstones in the journals → stores → rules → incidents → the others
//!                                                          └ taken again, as another tenant of that name ┘
//! → every part has nothing any more: deleted → the last segment is gone: final
//! ```
//! Whatever fails is tried again at the next round, and after a restart: each step may come twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantscope_incidents::Incidents;
use tenantscope_ingest::{Intake, RemovalError, TenantRemoval};
use tenantscope_lake::{Lake, TableRemoval, UpTo};
use tenantscope_metrics::{MetricStore, RemovalProgress};
use tenantscope_model::{Position, Signal, TenantId};
use tenantscope_rules::{Clock as _, Runner, SystemClock};
use tenantscope_tenancy::{AUDIT, Agents, Registry};
use tokio_util::sync::CancellationToken;

use crate::rounds;

/// How often it is looked at what is to be done, and at the journals.
const EVERY: Duration = Duration::from_secs(1);
/// What could not be done is tried again after so long: it may read many files.
const RETRY_AFTER: Duration = Duration::from_secs(10);

const METRICS: &str = "metrics";
const LAKE: &str = "lake";
const RULES: &str = "rules";
const INCIDENTS: &str = "incidents";
const REGISTRY: &str = "registry";
/// What may have something of a tenant beside the journals, in the order of removal: no rule is to see what a store still
/// has, and no incident to hear of it from a rule.
const PARTS: &[&str] = &[METRICS, LAKE, RULES, INCIDENTS, REGISTRY];
/// Those that must know of the removal before the tenant may send again.
const STORES: [&str; 2] = [METRICS, LAKE];

type Counts = BTreeMap<String, u64>;

/// The rooms, and what went wrong in them last.
#[derive(Clone)]
pub(crate) struct Removals(Arc<Rooms>);

struct Rooms {
    intake: Arc<Intake>,
    metrics: Arc<MetricStore>,
    lake: Arc<Lake>,
    rules: Arc<Runner>,
    incidents: Arc<Incidents>,
    agents: Arc<Agents>,
    registry: Option<Arc<Registry>>,
    /// One at a time.
    working: tokio::sync::Mutex<()>,
    failures: Mutex<BTreeMap<(u64, String), String>>,
}

/// What became of a part.
enum Part {
    Done(Counts),
    /// Something is left, perhaps because of this, but the tenant is told from a new one of its name.
    InForce(Option<String>),
}

impl Removals {
    pub(crate) fn new(
        intake: Arc<Intake>,
        (metrics, lake): (Arc<MetricStore>, Arc<Lake>),
        (rules, incidents): (Arc<Runner>, Arc<Incidents>),
        (agents, registry): (Arc<Agents>, Option<Arc<Registry>>),
    ) -> Self {
        let (working, failures) = (tokio::sync::Mutex::default(), Mutex::default());
        Self(Arc::new(Rooms { intake, metrics, lake, rules, incidents, agents, registry, working, failures }))
    }

    pub(crate) fn intake(&self) -> &Intake {
        &self.0.intake
    }

    /// The tenant to which the id belongs, if the registry lists one.
    pub(crate) fn listed_as(&self, tenant: &TenantId) -> Option<TenantId> {
        let tenants = self.0.registry.as_ref()?.tenants();
        let current = tenants.current_id(tenant);
        tenants.lists(current).then(|| current.clone())
    }

    /// Notes the removal, durably; [`Removals::work`] does it.
    pub(crate) async fn begin(&self, tenant: &TenantId, asked_by: &str) -> Result<TenantRemoval, RemovalError> {
        self.0.intake.begin_removal(tenant, asked_by, PARTS).await
    }

    /// What went wrong last with what is pending, by part.
    pub(crate) fn failures(&self, number: u64) -> BTreeMap<String, String> {
        let failures = self.0.failures.lock();
        failures
            .iter()
            .filter(|((of, _), _)| *of == number)
            .map(|((_, part), why)| (part.clone(), why.clone()))
            .collect()
    }

    /// Goes on until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut put_off: BTreeMap<u64, Instant> = BTreeMap::new();
        loop {
            for removal in self.0.intake.unfinished_removals() {
                let waits = put_off.get(&removal.number).is_some_and(|until| Instant::now() < *until);
                if waits || removal.deleted_ms.is_some() {
                    continue;
                }
                put_off.insert(removal.number, Instant::now() + RETRY_AFTER);
                tokio::select! {
                    // The next start goes on with it.
                    () = stop.cancelled() => return,
                    () = self.work(removal.number) => {}
                }
            }
            match self.0.intake.finish_removals().await {
                Ok(finished) => finished.iter().for_each(tell_final),
                Err(error) => tracing::error!(%error, "the list of removals can't be kept"),
            }
            if !rounds::next(EVERY, &stop).await {
                return;
            }
        }
    }

    /// One attempt at all that is pending of a removal.
    pub(crate) async fn work(&self, number: u64) {
        let _one = self.0.working.lock().await;
        if let Err(error) = self.0.work(number).await {
            self.0.failed(number, "journal", &error.to_string());
        }
    }
}

impl Rooms {
    async fn work(&self, number: u64) -> Result<(), RemovalError> {
        self.intake.entomb(number).await?;
        self.failures.lock().remove(&(number, "journal".to_owned()));
        let Some(removal) = self.intake.removal(number).filter(|removal| removal.deleted_ms.is_none()) else {
            return Ok(());
        };
        let mut in_force = true;
        for part in PARTS.iter().copied().filter(|part| removal.pending.contains(*part)) {
            // What a store still has a rule would see again.
            if !in_force && !STORES.contains(&part) {
                break;
            }
            match self.remove_part(part, &removal).await {
                Ok(Part::Done(counts)) => {
                    self.failures.lock().remove(&(number, part.to_owned()));
                    self.intake.part_removed(number, part, counts).await?;
                }
                Ok(Part::InForce(None)) => {}
                Ok(Part::InForce(Some(error))) => self.failed(number, part, &error),
                Err(error) => {
                    in_force &= !STORES.contains(&part);
                    self.failed(number, part, &error);
                }
            }
        }
        if in_force && !removal.in_force {
            self.intake.removal_in_force(number).await?;
        }
        if let Some(deleted) = self.intake.removal(number).filter(|removal| removal.deleted_ms.is_some()) {
            tell_deleted(&deleted);
            // Lets the journals go on from behind the tombstones.
            self.intake.upkeep().await;
        }
        Ok(())
    }

    fn failed(&self, number: u64, part: &str, error: &str) {
        let before = self.failures.lock().insert((number, part.to_owned()), error.to_owned());
        if before.as_deref() != Some(error) {
            tracing::error!(part, error, "not all of a removed tenant is deleted yet, trying again");
        }
    }

    async fn remove_part(&self, part: &str, removal: &TenantRemoval) -> Result<Part, String> {
        let tenant = removal.tenant.clone();
        let stone = |signal| Position(removal.tombstones.get(&signal).copied().unwrap_or_default());
        match part {
            METRICS => {
                let (metrics, up_to) = (Arc::clone(&self.metrics), stone(Signal::Metrics));
                blocking(move || remove_metrics(&metrics, &tenant, up_to)).await
            }
            LAKE => {
                let lake = Arc::clone(&self.lake);
                let up_to = UpTo { logs: stone(Signal::Logs), spans: stone(Signal::Spans) };
                blocking(move || remove_from_lake(&lake, &tenant, up_to)).await
            }
            RULES => {
                self.rules.forget_tenant(&tenant).await;
                Ok(Part::Done(Counts::new()))
            }
            INCIDENTS => {
                let incidents = Arc::clone(&self.incidents);
                blocking(move || {
                    let removed = incidents.remove_tenant(&tenant).map_err(|error| error.to_string())?;
                    let counts = [
                        ("alerts", removed.alerts),
                        ("incidents", removed.incidents),
                        ("notifications", removed.notifications),
                    ];
                    Ok(Part::Done(named(counts)))
                })
                .await
            }
            _ => {
                self.agents.forget(&tenant);
                let Some(registry) = self.registry.clone() else { return Ok(Part::Done(Counts::new())) };
                blocking(move || {
                    registry.forget(&tenant);
                    registry.keep(SystemClock.now_ms());
                    Ok(Part::Done(Counts::new()))
                })
                .await
            }
        }
    }
}

fn remove_metrics(metrics: &MetricStore, tenant: &TenantId, up_to: Position) -> Result<Part, String> {
    match metrics.removal_progress(tenant, up_to) {
        RemovalProgress::NotBegun => {}
        RemovalProgress::InForce => return Ok(Part::InForce(None)),
        // Before a crash, or by itself: nobody knows any more how much it was.
        RemovalProgress::Done => return Ok(Part::Done(Counts::new())),
    }
    match metrics.remove_tenant(tenant, up_to) {
        Ok(removed) => Ok(Part::Done(named([
            ("series", removed.series),
            ("samples", removed.samples),
            ("families", removed.families),
            ("parts", removed.parts),
            ("blocks", removed.blocks),
            ("deleted_bytes", removed.deleted_bytes),
            ("written_bytes", removed.written_bytes),
        ]))),
        Err(error) if metrics.removal_progress(tenant, up_to) == RemovalProgress::InForce => {
            Ok(Part::InForce(Some(error.to_string())))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn remove_from_lake(lake: &Lake, tenant: &TenantId, up_to: UpTo) -> Result<Part, String> {
    let removed = match lake.remove_tenant(tenant, up_to) {
        Ok(removed) => removed,
        Err(error) if lake.is_removal_in_force(tenant, up_to) => return Ok(Part::InForce(Some(error.to_string()))),
        Err(error) => return Err(error.to_string()),
    };
    let counts = |signal: &str, table: &TableRemoval| {
        [
            (format!("{signal}_rows"), table.rows),
            (format!("{signal}_files_rewritten"), table.files_rewritten),
            (format!("{signal}_files_deleted"), table.files_deleted),
            (format!("{signal}_deleted_bytes"), table.deleted_bytes),
            (format!("{signal}_written_bytes"), table.written_bytes),
        ]
    };
    Ok(Part::Done(counts("logs", &removed.logs).into_iter().chain(counts("spans", &removed.spans)).collect()))
}

fn named<const N: usize>(counts: [(&str, u64); N]) -> Counts {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

async fn blocking(work: impl FnOnce() -> Result<Part, String> + Send + 'static) -> Result<Part, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

fn tell_deleted(removal: &TenantRemoval) {
    let count = |part: &str, name: &str| removal.deleted.get(part).and_then(|counts| counts.get(name)).copied();
    tracing::info!(
        target: AUDIT,
        tenant = %removal.tenant,
        number = removal.number,
        asked_by = removal.asked_by,
        begun_ms = removal.begun_ms,
        series = count(METRICS, "series"),
        samples = count(METRICS, "samples"),
        log_records = count(LAKE, "logs_rows"),
        spans = count(LAKE, "spans_rows"),
        incidents = count(INCIDENTS, "incidents"),
        lanes = count("state", "lanes"),
        "tenant_removed"
    );
}

fn tell_final(removal: &TenantRemoval) {
    tracing::info!(target: AUDIT, tenant = %removal.tenant, number = removal.number, "removal_final");
}
