//! Bits written and read one after the other, the highest first.

/// Appends bits to bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u8,
}

impl BitWriter {
    /// Appends the lowest `count` bits of `value`.
    pub(crate) fn write(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.grow();
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(u32::from(self.free));
            let part = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (u32::from(self.free) - take);
            }
            self.free -= take as u8;
            left -= take;
        }
    }

    /// Grows by half, not to double: millions of small chunks lie in memory at once.
    fn grow(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve_exact((self.bytes.len() / 2).max(24));
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

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
