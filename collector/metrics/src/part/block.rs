//! A block: everything that a part has of one series. A checksum, the chunks' heads, the chunks.

use tenantscope_model::Exemplar;

use crate::chunk::varint::{Bytes, put, put_signed};
use crate::chunk::{Damaged, exemplars, floats, histograms, starts};
use crate::columns::{Columns, TimeRange, tidy_starts};

const FLOATS: u8 = 1;
const HISTOGRAMS: u8 = 2;
const EXEMPLARS: u8 = 3;
/// The starts of the chunk before, where one of them is known.
const STARTS: u8 = 4;

/// So few that a reader of a moment does not decode hours.
pub(crate) const MAX_FLOATS_IN_CHUNK: usize = 120;
const MAX_HISTOGRAMS_IN_CHUNK: usize = 120;

struct ChunkHead {
    kind: u8,
    count: u32,
    range: TimeRange,
    length: usize,
}

/// Appends a block.
pub(super) fn write(out: &mut Vec<u8>, window_ms: i64, columns: &Columns, exemplars: &[Exemplar]) {
    let mut heads = Vec::new();
    let mut chunks = Vec::new();
    let mut count = 0_u64;
    let mut add = |kind: u8, items: usize, range: TimeRange, bytes: &[u8]| {
        heads.push(kind);
        put(&mut heads, items as u64);
        put_signed(&mut heads, range.min_ms.wrapping_sub(window_ms));
        put(&mut heads, range.max_ms.wrapping_sub(range.min_ms) as u64);
        put(&mut heads, bytes.len() as u64);
        chunks.extend_from_slice(bytes);
        count += 1;
    };
    let mut starts_ms = columns.starts.samples_ms.chunks(MAX_FLOATS_IN_CHUNK);
    for samples in columns.samples.chunks(MAX_FLOATS_IN_CHUNK) {
        let mut chunk = floats::FloatChunk::default();
        samples.iter().for_each(|sample| chunk.push(*sample));
        let range = ends(samples.iter().map(|sample| sample.t_ms));
        let mut bytes = Vec::new();
        chunk.write_to(&mut bytes);
        add(FLOATS, samples.len(), range, &bytes);
        if let Some(starts_ms) = starts_ms.next().filter(|starts_ms| starts_ms.iter().any(|start_ms| *start_ms != 0)) {
            add(STARTS, samples.len(), range, &starts::write(starts_ms));
        }
    }
    let mut starts_ms = columns.starts.histograms_ms.chunks(MAX_HISTOGRAMS_IN_CHUNK);
    for samples in columns.histograms.chunks(MAX_HISTOGRAMS_IN_CHUNK) {
        let range = ends(samples.iter().map(|sample| sample.t_ms));
        add(HISTOGRAMS, samples.len(), range, &histograms::write(samples));
        if let Some(starts_ms) = starts_ms.next().filter(|starts_ms| starts_ms.iter().any(|start_ms| *start_ms != 0)) {
            add(STARTS, samples.len(), range, &starts::write(starts_ms));
        }
    }
    if !exemplars.is_empty() {
        let range = ends(exemplars.iter().map(|exemplar| exemplar.t_ms));
        add(EXEMPLARS, exemplars.len(), range, &exemplars::write(exemplars));
    }
    let mut body = Vec::with_capacity(heads.len() + chunks.len() + 2);
    put(&mut body, count);
    body.append(&mut heads);
    body.append(&mut chunks);
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.append(&mut body);
}

/// Appends a block of a single chunk of floats, which is written already. It has at most
/// [`MAX_FLOATS_IN_CHUNK`] samples.
pub(super) fn write_chunk(out: &mut Vec<u8>, window_ms: i64, count: u32, range: TimeRange, bytes: &[u8]) {
    let crc_at = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out, 1);
    out.push(FLOATS);
    put(out, u64::from(count));
    put_signed(out, range.min_ms.wrapping_sub(window_ms));
    put(out, range.max_ms.wrapping_sub(range.min_ms) as u64);
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    let crc = crc32fast::hash(out.get(crc_at + 4..).unwrap_or_default());
    if let Some(place) = out.get_mut(crc_at..crc_at + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

fn ends(times: impl Iterator<Item = i64>) -> TimeRange {
    let mut range = TimeRange::EMPTY;
    times.for_each(|t_ms| range.include(t_ms));
    range
}

/// A block whose checksum was right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    window_ms: i64,
    body: &'a [u8],
}

impl<'a> Block<'a> {
    pub(super) fn checked(bytes: &'a [u8], window_ms: i64) -> Result<Self, Damaged> {
        let mut bytes = Bytes(bytes);
        let crc = bytes.fixed32()?;
        if crc32fast::hash(bytes.0) != crc {
            return Err(Damaged("checksum of a series' block"));
        }
        Ok(Self { window_ms, body: bytes.0 })
    }

