//! One target and signal: reads the journal at its cursor, sends, waits, moves on.

use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tenantscope_journal::{Cursor, Journal, Reader, Record};
use tenantscope_model::{RemovedTenants, Signal};
use tenantscope_wire::{BatchHeader, Name, Positions};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::answer::Answer;
use crate::batch::{Batch, Made, make};
use crate::config::Compression;
use crate::target::Target;
use crate::telemetry::Telemetry;

/// The cursor's file is replaced at least this often while batches flow, and whenever the lane has nothing to send.
const CURSOR_INTERVAL: Duration = Duration::from_millis(100);
/// A target that asks for a longer pause is asked again after this one all the same.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// How long a stop waits for the answer to a batch in flight.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// A lane without news looks into the journal this often all the same, since a read may have failed.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// How often a lane that waits looks at what stands behind it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What a lane reads, where it sends, how far it may fall behind.
pub(crate) struct Lane {
    pub(crate) target: Arc<Target>,
    pub(crate) signal: Signal,
    pub(crate) journal: Journal,
    pub(crate) cursor: Arc<Cursor>,
    /// The header of its batches, but for the sequence.
    pub(crate) agent: Name,
    pub(crate) lane: Name,
    pub(crate) max_bytes: u64,
    pub(crate) compression: Compression,
    pub(crate) telemetry: Telemetry,
    pub(crate) removed: watch::Receiver<Arc<RemovedTenants>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// A lane's place in the journal.
struct Place {
    reader: Reader,
    /// Everything up to it has been dealt with.
    done: u64,
    /// When the cursor was last made durable.
    saved_at: Instant,
}

/// What became of a batch.
enum Outcome {
    Done,
    /// The lane fell too far behind while it waited; reading goes on behind this position.
    Skipped(u64),
    /// A tenant was removed while it waited, so that it is to be made again from its record.
    Outdated,
    Stopped,
}

/// The epoch of every lane: the journal's id is in the lane's name, so its positions only ever rise.
const EPOCH: u64 = 1;

impl Lane {
    /// Runs until it is told to stop. What was sent by then is behind the cursor.
    pub(crate) async fn run(mut self) {
        let start = self.cursor.position();
        let mut place = Place { reader: self.journal.reader(start), done: start, saved_at: Instant::now() };
        let mut appended = self.journal.watch();
        while !*self.stop.borrow() {
            appended.mark_unchanged();
            if let Some(to) = self.overflow(place.done) {
                self.skip(&mut place, to).await;
            }
            self.telemetry.backlog(self.journal.bytes_after(place.done));
            let Some((reader, record)) = self.read(place.reader).await else { return };
            place.reader = reader;
            let Some((position, made)) = record else {
                self.save(&mut place).await;
                tokio::select! {
                    () = stopped(&mut self.stop) => break,
                    changed = appended.changed() => if changed.is_err() { return },
                    () = sleep(IDLE_INTERVAL) => {}
                }
                continue;
            };
            // Records that the journal dropped or that its disk damaged are a gap before this one.
            let lost = position.saturating_sub(place.done + 1);
            if lost > 0 {
                self.telemetry.dropped("lost_in_journal", lost);
            }
            place.done = position - 1;
            match self.deal_with(position, made).await {
                Outcome::Done => place.done = position,
                Outcome::Skipped(to) => self.skip(&mut place, to).await,
                Outcome::Outdated => place.reader = self.journal.reader(position - 1),
                Outcome::Stopped => break,
            }
            if place.saved_at.elapsed() >= CURSOR_INTERVAL {
                self.save(&mut place).await;
            }
        }
        self.save(&mut place).await;
    }

    /// Reads and decodes the next record off the runtime's threads. `None` only when the runtime ends.
    async fn read(&mut self, mut reader: Reader) -> Option<(Reader, Option<(u64, Made)>)> {
        let (signal, compression) = (self.signal, self.compression);
        let removed = Arc::clone(&self.removed.borrow_and_update());
        let read = tokio::task::spawn_blocking(move || {
            let record = reader.next_record();
            let made = record.map(|record| record.map(|r| (r.position, make_safely(r, signal, compression, &removed))));
            (reader, made)
        });
        match read.await {
            Ok((reader, Ok(made))) => Some((reader, made)),
            Ok((reader, Err(error))) => {
                tracing::error!(target_name = self.target.name(), signal = %self.signal, %error, "journal can't be read");
                self.telemetry.retried("journal");
                Some((reader, None))
            }
            Err(error) => {
                tracing::error!(target_name = self.target.name(), signal = %self.signal, %error, "lane ends");
                None
            }
        }
    }

    async fn deal_with(&mut self, position: u64, made: Made) -> Outcome {
        match made {
            Made::Batch(batch) => self.deliver(position, batch).await,
            Made::Nothing { without_tenant, removed_tenants } => {
                self.telemetry.without_tenant(without_tenant);
                self.telemetry.removed_tenants(removed_tenants);
                Outcome::Done
            }
            Made::Unreadable { reason, message } => {
                tracing::error!(target_name = self.target.name(), signal = %self.signal, position, reason, message, "a record can't be forwarded");
                self.telemetry.dropped(reason, 1);
                Outcome::Done
            }
        }
    }

