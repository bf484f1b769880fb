//! One signal's line: from a decoded batch to its place in journal and store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tenantscope_codec::{Accumulators, Decoded, Record, RecordBody, Rejected, Stamped, decode, stamp};
use tenantscope_journal::{Append, AppendError, Cursor, CursorError, Journal, OpenError, Options};
use tenantscope_model::{Decision, FamilyMetadata, Signal, StampedBatch, StampedSeries, TenantId};
use tenantscope_wire::{BatchHeader, BodyForm, Encoding, ReceivedBody, Refused, Written};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::counts::{Counts, Used};
use crate::deliveries::DeliveryKey;
use crate::in_flight::Permit;
use crate::lanes::{Flights, LaneKey, Standing};
use crate::refusal;
use crate::relief::Relief;
use crate::removals::Removals;
use crate::replay;
use crate::state::{Change, State};
use crate::state_files::StateFiles;
use crate::store::Store;
use crate::taking::{KnownBy, Turn};
use crate::telemetry;
use crate::turns::Turns;
use crate::usage::{Charge, Usage};

/// Why a line can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A cursor of its journal.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// Its journal can't be read.
    #[error(transparent)]
    Read(#[from] tenantscope_journal::ReadError),
    /// Its state files.
    #[error("{path}: {source}", path = path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store has what the journal has not: new records would get positions that the store takes for its own.
    #[error("the {signal} store holds up to position {durable}, but its journal ends at {end}: was it restored?")]
    StoreAhead {
        /// Which.
        signal: Signal,
        /// The store's position.
        durable: u64,
        /// The journal's.
        end: u64,
    },
}

/// Who sends a batch and how its resources are named.
pub(crate) struct Sending<'a> {
    /// The tenant whose quota it uses; absent where its tenants are told by its resources.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) owner: String,
    pub(crate) from_agent: bool,
    /// Of a decoded body of so many bytes, one decision for each of its claims.
    pub(crate) decide: &'a (dyn Fn(&Decoded, usize) -> Vec<Decision> + Send + Sync),
}

/// Journal, store and state of one signal. Shared by all receivers.
///
/// The state is changed on the journal's writer thread only, after the store has the batch.
pub(crate) struct Line {
    pub(crate) signal: Signal,
    pub(crate) journal: Journal,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) flights: Flights<LaneKey>,
    pub(crate) delivery_flights: Flights<DeliveryKey>,
    pub(crate) decoding: Turns,
    /// See [`Line::delta_turn`].
    deltas: Turns,
    /// See [`Line::delta_room`].
    delta_room: Arc<Semaphore>,
    kept: Mutex<Kept>,
    pub(crate) relief: Relief,
    pub(crate) usage: Arc<Usage>,
    pub(crate) counts: Arc<Counts>,
    removals: Arc<Removals>,
}

/// What a line is opened with.
pub(crate) struct LineOptions {
    pub(crate) journal: Options,
    pub(crate) max_decoding: usize,
    /// Told when a journal needs room: see [`Line::make_room`].
    pub(crate) asked_for_room: Arc<Notify>,
    /// Shared by all lines.
    pub(crate) usage: Arc<Usage>,
    /// Likewise.
    pub(crate) counts: Arc<Counts>,
    /// Likewise.
    pub(crate) removals: Arc<Removals>,
}

struct Kept {
    files: StateFiles,
    folder: PathBuf,
    store: Cursor,
    state: Cursor,
}

/// The right to be the one batch with deltas that is under way.
pub(crate) type DeltaTurn = crate::turns::Turn;

/// Room for a decoded batch that waits for its [`DeltaTurn`].
pub(crate) type DeltaRoom = OwnedSemaphorePermit;

/// The parts of the whole [`DeltaRoom`].
const ROOM_PARTS: u32 = 1 << 16;

/// How many of them a batch takes: the whole room where its content is as large as it may be.
fn room_of(decompressed_bytes: usize, max_decoded_bytes: usize) -> u32 {
    let parts = (decompressed_bytes as u128 * u128::from(ROOM_PARTS)).div_ceil(max_decoded_bytes.max(1) as u128);
    u32::try_from(parts).unwrap_or(u32::MAX).clamp(1, ROOM_PARTS)
}

