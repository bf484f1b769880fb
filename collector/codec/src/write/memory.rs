//! What a body takes once it is read, counted while it is read.

use crate::DecodeError;

/// A series' entry, its stamped form, and its labels before they are made.
pub(super) const SERIES_BYTES: usize = 320;
/// A label once it is made.
pub(super) const LABEL_BYTES: usize = 80;
/// A sample, here and in its stamped series, with the start of its counting.
pub(super) const SAMPLE_BYTES: usize = 56;
/// An exemplar but for its labels.
pub(super) const EXEMPLAR_BYTES: usize = 96;
/// A symbol of remote write 2.0.
pub(super) const SYMBOL_BYTES: usize = 48;
/// A number, or where something stands.
pub(super) const PLACE_BYTES: usize = 8;

/// Counts bytes against a bound.
#[derive(Debug)]
pub(crate) struct Memory {
    max_bytes: usize,
    left_bytes: usize,
}

impl Memory {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, left_bytes: max_bytes }
    }

    /// How much is left.
    pub(super) fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    #[inline]
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        match self.left_bytes.checked_sub(bytes) {
            Some(left_bytes) => {
                self.left_bytes = left_bytes;
                Ok(())
            }
            None => Err(DecodeError::TooMuchMemory { max_bytes: self.max_bytes }),
        }
    }
}