    /// Sends a batch until the target took it or refused it for good, the lane fell too far behind, or is stopped.
    async fn deliver(&mut self, position: u64, batch: Batch) -> Outcome {
        let header = BatchHeader {
            agent: self.agent.clone(),
            lane: self.lane.clone(),
            epoch: EPOCH,
            sequence: position,
            positions: Positions::default(),
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(30))
            .without_max_times()
            .with_jitter();
        let mut delays = backoff.build();
        loop {
            // Where nobody is left to publish a list, it does not change.
            if self.removed.has_changed().unwrap_or(false) {
                return Outcome::Outdated;
            }
            let sent = match self.send(&batch, &header).await {
                Ok(sent) => sent,
                Err(outcome) => return outcome,
            };
            let asked_for = match sent {
                Answer::Taken { rejected, message } => {
                    if rejected > 0 {
                        tracing::warn!(target_name = self.target.name(), signal = %self.signal, rejected, message, "target left records out");
                    }
                    self.telemetry.sent(batch.records, rejected);
                    self.telemetry.without_tenant(batch.without_tenant);
                    self.telemetry.removed_tenants(batch.removed_tenants);
                    return Outcome::Done;
                }
                Answer::Never { reason, message } => {
                    tracing::warn!(target_name = self.target.name(), signal = %self.signal, position, reason, message, "target refused a batch for good");
                    self.telemetry.dropped(reason, 1);
                    return Outcome::Done;
                }
                Answer::Unauthorized { message } => {
                    tracing::warn!(target_name = self.target.name(), signal = %self.signal, message, "target does not take our credential");
                    self.telemetry.retried("unauthorized");
                    self.target.read_token_again().await;
                    None
                }
                Answer::Later { reason, message, after } => {
                    tracing::debug!(target_name = self.target.name(), signal = %self.signal, reason, message, "target is asked again");
                    self.telemetry.retried(reason);
                    after
                }
            };
            let delay = delays.next().unwrap_or(Duration::from_secs(30)).max(asked_for.unwrap_or_default());
            if let Some(outcome) = self.pause(delay.min(MAX_PAUSE), position - 1).await {
                return outcome;
            }
        }
    }

    /// The target's answer; the error is what comes of the batch when the lane is stopped and the answer does not come soon,
    /// or when a tenant is removed meanwhile.
    async fn send(&mut self, batch: &Batch, header: &BatchHeader) -> Result<Answer, Outcome> {
        let mut removed = self.removed.clone();
        let mut sending = pin!(self.target.send(batch, header));
        tokio::select! {
            biased;
            answer = &mut sending => Ok(answer),
            Ok(()) = removed.changed() => Err(Outcome::Outdated),
            () = stopped(&mut self.stop) => timeout(STOP_GRACE, sending).await.map_err(|_| Outcome::Stopped),
        }
    }

    /// Waits, but not past a stop, nor while the journal fills up behind a target that is away.
    async fn pause(&mut self, delay: Duration, done: u64) -> Option<Outcome> {
        let until = Instant::now() + delay;
        while Instant::now() < until {
            if let Some(to) = self.overflow(done) {
                return Some(Outcome::Skipped(to));
            }
            self.telemetry.backlog(self.journal.bytes_after(done));
            let step = until.saturating_duration_since(Instant::now()).min(LOOK_INTERVAL);
            tokio::select! {
                () = stopped(&mut self.stop) => return Some(Outcome::Stopped),
                () = sleep(step) => {}
            }
        }
        None
    }

    /// Where to go on when more waits than may; a tenth is cleared at once, so that this is rare.
    fn overflow(&self, done: u64) -> Option<u64> {
        let over = self.journal.bytes_after(done) > self.max_bytes;
        let to = over.then(|| self.journal.position_before_last(self.max_bytes / 10 * 9))?;
        (to > done).then_some(to)
    }

    async fn skip(&self, place: &mut Place, to: u64) {
        let skipped = to.saturating_sub(place.done);
        tracing::warn!(target_name = self.target.name(), signal = %self.signal, skipped, to, "target fell too far behind");
        self.telemetry.dropped("max_bytes", skipped);
        place.done = to;
        place.reader = self.journal.reader(to);
        self.save(place).await;
    }

    /// Makes the lane's place durable, which also lets the journal free what is behind it.
    async fn save(&self, place: &mut Place) {
        place.saved_at = Instant::now();
        if place.done <= self.cursor.position() {
            return;
        }
        let (cursor, done) = (Arc::clone(&self.cursor), place.done);
        match tokio::task::spawn_blocking(move || cursor.advance(done)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(target_name = self.target.name(), signal = %self.signal, %error, "cursor can't be moved");
            }
            Err(error) => tracing::error!(%error, "cursor can't be moved"),
        }
    }
}

/// Resolves once the lane shall stop, also when it was told so before, or when nobody is left to tell it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A record that makes a decoder panic must not end its lane, now and after every restart.
fn make_safely(record: Record, signal: Signal, compression: Compression, removed: &RemovedTenants) -> Made {
    catch_unwind(|| make(record, signal, compression, removed))
        .unwrap_or_else(|_| Made::Unreadable { reason: "panicked", message: "decoding it panicked".to_owned() })
}
