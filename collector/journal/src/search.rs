//! The search for records behind damage.
//!
//! What is searched may be payload, thus whatever a sender chose: as many headers as fit, each of a record to the end of
//! the segment. To read each of these records would take hours. CRC-32 is linear, so that the checksum of any piece
//! follows from those of all bytes up to its begin and of all up to its end: each byte is read once for these, and a few
//! hundred bytes more for each header.

use std::ops::Range;

use crc32fast::Hasher;

use crate::segment::{RECORD_HEADER_BYTES, RecordHeader, before_payload};

/// The bytes between two checksums that are kept.
const STEP_BYTES: usize = 256;

/// Searches a segment's bytes, and keeps of them what the next search needs again.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Checksums of the first 0, 256, 512, … bytes, as far as they were needed.
    steps: Vec<u32>,
    #[cfg(test)]
    pub(crate) checksummed_bytes: usize,
}

impl Search {
    /// The offset of the first valid record at or behind `from`, where the record at `after` ended. Of one segment all calls
    /// are given the same bytes; there may be more at their end.
    ///
    /// Positions have no gaps within a segment, so a record can only be so many positions ahead as records fit into the
    /// bytes between: that rejects nearly every wrong offset before any checksum is computed.
    pub(crate) fn find_record(
        &mut self,
        bytes: &[u8],
        from: usize,
        after: u64,
        id: u128,
    ) -> Option<(usize, RecordHeader)> {
        (from..bytes.len().saturating_sub(RECORD_HEADER_BYTES - 1)).find_map(|offset| {
            let header = RecordHeader::parse(bytes.get(offset..)?)?;
            let most_lost = ((offset - from) / RECORD_HEADER_BYTES) as u64;
            let ahead = header.position.checked_sub(after)?;
            if ahead == 0 || ahead > most_lost + 1 {
                return None;
            }
            let payload = offset + RECORD_HEADER_BYTES;
            self.verifies(bytes, payload..payload + header.length, header, id).then_some((offset, header))
        })
    }

    /// Whether the piece is what was written behind the header.
    fn verifies(&mut self, bytes: &[u8], piece: Range<usize>, header: RecordHeader, id: u128) -> bool {
        let Some(payload) = bytes.get(piece.clone()) else { return false };
        let begun = self.crc(0, &before_payload(id, header.position, header.length));
        // Until damage is met each record is where the one before ends, and read once.
        if self.steps.is_empty() && self.crc(begun, payload) == header.crc {
            return true;
        }
        let mut crc = Hasher::new_with_initial(begun ^ self.crc_up_to(bytes, piece.start));
        crc.combine(&Hasher::new_with_initial_len(0, header.length as u64));
        crc.finalize() ^ self.crc_up_to(bytes, piece.end) == header.crc
    }

    /// The checksum of all bytes up to `end`.
    fn crc_up_to(&mut self, bytes: &[u8], end: usize) -> u32 {
        let step = end / STEP_BYTES;
        while self.steps.len() <= step {
            let crc = match self.steps.last().copied() {
                Some(last) => {
                    let end = self.steps.len() * STEP_BYTES;
                    self.crc(last, bytes.get(end - STEP_BYTES..end).unwrap_or_default())
                }
                None => 0,
            };
            self.steps.push(crc);
        }
        let begun = self.steps.get(step).copied().unwrap_or_default();
        self.crc(begun, bytes.get(step * STEP_BYTES..end).unwrap_or_default())
    }

    /// The checksum of bytes behind those whose checksum is `begun`.
    fn crc(&mut self, begun: u32, bytes: &[u8]) -> u32 {
        #[cfg(test)]
        {
            self.checksummed_bytes += bytes.len();
        }
        let mut hasher = Hasher::new_with_initial(begun);
        hasher.update(bytes);
        hasher.finalize()
    }
}
