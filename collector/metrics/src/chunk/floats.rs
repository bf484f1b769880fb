//! Float samples in time order: timestamps as the difference of differences, values as XOR with the one before, both
//! as in Facebook's Gorilla paper with Prometheus's widths.

use tenantscope_model::Sample;

use super::Damaged;
use super::bits::{BitReader, BitWriter, PEEKED};
use crate::columns::TimeRange;

/// Widths of a difference of differences, after one more leading 1 bit each.
const WIDTHS: [u32; 3] = [14, 17, 20];
/// What `leading` is before any window of significant bits was written.
const NO_WINDOW: u8 = u8::MAX;

/// A chunk that still grows. Times must rise. Millions of them lie in memory at once, so it is small: what the fields
/// say (the first time) is not in the bits as well.
#[derive(Debug, Clone)]
pub(crate) struct FloatChunk {
    bits: BitWriter,
    first_ms: i64,
    last_ms: i64,
    delta_ms: i64,
    last_bits: u64,
    length_bits: u32,
    count: u16,
    leading: u8,
    significant: u8,
}

impl Default for FloatChunk {
    fn default() -> Self {
        let bits = BitWriter::default();
        let (first_ms, last_ms, delta_ms, last_bits, length_bits) = (0, 0, 0, 0, 0);
        let (count, leading, significant) = (0, NO_WINDOW, 0);
        Self { bits, first_ms, last_ms, delta_ms, last_bits, length_bits, count, leading, significant }
    }
}

impl FloatChunk {
    /// Appends a sample that is later than the last one. Only a chunk that [is not full](Self::is_full) takes one.
    pub(crate) fn push(&mut self, sample: Sample) {
        let value_bits = sample.value.to_bits();
        if self.count == 0 {
            self.first_ms = sample.t_ms;
            self.write(value_bits, 64);
        } else {
            let delta_ms = sample.t_ms.wrapping_sub(self.last_ms);
            self.write_time(delta_ms.wrapping_sub(self.delta_ms));
            self.write_value(value_bits ^ self.last_bits);
            self.delta_ms = delta_ms;
        }
        self.last_ms = sample.t_ms;
        self.last_bits = value_bits;
        self.count = self.count.saturating_add(1);
    }

    fn write(&mut self, value: u64, count: u32) {
        self.bits.write(&mut self.length_bits, value, count);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == u16::MAX
    }

    fn write_time(&mut self, change: i64) {
        if change == 0 {
            return self.write(0, 1);
        }
        for (i, width) in (0_u32..).zip(WIDTHS) {
            let half = 1_i64 << (width - 1);
            if (-half..half).contains(&change) {
                // i + 1 ones, then a zero.
                self.write((1 << (i + 2)) - 2, i + 2);
                return self.write(change as u64, width);
            }
        }
        self.write(0b1111, 4);
        self.write(change as u64, 64);
    }

    fn write_value(&mut self, changed: u64) {
        if changed == 0 {
            return self.write(0, 1);
        }
        let leading = changed.leading_zeros().min(31) as u8;
        let trailing = changed.trailing_zeros() as u8;
        let window_end = 64_u8.saturating_sub(self.leading).saturating_sub(self.significant);
        if self.leading != NO_WINDOW && leading >= self.leading && trailing >= window_end {
            self.write(0b10, 2);
            return self.write(changed >> window_end, u32::from(self.significant));
        }
        let significant = 64 - leading - trailing;
        self.write(0b11, 2);
        self.write(u64::from(leading), 5);
        // 64 does not fit six bits and 0 does not occur, so 0 stands for 64.
        self.write(u64::from(significant) & 63, 6);
        self.write(changed >> trailing, u32::from(significant));
        self.leading = leading;
        self.significant = significant;
    }

    pub(crate) fn count(&self) -> u32 {
        u32::from(self.count)
    }

    pub(crate) fn last_ms(&self) -> Option<i64> {
        (self.count > 0).then_some(self.last_ms)
    }

