//! What holds for every expression and every histogram.

use proptest::prelude::*;
use tenantscope_model::{Histogram, Span, Spans};
use tenantscope_promql::{histogram_added, parse};

/// Instant vectors of some depth, as text.
fn vector() -> impl Strategy<Value = String> {
    let modifier = prop_oneof![
        Just(String::new()),
        (1..500i64).prop_map(|s| format!(" offset {s}s")),
        (1..500i64).prop_map(|s| format!(" offset -{s}s")),
        (0..10_000i64).prop_map(|s| format!(" @ {s}")),
        Just(" @ end() offset 1h30m".to_owned()),
    ];
    let matcher = prop_oneof![Just(""), Just("{a=\"b\"}"), Just("{a!~\"b.*\",\"x-y\"=\"\\\\\\\"\"}")];
    let leaf =
        ("[a-c]{3}_total", matcher, modifier.clone()).prop_map(|(name, matcher, m)| format!("{name}{matcher}{m}"));
    leaf.prop_recursive(4, 24, 2, move |inner| {
        let range = (inner.clone(), 1..90i64, modifier.clone())
            .prop_map(|(inner, minutes, m)| format!("rate(({inner})[{minutes}m:30s]{m})"));
        let grouping = prop_oneof![Just(""), Just(" by (a, b)"), Just(" without (\"x-y\")")];
        let aggregate = (prop_oneof![Just("sum"), Just("avg"), Just("count")], grouping, inner.clone())
            .prop_map(|(op, grouping, inner)| format!("{op}{grouping} ({inner})"));
        let operator = prop_oneof![
            Just("+"),
            Just("- ignoring (a)"),
            Just("/ on (a) group_left (b)"),
            Just("> bool"),
            Just("and on ()"),
            Just("unless"),
        ];
        let binary = (inner.clone(), operator, inner.clone()).prop_map(|(l, op, r)| format!("({l}) {op} ({r})"));
        let scalar = (inner.clone(), -3..3i32).prop_map(|(inner, number)| format!("{number} * ({inner}) ^ 1.5e-7"));
        let call =
            inner.prop_map(|inner| format!("label_replace(clamp_min(-({inner}), 1), \"a\", \"$1\", \"b\", \"(.*)\")"));
        prop_oneof![range, aggregate, binary, scalar, call]
    })
}

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
    fn what_is_printed_parses_to_the_same(text in vector()) {
        let expr = parse(&text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let again = parse(&expr.to_string()).map_err(|error| TestCaseError::fail(format!("{expr}: {error}")))?;
        prop_assert_eq!(&again, &expr);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[-+*/(){}\\[\\]a-c0-9 \"':,=~!<>@.ms\\\\]{0,40}") {
        let _ = parse(&text);
    }

    #[test]
    fn sums_of_histograms_commute_and_lose_nothing(a in histogram(), b in histogram()) {
        let ab = histogram_added(&a, &b).map_err(|_| TestCaseError::fail("incompatible"))?.histogram;
        let ba = histogram_added(&b, &a).map_err(|_| TestCaseError::fail("incompatible"))?.histogram;
        prop_assert_eq!(&ab, &ba);
        prop_assert_eq!(observations(&ab), observations(&a) + observations(&b));
        prop_assert_eq!(ab.count, a.count + b.count);
    }
}
