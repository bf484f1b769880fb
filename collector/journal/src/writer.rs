//! The one thread that writes: takes what waits, writes it, fsyncs once, tells everyone.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{self, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::segment::{self, HEADER_BYTES, RECORD_HEADER_BYTES, SegmentFile};
use crate::{AppendError, MAX_QUEUED_BYTES, MAX_RECORD_BYTES, OpenError, Shared, WhenFull, cursor, telemetry};

/// Runs on the writer's thread when a record is durable.
pub type OnDurable = Box<dyn FnOnce(u64) + Send>;

/// Resolves to the record's position once it is durable.
#[derive(Debug)]
pub struct Append(oneshot::Receiver<Result<u64, AppendError>>);

impl Future for Append {
    type Output = Result<u64, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

struct Waiting {
    payload: Vec<u8>,
    on_durable: OnDurable,
    answer: oneshot::Sender<Result<u64, AppendError>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

/// The queue's handle; dropping it lets the thread finish what waits, then joins it.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Arc<(Mutex<Queue>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, OpenError> {
        let queue = Arc::new((Mutex::new(Queue::default()), Condvar::new()));
        let mut run = Run { shared: Arc::clone(&shared), queue: Arc::clone(&queue), current: None };
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || run.run());
        let thread = thread.map_err(|source| OpenError::Io { path: shared.dir.clone(), source })?;
        Ok(Self { shared, queue, thread: Some(thread) })
    }

    pub(crate) fn queue(&self, payload: Vec<u8>, on_durable: OnDurable) -> Result<Append, AppendError> {
        let bytes = payload.len() + RECORD_HEADER_BYTES;
        if payload.len() > MAX_RECORD_BYTES {
            return Err(AppendError::TooLarge { bytes: payload.len() });
        }
        let options = &self.shared.options;
        let (answer, answered) = oneshot::channel();
        let (queue, wake) = &*self.queue;
        let stored: u64 = self.shared.segments.lock().values().map(|segment| segment.bytes).sum();
        let mut queue = queue.lock();
        if queue.closed {
            return Err(AppendError::Closed);
        }
        let after = stored + (queue.bytes + bytes) as u64;
        if options.when_full == WhenFull::Refuse && after > options.max_bytes {
            return Err(AppendError::Full { max_bytes: options.max_bytes });
        }
        if queue.bytes + bytes > MAX_QUEUED_BYTES {
            return Err(AppendError::Busy);
        }
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting { payload, on_durable, answer });
        wake.notify_one();
        Ok(Append(answered))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.0.lock().closed = true;
        self.queue.1.notify_one();
        if let Some(thread) = self.thread.take() {
            // The last handle may go in a callback, on the writer's own thread, which cannot wait for itself.
            if thread.thread().id() == std::thread::current().id() {
                return;
            }
            // A panic there has been printed already; there is nothing left to hand on.
            let _ = thread.join();
        }
    }
}

/// Between two looks at the age of segments.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

struct Run {
    shared: Arc<Shared>,
    queue: Arc<(Mutex<Queue>, Condvar)>,
    current: Option<Current>,
}

/// The segment that is written to.
struct Current {
    first: u64,
    file: File,
    bytes: u64,
}

impl Run {
    fn run(&mut self) {
        loop {
            let (batch, closed) = self.wait();
            if !batch.is_empty() {
                self.write(batch);
            } else if closed {
                return;
            }
            drop_oldest(&self.shared);
        }
    }

    fn wait(&self) -> (VecDeque<Waiting>, bool) {
        let (queue, wake) = &*self.queue;
        let mut queue = queue.lock();
        if queue.waiting.is_empty() && !queue.closed {
            wake.wait_for(&mut queue, HOUSEKEEPING);
        }
        queue.bytes = 0;
        (std::mem::take(&mut queue.waiting), queue.closed)
    }

    fn write(&mut self, batch: VecDeque<Waiting>) {
        let next = *self.shared.end.borrow() + 1;
        match self.write_durably(next, &batch) {
            Ok(()) => {
                let last = next + batch.len() as u64 - 1;
                telemetry::count(&telemetry::RECORDS, batch.len() as u64);
                self.shared.end.send_replace(last);
                for (position, waiting) in (next..).zip(batch) {
                    (waiting.on_durable)(position);
                    // The sender may have gone away; the record is stored all the same.
                    let _ = waiting.answer.send(Ok(position));
                }
            }
            Err(error) => {
                tracing::error!(%error, records = batch.len(), "journal could not be written");
                self.abandon();
                let error = Arc::new(error);
                for waiting in batch {
                    let _ = waiting.answer.send(Err(AppendError::Io(Arc::clone(&error))));
                }
            }
        }
    }

    fn write_durably(&mut self, next: u64, batch: &VecDeque<Waiting>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(batch.iter().map(|w| w.payload.len() + RECORD_HEADER_BYTES).sum());
        for (position, waiting) in (next..).zip(batch) {
            segment::encode_record(&mut bytes, position, &waiting.payload);
        }
        let current = self.segment_for(next)?;
        current.file.write_all(&bytes)?;
        let timer = telemetry::FSYNC_SECONDS.as_ref().map(prometheus::Histogram::start_timer);
        current.file.sync_data()?;
        drop(timer);
        telemetry::count(&telemetry::BYTES, bytes.len() as u64);
        current.bytes += bytes.len() as u64;
        let (first, total) = (current.first, current.bytes);
        if let Some(segment) = self.shared.segments.lock().get_mut(&first) {
            segment.bytes = total;
            segment.last_written = SystemTime::now();
        }
        Ok(())
    }

