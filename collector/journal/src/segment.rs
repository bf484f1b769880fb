//! The bytes of a segment. `FORMAT.md` describes them; nothing here touches a file.

use crate::MAX_RECORD_BYTES;
use crate::search::Search;

pub(crate) const MAGIC: [u8; 4] = *b"TSJL";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 36;
pub(crate) const RECORD_HEADER_BYTES: usize = 16;

/// What a record takes on the disk.
pub(crate) fn record_bytes(payload_bytes: usize) -> u64 {
    (RECORD_HEADER_BYTES + payload_bytes) as u64
}

/// The header of a segment that begins at position `first`.
pub(crate) fn header(id: u128, first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (body, crc) = bytes.split_at_mut(32);
    let fields = [&MAGIC[..], &VERSION.to_le_bytes(), &id.to_le_bytes(), &first.to_le_bytes()].concat();
    body.copy_from_slice(&fields);
    crc.copy_from_slice(&crc32fast::hash(&fields).to_le_bytes());
    bytes
}

/// What a segment's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderVerdict {
    /// They are this segment's.
    Good,
    /// They do not verify; the records may still.
    Damaged,
    /// They verify, but the file is not for us.
    Foreign(&'static str),
}

/// Judges a segment's first bytes.
pub(crate) fn judge_header(bytes: &[u8], id: u128, first: u64) -> HeaderVerdict {
    let Some((fields, crc)) = bytes.get(..HEADER_BYTES).and_then(|b| b.split_last_chunk::<4>()) else {
        return HeaderVerdict::Damaged;
    };
    let verifies = crc32fast::hash(fields) == u32::from_le_bytes(*crc);
    let version = fields.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    match () {
        () if bytes.starts_with(&header(id, first)) => HeaderVerdict::Good,
        () if !verifies => HeaderVerdict::Damaged,
        () if !bytes.starts_with(&MAGIC) => HeaderVerdict::Foreign("is no journal segment"),
        () if version != Some(VERSION) => HeaderVerdict::Foreign("has a version that this release does not read"),
        () => HeaderVerdict::Foreign("belongs to another journal"),
    }
}

/// A record's header, as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) length: usize,
    pub(crate) crc: u32,
    pub(crate) position: u64,
}

impl RecordHeader {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (position, _) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let position = u64::from_le_bytes(*position);
        (length <= MAX_RECORD_BYTES).then_some(Self { length, crc: u32::from_le_bytes(*crc), position })
    }

    /// Whether `payload` is what was written, in the journal of that id.
    pub(crate) fn verifies(&self, id: u128, payload: &[u8]) -> bool {
        payload.len() == self.length && record_crc(id, self.position, payload) == self.crc
    }
}

/// Appends a record's bytes to `buffer`.
pub(crate) fn encode_record(buffer: &mut Vec<u8>, id: u128, position: u64, payload: &[u8]) {
    let length = payload.len() as u32; // at most MAX_RECORD_BYTES, which was checked when it was queued
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&record_crc(id, position, payload).to_le_bytes());
    buffer.extend_from_slice(&position.to_le_bytes());
    buffer.extend_from_slice(payload);
}

/// What goes into a record's checksum before the payload. The journal's random id does, so that bytes inside a payload,
/// which a sender chose, do not pass for a record when a search looks for the next one behind damage.
pub(crate) fn before_payload(id: u128, position: u64, length: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..24].copy_from_slice(&(length as u64).to_le_bytes());
    bytes[24..].copy_from_slice(&position.to_le_bytes());
    bytes
}

fn record_crc(id: u128, position: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&before_payload(id, position, payload.len()));
    hasher.update(payload);
    hasher.finalize()
}

/// What a segment's bytes hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The last valid record's position.
    pub(crate) last: Option<u64>,
    /// Where the last valid record ends.
    pub(crate) valid_bytes: u64,
    /// Damage that valid records follow.
    pub(crate) damage: Vec<Damage>,
}

/// Bytes of a segment that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The last position before them.
    pub(crate) after: u64,
    /// The first position behind them; `None` where nothing says so yet.
    pub(crate) before: Option<u64>,
}

impl Damage {
    /// First and last position of the records that were there; `None` where there were none, or nobody can say.
    pub(crate) fn lost(&self) -> Option<(u64, u64)> {
        let (first, last) = (self.after + 1, self.before?.saturating_sub(1));
        (first <= last).then_some((first, last))
    }
}

/// Looks at every record of a segment that begins at position `first`.
pub(crate) fn scan(bytes: &[u8], first: u64, id: u128) -> Scan {
    let mut scan = Scan { valid_bytes: HEADER_BYTES as u64, ..Scan::default() };
    let mut offset = HEADER_BYTES;
    let mut after = first.saturating_sub(1);
    let mut search = Search::default();
    while let Some((found, header)) = search.find_record(bytes, offset, after, id) {
        if found > offset {
            let (offset, bytes) = (offset as u64, (found - offset) as u64);
            scan.damage.push(Damage { offset, bytes, after, before: Some(header.position) });
        }
        offset = found + RECORD_HEADER_BYTES + header.length;
        after = header.position;
        scan.last = Some(after);
        scan.valid_bytes = offset as u64;
    }
    scan
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
