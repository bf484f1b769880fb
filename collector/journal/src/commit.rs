//! Group commit: the one place that writes segments. Owned by the writer's thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use crate::folder::{SegmentFile, segment_path, sync_folder};
use crate::segment::{HEADER_BYTES, encode_record, header, record_bytes};
use crate::telemetry::Telemetry;
use crate::{AppendError, Shared, WhenFull, retention};

/// What runs on the writer's thread once a record is durable.
pub type OnDurable = Box<dyn FnOnce(u64) + Send>;

/// A record that waits for the disk.
pub(crate) struct Pending {
    pub(crate) payload: Vec<u8>,
    pub(crate) on_durable: OnDurable,
    pub(crate) answer: oneshot::Sender<Result<u64, AppendError>>,
}

/// The segment that is written to.
struct Active {
    file: File,
    first: u64,
    /// Up to here everything is durable; the file is cut here when a write fails.
    bytes: u64,
    opened: SystemTime,
}

/// Bytes that are gathered before a `write`.
const WRITE_BYTES: usize = 1 << 20;

pub(crate) struct Committer {
    shared: Arc<Shared>,
    /// Absent after a failure: the next commit begins a new segment, since a file whose fsync failed can't be trusted.
    active: Option<Active>,
    buffer: Vec<u8>,
}

impl Committer {
    /// Goes on with the last segment, which ends where the journal does, or leaves it as it is.
    pub(crate) fn open(shared: Arc<Shared>, goes_on: bool) -> io::Result<Self> {
        let last = shared.segments.lock().last_key_value().map(|(first, segment)| (*first, segment.clone()));
        let active = match last {
            Some((first, segment)) if goes_on => {
                let file = OpenOptions::new().append(true).open(&segment.path)?;
                Some(Active { file, first, bytes: segment.bytes, opened: segment.last_written })
            }
            _ => None,
        };
        Ok(Self { shared, active, buffer: Vec::new() })
    }

    /// Makes the records durable and answers each of them.
    pub(crate) fn commit(&mut self, batch: Vec<Pending>) {
        let mut rest = batch.into_iter().peekable();
        while let Some(next) = rest.peek() {
            let mut group = Vec::new();
            let mut group_bytes = 0;
            let made = self.ensure_room(record_bytes(next.payload.len()));
            let room =
                self.active.as_ref().map_or(0, |a| self.shared.options.segment_max_bytes.saturating_sub(a.bytes));
            while let Some(pending) =
                rest.next_if(|pending| group.is_empty() || group_bytes + record_bytes(pending.payload.len()) <= room)
            {
                group_bytes += record_bytes(pending.payload.len());
                group.push(pending);
            }
            match made.and_then(|()| self.write(&group)) {
                Ok(fsync) => self.publish(group, group_bytes, fsync),
                Err(error) => {
                    group.extend(rest);
                    self.fail(group, error);
                    return;
                }
            }
        }
    }

    /// Begins a new segment where the record does not fit, and makes room for it under `max_bytes`.
    fn ensure_room(&mut self, bytes: u64) -> io::Result<()> {
        let options = &self.shared.options;
        let max_bytes = options.max_bytes;
        let drops = options.when_full == WhenFull::DropOldest;
        let fits_segment = self.active.as_ref().is_some_and(|active| {
            active.bytes == HEADER_BYTES as u64 || active.bytes + bytes <= options.segment_max_bytes
        });
        let over = |shared: &Shared| shared.total_bytes() + bytes > max_bytes;
        if !fits_segment {
            self.begin_segment()?;
        }
        while drops && over(&self.shared) && retention::drop_oldest(&self.shared) {}
        let may_go = drops || self.shared.all_passed();
        if over(&self.shared) && may_go && self.active.as_ref().is_some_and(|a| a.bytes > HEADER_BYTES as u64) {
            self.begin_segment()?;
            while drops && over(&self.shared) && retention::drop_oldest(&self.shared) {}
        }
        Ok(())
    }

    /// Closes the last segment, if it has the position, so that it can go once everyone has passed it.
    pub(crate) fn cut_behind(&mut self, position: u64) {
        let last = self.shared.segments.lock().keys().next_back().copied();
        let has_it = last.is_some_and(|first| first <= position.min(self.shared.end()));
        if has_it && let Err(error) = self.begin_segment() {
            tracing::error!(journal = %self.shared.dir.display(), %error, "segment could not be begun");
        }
    }

