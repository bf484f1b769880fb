//! An evaluation without some tenants sees nothing of theirs, wherever an expression looks.
#![allow(clippy::unwrap_used)]

mod shelf;

use std::collections::BTreeSet;
use std::sync::Arc;

use shelf::Shelf;
use tenantscope_model::{Evaluate as _, EvaluateApart as _, Scope, TenantId};
use tenantscope_promql::{Engine, Evaluator};

const NOW_MS: i64 = 600_000;

/// `x` and `target_info` of three tenants, of whom one is called as an expression would be that fits another, and an `x`
/// of none.
fn evaluator() -> Evaluator {
    let samples: Vec<(i64, f64)> = (0..=10).map(|minute| (minute * 60_000, 1.0)).collect();
    let tenants = [&[("tenant", "a")][..], &[("tenant", "a.")], &[("tenant", "ab")], &[]];
    let shelf = tenants.into_iter().fold(Shelf::default(), |shelf, tenant| {
        let of = |name, more| [&[("__name__", name), ("instance", "i"), ("job", "j")], tenant, more].concat();
        let shelf = shelf.with(&of("x", &[]), &samples);
        if tenant.is_empty() { shelf } else { shelf.with(&of("target_info", &[("version", "1")]), &samples) }
    });
    Evaluator::new(Engine::default(), Arc::new(shelf))
}

#[test]
fn nothing_of_theirs_is_seen_and_all_else_is() {
    let evaluator = evaluator();
    let without: BTreeSet<TenantId> = ["a", "a."].map(|tenant| tenant.parse().unwrap()).into();
    for expression in [
        "x",
        "{__name__=~'x|target_info', version=''}",
        "sum_over_time(x[5m])",
        "max_over_time((x + x)[5m:1m])",
        "x * on (tenant) group_left (version) target_info or x{tenant=''}",
        "info(x{tenant!=''}) or x{tenant=''}",
        "x{tenant!='c'} offset 1m",
    ] {
        let tenants = |found: Vec<tenantscope_model::Evaluated>| -> Vec<String> {
            let mut of: Vec<String> =
                found.iter().map(|one| one.labels.get("tenant").unwrap_or("").to_owned()).collect();
            of.sort();
            of
        };
        let all = tenants(evaluator.evaluate(&Scope::All, expression, NOW_MS).unwrap());
        assert_eq!(all, ["", "a", "a.", "ab"], "{expression}");
        let rest = tenants(evaluator.evaluate_without(&without, expression, NOW_MS).unwrap());
        assert_eq!(rest, ["", "ab"], "{expression}");
    }
}
