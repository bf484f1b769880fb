use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use crate::segment::{Damage, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, find_record};
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
    offset: u64,
    /// The position of the last record seen in this segment.
    seen: u64,
}

/// Where a segment's readable part ends.
#[derive(Clone, Copy)]
struct Bounds {
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
            let Some(bounds) = self.bounds(first) else {
                continue; // deleted meanwhile; what is behind it is found by position
            };
            let at = |source| ReadError { path: segment.path.clone(), source };
            let read =
                read_record(&mut segment.file, &self.shared, &mut segment.offset, &mut segment.seen, bounds, first);
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
        let bytes = segments.get(&first)?.bytes;
        let next = segments.range(first + 1..).next().map(|(next, _)| *next);
        Some(Bounds { bytes, next })
    }

    /// Opens the segment that holds the next position, or the first one behind it.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        let wanted = self.after + 1;
        let found = {
            let segments = self.shared.segments.lock();
            let holding = segments.range(..=wanted).next_back();
            holding.or_else(|| segments.range(wanted..).next()).map(|(first, segment)| (*first, segment.path.clone()))
        };
        let Some((first, path)) = found else {
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
                self.open = Some(OpenSegment { path, file, first, offset, seen });
                Ok(true)
            }
            // Deleted since the list was read: look again. Still listed and gone is an error.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.bounds(first).is_none() => self.open_next(),
            Err(source) => Err(ReadError { path, source }),
        }
    }
}

/// Reads the record at `offset`, or the next valid one behind damage. `None` at the end of what is durable.
fn read_record(
    file: &mut BufReader<File>,
    shared: &Shared,
    offset: &mut u64,
    seen: &mut u64,
    bounds: Bounds,
    first: u64,
) -> io::Result<Option<Record>> {
    let left = bounds.bytes.saturating_sub(*offset);
    if left == 0 {
        return Ok(None);
    }
    let mut header = [0; RECORD_HEADER_BYTES];
    if left >= header.len() as u64 && read_whole(file, &mut header)? {
        let parsed = RecordHeader::parse(&header)
            .filter(|parsed| parsed.position == *seen + 1 && (parsed.length + RECORD_HEADER_BYTES) as u64 <= left);
        if let Some(parsed) = parsed {
            let mut payload = vec![0; parsed.length];
            if read_whole(file, &mut payload)? && parsed.verifies(shared.id, &payload) {
                *offset += (RECORD_HEADER_BYTES + parsed.length) as u64;
                *seen = parsed.position;
                return Ok(Some(Record { position: parsed.position, bytes: payload }));
            }
        }
    }
    resync(file, shared, offset, seen, bounds, first)
}

/// Reads the rest of the segment and looks for the next valid record in it; what is skipped is reported.
fn resync(
    file: &mut BufReader<File>,
    shared: &Shared,
    offset: &mut u64,
    seen: &mut u64,
    bounds: Bounds,
    first: u64,
) -> io::Result<Option<Record>> {
    let start = *offset;
    file.seek(SeekFrom::Start(start))?;
    let mut rest = Vec::new();
    file.by_ref().take(bounds.bytes.saturating_sub(start)).read_to_end(&mut rest)?;
    let Some((found, header)) = find_record(&rest, 0, *seen, shared.id) else {
        let bytes = bounds.bytes.saturating_sub(start);
        shared.report_damage(first, &Damage { offset: start, bytes, after: *seen, before: bounds.next });
        *offset = bounds.bytes;
        file.seek(SeekFrom::Start(*offset))?;
        return Ok(None);
    };
    let before = Some(header.position);
    shared.report_damage(first, &Damage { offset: start, bytes: found as u64, after: *seen, before });
    let payload = found + RECORD_HEADER_BYTES;
    let bytes = rest.get(payload..payload + header.length).unwrap_or_default().to_vec();
    *offset = start + (payload + header.length) as u64;
    *seen = header.position;
    file.seek(SeekFrom::Start(*offset))?;
    Ok(Some(Record { position: header.position, bytes }))
}

/// Fills `buffer`; false when the file ends before.
fn read_whole(file: &mut BufReader<File>, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
