use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use parking_lot::{Condvar, Mutex};
use tenantscope_model::{Position, Refusal, Sink, StampedBatch};
use tenantscope_table::{LiveFile, Table, TableError};

use crate::form::Form;
use crate::tombstone::{self, Tombstone};
use crate::{Options, telemetry};

/// So many small batches are joined to one, so that a query does not visit thousands.
const JOINED_BATCHES: usize = 128;
/// A replay waits so long for a flush to make room, and goes on without it then.
const REPLAY_PATIENCE: Duration = Duration::from_secs(30);

/// The store of one signal: a buffer over the journal, and the table. Shared by the sink, queries, and the thread that
/// flushes.
pub struct Store {
    pub(crate) form: &'static Form,
    pub(crate) table: Table,
    /// The journal's id, under which the table keeps how far it has come.
    pub(crate) journal: String,
    pub(crate) options: Options,
    pub(crate) state: Mutex<State>,
    /// Held for the length of a removal, and by what must not run beside one; taken before `maintaining`.
    pub(crate) removing: Mutex<()>,
    /// One flush, compaction or expiry at a time. Whoever holds it may write the tombstones' file.
    pub(crate) maintaining: Mutex<()>,
    pub(crate) tombstones_path: PathBuf,
    /// How often files were deleted that a query may still need.
    pub(crate) early_deletions: Arc<AtomicUsize>,
    /// Told when the buffer is worth a flush or the lake closes.
    pub(crate) wake: Condvar,
    /// Told when a flush gave bytes back.
    pub(crate) room: Condvar,
    /// Told when the lake closes.
    pub(crate) closes: Condvar,
    held_bytes: Arc<AtomicUsize>,
}

/// What a query takes under one lock.
pub(crate) struct State {
    /// Applied since the last flush began.
    pub(crate) active: Vec<RecordBatch>,
    /// How many at the end of `active` were not joined yet.
    small: usize,
    pub(crate) active_bytes: usize,
    pub(crate) active_since: Option<Instant>,
    /// Being written; they stay here until the commit that has them.
    pub(crate) flushing: Vec<RecordBatch>,
    pub(crate) flushing_bytes: usize,
    /// Up to where these go; a flush whose commit failed is made again up to the same, since it may have happened.
    pub(crate) flushing_until: Option<Position>,
    /// The last flush failed, so that the next one is due.
    pub(crate) flush_failed: bool,
    /// Somebody waits for a flush.
    pub(crate) flush_asked: bool,
    pub(crate) files: Arc<Vec<LiveFile>>,
    pub(crate) applied: Position,
    pub(crate) durable: Position,
    /// Tenants that were removed.
    pub(crate) tombstones: Vec<Tombstone>,
    pub(crate) closing: bool,
}

impl State {
    fn join_small(&mut self, columns: &SchemaRef) {
        if self.small < JOINED_BATCHES {
            return;
        }
        let from = self.active.len().saturating_sub(self.small);
        if let Some(Ok(joined)) = self.active.get(from..).map(|small| concat_batches(columns, small)) {
            self.active.truncate(from);
            self.active.push(joined);
        }
        self.small = 0;
    }

    /// Hands all that was applied to a flush.
    pub(crate) fn begin_flush(&mut self) {
        let active = std::mem::take(&mut self.active);
        self.flushing.extend(active);
        self.flushing_bytes += std::mem::take(&mut self.active_bytes);
        self.active_since = None;
        self.flush_asked = false;
        self.small = 0;
        self.flushing_until = Some(self.applied);
    }

    /// The rows at a position without those of tenants that were removed at or before it.
    fn without_removed(&self, rows: RecordBatch, position: Position) -> RecordBatch {
        let covers = |stone: &&Tombstone| position.0 <= stone.position;
        let removed: Vec<&str> = self.tombstones.iter().filter(covers).map(|stone| &*stone.tenant_hash).collect();
        let tenants = rows.column_by_name("tenant").and_then(|column| column.as_string_opt::<i32>());
        match tenants.filter(|_| !removed.is_empty()).map(|tenants| tombstone::stays(tenants.iter(), &removed)) {
            Some(stays) => filter_record_batch(&rows, &stays).unwrap_or(rows),
            None => rows,
        }
    }
}

/// Buffer and files at one moment: every record is in it once.
pub(crate) struct View {
    pub(crate) memory: Vec<RecordBatch>,
    pub(crate) files: Arc<Vec<LiveFile>>,
}