/// A batch that was decoded and decided on, with what it holds until it is durable.
pub(crate) struct Admitted {
    decoded: Decoded,
    records: u64,
    tenant: Option<TenantId>,
    record: Record,
    held: (Permit, Turn),
}

impl Admitted {
    /// Whether it needs a [`Line::delta_turn`].
    pub(crate) fn has_deltas(&self) -> bool {
        self.decoded.has_deltas()
    }
}

/// A batch on its way to the disk, and what its sender will be told.
pub(crate) struct Underway {
    /// Absent where nothing was left to be stored.
    pub(crate) append: Option<Append>,
    pub(crate) stored: u64,
    pub(crate) rejected: Rejected,
    pub(crate) written: Written,
}

/// The cursors that follow the store and the state.
pub(crate) const STORE_CURSOR: &str = "store";
pub(crate) const STATE_CURSOR: &str = "state";

/// Where a signal's journal is.
fn journal_folder(dir: &Path, signal: Signal) -> PathBuf {
    dir.join(signal.as_str())
}

/// The id of the journal that [`crate::Intake::open`] opens for this signal in the same `dir`. Blocks.
pub fn journal_id(dir: &Path, signal: Signal) -> Result<u128, OpenError> {
    Journal::id_in(journal_folder(dir, signal))
}

impl Line {
    /// Opens journal and state, and replays. Blocks, possibly for long.
    pub(crate) fn open(
        dir: &Path,
        signal: Signal,
        store: Arc<dyn Store>,
        options: &LineOptions,
    ) -> Result<Self, LineError> {
        let folder = dir.join(format!("{signal}-state"));
        let journal = Journal::open(journal_folder(dir, signal), options.journal.clone())?;
        let durable = store.durable().0;
        let end = journal.end();
        if durable > end {
            return Err(LineError::StoreAhead { signal, durable, end });
        }
        let at = |source| LineError::State { path: folder.clone(), source };
        let files = StateFiles::open(&folder).map_err(at)?;
        let mut state = files.load(durable, journal.first());
        let kept =
            Kept { store: journal.cursor(STORE_CURSOR, 0)?, state: journal.cursor(STATE_CURSOR, 0)?, files, folder };
        replay::run(signal, &journal, &*store, &mut state, &options.removals.removed().borrow().clone())?;
        telemetry::lanes(signal, state.lanes.len());
        let relief = Relief::new(Arc::clone(&options.asked_for_room), kept.passed());
        Ok(Self {
            signal,
            journal,
            store,
            state: Arc::new(Mutex::new(state)),
            flights: Flights::default(),
            delivery_flights: Flights::default(),
            decoding: Turns::new(options.max_decoding),
            deltas: Turns::new(1),
            delta_room: Arc::new(Semaphore::new(ROOM_PARTS as usize)),
            kept: Mutex::new(kept),
            relief,
            usage: Arc::clone(&options.usage),
            counts: Arc::clone(&options.counts),
            removals: Arc::clone(&options.removals),
        })
    }

    /// How a batch stands to its lane.
    pub(crate) fn standing(&self, key: &LaneKey, header: &BatchHeader) -> Standing {
        self.state.lock().lanes.standing(key, header)
    }

    /// Decodes a batch and decides on its resources. Blocks. `None`: there is nothing to store.
    pub(crate) fn admit(
        &self,
        from: &Sending<'_>,
        body: ReceivedBody,
        known_by: KnownBy,
        received_at_ms: i64,
        held: (Permit, Turn),
    ) -> Result<Option<Admitted>, Refused> {
        let limits = held.0.limits();
        let mut decoded = decode(&body, &limits.decode())?;
        let (header, delivery) = match known_by {
            KnownBy::Nothing => (None, None),
            KnownBy::Lane(header) => (Some(header), None),
            KnownBy::Delivery(delivery) => (None, Some(delivery)),
        };
        if let Some(delivery) = &delivery {
            if decoded.delivery_id() != Some(delivery.id.as_str()) {
                return Err(Refused::invalid("request_id", "header and body name different request ids"));
            }
            decoded.add_attributes(&delivery.attributes);
        }
        let records = decoded.records();
        let decisions = (from.decide)(&decoded, body.bytes.len());
        if records == 0 && decisions.is_empty() && header.is_none() {
            return Ok(None);
        }
        let record = Record {
            received_at_ms,
            sender: from.owner.clone(),
            from_agent: from.from_agent,
            latest_ms: limits.latest_ms(received_at_ms),
            utf8_names: limits.utf8_names,
            bounds: self.usage.bounds(&decisions, received_at_ms),
            header,
            delivery,
            body: RecordBody::Received { decisions, body },
        };
        Ok(Some(Admitted { decoded, records, tenant: from.tenant.clone(), record, held }))
    }

