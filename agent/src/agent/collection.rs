//! The sources that speak to AWS: made for each region, asked in rounds, and exchanged when another document is in force.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::SdkConfig;
use backon::{BackoffBuilder, ExponentialBuilder};
use tenantscope_model::{AccountId, Region};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::AgentError;
use super::governed::InForce;
use crate::attributes::Origin;
use crate::aws::Aws;
use crate::cloudwatch::CloudWatchMetrics;
use crate::config::{CloudWatch, Compression, Logs, Sources, Xray};
use crate::logs::CloudWatchLogs;
use crate::repeated::Repeated;
use crate::source::{Source, SourceError, Surroundings};
use crate::spool::Spool;
use crate::uplink::{Documents, Place, Session, SessionError, Wanted};
use crate::xray::XrayTraces;
use crate::{aws, clock, telemetry};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What collecting needs.
pub(super) struct Collection {
    pub(super) compression: Compression,
    pub(super) spool: Spool,
    pub(super) session: Arc<Session>,
    pub(super) documents: Arc<Documents>,
    pub(super) aws: Aws,
}

/// One of the sources.
enum AnySource {
    Metrics(Box<CloudWatchMetrics>),
    Logs(Box<CloudWatchLogs>),
    Traces(Box<XrayTraces>),
}

/// What a source does, in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    Metrics(CloudWatch),
    Logs(Logs),
    Traces(Xray),
}

/// All sources need the account, whatever their region.
fn account_place() -> Place {
    ("account", String::new())
}

/// Hears how rounds end.
struct Observer {
    documents: Arc<Documents>,
    session: Arc<Session>,
}

impl Observer {
    /// A rollout of documents waits for what its first agents say.
    fn round(&self, place: &Place, outcome: Result<(), String>) {
        if self.documents.round(place, outcome) {
            self.session.ask_soon();
        }
    }
}

/// The sources that are asked; they end with this.
type Attended = BTreeMap<Place, (Task, AbortOnDropHandle<()>)>;

/// Collects what is in force until `stop`; `settled` tells which of the collector's words are dealt with.
pub(super) async fn collect(
    collection: Collection,
    in_force: watch::Receiver<InForce>,
    settled: watch::Receiver<Wanted>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow(&collection, in_force, settled) => {}
    }
}

/// Whatever is under way is dropped with this future: an append that has begun is durable with its position or not
/// at all, so a round may end anywhere.
async fn follow(collection: &Collection, mut in_force: watch::Receiver<InForce>, settled: watch::Receiver<Wanted>) {
    let mut attended = Attended::new();
    loop {
        let wanted = in_force.borrow_and_update().clone();
        tokio::select! {
            () = collection.bring_about(&mut attended, &wanted, settled.clone()) => {}
            // What was begun is brought about anew, by what is in force then.
            changed = in_force.changed() => if changed.is_ok() { in_force.mark_changed() },
        }
        if in_force.changed().await.is_err() {
            // Nothing changes any more, as the agent ends.
            return std::future::pending().await;
        }
    }
}

/// One round of each source; the first error, after all had their turn.
pub(super) async fn collect_once(collection: Collection, sources: &Sources) -> Result<(), AgentError> {
    let now_ms = clock::now_ms();
    let mut outcome = Ok(());
    for (_, (task, aws, surroundings)) in collection.tasks(sources).await? {
        let done = match task.source(&aws, surroundings) {
            AnySource::Metrics(mut source) => one_round(&mut *source, now_ms).await,
            AnySource::Logs(mut source) => one_round(&mut *source, now_ms).await,
            AnySource::Traces(mut source) => one_round(&mut *source, now_ms).await,
        };
        outcome = outcome.and(done);
    }
    outcome
}

async fn one_round<S: Source>(source: &mut S, now_ms: i64) -> Result<(), AgentError> {
    round(source, now_ms).await.map_err(|error| {
        telemetry::round(source.kind(), false);
        AgentError::Round { kind: source.kind(), region: source.region().to_owned(), source: error }
    })
}

/// Waits until the collector knows this agent.
pub(super) async fn identify(session: &Session) {
    until_success("identity", || session.standing()).await;
}

