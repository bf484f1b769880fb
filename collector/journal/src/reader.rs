use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use crate::folder::SegmentFile;
use crate::search::Search;
use crate::segment::{Damage, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, record_bytes};
use crate::unreadable::{is_unreadable, read_around};
use crate::{ReadError, Shared};

/// A record, as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it stands. A gap to the one before means that records between were dropped or damaged.
    pub position: u64,
    /// What was appended.
    pub bytes: Vec<u8>,
}

/// Reads records in order, each once. It holds no segment: only a [`crate::Cursor`] does.
pub struct Reader {
    shared: Arc<Shared>,
    after: u64,
    open: Option<OpenSegment>,
}

struct OpenSegment {
    path: PathBuf,
    file: BufReader<File>,
    first: u64,
    generation: u64,
    offset: u64,
    /// The position of the last record seen in this segment.
    seen: u64,
    /// All of it, as far as the disk gives it back, once it gave less than was asked for; and the search in that.
    around: Option<(Vec<u8>, Search)>,
}

/// Where a segment's readable part ends.
#[derive(Clone, Copy)]
struct Bounds {
    generation: u64,
    /// Durable bytes.
    bytes: u64,
    /// The next segment's first position: whatever stands from there on in this file was never acknowledged.
    next: Option<u64>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, after: u64) -> Self {
        Self { shared, after, open: None }
    }

    /// The position of the last record that was read, or where the reader began.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next durable record; `None` when there is none yet. Blocks on the disk only.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            let Some(mut segment) = self.open.take() else {
                if !self.open_next()? {
                    return Ok(None);
                }
                continue;
            };
            let first = segment.first;
            let Some(bounds) = self.bounds(first).filter(|bounds| bounds.generation == segment.generation) else {
                continue; // deleted or replaced meanwhile; what comes next is found by position
            };
            let read = read_record(&mut segment, &self.shared, bounds);
            let at = |source| ReadError { path: segment.path.clone(), source };
            match read.map_err(at)? {
                Some(record) if bounds.next.is_some_and(|next| record.position >= next) => {
                    self.after = self.after.max(bounds.next.unwrap_or(0).saturating_sub(1));
                }
                Some(record) => {
                    self.open = Some(segment);
                    if record.position > self.after {
                        self.after = record.position;
                        return Ok(Some(record));
                    }
                }
                None => match bounds.next {
                    Some(next) => self.after = self.after.max(next.saturating_sub(1)),
                    None => {
                        self.open = Some(segment);
                        return Ok(None);
                    }
                },
            }
        }
    }

    fn bounds(&self, first: u64) -> Option<Bounds> {
        let segments = self.shared.segments.lock();
        let SegmentFile { bytes, generation, .. } = *segments.get(&first)?;
        let next = segments.range(first + 1..).next().map(|(next, _)| *next);
        Some(Bounds { generation, bytes, next })
    }

    /// Opens the segment that holds the next position, or the first one behind it.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        let wanted = self.after + 1;
        let found = {
            let segments = self.shared.segments.lock();
            let holding = segments.range(..=wanted).next_back();
            holding.or_else(|| segments.range(wanted..).next()).map(|(first, segment)| (*first, segment.clone()))
        };
        let Some((first, SegmentFile { path, generation, .. })) = found else {
            return Ok(false);
        };
        let opened = File::open(&path).and_then(|file| {
            let mut file = BufReader::with_capacity(256 << 10, file);
            file.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
            Ok(file)
        });
        match opened {
            Ok(file) => {
                let (offset, seen) = (HEADER_BYTES as u64, first.saturating_sub(1));
                self.open = Some(OpenSegment { path, file, first, generation, offset, seen, around: None });
                Ok(true)
            }
            // Deleted since the list was read: look again. Still listed and gone is an error.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.bounds(first).is_none() => self.open_next(),
            Err(source) => Err(ReadError { path, source }),
        }
    }
}

