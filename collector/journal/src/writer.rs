//! The queue to the writer's thread, and the thread.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::commit::{Committer, Pending};
use crate::segment::record_bytes;
use crate::{AppendError, MAX_QUEUED_BYTES, MAX_RECORD_BYTES, OnDurable, OpenError, Shared, WhenFull};

/// Bytes that one fsync covers at most, so that a long queue does not make its first record wait for its last.
const GROUP_BYTES: u64 = 32 << 20;

/// A record on its way; resolves to its position once it is durable.
#[derive(Debug)]
#[must_use = "the record may fail, which only the future says"]
pub struct Append(oneshot::Receiver<Result<u64, AppendError>>);

impl Future for Append {
    type Output = Result<u64, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

impl Append {
    /// Waits on a thread that is not part of an async runtime.
    pub fn wait(self) -> Result<u64, AppendError> {
        self.0.blocking_recv().unwrap_or(Err(AppendError::Closed))
    }
}

/// Owns the thread; dropping it lets the thread finish what is queued, and waits for that.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Pending>,
    /// Of what waits and of what is being written.
    bytes_in_flight: u64,
    /// The segment of this position is to be closed behind what waits.
    cut_behind: Option<u64>,
    closed: bool,
}

impl Writer {
    pub(crate) fn start(shared: Arc<Shared>, goes_on: bool) -> Result<Self, OpenError> {
        let at = |source| OpenError::Io { path: shared.dir.clone(), source };
        let committer = Committer::open(Arc::clone(&shared), goes_on).map_err(at)?;
        let queue = Arc::new(Queue::default());
        let tick = shared.drop_age().map(|age| (age / 8).clamp(Duration::from_millis(20), Duration::from_secs(60)));
        let thread = {
            let queue = Arc::clone(&queue);
            let run = move || run(&queue, committer, tick);
            thread::Builder::new().name(format!("journal-{}", shared.name())).spawn(run).map_err(at)?
        };
        Ok(Self { shared, queue, thread: Some(thread) })
    }

    pub(crate) fn queue(&self, payload: Vec<u8>, on_durable: OnDurable) -> Result<Append, AppendError> {
        let options = &self.shared.options;
        let bytes = record_bytes(payload.len());
        let max_record_bytes = (MAX_RECORD_BYTES as u64).min(options.largest_record());
        if payload.len() as u64 > max_record_bytes {
            return Err(AppendError::TooLarge { bytes: payload.len(), max_bytes: max_record_bytes });
        }
        let mut state = self.queue.state.lock();
        if state.closed {
            return Err(AppendError::Closed);
        }
        if options.when_full == WhenFull::Refuse && !self.shared.has_room(state.bytes_in_flight + bytes) {
            return Err(AppendError::Full { max_bytes: options.max_bytes });
        }
        // One record always gets in, whatever its size: else a large one would be refused for ever.
        if state.bytes_in_flight > 0 && state.bytes_in_flight + bytes > MAX_QUEUED_BYTES as u64 {
            return Err(AppendError::Busy);
        }
        let (answer, receiver) = oneshot::channel();
        state.bytes_in_flight += bytes;
        state.waiting.push_back(Pending { payload, on_durable, answer });
        drop(state);
        self.queue.filled.notify_one();
        Ok(Append(receiver))
    }

    pub(crate) fn cut_behind(&self, position: u64) {
        let mut state = self.queue.state.lock();
        // Of several the last is enough: if another's segment is still open, it is the same.
        state.cut_behind = state.cut_behind.max(Some(position));
        drop(state);
        self.queue.filled.notify_one();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.filled.notify_one();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The last handle may go in a callback, on the thread itself, which then ends by itself.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!(journal = %self.shared.dir.display(), "journal writer panicked");
        }
    }
}

fn run(queue: &Queue, mut committer: Committer, tick: Option<Duration>) {
    loop {
        let (group, bytes) = match queue.take(tick) {
            Taken::Group(group, bytes) => (group, bytes),
            Taken::Nothing => {
                committer.enforce_age(SystemTime::now());
                continue;
            }
            Taken::CutBehind(position) => {
                committer.cut_behind(position);
                continue;
            }
            Taken::Closed => return,
        };
        committer.enforce_age(SystemTime::now());
        committer.commit(group);
        queue.state.lock().bytes_in_flight -= bytes;
    }
}

enum Taken {
    Group(Vec<Pending>, u64),
    Nothing,
    /// Nothing waits, and the segment of this position is to be closed.
    CutBehind(u64),
    Closed,
}

impl Queue {
    /// Everything that waits, up to [`GROUP_BYTES`]; waits for it no longer than `tick`.
    fn take(&self, tick: Option<Duration>) -> Taken {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if let Some(position) = state.cut_behind.take() {
                return Taken::CutBehind(position);
            }
            if state.closed {
                return Taken::Closed;
            }
            match tick {
                Some(tick) if self.filled.wait_for(&mut state, tick).timed_out() => return Taken::Nothing,
                Some(_) => {}
                None => self.filled.wait(&mut state),
            }
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = state.waiting.pop_front() {
            bytes += record_bytes(pending.payload.len());
            group.push(pending);
            if bytes >= GROUP_BYTES {
                break;
            }
        }
        Taken::Group(group, bytes)
    }
}