    /// Room to wait for the turn below: as many bytes as the largest body has, over all that wait. Who waits for it keeps
    /// its place among those that decode, so that small bodies of large content can't pile up in memory.
    pub(crate) async fn delta_room(&self, admitted: &Admitted) -> Option<DeltaRoom> {
        let max_bytes = admitted.held.0.limits().decode().max_decoded_bytes;
        let room = room_of(admitted.decoded.decompressed_bytes(), max_bytes);
        // Never closed, and no body takes more than the whole room.
        Arc::clone(&self.delta_room).acquire_many_owned(room).await.ok()
    }

    /// The turn of a batch with deltas: running totals grow one batch after another, of one sender after another.
    pub(crate) async fn delta_turn(&self, admitted: &Admitted) -> DeltaTurn {
        self.deltas.turn(&admitted.record.sender).await
    }

    /// Stamps and prepares a batch, and queues it for the disk. Whatever can be refused is refused by now, before
    /// anything is durable. Blocks. A batch with deltas needs its turn, and keeps it until the totals have grown.
    pub(crate) fn queue(&self, admitted: Admitted, delta_turn: Option<DeltaTurn>) -> Result<Underway, Refused> {
        let Admitted { decoded, records, tenant, mut record, held } = admitted;
        let (decisions, body_bytes) = match &record.body {
            RecordBody::Received { decisions, body } => (decisions.as_slice(), body.bytes.len() as u64),
            RecordBody::Own { .. } | RecordBody::Removal { .. } => (&[][..], 0),
        };
        let mut stamped = match delta_turn {
            Some(_) => stamp(decoded, decisions, record.origin(), &self.state.lock().accumulators),
            None => stamp(decoded, decisions, record.origin(), &Accumulators::new(0)),
        };
        record.bounds.apply(&mut stamped, records);
        self.leave_out(&mut stamped, records);
        let (charges, volumes) = self.charge(tenant, &mut record, &mut stamped, records)?;
        let used = Used { volumes, body_bytes };
        let (rejected, moved_claims) = (stamped.rejected.clone(), stamped.moved_claims);
        let written = written_of(&stamped.batch);
        let stored = records.saturating_sub(rejected.total());
        let nothing_left = is_empty(&stamped.batch) && stamped.deltas.is_empty();
        if nothing_left {
            record.body = self.no_body();
        }
        // What is left of it then is its place in its lane, if it has one.
        let append = if nothing_left && record.header.is_none() {
            None
        } else {
            Some(self.append(&record, stamped, (stored, body_bytes), (charges, used), (delta_turn, held))?)
        };
        telemetry::moved_claims(self.signal, moved_claims);
        for (reason, records) in rejected.by_reason() {
            telemetry::rejected(self.signal, reason, records);
        }
        Ok(Underway { append, stored, rejected, written })
    }

    /// Leaves out what the store would not keep, and counts it as records.
    fn leave_out(&self, stamped: &mut Stamped, records: u64) {
        let before = written_of(&stamped.batch);
        let left_out = self.store.leave_out(&mut stamped.batch);
        let left_out = left_out.into_iter().map(|(reason, samples)| (reason, samples as u64));
        stamped.reject_samples(records, before.samples + before.histograms, left_out);
    }

    fn no_body(&self) -> RecordBody {
        let (form, encoding, bytes) = (BodyForm::OtlpProtobuf, Encoding::Identity, bytes::Bytes::new());
        let body = ReceivedBody { signal: self.signal, form, encoding, bytes };
        RecordBody::Received { decisions: Vec::new(), body }
    }

    /// Queues series of our own.
    pub(crate) fn take_own(
        &self,
        series: Vec<StampedSeries>,
        metadata: Vec<FamilyMetadata>,
        received_at_ms: i64,
    ) -> Result<Append, Refused> {
        let samples: usize = series.iter().map(|series| series.samples.len() + series.histograms.len()).sum();
        let record = Record::new(received_at_ms, RecordBody::Own { series, metadata });
        let stamped = record.replay(&Accumulators::new(0))?;
        self.append(&record, stamped, (samples as u64, 0), (Vec::new(), Used::default()), ())
    }