    /// Shows each chunk, in order.
    fn each_chunk(&self, mut visit: impl FnMut(ChunkHead, &'a [u8]) -> Result<(), Damaged>) -> Result<(), Damaged> {
        let mut heads = Bytes(self.body);
        let count = heads.count()?;
        // The heads are read twice rather than kept: there are few, and readers see many blocks.
        let mut chunks = Bytes(heads.0);
        for _ in 0..count {
            self.head(&mut chunks)?;
        }
        for _ in 0..count {
            let head = self.head(&mut heads)?;
            let bytes = chunks.take(head.length)?;
            visit(head, bytes)?;
        }
        Ok(())
    }

    fn head(&self, bytes: &mut Bytes<'_>) -> Result<ChunkHead, Damaged> {
        let (kind, count) = (bytes.byte()?, bytes.small()?);
        let min_ms = self.window_ms.wrapping_add(bytes.signed()?);
        let max_ms = min_ms.wrapping_add(bytes.number()? as i64);
        Ok(ChunkHead { kind, count, range: TimeRange { min_ms, max_ms }, length: bytes.small()? as usize })
    }

    /// Decodes the chunks that overlap the range.
    pub(crate) fn columns(&self, range: TimeRange) -> Result<Columns, Damaged> {
        let mut columns = Columns::default();
        self.read_into(range, &mut columns)?;
        Ok(columns)
    }

    /// Decodes the chunks that overlap the range and appends them to columns that end before it.
    pub(super) fn read_into(&self, range: TimeRange, out: &mut Columns) -> Result<(), Damaged> {
        let Columns { samples, histograms, starts } = out;
        let mut last = Read::default();
        self.each_chunk(|head, bytes| {
            match head.kind {
                _ if !head.range.overlaps(range) => {}
                FLOATS => {
                    let known = samples.len();
                    let before = floats::read(bytes, head.count, range, samples)?;
                    last = Read { kind: FLOATS, known, taken: before..before + samples.len() - known };
                }
                HISTOGRAMS => {
                    let known = histograms.len();
                    let before = histograms::read(bytes, head.count, range, histograms)?;
                    last = Read { kind: HISTOGRAMS, known, taken: before..before + histograms.len() - known };
                }
                STARTS => {
                    let starts_ms =
                        if last.kind == FLOATS { &mut starts.samples_ms } else { &mut starts.histograms_ms };
                    starts_ms.resize(last.known, 0);
                    starts::read(bytes, head.count, last.taken.clone(), starts_ms)?;
                }
                EXEMPLARS => {}
                _ => return Err(Damaged("unknown kind of chunk")),
            }
            Ok(())
        })?;
        complete(&mut starts.samples_ms, samples.len());
        complete(&mut starts.histograms_ms, histograms.len());
        Ok(())
    }

    /// Exemplars within the range, in time order.
    pub(crate) fn exemplars(&self, range: TimeRange) -> Result<Vec<Exemplar>, Damaged> {
        let mut out = Vec::new();
        self.each_chunk(|head, bytes| match head.kind {
            EXEMPLARS => exemplars::read(bytes, head.count, range, &mut out),
            _ => Ok(()),
        })?;
        Ok(out)
    }
}

/// What the last chunk of samples gave: the starts that may follow are those of the same ones.
#[derive(Debug, Default)]
struct Read {
    kind: u8,
    /// How many samples there were before it.
    known: usize,
    /// Which of its samples are within the range.
    taken: std::ops::Range<usize>,
}

/// Zeros for the samples of chunks without starts, if there is a start at all.
fn complete(starts_ms: &mut Vec<i64>, count: usize) {
    tidy_starts(starts_ms);
    if !starts_ms.is_empty() {
        starts_ms.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block behind its checksum: what is read can be written and reads the same.
    #[test]
    fn block() {
        tenantscope_fuzz::fuzz!("block", |input| {
            const WINDOW_MS: i64 = 7_200_000;
            assert!(Block::checked(input, 0).is_err() || input.len() >= 4);
            let bytes = [&crc32fast::hash(input).to_le_bytes(), input].concat();
            let block = Block::checked(&bytes, WINDOW_MS).unwrap();
            let _ = block.columns(TimeRange { min_ms: WINDOW_MS, max_ms: WINDOW_MS + 60_000 });
            let (Ok(columns), Ok(exemplars)) = (block.columns(TimeRange::ALL), block.exemplars(TimeRange::ALL)) else {
                return;
            };
            let in_order = columns.samples.is_sorted_by(|a, b| a.t_ms < b.t_ms)
                && columns.histograms.is_sorted_by(|a, b| a.t_ms < b.t_ms);
            if in_order {
                let mut written = Vec::new();
                write(&mut written, WINDOW_MS, &columns, &exemplars);
                let read = Block::checked(&written, WINDOW_MS).unwrap().columns(TimeRange::ALL).unwrap();
                assert_eq!(format!("{read:?}"), format!("{columns:?}"));
            }
        });
    }
}
