//! How many series there are of what: the same as counting the labels of each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{Bench, MINUTE_MS, always, options, stamped, tenant};
use tenantscope_model::{Cardinality, Labels, Matcher, Scope, Select};

fn labels(number: usize) -> Labels {
    let (name, tenant) = (format!("m{}", number % 7), format!("t{}", number % 3));
    let (pod, host) = (format!("pod-{number}"), format!("pod-{}", number / 40));
    Labels::from_pairs([("__name__", name.as_str()), ("tenant", &tenant), ("pod", &pod), ("host", &host)])
}

#[test]
fn counts_are_those_of_the_series_that_the_reader_may_see() {
    let mut bench = Bench::new(options());
    let of = |number: usize| stamped(labels(number), &[(number as i64, 1.0)]);
    bench.write((0..300).map(of).collect());
    bench.store().flush().unwrap();
    bench.write((200..400).map(of).collect());
    let matchers = [vec![Matcher::equal("host", "pod-2")], vec![Matcher::equal("__name__", "m1")]];
    for scope in [Scope::All, Scope::only(tenant("t1")), Scope::only(tenant("nobody"))] {
        for sets in [&matchers[..], &[]] {
            for limit in [3, 1000] {
                let mut request = always(sets);
                let all = bench.store().series(&scope, &request).unwrap();
                request.limit = limit;
                let counted = bench.store().cardinality(&scope, &request).unwrap();
                assert_eq!(counted, Cardinality::of(&all, limit));
            }
        }
    }
}

#[test]
fn series_without_samples_in_the_time_are_not_counted() {
    let mut bench = Bench::new(options());
    bench.write(vec![stamped(labels(0), &[(0, 1.0)])]);
    bench.store().flush().unwrap();
    bench.write(vec![stamped(labels(1), &[(600 * MINUTE_MS, 1.0)])]);
    let mut request = always(&[]);
    assert_eq!(bench.store().cardinality(&Scope::All, &request).unwrap().series, 2);
    request.from_ms = 500 * MINUTE_MS;
    assert_eq!(bench.store().cardinality(&Scope::All, &request).unwrap().series, 1);
}