    /// Queues a tombstone: at its place the state forgets the tenant.
    pub(crate) fn take_tombstone(&self, tenant: TenantId, received_at_ms: i64) -> Result<Append, Refused> {
        let record = Record::new(received_at_ms, RecordBody::Removal { tenant, signal: self.signal });
        let stamped = record.replay(&Accumulators::new(0))?;
        self.append(&record, stamped, (0, 0), (Vec::new(), Used::default()), ())
    }

    /// Prepares and queues; on the writer's thread, in journal order: store, state, then whatever was `held`. What is not
    /// stored in the end costs the tenant nothing.
    fn append(
        &self,
        record: &Record,
        stamped: Stamped,
        (records, body_bytes): (u64, u64),
        (charges, used): (Vec<Charge>, Used),
        held: impl Send + 'static,
    ) -> Result<Append, Refused> {
        let signal = self.signal;
        let change = Change::of(record);
        let ready = self.store.prepare(stamped.batch)?;
        let state = Arc::clone(&self.state);
        let counts = Arc::clone(&self.counts);
        let deltas = stamped.deltas;
        let on_durable = move |position: u64| {
            ready(tenantscope_model::Position(position));
            state.lock().advance(position, change, deltas);
            telemetry::stored(signal, records, body_bytes);
            charges.into_iter().for_each(Charge::keep);
            counts.used(&used, signal);
            // The lane's next batch, and the next one with deltas, may only start from the state above.
            drop(held);
        };
        self.ask_for_room_in_time();
        let _admission = self.removals.admit(record)?;
        self.journal.append_then(record.to_bytes(), on_durable).map_err(|error| {
            if matches!(error, AppendError::Full { .. }) {
                self.ask_for_room();
            }
            refusal::of_append(&error)
        })
    }

    /// Writes the state if it moved. Blocks.
    pub(crate) fn write_state(&self) -> Result<(), LineError> {
        self.write_state_from(u64::MAX)
    }

    /// The same, unless one of this position or a later one was written. Blocks.
    pub(crate) fn write_state_from(&self, wanted: u64) -> Result<(), LineError> {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        let at = |source| LineError::State { path: kept.folder.clone(), source };
        let newest = kept.files.newest().unwrap_or(0);
        if newest >= wanted {
            return Ok(());
        }
        let written = {
            let state = self.state.lock();
            let moved = state.position > newest;
            moved.then(|| (state.position, state.to_bytes()))
        };
        let Some((position, bytes)) = written else { return Ok(()) };
        let bytes = bytes.map_err(|error| at(std::io::Error::other(error)))?;
        kept.files.write(position, &bytes).map_err(at)
    }

    /// Lets the cursors follow the store, so that segments are freed. Blocks.
    pub(crate) fn follow_store(&self) -> Result<(), LineError> {
        telemetry::lanes(self.signal, self.state.lock().lanes.len());
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        let at = |source| LineError::State { path: kept.folder.clone(), source };
        let durable = self.store.durable().0;
        let replay_from = kept.files.prune(durable).map_err(at)?;
        kept.store.advance(durable)?;
        kept.state.advance(replay_from)?;
        self.relief.pass(kept.passed());
        Ok(())
    }
}

impl Kept {
    /// Up to where neither the store nor the state needs the journal.
    fn passed(&self) -> u64 {
        self.store.position().min(self.state.position())
    }
}

fn written_of(batch: &StampedBatch) -> Written {
    let StampedBatch::Metrics { series, .. } = batch else { return Written::default() };
    series.iter().fold(Written::default(), |written, series| Written {
        samples: written.samples + series.samples.len() as u64,
        histograms: written.histograms + series.histograms.len() as u64,
        exemplars: written.exemplars + series.exemplars.len() as u64,
    })
}

/// Whether a batch holds nothing.
pub(crate) fn is_empty(batch: &StampedBatch) -> bool {
    match batch {
        StampedBatch::Metrics { series, metadata } => series.is_empty() && metadata.is_empty(),
        StampedBatch::Logs(resources) => resources.is_empty(),
        StampedBatch::Spans(resources) => resources.is_empty(),
    }
}
