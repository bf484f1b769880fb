//! Prometheus's own test scripts, against our engine over our store.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../examples/promqltest/runner/mod.rs"]
mod runner;

use std::path::Path;

#[test]
fn prometheus_scripts_pass_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/promql/scripts");
    let mut scripts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "test") {
            continue;
        }
        scripts += 1;
        let outcome = runner::run(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let shown = outcome.failures.iter().map(|f| format!("line {}: {}\n{}", f.line, f.query, f.message));
        assert!(outcome.failures.is_empty(), "{}\n{}", path.display(), shown.collect::<Vec<_>>().join("\n"));
        assert!(outcome.cases > 0, "{}", path.display());
    }
    assert!(scripts >= 15, "{scripts} scripts");
}

#[test]
fn our_own_script_passes_whole() {
    let outcome = runner::run(include_str!("own.test")).unwrap();
    let shown = outcome.failures.iter().map(|f| format!("line {}: {}\n{}", f.line, f.query, f.message));
    assert!(outcome.failures.is_empty(), "{}", shown.collect::<Vec<_>>().join("\n"));
}

/// Each case is wrong in one way.
#[test]
fn what_is_not_as_expected_fails() {
    let load = "load 1m\n  counter_total{a=\"1\"} 0+60x9\n  gauge{a=\"1\"} 1 2 3\n  \
                h{} {{schema:0 count:3 sum:3 buckets:[1 2]}}x9\n\n";
    let cases = [
        "eval instant at 2m gauge\n  gauge{a=\"1\"} 4",
        "eval instant at 2m gauge\n  gauge{a=\"2\"} 3",
        "eval instant at 2m gauge",
        "eval instant at 2m {a=\"1\"}\n  gauge{a=\"1\"} 3",
        "eval instant at 2m gauge\n  expect fail\n  gauge{a=\"1\"} 3",
        "eval instant at 2m gauge\n  expect warn\n  gauge{a=\"1\"} 3",
        "eval instant at 2m rate(gauge[2m])\n  expect no_info\n  {a=\"1\"} 0.016666666666666666",
        "eval instant at 2m rate(gauge[2m])\n  expect info msg: PromQL info: something else\n  {a=\"1\"} 0.0166666666",
        "eval instant at 2m rate(gauge[2m])\n  expect info regex: .* \\(1:7\\)\n  {a=\"1\"} 0.016666666666666666",
        "eval instant at 2m gauge offset\n  expect fail msg: something else",
        "eval instant at 2m sort_desc({a=\"1\"})\n  expect ordered\n  gauge{a=\"1\"} 3\n  counter_total{a=\"1\"} 120",
        "eval instant at 2m 1 + 1\n  3",
        "eval instant at 2m \"text\"\n  expect string \"other\"",
        "eval instant at 2m h\n  h {{schema:0 count:3 sum:3 buckets:[2 1]}}",
        "eval instant at 2m h\n  h {{schema:0 count:3 sum:3 buckets:[1 2] counter_reset_hint:gauge}}",
        "eval range from 0 to 2m step 1m gauge\n  gauge{a=\"1\"} 1 2",
        "eval range from 0 to 2m step 1m gauge\n  gauge{a=\"1\"} 1 _ 3",
        "eval instant at 2m gauge[2m]\n  expect range vector from 0 to 1m step 1m\n  gauge{a=\"1\"} 1 3",
    ];
    for case in cases {
        let outcome = runner::run(&format!("{load}{case}\n")).unwrap();
        assert_eq!((outcome.cases, outcome.failures.len()), (1, 1), "{case}");
    }
}
