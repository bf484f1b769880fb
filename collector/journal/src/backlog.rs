//! How much stands behind a position: what readers that may skip ahead decide by.

use crate::Shared;

struct Extent {
    first: u64,
    last: u64,
    bytes: u64,
}

fn extents(shared: &Shared) -> Vec<Extent> {
    let end = shared.end();
    let segments = shared.segments.lock();
    let firsts = segments.keys().copied();
    let lasts = segments.keys().skip(1).map(|next| next.saturating_sub(1)).chain([end]);
    let bytes = segments.values().map(|segment| segment.bytes);
    firsts.zip(lasts).zip(bytes).map(|((first, last), bytes)| Extent { first, last, bytes }).collect()
}

impl Extent {
    fn records(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    fn scaled(part: u64, of: u64, whole: u64) -> u64 {
        let scaled = u128::from(whole) * u128::from(part) / u128::from(of.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

pub(crate) fn bytes_after(shared: &Shared, position: u64) -> u64 {
    let behind = |extent: Extent| {
        let left = extent.last.saturating_sub(position).min(extent.records());
        Extent::scaled(left, extent.records(), extent.bytes)
    };
    extents(shared).into_iter().map(behind).sum()
}

pub(crate) fn position_before_last(shared: &Shared, bytes: u64) -> u64 {
    let mut left = bytes;
    for extent in extents(shared).into_iter().rev() {
        if extent.bytes > left {
            return extent.last - Extent::scaled(left, extent.bytes, extent.records()).min(extent.records());
        }
        left -= extent.bytes;
    }
    0
}
