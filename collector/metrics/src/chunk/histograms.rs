//! Native histograms in time order. The layout (schema, spans, bounds) is written where it changes; numbers are written
//! as the difference to the histogram before where both are whole, else as they are.

use std::sync::Arc;

use tenantscope_model::{Histogram, HistogramSample, ResetHint, Span, Spans};

use super::Damaged;
use super::varint::{Bytes, put, put_signed, unzigzag, zigzag};
use crate::columns::TimeRange;

/// The first bit of a histogram's head: a layout follows.
const NEW_LAYOUT: u8 = 1;
/// The reset hints by the number in the next two bits.
const HINTS: [ResetHint; 4] =
    [ResetHint::Unknown, ResetHint::CounterReset, ResetHint::NotCounterReset, ResetHint::Gauge];
/// Whole numbers up to here are exact in a float.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Writes histograms, whose times must rise.
pub(crate) fn write(histograms: &[HistogramSample]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last_ms = 0_i64;
    let mut last: Option<&Histogram> = None;
    for sample in histograms {
        let histogram = &*sample.histogram;
        put_signed(&mut out, sample.t_ms.wrapping_sub(last_ms));
        last_ms = sample.t_ms;
        let base = last.filter(|last| same_layout(last, histogram));
        let hint = hint_bits(histogram.reset_hint);
        if base.is_none() {
            out.push(hint | NEW_LAYOUT);
            put_layout(&mut out, histogram);
        } else {
            out.push(hint);
        }
        match base {
            Some(base) => numbers(histogram).zip(numbers(base)).for_each(|(n, before)| put_float(&mut out, n, before)),
            None => numbers(histogram).for_each(|n| put_float(&mut out, n, 0.0)),
        }
        last = Some(histogram);
    }
    out
}

/// Reads `count` histograms, appends those within the range, and says how many lie before it.
pub(crate) fn read(
    bytes: &[u8],
    count: u32,
    range: TimeRange,
    out: &mut Vec<HistogramSample>,
) -> Result<usize, Damaged> {
    let mut bytes = Bytes(bytes);
    let mut before = 0;
    let mut t_ms = 0_i64;
    let mut last: Option<Arc<Histogram>> = None;
    for _ in 0..count {
        t_ms = t_ms.wrapping_add(bytes.signed()?);
        let head = bytes.byte()?;
        let (mut histogram, base) = match &last {
            _ if head & NEW_LAYOUT != 0 => (take_layout(&mut bytes)?, None),
            Some(last) => (Histogram::clone(last), Some(last)),
            None => return Err(Damaged("histogram chunk starts without a layout")),
        };
        histogram.reset_hint =
            HINTS.get(usize::from(head >> 1)).copied().ok_or(Damaged("unknown head of a histogram"))?;
        fill(&mut histogram, base.map(|base| &**base), &mut bytes)?;
        let histogram = Arc::new(histogram);
        if t_ms > range.max_ms {
            break;
        }
        if t_ms >= range.min_ms {
            out.push(HistogramSample { t_ms, histogram: Arc::clone(&histogram) });
        } else {
            before += 1;
        }
        last = Some(histogram);
    }
    Ok(before)
}

fn hint_bits(hint: ResetHint) -> u8 {
    (HINTS.iter().position(|other| *other == hint).unwrap_or(0) as u8) << 1
}

fn same_layout(a: &Histogram, b: &Histogram) -> bool {
    let same_bits = |a: &[f64], b: &[f64]| a.iter().map(|f| f.to_bits()).eq(b.iter().map(|f| f.to_bits()));
    let same_side = |a: &Spans, b: &Spans| a.spans == b.spans && a.counts.len() == b.counts.len();
    a.schema == b.schema
        && a.zero_threshold.to_bits() == b.zero_threshold.to_bits()
        && same_side(&a.positive, &b.positive)
        && same_side(&a.negative, &b.negative)
        && same_bits(&a.custom_bounds, &b.custom_bounds)
}

/// The numbers that change from sample to sample, in a fixed order.
fn numbers(histogram: &Histogram) -> impl Iterator<Item = f64> {
    let single = [histogram.zero_count, histogram.count, histogram.sum];
    single.into_iter().chain(histogram.positive.counts.iter().copied()).chain(histogram.negative.counts.iter().copied())
}

fn fill(histogram: &mut Histogram, base: Option<&Histogram>, bytes: &mut Bytes<'_>) -> Result<(), Damaged> {
    let mut before = base.into_iter().flat_map(numbers);
    let Histogram { zero_count, count, sum, positive, negative, .. } = histogram;
    let single = [zero_count, count, sum].into_iter();
    for number in single.chain(&mut positive.counts).chain(&mut negative.counts) {
        *number = take_float(bytes, before.next().unwrap_or(0.0))?;
    }
    Ok(())
}

fn whole(number: f64) -> Option<i64> {
    let fits = number.abs() <= MAX_WHOLE;
    // Bits are compared so that -0.0 is not taken for 0.
    fits.then_some(number as i64).filter(|whole| (*whole as f64).to_bits() == number.to_bits())
}