/// Waits until the collector knows this agent, but not for ever, and not when it refuses.
pub(super) async fn identify_soon(session: &Session, patience: Duration) -> Result<(), SessionError> {
    let deadline = tokio::time::Instant::now() + patience;
    let mut waits = waits();
    loop {
        let Err(error) = session.standing().await else { return Ok(()) };
        let wait = waits.next().unwrap_or(LONGEST_WAIT);
        if error.is_refusal() || tokio::time::Instant::now() + wait > deadline {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
}

/// Asks a source in rounds. A failed round is tried again after a while that grows.
async fn attend<S: Source>(mut source: S, place: Place, observer: Observer) {
    let mut waits = waits();
    loop {
        let started = tokio::time::Instant::now();
        let wait = match round(&mut source, clock::now_ms()).await {
            Ok(()) => {
                observer.round(&place, Ok(()));
                waits = self::waits();
                source.interval().saturating_sub(started.elapsed())
            }
            Err(error) => {
                telemetry::round(source.kind(), false);
                tracing::warn!(source = source.kind(), region = source.region(), %error, "round failed");
                observer.round(&place, Err(error.to_string()));
                waits.next().unwrap_or(LONGEST_WAIT)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn round<S: Source>(source: &mut S, now_ms: i64) -> Result<(), SourceError> {
    let span = tracing::info_span!("round", source = source.kind(), region = source.region());
    source.round(now_ms).instrument(span).await
}

async fn until_success<T, E, F>(what: &str, attempt: impl Fn() -> F) -> T
where
    E: std::error::Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    let (mut waits, mut said) = (waits(), Repeated::default());
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => {
                let error = aws::chain(&error);
                if said.is_news(&error, Instant::now()) {
                    tracing::warn!(what, error, "not there yet, trying again");
                }
            }
        }
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
    }
}

fn waits() -> impl Iterator<Item = Duration> + Send + 'static {
    let growing = ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT).with_jitter();
    growing.without_max_times().build()
}

impl Task {
    fn source(self, aws: &SdkConfig, surroundings: Surroundings) -> AnySource {
        match self {
            Self::Metrics(config) => AnySource::Metrics(Box::new(CloudWatchMetrics::new(aws, config, surroundings))),
            Self::Logs(config) => AnySource::Logs(Box::new(CloudWatchLogs::new(aws, config, surroundings))),
            Self::Traces(config) => AnySource::Traces(Box::new(XrayTraces::new(aws, config, surroundings))),
        }
    }
}

/// Every source for each of its regions, by place.
type Tasks = BTreeMap<Place, (Task, SdkConfig, Surroundings)>;

impl Collection {
    /// Ends the sources that are gone or changed, begins those that are new or changed, and leaves the others alone.
    async fn bring_about(&self, attended: &mut Attended, wanted: &InForce, mut settled: watch::Receiver<Wanted>) {
        let mut tasks = Tasks::new();
        // What was looked for by what was in force before.
        self.documents.ended(&account_place());
        if wanted.sources.any_from_aws() {
            // A new spool has no positions: the collector's count before the first round, and so does what it wants.
            if self.spool.epoch().is_none() {
                identify(&self.session).await;
                let told = self.documents.watch();
                // The sender ends with the agent.
                let _ = settled.wait_for(|settled| *settled == *told.borrow()).await;
            }
            tasks = self.made(wanted).await;
        }
        let stays = |place: &Place, task: &Task| tasks.get(place).is_some_and(|(wanted, ..)| wanted == task);
        let gone: Vec<Place> =
            attended.iter().filter(|(place, (task, _))| !stays(place, task)).map(|(place, _)| place.clone()).collect();
        for place in gone {
            let Some((_, attending)) = attended.remove(&place) else { continue };
            attending.abort();
            // Two of one source would move the same position.
            let _ = attending.await;
            self.documents.ended(&place);
        }
        for (place, (task, aws, surroundings)) in tasks {
            if attended.contains_key(&place) {
                continue;
            }
            self.documents.begins(&place, wanted.version);
            let observer = self.observer();
            let attending = match task.clone().source(&aws, surroundings) {
                AnySource::Metrics(source) => tokio::spawn(attend(*source, place.clone(), observer)),
                AnySource::Logs(source) => tokio::spawn(attend(*source, place.clone(), observer)),
                AnySource::Traces(source) => tokio::spawn(attend(*source, place.clone(), observer)),
            };
            attended.insert(place, (task, AbortOnDropHandle::new(attending)));
        }
        tracing::info!(sources = attended.len(), version = wanted.version, "collecting");
    }

    /// The tasks, as soon as the account is known. Until then it counts as a source that fails.
    async fn made(&self, wanted: &InForce) -> Tasks {
        let (place, observer) = (account_place(), self.observer());
        self.documents.begins(&place, wanted.version);
        let attempt = || async {
            let made = self.tasks(&wanted.sources).await;
            made.inspect_err(|error| observer.round(&place, Err(aws::chain(error))))
        };
        let tasks = until_success("account", attempt).await;
        self.documents.ended(&place);
        tasks
    }

    fn observer(&self) -> Observer {
        Observer { documents: Arc::clone(&self.documents), session: Arc::clone(&self.session) }
    }

    async fn tasks(&self, sources: &Sources) -> Result<Tasks, AgentError> {
        let mut tasks = Tasks::new();
        if !sources.any_from_aws() {
            return Ok(tasks);
        }
        let aws = self.aws.config().await;
        let account = aws::account(aws).await?;
        let mut add = |kind: &'static str, regions: &[Region], task: &dyn Fn(Vec<Region>) -> Task| {
            for (region, aws, surroundings) in self.places(aws, account, regions)? {
                // Its own region alone, so that another one in the list changes nothing for it.
                let task = task(vec![region.clone()]);
                tasks.insert((kind, region.as_str().to_owned()), (task, aws, surroundings));
            }
            Ok::<(), AgentError>(())
        };
        if let Some(config) = &sources.cloudwatch {
            add("cloudwatch", &config.regions, &|regions| Task::Metrics(CloudWatch { regions, ..config.clone() }))?;
        }
        if let Some(config) = &sources.logs {
            add("logs", &config.regions, &|regions| Task::Logs(Logs { regions, ..config.clone() }))?;
        }
        if let Some(config) = &sources.xray {
            add("xray", &config.regions, &|regions| Task::Traces(Xray { regions, ..config.clone() }))?;
        }
        Ok(tasks)
    }

    /// The regions, or the AWS configuration's own where none are named.
    fn places(
        &self,
        aws: &SdkConfig,
        account: AccountId,
        regions: &[Region],
    ) -> Result<Vec<(Region, SdkConfig, Surroundings)>, AgentError> {
        let own = aws.region().and_then(|region| Region::try_new(region.as_ref()).ok());
        let regions = if regions.is_empty() { vec![own.ok_or(AgentError::Region)?] } else { regions.to_vec() };
        let place = |region: Region| {
            let surroundings = Surroundings {
                origin: Origin { account, region: region.clone() },
                spool: self.spool.clone(),
                compression: self.compression,
            };
            let aws = aws::in_region(aws, &region);
            (region, aws, surroundings)
        };
        Ok(regions.into_iter().map(place).collect())
    }
}
