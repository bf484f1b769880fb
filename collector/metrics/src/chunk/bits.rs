//! Bits written and read one after the other, the highest first.

/// Appends bits to bytes. How many there are is kept by the caller, among its own small numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct BitWriter {
    /// Zeros where nothing is written yet.
    bytes: Box<[u8]>,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`, at most 64, after the first `length_bits`.
    pub(crate) fn write(&mut self, length_bits: &mut u32, value: u64, count: u32) {
        if count == 0 {
            return;
        }
        let (first, used) = ((*length_bits / 8) as usize, *length_bits % 8);
        let end_bits = *length_bits + count;
        let end = end_bits.div_ceil(8) as usize;
        if end > self.bytes.len() {
            self.grow(end);
        }
        *length_bits = end_bits;
        // At the top, after the bits that the first byte has already.
        let shifted = (u128::from(value << (64 - count)) << 64) >> used;
        let written = self.bytes.get_mut(first..end).unwrap_or_default();
        for (byte, new) in written.iter_mut().zip(shifted.to_be_bytes()) {
            *byte |= new;
        }
    }

    /// Grows by half, not to double: millions of small chunks lie in memory at once.
    fn grow(&mut self, needed: usize) {
        let size = needed.max(self.bytes.len() * 3 / 2).max(24).next_multiple_of(8);
        let mut bytes = std::mem::take(&mut self.bytes).into_vec();
        bytes.reserve_exact(size - bytes.len());
        bytes.resize(size, 0);
        self.bytes = bytes.into_boxed_slice();
    }

    /// The bytes of the first `length_bits`.
    pub(crate) fn bytes(&self, length_bits: u32) -> &[u8] {
        self.bytes.get(..length_bits.div_ceil(8) as usize).unwrap_or_default()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

/// Bits of a [`BitReader::peek`] that are right.
pub(crate) const PEEKED: u32 = 57;

/// Reads what a [`BitWriter`] wrote.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 64; `None` where fewer are left.
    pub(crate) fn read(&mut self, count: u32) -> Option<u64> {
        if count == 0 {
            return Some(0);
        }
        let end = self.at.checked_add(count as usize)?;
        if end > self.bytes.len() * 8 {
            return None;
        }
        let first = self.at / 8;
        let word = self.word(first)?;
        let skip = (self.at % 8) as u32;
        self.at = end;
        Some(((word << skip) >> (128 - count)) as u64)
    }

    /// The bits that come next, of which [`PEEKED`] are right as far as there are so many, without taking them.
    pub(crate) fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(whole) => u64::from_be_bytes(*whole),
            None => {
                rest.iter().zip([56, 48, 40, 32, 24, 16, 8]).fold(0, |word, (byte, at)| word | u64::from(*byte) << at)
            }
        };
        word << (self.at % 8)
    }

    /// Takes bits that were looked at; `None` where fewer are left.
    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.at + count;
        if end > self.bytes.len() * 8 {
            return None;
        }
        self.at = end;
        Some(())
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    /// Sixteen bytes from `first` on, padded with zeros at the end.
    fn word(&self, first: usize) -> Option<u128> {
        let rest = self.bytes.get(first..)?;
        if let Some(whole) = rest.first_chunk::<16>() {
            return Some(u128::from_be_bytes(*whole));
        }
        let mut padded = [0_u8; 16];
        padded.get_mut(..rest.len())?.copy_from_slice(rest);
        Some(u128::from_be_bytes(padded))
    }
}
