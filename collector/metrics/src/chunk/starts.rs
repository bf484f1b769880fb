//! When the counting of samples began: runs of samples that have the same start.

use super::Damaged;
use super::varint::{Bytes, put, put_signed};

/// The starts of a growing chunk. A start that stays costs one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartRuns {
    runs: Vec<(u32, i64)>,
}

impl StartRuns {
    /// Appends the start of one more sample.
    pub(crate) fn push(&mut self, start_ms: i64) {
        self.push_run(1, start_ms);
    }

    /// Appends the start that several more samples have.
    pub(crate) fn push_run(&mut self, count: u32, start_ms: i64) {
        match self.runs.last_mut() {
            Some((length, last_ms)) if *last_ms == start_ms => *length += count,
            _ if count == 0 => {}
            _ => self.runs.push((count, start_ms)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes on the heap.
    pub(crate) fn capacity(&self) -> usize {
        self.runs.capacity() * size_of::<(u32, i64)>()
    }

    /// The starts of `count` samples after the first `skipped`; nothing where none is known.
    pub(crate) fn read(&self, skipped: usize, count: usize) -> Vec<i64> {
        let each = self.runs.iter().flat_map(|(length, start_ms)| std::iter::repeat_n(*start_ms, *length as usize));
        each.skip(skipped).take(count).collect()
    }
}

/// Writes the starts of a chunk's samples.
pub(crate) fn write(starts_ms: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last_ms = 0_i64;
    for run in starts_ms.chunk_by(|a, b| a == b) {
        put(&mut out, run.len() as u64);
        let start_ms = run.first().copied().unwrap_or_default();
        put_signed(&mut out, start_ms.wrapping_sub(last_ms));
        last_ms = start_ms;
    }
    out
}

/// Reads the starts of `count` samples and appends those of the `taken` after the first `skipped`.
pub(crate) fn read(bytes: &[u8], count: u32, taken: std::ops::Range<usize>, out: &mut Vec<i64>) -> Result<(), Damaged> {
    let mut bytes = Bytes(bytes);
    let mut start_ms = 0_i64;
    let (mut at, count) = (0_usize, count as usize);
    while at < count {
        let length = bytes.small()? as usize;
        start_ms = start_ms.wrapping_add(bytes.signed()?);
        let end = at.saturating_add(length);
        if length == 0 || end > count {
            return Err(Damaged("more starts than samples"));
        }
        let wanted = taken.end.min(end).saturating_sub(taken.start.max(at));
        out.extend(std::iter::repeat_n(start_ms, wanted));
        at = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn starts() -> impl Strategy<Value = Vec<i64>> {
        let run = (prop_oneof![Just(0), any::<i64>(), 1_i64..4], 1_usize..20);
        let runs = prop::collection::vec(run, 0..12);
        runs.prop_map(|runs| runs.into_iter().flat_map(|(start_ms, n)| std::iter::repeat_n(start_ms, n)).collect())
    }

    proptest! {
        #[test]
        fn every_start_comes_back(starts_ms in starts(), from in 0_usize..50, length in 0_usize..50) {
            let from = from.min(starts_ms.len());
            let to = (from + length).min(starts_ms.len());
            let mut out = Vec::new();
            read(&write(&starts_ms), starts_ms.len() as u32, from..to, &mut out).unwrap();
            prop_assert_eq!(&out, &starts_ms[from..to]);
            let mut runs = StartRuns::default();
            starts_ms.iter().for_each(|start_ms| runs.push(*start_ms));
            prop_assert_eq!(&runs.read(from, to - from), &starts_ms[from..to]);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..50), count in 0_u32..300) {
            let mut out = Vec::new();
            let _ = read(&bytes, count, 0..300, &mut out);
            prop_assert!(out.len() <= 300);
        }
    }

    #[test]
    fn a_start_that_stays_costs_a_few_bytes() {
        assert!(write(&[1_700_000_000_000; 480]).len() <= 8);
    }

    #[test]
    fn starts_chunk() {
        tenantscope_fuzz::fuzz!("starts_chunk", |input| {
            let Some((count, bytes)) = input.split_first() else { return };
            let (mut all, mut part, count) = (Vec::new(), Vec::new(), usize::from(*count));
            let whole = read(bytes, count as u32, 0..count, &mut all);
            assert_eq!(read(bytes, count as u32, 1..3, &mut part), whole);
            if whole.is_ok() {
                assert_eq!(all.len(), count);
                assert_eq!(part, all.get(1..3.min(count)).unwrap_or_default());
            }
        });
    }
}