    /// Makes a new segment, durable by name and header, and lets go of what nobody needs any more.
    fn begin_segment(&mut self) -> io::Result<()> {
        self.active = None;
        let first = self.shared.end() + 1;
        let path = segment_path(&self.shared.dir, first);
        // A file of that name holds no durable record: it is what an earlier failure left, or an empty segment.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        file.write_all(&header(self.shared.id, first))?;
        file.sync_all()?;
        sync_folder(&self.shared.dir)?;
        Telemetry::get().fsynced(self.shared.name(), 2);
        let bytes = HEADER_BYTES as u64;
        let opened = SystemTime::now();
        let replaced =
            self.shared.list_segment(first, SegmentFile { path, bytes, last_written: opened, generation: 0 });
        self.shared.total_bytes.fetch_add(bytes, Ordering::AcqRel);
        if let Some(replaced) = replaced {
            self.shared.total_bytes.fetch_sub(replaced.bytes, Ordering::AcqRel);
        }
        self.active = Some(Active { file, first, bytes, opened });
        retention::free_passed(&self.shared);
        Ok(())
    }

    /// Writes a group into the active segment and fsyncs it; says how long the fsync took.
    fn write(&mut self, group: &[Pending]) -> io::Result<Duration> {
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("no segment is open"));
        };
        self.buffer.clear();
        for (position, pending) in (self.shared.end() + 1..).zip(group) {
            encode_record(&mut self.buffer, self.shared.id, position, &pending.payload);
            if self.buffer.len() >= WRITE_BYTES {
                active.file.write_all(&self.buffer)?;
                self.buffer.clear();
            }
        }
        active.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES);
        let started = Instant::now();
        active.file.sync_data()?;
        Ok(started.elapsed())
    }

    /// Tells everyone that a group is durable: readers, then the callbacks in order, then the callers.
    fn publish(&mut self, group: Vec<Pending>, bytes: u64, fsync: Duration) {
        let first = self.shared.end() + 1;
        let count = group.len() as u64;
        if let Some(active) = &mut self.active {
            active.bytes += bytes;
            if let Some(segment) = self.shared.segments.lock().get_mut(&active.first) {
                segment.bytes = active.bytes;
                segment.last_written = SystemTime::now();
            }
        }
        self.shared.total_bytes.fetch_add(bytes, Ordering::AcqRel);
        self.shared.end.send_replace(first + count - 1);
        let telemetry = Telemetry::get();
        telemetry.committed(self.shared.name(), count, bytes, fsync);
        telemetry.set_size(self.shared.name(), self.shared.total_bytes());
        let mut answers = Vec::with_capacity(group.len());
        for (position, pending) in (first..).zip(group) {
            // A panic in a callback must not end the thread that everyone's data goes through.
            if catch_unwind(AssertUnwindSafe(|| (pending.on_durable)(position))).is_err() {
                tracing::error!(position, "a callback on a durable record panicked");
            }
            answers.push((position, pending.answer));
        }
        for (position, answer) in answers {
            let _ = answer.send(Ok(position));
        }
    }

    /// Cuts what was not acknowledged, gives the file up, and says so to everyone who waits.
    fn fail(&mut self, group: Vec<Pending>, error: io::Error) {
        tracing::error!(journal = %self.shared.dir.display(), %error, records = group.len(), "journal write failed");
        Telemetry::get().failed(self.shared.name());
        if let Some(active) = self.active.take()
            && let Err(error) = active.file.set_len(active.bytes).and_then(|()| active.file.sync_all())
        {
            // Readers stop at the durable length, and the next segment takes these positions over.
            tracing::error!(journal = %self.shared.dir.display(), %error, "unacknowledged bytes could not be cut");
        }
        let error = Arc::new(error);
        for pending in group {
            let _ = pending.answer.send(Err(AppendError::Io(Arc::clone(&error))));
        }
    }

    /// Drops segments that are too old; closes the active one so that it can go in its turn.
    pub(crate) fn enforce_age(&mut self, now: SystemTime) {
        let Some(max_age) = self.shared.drop_age() else {
            return;
        };
        let close = self.active.as_ref().is_some_and(|active| {
            active.bytes > HEADER_BYTES as u64 && retention::is_older(active.opened, max_age / 4, now)
        });
        if close && let Err(error) = self.begin_segment() {
            tracing::error!(journal = %self.shared.dir.display(), %error, "segment could not be begun");
        }
        retention::drop_aged(&self.shared, max_age, now);
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