/// Reads the record at `offset`, or the next valid one behind damage. `None` at the end of what is durable.
fn read_record(segment: &mut OpenSegment, shared: &Shared, bounds: Bounds) -> io::Result<Option<Record>> {
    let left = bounds.bytes.saturating_sub(segment.offset);
    if left == 0 {
        return Ok(None);
    }
    if segment.around.is_none() {
        match read_next(&mut segment.file, shared, segment.seen, left) {
            Ok(Some(record)) => {
                segment.offset += (RECORD_HEADER_BYTES + record.bytes.len()) as u64;
                segment.seen = record.position;
                return Ok(Some(record));
            }
            Ok(None) => {
                let (start, length) = (segment.offset, segment.bytes_until(bounds)? - segment.offset);
                let rest = read_around(segment.file.get_ref(), start, length as usize)?.bytes;
                let record = resync(&rest, 0, &mut Search::default(), segment, shared, bounds);
                segment.file.seek(SeekFrom::Start(segment.offset))?;
                return Ok(record);
            }
            Err(error) if is_unreadable(&error) => {
                tracing::error!(segment = %segment.path.display(), %error, "a journal segment can't be read whole");
            }
            Err(error) => return Err(error),
        }
    }
    let known = segment.around.as_ref().map_or(0, |(bytes, _)| bytes.len());
    let more = (segment.bytes_until(bounds)? as usize).saturating_sub(known);
    let more = read_around(segment.file.get_ref(), known as u64, more)?.bytes;
    let (mut around, mut search) = segment.around.take().unwrap_or_default();
    around.extend(more);
    let record = resync(&around, segment.offset as usize, &mut search, segment, shared, bounds);
    segment.around = Some((around, search));
    Ok(record)
}

impl OpenSegment {
    /// How many bytes the file has of what is durable.
    fn bytes_until(&self, bounds: Bounds) -> io::Result<u64> {
        Ok(self.file.get_ref().metadata()?.len().min(bounds.bytes).max(self.offset))
    }
}

/// Reads the record that should be next; `None` where it is not there.
fn read_next(file: &mut BufReader<File>, shared: &Shared, seen: u64, left: u64) -> io::Result<Option<Record>> {
    let mut header = [0; RECORD_HEADER_BYTES];
    if left < header.len() as u64 || !read_whole(file, &mut header)? {
        return Ok(None);
    }
    let Some(parsed) = RecordHeader::parse(&header)
        .filter(|parsed| parsed.position == seen + 1 && (parsed.length + RECORD_HEADER_BYTES) as u64 <= left)
    else {
        return Ok(None);
    };
    let mut payload = vec![0; parsed.length];
    let is_whole = read_whole(file, &mut payload)? && parsed.verifies(shared.id, &payload);
    Ok(is_whole.then_some(Record { position: parsed.position, bytes: payload }))
}

/// Looks for the next valid record in a segment's bytes, from where the last one ended; what is skipped is reported.
fn resync(
    bytes: &[u8],
    from: usize,
    search: &mut Search,
    segment: &mut OpenSegment,
    shared: &Shared,
    bounds: Bounds,
) -> Option<Record> {
    let (start, after) = (segment.offset, segment.seen);
    let Some((found, header)) = search.find_record(bytes, from, after, shared.id) else {
        let bytes = bounds.bytes.saturating_sub(start);
        shared.report_damage(segment.first, &Damage { offset: start, bytes, after, before: bounds.next });
        segment.offset = bounds.bytes;
        return None;
    };
    let (skipped, before) = ((found - from) as u64, Some(header.position));
    shared.report_damage(segment.first, &Damage { offset: start, bytes: skipped, after, before });
    let payload = found + RECORD_HEADER_BYTES;
    let bytes = bytes.get(payload..payload + header.length).unwrap_or_default().to_vec();
    segment.offset = start + skipped + record_bytes(header.length);
    segment.seen = header.position;
    Some(Record { position: header.position, bytes })
}

/// Fills `buffer`; false when the file ends before.
fn read_whole(file: &mut BufReader<File>, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
