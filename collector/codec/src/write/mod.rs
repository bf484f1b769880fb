//! Remote write, 1.0 and 2.0, from the decompressed body to stamped series.
//!
//! ```text
//! body ──v1, v2──→ WriteBody{text, series: where labels and points stand, points} ──stamp──→ StampedSeries{Labels, …}
//!                     └ labels are checked and fingerprinted where they stand ┘                      │
//!                                        StampedText ←─ made only when a store does not know them ───┘
//! ```
//! Nothing is allocated for a label of a sample: nearly all series that come are known to the store by their
//! fingerprint, and their labels are never made.

mod body;
mod claiming;
mod cursor;
pub(crate) mod fingerprint;
mod memory;
mod stamping;
mod text;
pub(crate) mod v1;
pub(crate) mod v2;

pub(crate) use body::WriteBody;
pub(crate) use stamping::stamp;