    /// From the first time to the last.
    pub(crate) fn range(&self) -> TimeRange {
        match self.count {
            0 => TimeRange::EMPTY,
            _ => TimeRange { min_ms: self.first_ms, max_ms: self.last_ms },
        }
    }

    /// Bytes on the heap.
    pub(crate) fn capacity(&self) -> usize {
        self.bits.capacity()
    }

    /// The samples within the range, appended to `out`, and how many lie before it.
    pub(crate) fn read(&self, range: TimeRange, out: &mut Vec<Sample>) -> Result<usize, Damaged> {
        if self.count == 0 {
            return Ok(0);
        }
        if range.contains(self.first_ms) && range.contains(self.last_ms) {
            out.reserve(usize::from(self.count));
        }
        read_all(FloatReader::after_time(self.first_ms, self.bits.bytes(self.length_bits)), self.count(), range, out)
    }

    /// The chunk as it is written, appended to `out`.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.extend_from_slice(&self.first_ms.to_be_bytes());
            out.extend_from_slice(self.bits.bytes(self.length_bits));
        }
    }
}

/// Decodes `count` samples, appends those within the range, and says how many lie before it.
pub(crate) fn read(bytes: &[u8], count: u32, range: TimeRange, out: &mut Vec<Sample>) -> Result<usize, Damaged> {
    if count == 0 {
        return Ok(0);
    }
    let (first_ms, bytes) = bytes.split_first_chunk::<8>().ok_or(ENDS_EARLY)?;
    read_all(FloatReader::after_time(i64::from_be_bytes(*first_ms), bytes), count, range, out)
}

/// The width of the usual difference of differences.
const SHORT: u32 = WIDTHS[0];
const ENDS_EARLY: Damaged = Damaged("float chunk ends early");

fn read_all(
    mut reader: FloatReader<'_>,
    count: u32,
    range: TimeRange,
    out: &mut Vec<Sample>,
) -> Result<usize, Damaged> {
    let mut before = 0;
    for _ in 0..count {
        let sample = reader.next().ok_or(ENDS_EARLY)?;
        if sample.t_ms > range.max_ms {
            break;
        }
        if sample.t_ms >= range.min_ms {
            out.push(sample);
        } else {
            before += 1;
        }
    }
    Ok(before)
}

struct FloatReader<'a> {
    bits: BitReader<'a>,
    started: bool,
    t_ms: i64,
    delta_ms: i64,
    value_bits: u64,
    leading: u32,
    significant: u32,
}

impl<'a> FloatReader<'a> {
    /// Of the bits that follow the first time.
    fn after_time(t_ms: i64, bytes: &'a [u8]) -> Self {
        let bits = BitReader::new(bytes);
        Self { bits, started: false, t_ms, delta_ms: 0, value_bits: 0, leading: 0, significant: 0 }
    }

    fn next(&mut self) -> Option<Sample> {
        if self.started {
            // What tells the next sample's form nearly always fits one look: two bits for a time that goes on as before,
            // 16 for one that comes a little earlier or later, and up to 13 for the value.
            let ahead = self.bits.peek();
            let (change_ms, ahead, used) = match ahead >> 62 {
                0b00 | 0b01 => (0, ahead, 1),
                0b10 => (((ahead << 2) as i64) >> (64 - SHORT), ahead, 2 + SHORT),
                _ => {
                    let change_ms = self.time_change()?;
                    (change_ms, self.bits.peek(), 0)
                }
            };
            self.delta_ms = self.delta_ms.wrapping_add(change_ms);
            self.t_ms = self.t_ms.wrapping_add(self.delta_ms);
            self.value_bits ^= self.value_change(ahead, used)?;
        } else {
            self.value_bits = self.bits.read(64)?;
            self.started = true;
        }
        Some(Sample { t_ms: self.t_ms, value: f64::from_bits(self.value_bits) })
    }

    fn time_change(&mut self) -> Option<i64> {
        if !self.bits.bit()? {
            return Some(0);
        }
        for width in WIDTHS {
            if !self.bits.bit()? {
                let raw = self.bits.read(width)?;
                let unused = 64 - width;
                return Some(((raw << unused) as i64) >> unused);
            }
        }
        self.bits.read(64).map(|raw| raw as i64)
    }