    /// The segment to write to: the current one, the last one after a start, or a new one.
    fn segment_for(&mut self, next: u64) -> io::Result<&mut Current> {
        if self.current.is_none() {
            self.current = self.reopen()?;
        }
        let full = |current: &Current| current.bytes >= self.shared.options.segment_max_bytes;
        if self.current.as_ref().is_none_or(full) {
            self.current = Some(self.create(next)?);
            free_segments(&self.shared);
        }
        self.current.as_mut().ok_or_else(|| io::Error::other("no segment to write to"))
    }

    fn reopen(&self) -> io::Result<Option<Current>> {
        let last = self.shared.segments.lock().last_key_value().map(|(first, s)| (*first, s.clone()));
        let Some((first, segment)) = last else { return Ok(None) };
        let mut file = OpenOptions::new().write(true).open(&segment.path)?;
        // What a failed write left behind the last acknowledged record must not be read as one.
        file.set_len(segment.bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Some(Current { first, file, bytes: segment.bytes }))
    }

    fn create(&self, first: u64) -> io::Result<Current> {
        let path = segment::segment_path(&self.shared.dir, first);
        let mut file = File::create(&path)?;
        file.write_all(&segment::header(self.shared.id, first))?;
        file.sync_all()?;
        segment::sync_folder(&self.shared.dir)?;
        let bytes = HEADER_BYTES as u64;
        let segment = SegmentFile { path, bytes, last_written: SystemTime::now() };
        self.shared.segments.lock().insert(first, segment);
        Ok(Current { first, file, bytes })
    }

    /// After a failed write or fsync: whatever is behind the last acknowledged record is cut, and since nobody can
    /// say what the file holds after a failed fsync, the next record begins a new segment.
    fn abandon(&mut self) {
        let next = *self.shared.end.borrow() + 1;
        let last = self.shared.segments.lock().last_key_value().map(|(first, s)| (*first, s.clone()));
        let Some((first, segment)) = last else { return };
        let cut = OpenOptions::new().write(true).open(&segment.path).and_then(|file| {
            file.set_len(segment.bytes)?;
            file.sync_all()
        });
        if let Err(error) = cut {
            tracing::error!(%error, segment = %segment.path.display(), "could not cut a failed write");
        }
        self.current = if first == next {
            None // nothing in it was acknowledged: it is opened and cut again
        } else {
            self.create(next).inspect_err(|error| tracing::error!(%error, "could not begin a new segment")).ok()
        };
    }
}

/// Deletes segments that every cursor has passed. Without cursors nothing is deleted.
pub(crate) fn free_segments(shared: &Shared) {
    let Some(passed) = shared.cursors.lock().values().min().copied() else { return };
    delete_segments(shared, |_, last, _| last <= passed);
}

/// Drops the oldest segments of a journal that is over its size or age, and counts what no cursor had passed.
fn drop_oldest(shared: &Shared) {
    if shared.options.when_full != WhenFull::DropOldest {
        return;
    }
    let total: u64 = shared.segments.lock().values().map(|segment| segment.bytes).sum();
    let mut excess = total.saturating_sub(shared.options.max_bytes);
    let too_old = |segment: &SegmentFile| {
        let age = segment.last_written.elapsed().unwrap_or_default();
        shared.options.max_age.is_some_and(|max_age| age > max_age)
    };
    let passed = shared.cursors.lock().values().min().copied().unwrap_or(0);
    let deleted = delete_segments(shared, |_, _, segment| {
        let drop = excess > 0 || too_old(segment);
        excess = excess.saturating_sub(segment.bytes);
        drop
    });
    let Some(last) = deleted.last().map(|range| *range.end()) else { return };
    let dropped: u64 = deleted.iter().map(|r| (r.end() + 1).saturating_sub((*r.start()).max(passed + 1))).sum();
    if dropped > 0 {
        shared.dropped.fetch_add(dropped, Ordering::Relaxed);
        telemetry::count(&telemetry::DROPPED, dropped);
        tracing::warn!(dropped, "journal dropped its oldest records");
    }
    let behind: Vec<String> =
        shared.cursors.lock().iter().filter(|(_, at)| **at < last).map(|(name, _)| name.clone()).collect();
    for name in behind {
        if let Err(error) = cursor::store(shared, &name, last) {
            tracing::error!(%error, "could not move a cursor past dropped records");
        }
    }
}

/// Deletes segments from the oldest on while `delete(first, last, segment)` says so; never the one that is written to.
fn delete_segments(
    shared: &Shared,
    mut delete: impl FnMut(u64, u64, &SegmentFile) -> bool,
) -> Vec<std::ops::RangeInclusive<u64>> {
    let mut deleted = Vec::new();
    let mut segments = shared.segments.lock();
    loop {
        let mut oldest = segments.iter();
        let (Some((&first, segment)), Some((&next, _))) = (oldest.next(), oldest.next()) else { break };
        if !delete(first, next - 1, segment) {
            break;
        }
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::error!(%error, segment = %segment.path.display(), "could not delete a journal segment");
            break;
        }
        deleted.push(first..=next - 1);
        segments.remove(&first);
    }
    deleted
}