/// An even number: the zigzag of the difference to `before`, twice. A 1: eight bytes follow.
fn put_float(out: &mut Vec<u8>, number: f64, before: f64) {
    match (whole(number), whole(before)) {
        (Some(number), Some(before)) => put(out, zigzag(number - before) << 1),
        _ => {
            put(out, 1);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
    }
}

fn take_float(bytes: &mut Bytes<'_>, before: f64) -> Result<f64, Damaged> {
    let number = bytes.number()?;
    if number == 1 {
        return bytes.float();
    }
    let before = whole(before).ok_or(Damaged("difference to a number that is not whole"))?;
    Ok(before.wrapping_add(unzigzag(number >> 1)) as f64)
}

fn put_layout(out: &mut Vec<u8>, histogram: &Histogram) {
    put_signed(out, i64::from(histogram.schema));
    out.extend_from_slice(&histogram.zero_threshold.to_bits().to_le_bytes());
    for side in [&histogram.positive, &histogram.negative] {
        put(out, side.spans.len() as u64);
        for span in &side.spans {
            put_signed(out, i64::from(span.offset));
            put(out, u64::from(span.length));
        }
        put(out, side.counts.len() as u64);
    }
    put(out, histogram.custom_bounds.len() as u64);
    histogram.custom_bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_bits().to_le_bytes()));
}

fn take_layout(bytes: &mut Bytes<'_>) -> Result<Histogram, Damaged> {
    let schema = take_i32(bytes)?;
    let zero_threshold = bytes.float()?;
    let positive = take_side(bytes)?;
    let negative = take_side(bytes)?;
    let bounds = bytes.count()?;
    let custom_bounds = (0..bounds).map(|_| bytes.float()).collect::<Result<_, _>>()?;
    Ok(Histogram { schema, zero_threshold, positive, negative, custom_bounds, ..Histogram::default() })
}

fn take_side(bytes: &mut Bytes<'_>) -> Result<Spans, Damaged> {
    let spans = bytes.count()?;
    let spans = (0..spans)
        .map(|_| Ok(Span { offset: take_i32(bytes)?, length: bytes.small()? }))
        .collect::<Result<_, Damaged>>()?;
    let counts = bytes.count()?;
    Ok(Spans { spans, counts: vec![0.0; counts] })
}

fn take_i32(bytes: &mut Bytes<'_>) -> Result<i32, Damaged> {
    i32::try_from(bytes.signed()?).map_err(|_| Damaged("number is larger than 32 bits"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            (0_u32..1000).prop_map(f64::from),
            any::<u64>().prop_map(f64::from_bits),
            Just(-0.0),
            Just(tenantscope_model::stale_nan()),
        ]
    }

    fn side() -> impl Strategy<Value = Spans> {
        let spans = prop::collection::vec((any::<i32>(), 0_u32..5), 0..4);
        (spans, prop::collection::vec(number(), 0..8)).prop_map(|(spans, counts)| Spans {
            spans: spans.into_iter().map(|(offset, length)| Span { offset, length }).collect(),
            counts,
        })
    }

    fn histogram() -> impl Strategy<Value = Histogram> {
        let numbers = (number(), number(), number(), number());
        let hint = prop::sample::select(HINTS.to_vec());
        (-53_i32..9, numbers, side(), side(), prop::collection::vec(number(), 0..4), hint).prop_map(
            |(schema, (zero_threshold, zero_count, count, sum), positive, negative, custom_bounds, hint)| Histogram {
                schema,
                zero_threshold,
                zero_count,
                count,
                sum,
                positive,
                negative,
                custom_bounds,
                reset_hint: hint,
            },
        )
    }

    /// Debug text shows NaNs alike but keeps -0.0; bits of NaNs are compared through `numbers`.
    fn same(a: &Histogram, b: &Histogram) -> bool {
        a.reset_hint == b.reset_hint
            && same_layout(a, b)
            && numbers(a).map(f64::to_bits).eq(numbers(b).map(f64::to_bits))
    }

    proptest! {
        #[test]
        fn every_histogram_comes_back_bit_by_bit(
            mut given in prop::collection::vec((any::<i64>(), histogram(), any::<bool>()), 0..20),
        ) {
            given.sort_by_key(|(t_ms, ..)| *t_ms);
            given.dedup_by_key(|(t_ms, ..)| *t_ms);
            let mut samples: Vec<HistogramSample> = Vec::new();
            for (t_ms, mut histogram, repeat_layout) in given {
                if let (true, Some(last)) = (repeat_layout, samples.last()) {
                    let count = histogram.count;
                    histogram = Histogram::clone(&last.histogram);
                    histogram.count = count;
                }
                samples.push(HistogramSample { t_ms, histogram: Arc::new(histogram) });
            }
            let mut out = Vec::new();
            read(&write(&samples), samples.len() as u32, TimeRange::ALL, &mut out).unwrap();
            prop_assert_eq!(out.len(), samples.len());
            for (got, expected) in out.iter().zip(&samples) {
                prop_assert_eq!(got.t_ms, expected.t_ms);
                prop_assert!(same(&got.histogram, &expected.histogram));
            }
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_u32..300) {
            let _ = read(&bytes, count, TimeRange::ALL, &mut Vec::new());
        }
    }

    #[test]
    fn histogram_chunk() {
        tenantscope_fuzz::fuzz!("histogram_chunk", |input| {
            let Some((count, bytes)) = input.split_first() else { return };
            let mut samples = Vec::new();
            if read(bytes, u32::from(*count), TimeRange::ALL, &mut samples).is_err() {
                return;
            }
            let mut again = Vec::new();
            read(&write(&samples), samples.len() as u32, TimeRange::ALL, &mut again).unwrap();
            assert_eq!(again.len(), samples.len());
            for (got, expected) in again.iter().zip(&samples) {
                assert_eq!(got.t_ms, expected.t_ms);
                assert!(same(&got.histogram, &expected.histogram));
            }
        });
    }
}
