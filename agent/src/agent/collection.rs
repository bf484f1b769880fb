//! The sources that speak to AWS: made for each region, then asked in rounds.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use backon::{BackoffBuilder, ExponentialBuilder};
use tenantscope_model::{AccountId, Region};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::AgentError;
use crate::attributes::Origin;
use crate::cloudwatch::CloudWatchMetrics;
use crate::config::{Compression, Sources};
use crate::logs::CloudWatchLogs;
use crate::source::{Source, SourceError, Surroundings};
use crate::spool::Spool;
use crate::uplink::{Session, SessionError};
use crate::xray::XrayTraces;
use crate::{aws, clock, telemetry};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What collecting needs.
pub(super) struct Collection {
    pub(super) sources: Sources,
    pub(super) compression: Compression,
    pub(super) spool: Spool,
    pub(super) session: Arc<Session>,
    pub(super) aws: Option<SdkConfig>,
}

/// One of the sources.
enum AnySource {
    Metrics(Box<CloudWatchMetrics>),
    Logs(Box<CloudWatchLogs>),
    Traces(Box<XrayTraces>),
}

/// Collects until `stop`.
pub(super) async fn collect(collection: Collection, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = collect_for_ever(collection) => {}
    }
}

/// Whatever is under way is dropped with this future: an append that has begun is durable with its position or not
/// at all, so a round may end anywhere.
async fn collect_for_ever(collection: Collection) {
    if !collection.sources.any_from_aws() {
        return std::future::pending().await;
    }
    // A new spool has no positions: the collector's count before the first round.
    if collection.spool.epoch().is_none() {
        identify(&collection.session).await;
    }
    let sources = until_success("account", || collection.sources()).await;
    let mut rounds = JoinSet::new();
    for source in sources {
        match source {
            AnySource::Metrics(source) => rounds.spawn(attend(*source)),
            AnySource::Logs(source) => rounds.spawn(attend(*source)),
            AnySource::Traces(source) => rounds.spawn(attend(*source)),
        };
    }
    while rounds.join_next().await.is_some() {}
}

/// One round of each source; the first error, after all had their turn.
pub(super) async fn collect_once(collection: Collection) -> Result<(), AgentError> {
    let now_ms = clock::now_ms();
    let mut outcome = Ok(());
    for source in collection.sources().await? {
        let done = match source {
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
async fn attend<S: Source>(mut source: S) {
    let mut waits = waits();
    loop {
        let started = tokio::time::Instant::now();
        let wait = match round(&mut source, clock::now_ms()).await {
            Ok(()) => {
                waits = self::waits();
                source.interval().saturating_sub(started.elapsed())
            }
            Err(error) => {
                telemetry::round(source.kind(), false);
                tracing::warn!(source = source.kind(), region = source.region(), %error, "round failed");
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
    let mut waits = waits();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => tracing::warn!(what, error = aws::chain(&error), "not there yet, trying again"),
        }
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
    }
}

fn waits() -> impl Iterator<Item = Duration> + Send + 'static {
    let growing = ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT).with_jitter();
    growing.without_max_times().build()
}

impl Collection {
    /// Every source for each of its regions.
    async fn sources(&self) -> Result<Vec<AnySource>, AgentError> {
        let Some(aws) = self.aws.as_ref().filter(|_| self.sources.any_from_aws()) else { return Ok(Vec::new()) };
        let account = aws::account(aws).await?;
        let mut sources = Vec::new();
        if let Some(config) = &self.sources.cloudwatch {
            for (aws, surroundings) in self.places(aws, account, &config.regions)? {
                let source = CloudWatchMetrics::new(&aws, config.clone(), surroundings);
                sources.push(AnySource::Metrics(Box::new(source)));
            }
        }
        if let Some(config) = &self.sources.logs {
            for (aws, surroundings) in self.places(aws, account, &config.regions)? {
                sources.push(AnySource::Logs(Box::new(CloudWatchLogs::new(&aws, config.clone(), surroundings))));
            }
        }
        if let Some(config) = &self.sources.xray {
            for (aws, surroundings) in self.places(aws, account, &config.regions)? {
                sources.push(AnySource::Traces(Box::new(XrayTraces::new(&aws, config.clone(), surroundings))));
            }
        }
        tracing::info!(%account, sources = sources.len(), "collecting");
        Ok(sources)
    }

    /// The regions, or the AWS configuration's own where none are named.
    fn places(
        &self,
        aws: &SdkConfig,
        account: AccountId,
        regions: &[Region],
    ) -> Result<Vec<(SdkConfig, Surroundings)>, AgentError> {
        let own = aws.region().and_then(|region| Region::try_new(region.as_ref()).ok());
        let regions = if regions.is_empty() { vec![own.ok_or(AgentError::Region)?] } else { regions.to_vec() };
        let place = |region: Region| {
            let surroundings = Surroundings {
                origin: Origin { account, region: region.clone() },
                spool: self.spool.clone(),
                compression: self.compression,
            };
            (aws::in_region(aws, &region), surroundings)
        };
        Ok(regions.into_iter().map(place).collect())
    }
}