/// Bytes of the buffer, given back when dropped.
struct Reservation {
    bytes: usize,
    held_bytes: Arc<AtomicUsize>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A batch as rows, with its share of the buffer.
pub struct Prepared {
    rows: RecordBatch,
    reservation: Reservation,
}

impl Store {
    pub(crate) fn open(
        dir: &Path,
        form: &'static Form,
        journal: u128,
        mut options: Options,
    ) -> Result<Self, TableError> {
        // A full buffer is always worth a flush; otherwise it would refuse everything until the interval is over.
        options.flush_bytes = options.flush_bytes.min(options.buffer_max_bytes);
        let table = Table::open(&dir.join(form.signal), &form.table_spec())?;
        let journal = format!("{journal:032x}");
        let durable = Position(table.app_version(&journal)?.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
        let files = table.files();
        telemetry::FILES.with_label_values(&[form.signal]).set(i64::try_from(files.len()).unwrap_or(i64::MAX));
        let tombstones_path = dir.join(format!("{}.removals", form.signal));
        let state = State {
            active: Vec::new(),
            small: 0,
            active_bytes: 0,
            active_since: None,
            flushing: Vec::new(),
            flushing_bytes: 0,
            flushing_until: None,
            flush_failed: false,
            flush_asked: false,
            files,
            applied: durable,
            durable,
            tombstones: tombstone::read(&tombstones_path, &journal)?,
            closing: false,
        };
        Ok(Self {
            form,
            table,
            journal,
            options,
            state: Mutex::new(state),
            removing: Mutex::new(()),
            maintaining: Mutex::new(()),
            tombstones_path,
            early_deletions: Arc::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
            closes: Condvar::new(),
            held_bytes: Arc::default(),
        })
    }

    /// How many rows are in files whose rows are known, and how many bytes these take.
    pub fn rows_and_bytes(&self) -> (u64, u64) {
        let files = Arc::clone(&self.state.lock().files);
        let known = files.iter().filter_map(|file| Some((file.rows?, file.size_bytes)));
        known.fold((0, 0), |(rows, bytes), (of_file, size_bytes)| (rows + of_file, bytes + size_bytes))
    }

    /// Buffer and files at this moment.
    pub(crate) fn view(&self) -> View {
        let state = self.state.lock();
        let memory = state.flushing.iter().chain(&state.active).cloned().collect();
        View { memory, files: Arc::clone(&state.files) }
    }

    /// Gives back what a flush has written.
    pub(crate) fn release(&self, bytes: usize) {
        let before = self.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.show_bytes(before.saturating_sub(bytes));
    }

    fn show_bytes(&self, bytes: usize) {
        let gauge = telemetry::BUFFER_BYTES.with_label_values(&[self.form.signal]);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn reserve(&self, rows: RecordBatch) -> Prepared {
        let bytes = rows.get_array_memory_size();
        let before = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.show_bytes(before + bytes);
        Prepared { rows, reservation: Reservation { bytes, held_bytes: Arc::clone(&self.held_bytes) } }
    }

    /// A replay is quicker than a flush; it must not put the whole journal into memory.
    fn wait_for_room(&self) {
        let until = Instant::now() + REPLAY_PATIENCE;
        let mut state = self.state.lock();
        while self.held_bytes.load(Ordering::Relaxed) >= self.options.buffer_max_bytes && !state.closing {
            self.wake.notify_one();
            if self.room.wait_until(&mut state, until).timed_out() {
                tracing::warn!(
                    signal = self.form.signal,
                    "replaying past buffer_max_bytes, because flushes do not keep up"
                );
                return;
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> Refusal {
        let (Refusal::Unavailable { reason, .. } | Refusal::Invalid { reason, .. }) = &refusal;
        telemetry::REFUSED.with_label_values(&[self.form.signal, reason]).inc();
        refusal
    }

    fn full(&self) -> Refusal {
        self.refused(Refusal::Unavailable { reason: "lake_buffer", retry_after: Duration::from_secs(1) })
    }
}

impl Sink for Store {
    type Prepared = Prepared;

    fn prepare(&self, batch: StampedBatch) -> Result<Prepared, Refusal> {
        if self.held_bytes.load(Ordering::Relaxed) >= self.options.buffer_max_bytes {
            return Err(self.full());
        }
        let rows = (self.form.encode)(&batch, now_ns()).map_err(|refusal| self.refused(refusal))?;
        let prepared = self.reserve(rows);
        if self.held_bytes.load(Ordering::Relaxed) > self.options.buffer_max_bytes {
            return Err(self.full());
        }
        Ok(prepared)
    }

    fn apply(&self, prepared: Prepared, position: Position) {
        let Prepared { rows, mut reservation } = prepared;
        let mut state = self.state.lock();
        // A replay may begin before the table's position; what the table has is not taken again.
        if position <= state.applied {
            return;
        }
        state.applied = position;
        let rows = state.without_removed(rows, position);
        telemetry::ROWS.with_label_values(&[self.form.signal]).inc_by(rows.num_rows() as u64);
        state.active_since.get_or_insert_with(Instant::now);
        if rows.num_rows() > 0 {
            // From here on the bytes belong to the buffer, and a flush gives them back.
            state.active_bytes += std::mem::take(&mut reservation.bytes);
            state.active.push(rows);
            state.small += 1;
        }
        state.join_small(&self.form.columns);
        if state.active_bytes >= self.options.flush_bytes {
            self.wake.notify_one();
        }
    }

    fn prepare_replay(&self, batch: StampedBatch) -> Prepared {
        let rows = (self.form.encode)(&batch, now_ns()).unwrap_or_else(|refusal| {
            // It was taken once, so this is a fault of ours; the record stays in the journal of forward targets.
            tracing::error!(signal = self.form.signal, %refusal, "a journaled batch can't be stored");
            RecordBatch::new_empty(Arc::clone(&self.form.columns))
        });
        self.wait_for_room();
        self.reserve(rows)
    }

    fn durable(&self) -> Position {
        self.state.lock().durable
    }

    fn flush_soon(&self) {
        let mut state = self.state.lock();
        // One that failed is tried again after its pause, which this would cut short.
        if state.applied > state.durable && !state.flush_asked && !state.flush_failed {
            state.flush_asked = true;
            self.wake.notify_one();
        }
    }
}

/// Nanoseconds since the epoch.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
