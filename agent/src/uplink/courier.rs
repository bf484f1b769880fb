use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use http::{HeaderMap, HeaderValue, header};
use tenantscope_model::Signal;
use tenantscope_wire::client::{SendError, SendErrorKind};
use tenantscope_wire::{BatchHeader, Name, Positions};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Delivery, Session};
use crate::aws;
use crate::spool::{Lane, Move, SpoolError, Spooled};
use crate::telemetry;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A collector may ask for more than we would wait, but not for ever.
const LONGEST_WAIT_ASKED_FOR: Duration = Duration::from_secs(600);
/// New tokens that one batch may cost before it is a failure like any other.
const TOKENS_PER_BATCH: usize = 2;
/// How long a disk that fails is left alone.
const DISK_WAIT: Duration = Duration::from_secs(5);

/// Carries one lane's batches to the collector, one at a time, in order.
pub struct Courier {
    session: Arc<Session>,
    delivery: Arc<Delivery>,
    lane: Option<Lane>,
    signal: Signal,
    name: Option<Name>,
    news: watch::Receiver<u64>,
}

/// How sending a batch ended.
enum Outcome {
    /// Acknowledged or refused for good: the next one.
    Done,
    /// The agent ends.
    Stopped,
}

impl Courier {
    /// A courier of this lane; `news` tells of new records in the spool.
    pub fn new(session: Arc<Session>, delivery: Arc<Delivery>, lane: Lane, news: watch::Receiver<u64>) -> Self {
        let signal = lane.signal();
        let name = Name::try_new(signal.as_str()).ok();
        Self { session, delivery, lane: Some(lane), signal, name, news }
    }

