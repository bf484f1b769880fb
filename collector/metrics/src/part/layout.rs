//! The bytes of a part that stand at fixed places (`FORMAT.md` has the whole).

use crate::chunk::Damaged;
use crate::chunk::varint::Bytes;
use crate::columns::TimeRange;

/// Two hours: the sample time that one part covers.
pub(crate) const WINDOW_MS: i64 = 2 * 3_600_000;

pub(super) const MAGIC: [u8; 8] = *b"TSMPART\n";
pub(super) const END_MAGIC: [u8; 8] = *b"TSMPEND\n";
pub(super) const VERSION: u32 = 2;
pub(super) const HEADER_BYTES: u64 = 16;
pub(super) const FOOTER_BYTES: usize = 104;

/// The start of the window in which a time lies.
pub(crate) fn window_of(t_ms: i64) -> i64 {
    t_ms.saturating_sub(t_ms.rem_euclid(WINDOW_MS))
}

/// The last bytes of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) table_offset: u64,
    pub(crate) table_bytes: u64,
    pub(crate) table_raw_bytes: u64,
    pub(crate) table_crc: u32,
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) window_ms: i64,
    pub(crate) range: TimeRange,
    pub(crate) min_position: u64,
    pub(crate) max_position: u64,
}

pub(super) fn header() -> [u8; HEADER_BYTES as usize] {
    let mut out = [0; HEADER_BYTES as usize];
    for (slot, byte) in out.iter_mut().zip(MAGIC.into_iter().chain(VERSION.to_le_bytes())) {
        *slot = byte;
    }
    out
}

impl Footer {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&self.table_offset.to_le_bytes());
        out.extend_from_slice(&self.table_bytes.to_le_bytes());
        out.extend_from_slice(&self.table_raw_bytes.to_le_bytes());
        out.extend_from_slice(&self.table_crc.to_le_bytes());
        out.extend_from_slice(&self.series.to_le_bytes());
        out.extend_from_slice(&self.samples.to_le_bytes());
        for time in [self.window_ms, self.range.min_ms, self.range.max_ms] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        out.extend_from_slice(&self.min_position.to_le_bytes());
        out.extend_from_slice(&self.max_position.to_le_bytes());
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&END_MAGIC);
        out
    }

    /// The footer and the version of the part.
    pub(super) fn from_bytes(footer: &[u8]) -> Result<(Self, u32), Damaged> {
        let mut bytes = Bytes(footer);
        let table_offset = bytes.fixed64()?;
        let table_bytes = bytes.fixed64()?;
        let table_raw_bytes = bytes.fixed64()?;
        let table_crc = bytes.fixed32()?;
        let series = bytes.fixed32()?;
        let samples = bytes.fixed64()?;
        let window_ms = bytes.fixed64()? as i64;
        let range = TimeRange { min_ms: bytes.fixed64()? as i64, max_ms: bytes.fixed64()? as i64 };
        let min_position = bytes.fixed64()?;
        let max_position = bytes.fixed64()?;
        let version = bytes.fixed32()?;
        bytes.take(4)?;
        let checked = footer.get(..footer.len() - bytes.0.len()).unwrap_or_default();
        if bytes.fixed32()? != crc32fast::hash(checked) {
            return Err(Damaged("checksum of the footer"));
        }
        bytes.take(4)?;
        if bytes.0 != END_MAGIC {
            return Err(Damaged("no part ends here"));
        }
        let footer = Self {
            table_offset,
            table_bytes,
            table_raw_bytes,
            table_crc,
            series,
            samples,
            window_ms,
            range,
            min_position,
            max_position,
        };
        Ok((footer, version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_comes_back_and_damage_is_seen() {
        let range = TimeRange { min_ms: -5, max_ms: 9 };
        let footer = Footer {
            table_offset: 16,
            table_bytes: 2,
            table_raw_bytes: 3,
            table_crc: 4,
            series: 5,
            samples: 6,
            window_ms: -WINDOW_MS,
            range,
            min_position: 7,
            max_position: 8,
        };
        let mut bytes = footer.to_bytes();
        assert_eq!(bytes.len(), FOOTER_BYTES);
        assert_eq!(Footer::from_bytes(&bytes), Ok((footer, VERSION)));
        bytes[9] ^= 1;
        assert!(Footer::from_bytes(&bytes).is_err());
    }

    #[test]
    fn windows_start_at_even_hours_before_the_epoch_too() {
        assert_eq!(window_of(0), 0);
        assert_eq!(window_of(WINDOW_MS - 1), 0);
        assert_eq!(window_of(-1), -WINDOW_MS);
    }

    #[test]
    fn footer() {
        tenantscope_fuzz::fuzz!("footer", |input| {
            let _ = Footer::from_bytes(input);
            let mut bytes = input.to_vec();
            bytes.resize(FOOTER_BYTES, 0);
            let crc = crc32fast::hash(&bytes[..88]);
            bytes[88..92].copy_from_slice(&crc.to_le_bytes());
            bytes[96..].copy_from_slice(&END_MAGIC);
            let (footer, _) = Footer::from_bytes(&bytes).unwrap();
            assert_eq!(Footer::from_bytes(&footer.to_bytes()).unwrap().0, footer);
        });
    }
}