    /// What changes of a value, given the bits that come next, of which so many are used.
    fn value_change(&mut self, ahead: u64, used: u32) -> Option<u64> {
        let form = ahead << used;
        let head = match form >> 62 {
            0b00 | 0b01 => {
                self.bits.skip(used as usize + 1)?;
                return Some(0);
            }
            0b10 => 2,
            _ => {
                self.leading = (form >> 57) as u32 & 31;
                self.significant = match (form >> 51) as u32 & 63 {
                    0 => 64,
                    bits => bits,
                };
                13
            }
        };
        let trailing = 64_u32.checked_sub(self.leading)?.checked_sub(self.significant)?;
        let (begin, width) = (used + head, self.significant);
        let raw = if begin + width <= PEEKED {
            self.bits.skip((begin + width) as usize)?;
            (ahead << begin >> 1) >> (63 - width)
        } else {
            self.bits.skip(begin as usize)?;
            self.bits.read(width)?
        };
        Some(raw << (trailing & 63))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(chunk: &FloatChunk) -> Vec<u8> {
        let mut bytes = Vec::new();
        chunk.write_to(&mut bytes);
        bytes
    }

    fn round_trip(samples: &[Sample]) -> Vec<Sample> {
        let mut chunk = FloatChunk::default();
        samples.iter().for_each(|sample| chunk.push(*sample));
        let (mut out, mut grown) = (Vec::new(), Vec::new());
        read(&written(&chunk), chunk.count(), TimeRange::ALL, &mut out).unwrap();
        chunk.read(TimeRange::ALL, &mut grown).unwrap();
        assert_eq!(bits(&out), bits(&grown));
        out
    }

    fn bits(samples: &[Sample]) -> Vec<(i64, u64)> {
        samples.iter().map(|sample| (sample.t_ms, sample.value.to_bits())).collect()
    }

    fn values() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000_i32..1000).prop_map(f64::from),
            (0_u32..100_000).prop_map(|n| f64::from(n) / 100.0),
            Just(tenantscope_model::stale_nan()),
        ]
    }

    proptest! {
        #[test]
        fn every_sample_comes_back_bit_by_bit(
            start in any::<i64>(),
            steps in prop::collection::vec((prop_oneof![1_i64..20, Just(15_000), 1..i64::MAX], values()), 0..200),
        ) {
            let mut samples = Vec::new();
            let mut t_ms = start;
            for (step, value) in steps {
                samples.push(Sample { t_ms, value });
                let Some(next) = t_ms.checked_add(step) else { break };
                t_ms = next;
            }
            prop_assert_eq!(bits(&round_trip(&samples)), bits(&samples));
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..300) {
            let _ = read(&bytes, count, TimeRange::ALL, &mut Vec::new());
        }
    }

    #[test]
    fn a_steady_gauge_takes_under_two_bytes_a_sample() {
        let mut chunk = FloatChunk::default();
        (0..240).for_each(|i| chunk.push(Sample { t_ms: 1_700_000_000_000 + i * 15_000, value: (i % 4) as f64 }));
        assert!(written(&chunk).len() < 480);
    }

    /// A chunk after the number of its samples: what is read can be written and reads the same.
    #[test]
    fn float_chunk() {
        tenantscope_fuzz::fuzz!("float_chunk", |input| {
            let Some((count, bytes)) = input.split_first_chunk::<2>() else { return };
            let mut samples = Vec::new();
            let count = u32::from(u16::from_be_bytes(*count));
            let _ = read(bytes, count, TimeRange { min_ms: 0, max_ms: 1 << 40 }, &mut Vec::new());
            if read(bytes, count, TimeRange::ALL, &mut samples).is_err() {
                return;
            }
            assert!(samples.len() * 2 <= 16 + bytes.len() * 8, "a sample takes two bits at the least");
            if samples.is_sorted_by(|a, b| a.t_ms < b.t_ms) {
                assert_eq!(bits(&round_trip(&samples)), bits(&samples));
            }
        });
    }
}