    /// Carries until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let seen = *self.news.borrow_and_update();
            match self.next().await {
                Ok(Some(batch)) => match self.carry(&batch, &stop).await {
                    Outcome::Done => self.done(batch.sequence).await,
                    Outcome::Stopped => return,
                },
                Ok(None) => {
                    self.delivery.reached(self.signal, seen);
                    tokio::select! {
                        () = stop.cancelled() => return,
                        // The sender lives as long as the spool, which this courier's lane keeps open.
                        changed = self.news.changed() => if changed.is_err() { return },
                    }
                }
                Err(error) => {
                    tracing::error!(signal = %self.signal, %error, "spool cannot be read");
                    self.delivery.failed(&error.to_string());
                    wait(DISK_WAIT, &stop).await;
                }
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Spooled>, SpoolError> {
        self.with_lane(Lane::next_batch).await
    }

    async fn done(&mut self, sequence: u64) {
        // A cursor that was not moved costs a second delivery, which the collector knows by its sequence.
        if let Err(error) = self.with_lane(move |lane| lane.done(sequence)).await {
            tracing::warn!(signal = %self.signal, %error, "spool cursor cannot be moved");
        }
        self.delivery.reached(self.signal, sequence);
    }

    /// Runs on a thread that may block.
    async fn with_lane<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Lane) -> Result<T, SpoolError> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let mut lane = self.lane.take().ok_or(SpoolError::Stopped)?;
        let joined = tokio::task::spawn_blocking(move || {
            let outcome = work(&mut lane);
            (lane, outcome)
        });
        let (lane, outcome) = joined.await.map_err(|_| SpoolError::Stopped)?;
        self.lane = Some(lane);
        outcome
    }

    /// Sends until it is acknowledged or refused for good.
    async fn carry(&self, batch: &Spooled, stop: &CancellationToken) -> Outcome {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .with_jitter()
            .without_max_times()
            .build();
        let mut tokens = 0;
        loop {
            let attempt = tokio::select! {
                () = stop.cancelled() => return Outcome::Stopped,
                attempt = self.attempt(batch).instrument(span(batch)) => attempt,
            };
            let asked_for = match attempt {
                Ok(()) => return Outcome::Done,
                Err(Failure::Refused(reason)) => {
                    self.refused(batch, &reason);
                    return Outcome::Done;
                }
                Err(Failure::TokenExpired) if tokens < TOKENS_PER_BATCH => {
                    tokens += 1;
                    continue;
                }
                Err(Failure::TokenExpired) => {
                    tokens = 0;
                    self.failed("the collector does not take the tokens that it gives");
                    None
                }
                Err(Failure::Later { reason, asked_for }) => {
                    self.failed(&reason);
                    asked_for
                }
            };
            let own = waits.next().unwrap_or(LONGEST_WAIT);
            wait(own.max(asked_for.unwrap_or_default().min(LONGEST_WAIT_ASKED_FOR)), stop).await;
        }
    }

    async fn attempt(&self, spooled: &Spooled) -> Result<(), Failure> {
        let standing = match self.session.standing().await {
            Ok(standing) => standing,
            Err(error) => return Err(Failure::Later { reason: aws::chain(&error), asked_for: None }),
        };
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &standing.authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::clone(authorization));
        }
        if let Some(lane) = self.name.clone() {
            let header = BatchHeader {
                agent: self.session.agent().clone(),
                lane,
                epoch: standing.epoch,
                sequence: spooled.sequence,
                positions: positions(&spooled.moves),
            };
            header.to_headers(&mut headers);
        }
        let batch = &spooled.batch;
        match self.session.client().send(self.signal, batch.encoding, batch.body.clone(), &headers).await {
            Ok(accepted) => {
                self.accepted(accepted.rejected, &accepted.message);
                Ok(())
            }
            Err(error) if error.kind == SendErrorKind::Unauthenticated => {
                self.session.invalidate(&standing).await;
                Err(Failure::TokenExpired)
            }
            // The account may be registered (again) soon: the spool keeps what it can, and a new proof is tried then.
            Err(error) if error.kind == SendErrorKind::Forbidden => {
                self.session.invalidate(&standing).await;
                Err(Failure::Later { reason: error.message, asked_for: error.retry_after })
            }
            Err(error) => Err(Failure::of(error)),
        }
    }

    fn accepted(&self, rejected: u64, message: &str) {
        self.delivery.succeeded();
        if rejected == 0 {
            telemetry::sent(self.signal, "acknowledged");
            return;
        }
        telemetry::sent(self.signal, "partial");
        telemetry::rejected(self.signal, rejected);
        tracing::warn!(signal = %self.signal, rejected, message, "the collector rejected a part of a batch");
    }

    fn refused(&self, batch: &Spooled, reason: &str) {
        telemetry::sent(self.signal, "refused");
        telemetry::rejected(self.signal, batch.batch.items);
        self.delivery.refused(reason);
        tracing::error!(signal = %self.signal, items = batch.batch.items, reason, "the collector refused a batch for good");
    }

    fn failed(&self, reason: &str) {
        telemetry::sent(self.signal, "retried");
        if self.delivery.failed(reason) {
            tracing::warn!(signal = %self.signal, reason, "batch was not taken, trying again");
        } else {
            tracing::debug!(signal = %self.signal, reason, "batch was not taken, trying again");
        }
    }
}

/// Why an attempt failed.
enum Failure {
    /// The batch will never be taken.
    Refused(String),
    /// Another token may help.
    TokenExpired,
    /// It may be taken later.
    Later { reason: String, asked_for: Option<Duration> },
}

impl Failure {
    fn of(error: SendError) -> Self {
        if error.retryable() {
            Self::Later { asked_for: error.retry_after, reason: error.message }
        } else {
            Self::Refused(error.message)
        }
    }
}

fn span(spooled: &Spooled) -> tracing::Span {
    let batch = &spooled.batch;
    let (signal, items, bytes) = (batch.signal.as_str(), batch.items, batch.body.len());
    tracing::info_span!("send", signal, sequence = spooled.sequence, items, bytes)
}

async fn wait(time: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// What the batch moved. What does not fit into the header is left out: it comes with a later batch.
fn positions(moves: &[Move]) -> Positions {
    let moved = moves.iter().filter(|step| step.position_ms > 0);
    let by_source: BTreeMap<String, serde_json::Value> =
        moved.map(|step| (step.source.clone(), step.position_ms.into())).collect();
    Positions::try_new(by_source).unwrap_or_default()
}
