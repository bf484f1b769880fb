//! What holds for every histogram.

use proptest::prelude::*;
use tenantscope_model::{Histogram, Span, Spans};
use tenantscope_promql::{histogram_added, histogram_subtracted, is_reset};

fn histogram() -> impl Strategy<Value = Histogram> {
    let side = (-4..4i32, prop::collection::vec(0..50u32, 0..6)).prop_map(|(offset, counts)| Spans {
        spans: if counts.is_empty() { Vec::new() } else { vec![Span { offset, length: counts.len() as u32 }] },
        counts: counts.into_iter().map(f64::from).collect(),
    });
    let zero = (0..20u32, prop_oneof![Just(0.0), Just(0.001), Just(0.3), Just(2.0)]);
    (-2..4i32, zero, side.clone(), side).prop_map(|(schema, (zero_count, zero_threshold), positive, negative)| {
        let zero_count = f64::from(zero_count);
        let count = zero_count + positive.counts.iter().sum::<f64>() + negative.counts.iter().sum::<f64>();
        Histogram {
            schema,
            zero_threshold,
            zero_count,
            count,
            sum: count,
            positive,
            negative,
            custom_bounds: Vec::new(),
            reset_hint: Default::default(),
        }
    })
}

fn observations(histogram: &Histogram) -> f64 {
    histogram.zero_count + histogram.positive.counts.iter().sum::<f64>() + histogram.negative.counts.iter().sum::<f64>()
}

proptest! {
    #[test]
    fn sums_of_histograms_commute_and_lose_nothing(a in histogram(), b in histogram()) {
        let ab = histogram_added(&a, &b).map_err(|_| TestCaseError::fail("incompatible"))?.histogram;
        let ba = histogram_added(&b, &a).map_err(|_| TestCaseError::fail("incompatible"))?.histogram;
        prop_assert_eq!(&ab, &ba);
        prop_assert_eq!(observations(&ab), observations(&a) + observations(&b));
        prop_assert_eq!(ab.count, a.count + b.count);
    }

    #[test]
    fn a_counter_that_grows_did_not_restart(a in histogram(), b in histogram()) {
        let grown = histogram_added(&a, &b).map_err(|_| TestCaseError::fail("incompatible"))?.histogram;
        prop_assert!(!is_reset(&a, &grown));
        prop_assert!(!is_reset(&a, &a));
        let more = grown.count > a.count;
        prop_assert!(!more || is_reset(&grown, &a), "what has less began anew");
    }

    #[test]
    fn what_was_added_can_be_taken_away(a in histogram(), b in histogram()) {
        let combined = |result: Result<tenantscope_promql::Combined, _>| {
            result.map(|combined| combined.histogram).map_err(|_| TestCaseError::fail("incompatible"))
        };
        let sum = combined(histogram_added(&a, &b))?;
        let back = combined(histogram_subtracted(&sum, &b))?;
        // In the layout that both have in common.
        let nothing = Histogram { schema: sum.schema, zero_threshold: sum.zero_threshold, ..Histogram::default() };
        prop_assert_eq!(back, combined(histogram_added(&a, &nothing))?);
    }
}
