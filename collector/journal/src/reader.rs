use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::segment::{self, HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader};
use crate::{ReadError, Shared};

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub position: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads records in journal order. It holds no segment: where one was deleted, reading goes on with the next.
pub struct Reader {
    shared: Arc<Shared>,
    after: u64,
    open: Option<OpenSegment>,
}

struct OpenSegment {
    path: PathBuf,
    file: BufReader<File>,
    offset: u64,
    /// Position with which the next segment begins; records from there on are read from that one.
    next_first: Option<u64>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, after: u64) -> Self {
        Self { shared, after, open: None }
    }

    /// The position of the last record that was read, or where reading began.
    pub fn position(&self) -> u64 {
        self.after
    }

    /// The next durable record; `None` when there is none yet. Blocks on the disk only.
    pub fn next_record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            if self.after >= *self.shared.end.borrow() {
                return Ok(None);
            }
            if self.open.is_none() && !self.open_segment()? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            let failed = |source| ReadError { path: open.path.clone(), source };
            match read_record(&mut open.file) {
                Ok(Found::Record(header, bytes)) if header.position > self.after && before(open.next_first, header) => {
                    open.offset += (RECORD_HEADER_BYTES + header.length) as u64;
                    self.after = header.position;
                    return Ok(Some(Record { position: header.position, bytes }));
                }
                Ok(Found::Record(header, _)) if before(open.next_first, header) => {
                    open.offset += (RECORD_HEADER_BYTES + header.length) as u64;
                }
                Ok(Found::Record(..) | Found::End) => self.leave_segment(),
                Ok(Found::Damage) => self.skip_damage()?,
                Err(source) => return Err(failed(source)),
            }
        }
    }

    /// Opens the segment that holds the next record; false if there is none.
    fn open_segment(&mut self) -> Result<bool, ReadError> {
        let wanted = self.after + 1;
        let (path, next_first) = {
            let segments = self.shared.segments.lock();
            let holding = segments.range(..=wanted).next_back().or_else(|| segments.iter().next());
            let Some((&first, segment)) = holding else { return Ok(false) };
            let next_first = segments.range(first + 1..).next().map(|(first, _)| *first);
            self.after = self.after.max(first - 1);
            (segment.path.clone(), next_first)
        };
        let failed = |source| ReadError { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => BufReader::with_capacity(256 << 10, file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true), // deleted just now: look again
            Err(source) => return Err(failed(source)),
        };
        file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(failed)?;
        self.open = Some(OpenSegment { path, file, offset: HEADER_BYTES as u64, next_first });
        Ok(true)
    }

    /// The segment holds no more: go on with the next one, if it is complete.
    fn leave_segment(&mut self) {
        let Some(open) = self.open.take() else { return };
        let known = open.next_first.or_else(|| {
            let segments = self.shared.segments.lock();
            segments.range(self.after + 1..).next().map(|(first, _)| *first)
        });
        if let Some(next_first) = known {
            self.after = self.after.max(next_first - 1);
        }
    }

    /// Looks for the next valid record behind damage, and counts what was skipped.
    fn skip_damage(&mut self) -> Result<(), ReadError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let failed = |source| ReadError { path: open.path.clone(), source };
        let bytes = std::fs::read(&open.path).map_err(failed)?;
        let from = usize::try_from(open.offset).unwrap_or(usize::MAX);
        let found = segment::find_record(&bytes, from, self.after);
        let to = found.map_or(bytes.len(), |(offset, _)| offset) as u64;
        report_damage(&self.shared, &open.path, open.offset, to);
        open.offset = to;
        open.file.seek(SeekFrom::Start(to)).map_err(failed)?;
        Ok(())
    }
}

fn report_damage(shared: &Shared, path: &Path, from: u64, to: u64) {
    shared.damaged.fetch_add(to.saturating_sub(from), Ordering::Relaxed);
    tracing::error!(segment = %path.display(), offset = from, bytes = to - from, "skipped damage in the journal");
}

fn before(next_first: Option<u64>, header: RecordHeader) -> bool {
    next_first.is_none_or(|next_first| header.position < next_first)
}

enum Found {
    Record(RecordHeader, Vec<u8>),
    Damage,
    End,
}

fn read_record(file: &mut BufReader<File>) -> std::io::Result<Found> {
    let mut header = [0; RECORD_HEADER_BYTES];
    match read_fully(file, &mut header)? {
        0 => return Ok(Found::End),
        RECORD_HEADER_BYTES => {}
        _ => return Ok(Found::Damage),
    }
    let Some(header) = RecordHeader::parse(&header) else { return Ok(Found::Damage) };
    let mut bytes = Vec::new();
    file.by_ref().take(header.length as u64).read_to_end(&mut bytes)?;
    Ok(if header.verifies(&bytes) { Found::Record(header, bytes) } else { Found::Damage })
}

/// Reads until the buffer is full or the file ends; how much was read.
fn read_fully(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
