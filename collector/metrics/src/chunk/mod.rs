//! How samples, histograms and exemplars of one series are written as bytes.

pub(crate) mod bits;
pub(crate) mod exemplars;
pub(crate) mod floats;
pub(crate) mod histograms;
pub(crate) mod starts;
pub(crate) mod varint;

/// Bytes that are not what they should be, and what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Damaged(pub(crate) &'static str);
