//! Whether a counter of histograms began anew, and what is said of it.

use tenantscope_model::{Histogram, HistogramSample, ResetHint, Sample, is_stale_nan};

use super::bucket::Counts;
use super::flat::{Flat, align};
use super::is_custom;

/// Whether a counter began anew between two histograms; what the later one says of it decides.
pub fn is_reset(previous: &Histogram, current: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::CounterReset => true,
        ResetHint::NotCounterReset => false,
        ResetHint::Unknown | ResetHint::Gauge => shrank(previous, current),
    }
}

/// Whether anything is less than before, whatever is said of it.
fn shrank(previous: &Histogram, current: &Histogram) -> bool {
    if current.count < previous.count || is_custom(current) != is_custom(previous) {
        return true;
    }
    let finer = !is_custom(current) && current.schema > previous.schema;
    if finer || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    let (mut old, mut new) = (Flat::of(previous), Flat::of(current));
    old.widen_zero(new.zero_threshold);
    if !is_custom(current) && old.zero_threshold != new.zero_threshold {
        return true;
    }
    if align(&mut old, &mut new).is_err() || new.zero_count < old.zero_count {
        return true;
    }
    let any_less = |old: &Counts, new: &Counts| {
        old.iter().any(|(index, count)| new.get(index).copied().unwrap_or_default() < *count)
    };
    any_less(&old.positive, &new.positive) || any_less(&old.negative, &new.negative)
}

/// Whether two histograms belong to one run of a counter's histograms, in which each says that counting went on.
fn continues(previous: &Histogram, current: &Histogram) -> bool {
    current.reset_hint != ResetHint::CounterReset
        && previous.reset_hint != ResetHint::Gauge
        && !is_stale_nan(previous.sum)
        && previous.schema == current.schema
        && previous.zero_threshold == current.zero_threshold
        && previous.custom_bounds == current.custom_bounds
        && !shrank(previous, current)
}

/// Puts Prometheus's hints on the histograms of one series: "went on" where nothing is less than in the one before,
/// and unknown elsewhere. A sender's "began anew" is not kept, since what stood before may be missing or late.
///
/// A float between two histograms parts them; the first histogram keeps what it says.
pub fn settle_hints(floats: &[Sample], histograms: &mut [HistogramSample]) {
    let mut float_times = floats.iter().map(|sample| sample.t_ms).peekable();
    let mut previous: Option<&HistogramSample> = None;
    for sample in histograms {
        let mut parted = false;
        while float_times.next_if(|t_ms| *t_ms <= sample.t_ms).is_some() {
            parted = true;
        }
        let before = previous.filter(|_| !parted);
        let hint = match (sample.histogram.reset_hint, before) {
            (ResetHint::Gauge, _) => ResetHint::Gauge,
            (hint, None) if previous.is_none() && !parted && hint == ResetHint::NotCounterReset => hint,
            (_, Some(before)) if continues(&before.histogram, &sample.histogram) => ResetHint::NotCounterReset,
            _ => ResetHint::Unknown,
        };
        set_hint(sample, hint);
        previous = Some(sample);
    }
}

/// Leaves nothing but counts and sums, for functions that look at no more; each histogram says what the buckets told.
pub(crate) fn keep_totals(histograms: &mut [HistogramSample]) {
    let mut previous: Option<std::sync::Arc<Histogram>> = None;
    for sample in histograms {
        let whole = std::sync::Arc::clone(&sample.histogram);
        let hint = match (whole.reset_hint, &previous) {
            _ if is_stale_nan(whole.sum) => continue,
            (ResetHint::Unknown, Some(before)) if shrank(before, &whole) => ResetHint::CounterReset,
            (ResetHint::Unknown, Some(_)) => ResetHint::NotCounterReset,
            (hint, _) => hint,
        };
        let totals = Histogram {
            schema: whole.schema,
            count: whole.count,
            sum: whole.sum,
            reset_hint: hint,
            ..Histogram::default()
        };
        sample.histogram = std::sync::Arc::new(totals);
        previous = Some(whole);
    }
}

/// Forgets "began anew" and "went on": a subquery may leave histograms out, or give one more than once.
pub(crate) fn forget_hints(histograms: &mut [HistogramSample]) {
    for sample in histograms {
        if matches!(sample.histogram.reset_hint, ResetHint::CounterReset | ResetHint::NotCounterReset) {
            set_hint(sample, ResetHint::Unknown);
        }
    }
}

fn set_hint(sample: &mut HistogramSample, hint: ResetHint) {
    if sample.histogram.reset_hint != hint {
        std::sync::Arc::make_mut(&mut sample.histogram).reset_hint = hint;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn samples(counts: &[f64]) -> Vec<HistogramSample> {
        let one = |(index, count): (usize, &f64)| HistogramSample {
            t_ms: index as i64 * 10,
            histogram: Arc::new(Histogram { count: *count, zero_count: *count, ..Histogram::default() }),
        };
        counts.iter().enumerate().map(one).collect()
    }

    fn hints(samples: &[HistogramSample]) -> Vec<ResetHint> {
        samples.iter().map(|sample| sample.histogram.reset_hint).collect()
    }

    #[test]
    fn what_goes_on_says_so() {
        use ResetHint::{NotCounterReset, Unknown};
        let mut histograms = samples(&[1.0, 2.0, 1.0, 3.0, 4.0]);
        settle_hints(&[Sample { t_ms: 35, value: 1.0 }], &mut histograms);
        assert_eq!(hints(&histograms), [Unknown, NotCounterReset, Unknown, NotCounterReset, Unknown]);
    }

    #[test]
    fn totals_know_what_the_buckets_knew() {
        use ResetHint::{CounterReset, NotCounterReset, Unknown};
        let mut histograms = samples(&[1.0, 2.0, 1.0]);
        keep_totals(&mut histograms);
        assert_eq!(hints(&histograms), [Unknown, NotCounterReset, CounterReset]);
        assert!(histograms.iter().all(|sample| sample.histogram.zero_count == 0.0));
    }
}
