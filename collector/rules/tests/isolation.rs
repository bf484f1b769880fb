//! One tenant's data must not end a rule for the others: over the real PromQL engine, on a manual clock.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod memory;
mod outside;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use memory::Memory;
use outside::Outside;
use parking_lot::Mutex;
use tenantscope_model::{
    AlertState, Exemplar, Labels, Metadata, MetadataRequest, QueryBounds, Sample, Scope, Select, SelectError,
    SelectRequest, SelectedSeries, SeriesRequest, StampedSeries, TenantId, is_stale_nan,
};
use tenantscope_promql::{Engine, Evaluator, Limits};
use tenantscope_rules::{BoxFuture, GroupDefaults, Groups, Options, Results, RuleView, Runner, WriteError};

const STEP_MS: i64 = 15_000;

#[derive(Default)]
struct World {
    outside: Arc<Outside>,
    store: Memory,
    selects: AtomicUsize,
    written: Mutex<Vec<StampedSeries>>,
    left_out: Mutex<Vec<(String, &'static str)>>,
}

impl Select for World {
    fn select(&self, scope: &Scope, request: &SelectRequest<'_>) -> Result<Vec<SelectedSeries>, SelectError> {
        self.selects.fetch_add(1, Ordering::Relaxed);
        let found = self.store.select(scope, request)?;
        request.budget.charge(found.iter().map(|series| series.samples.len()).sum())?;
        Ok(found)
    }

    fn series(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        self.store.series(scope, request)
    }

    fn label_names(&self, scope: &Scope, request: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        self.store.label_names(scope, request)
    }

    fn label_values(&self, scope: &Scope, name: &str, of: &SeriesRequest<'_>) -> Result<Vec<Arc<str>>, SelectError> {
        self.store.label_values(scope, name, of)
    }

    fn metadata(&self, _: &Scope, _: &MetadataRequest<'_>) -> Result<Vec<(Arc<str>, Vec<Metadata>)>, SelectError> {
        Ok(Vec::new())
    }

    fn exemplars(&self, _: &Scope, _: &SeriesRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        Ok(Vec::new())
    }
}

impl Results for World {
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.written.lock().extend(series);
        Box::pin(std::future::ready(Ok(())))
    }

    fn left_out(&self, tenant: &TenantId, reason: &'static str) {
        self.left_out.lock().push((tenant.as_str().to_owned(), reason));
    }
}

/// A group of one rule that runs, and what it is to find in the store at each step.
struct Bench {
    world: Arc<World>,
    runner: Runner,
    evaluator: Evaluator,
    at_ms: i64,
    told: Vec<(String, AlertState)>,
}

/// A sample of `name` for a tenant (none if empty), with a label more that makes it another series.
type Given<'a> = (&'a str, &'a str, &'a str, f64);

impl Bench {
    async fn new(rule: &str) -> Self {
        Self::limited(rule, 0).await
    }

    async fn limited(rule: &str, limit: usize) -> Self {
        let text = format!("groups:\n- name: g\n  interval: 15s\n  limit: {limit}\n  rules:\n  - {rule}\n");
        let groups = Groups::parse("r.yaml", &text, GroupDefaults::default()).unwrap();
        let at_ms = groups.specs()[0].aligned_at_or_before(1_800_000_000_000);
        let world = Arc::new(World::default());
        world.outside.now_ms.store(at_ms, Ordering::Relaxed);
        let evaluator = Evaluator::new(Engine::new(Limits::default()), world.clone());
        let seams = (world.clone(), world.outside.clone(), world.outside.clone());
        let runner = Runner::new(Arc::new(evaluator.clone()), seams.0, seams.1, seams.2, Options::default());
        runner.reload(groups).await.unwrap();
        Self { world, runner, evaluator, at_ms, told: Vec::new() }
    }

    /// The next evaluation, which finds this.
    async fn step(&mut self, given: &[Given<'_>]) {
        self.at_ms += STEP_MS;
        for (name, tenant, more, value) in given {
            let labels = [("__name__", *name), ("tenant", *tenant), ("service", "web"), ("more", *more)];
            let labels = Labels::from_pairs(labels.into_iter().filter(|(_, value)| !value.is_empty()));
            let gone = Sample { t_ms: self.at_ms + 1, value: tenantscope_model::stale_nan() };
            self.world.store.add(&labels, [Sample { t_ms: self.at_ms, value: *value }, gone]);
        }
        self.world.outside.now_ms.store(self.at_ms, Ordering::Relaxed);
        self.world.left_out.lock().clear();
        self.runner.tick(self.at_ms).await;
        let alerts = std::mem::take(&mut *self.world.outside.notified.lock());
        let mut told: Vec<_> =
            alerts.iter().map(|a| (a.labels.get("tenant").unwrap_or("").to_owned(), a.state)).collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        self.told = told;
    }

    fn rule(&self, scope: &Scope) -> RuleView {
        self.runner.groups(scope).remove(0).rules.remove(0)
    }

    fn seen_by(&self, tenant: &str) -> RuleView {
        self.rule(&Scope::only(tenant.parse().unwrap()))
    }

    /// Tenants and values of the series of a name that were written by the last steps.
    fn written(&self, name: &str) -> Vec<(String, f64)> {
        let written = std::mem::take(&mut *self.world.written.lock());
        let of_name = written.iter().filter(|series| series.labels.metric_name() == name);
        let mut of_name: Vec<_> =
            of_name.map(|s| (s.labels.get("tenant").unwrap_or("").to_owned(), s.samples[0].value)).collect();
        of_name.sort_by(|a, b| a.0.cmp(&b.0));
        of_name
    }
}

fn line(tenant: &str, state: AlertState) -> (String, AlertState) {
    (tenant.to_owned(), state)
}

const RATIO: &str =
    "{alert: Fails, expr: 'errors / on(tenant, service) group_left() requests > 0.5', for: 30s, labels: {}}";
const GOOD: [Given<'_>; 2] = [("errors", "good", "", 9.0), ("requests", "good", "", 10.0)];
const WELL: [Given<'_>; 2] = [("errors", "good", "", 0.0), ("requests", "good", "", 10.0)];
const BAD: [Given<'_>; 2] = [("errors", "bad", "", 9.0), ("requests", "bad", "", 10.0)];
/// Requests twice for one service.
const TWICE: [Given<'_>; 3] =
    [("errors", "bad", "", 9.0), ("requests", "bad", "", 10.0), ("requests", "bad", "1", 10.0)];

#[tokio::test]
async fn a_tenant_with_duplicates_keeps_no_other_tenants_alert_from_firing_and_resolving() {
    let mut bench = Bench::new(RATIO).await;
    bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    assert_eq!(bench.told, [line("good", AlertState::Firing)]);
    assert_eq!(*bench.world.left_out.lock(), [("bad".to_owned(), "data")]);
    bench.step(&[WELL.as_slice(), &TWICE].concat()).await;
    assert_eq!(bench.told, [line("good", AlertState::Resolved)]);
}

#[tokio::test]
async fn each_reader_is_told_of_the_tenants_that_it_may_see() {
    let mut bench = Bench::new(RATIO).await;
    bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    let all = bench.rule(&Scope::All);
    assert_eq!(all.health, "ok");
    let told = "evaluated without 1 tenant, whose data alone makes it fail: bad: found duplicate series";
    assert!(all.last_error.starts_with(told), "{}", all.last_error);
    let good = bench.seen_by("good");
    assert_eq!((good.health, good.last_error.as_str()), ("ok", ""));
    let bad = bench.seen_by("bad");
    assert!(bad.health == "err" && bad.last_error.starts_with(told), "{} {}", bad.health, bad.last_error);
    let both = bench.rule(&Scope::tenants(["good".parse().unwrap(), "bad".parse().unwrap()]));
    assert!(both.health == "ok" && both.last_error.contains("bad: found"), "{}", both.last_error);
}

#[tokio::test]
async fn what_a_left_out_tenant_has_stands_still_and_goes_on() {
    let mut bench = Bench::new(RATIO).await;
    bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
    let since_ms = bench.at_ms;
    bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
    let pending = |bench: &Bench| {
        let alert = bench.seen_by("bad").alerts.unwrap().remove(0);
        (alert.state, alert.active_at)
    };
    // Half of `for` has passed for both; the bad tenant's half stays half for as long as nobody knows.
    for left_out in 1..=4 {
        bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
        assert_eq!(pending(&bench), (AlertState::Pending, since_ms + left_out * STEP_MS));
    }
    while !bench.seen_by("bad").last_error.is_empty() {
        assert_eq!(pending(&bench).0, AlertState::Pending);
        assert!(bench.at_ms < since_ms + 40 * STEP_MS, "it is taken in again");
        bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
    }
    bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
    assert_eq!(pending(&bench).0, AlertState::Firing);

    bench.step(&[WELL.as_slice(), &TWICE].concat()).await;
    assert_eq!(bench.told, [line("good", AlertState::Resolved)]);
    for _ in 0..30 {
        bench.step(&TWICE).await;
        assert!(bench.told.iter().all(|(tenant, state)| tenant == "good" || *state == AlertState::Firing));
    }
    assert_eq!(pending(&bench).0, AlertState::Firing, "nobody knows that it ended");
}

#[tokio::test]
async fn where_one_tenant_has_data_the_rule_fails_as_in_prometheus() {
    let mut bench = Bench::new(RATIO).await;
    for _ in 0..20 {
        bench.step(&TWICE).await;
        let rule = bench.rule(&Scope::All);
        assert!(rule.health == "err" && rule.last_error.starts_with("found duplicate series"), "{}", rule.last_error);
    }
    // As soon as another has, it works for that one.
    bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    assert_eq!(bench.rule(&Scope::All).health, "ok");
}

#[tokio::test]
async fn a_rule_that_matches_across_tenants_is_itself_at_fault_and_is_searched_ever_less() {
    let mut bench =
        Bench::new("{alert: Fails, expr: 'errors / on(service) group_left() requests > 0.5', annotations: {}}").await;
    for _ in 0..40 {
        bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
        assert_eq!((bench.rule(&Scope::All).health, bench.world.left_out.lock().len()), ("err", 0));
    }
    bench.world.selects.store(0, Ordering::Relaxed);
    for _ in 0..17 {
        bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
    }
    // Two selections for each evaluation, and one search with two more evaluations.
    assert_eq!(bench.world.selects.load(Ordering::Relaxed), 17 * 2 + 2 * 2);
    bench.step(&GOOD).await;
    assert_eq!(bench.rule(&Scope::All).health, "ok");
}

#[tokio::test]
async fn a_few_among_many_are_found_and_left_out_at_no_cost_from_then_on() {
    let mut bench =
        Bench::new("{record: 'tenant:ratio', expr: 'errors / on(tenant, service) group_left() requests'}").await;
    let tenants: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let is_bad = |number: usize| [7, 8, 150].contains(&number);
    let mut given: Vec<Given<'_>> = vec![("errors", "", "", 1.0), ("requests", "", "", 4.0)];
    for (number, tenant) in tenants.iter().enumerate() {
        given.extend([("errors", tenant.as_str(), "", 1.0), ("requests", tenant, "", 2.0)]);
        given.extend(is_bad(number).then_some(("requests", tenant.as_str(), "1", 2.0)));
    }
    bench.step(&given).await;
    let written = bench.written("tenant:ratio");
    assert_eq!(written.len(), 298, "{:?}", bench.rule(&Scope::All).last_error);
    assert_eq!(written[0], (String::new(), 0.25), "what has no tenant is not left out");
    assert!(!written.iter().any(|(tenant, _)| ["t7", "t8", "t150"].contains(&tenant.as_str())));
    bench.world.selects.store(0, Ordering::Relaxed);
    bench.step(&given).await;
    assert_eq!((bench.written("tenant:ratio").len(), bench.world.selects.load(Ordering::Relaxed)), (298, 2));
}

#[tokio::test]
async fn recorded_series_of_a_left_out_tenant_are_not_ended() {
    let mut bench =
        Bench::new("{record: 'tenant:ratio', expr: 'errors / on(tenant, service) group_left() requests'}").await;
    bench.step(&[GOOD.as_slice(), &BAD].concat()).await;
    assert_eq!(bench.written("tenant:ratio").len(), 2);
    for _ in 0..3 {
        bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    }
    assert!(bench.written("tenant:ratio").iter().all(|(tenant, _)| tenant == "good"));
    for _ in 0..20 {
        bench.step(&GOOD).await;
    }
    let written = bench.written("tenant:ratio");
    let of_bad: Vec<f64> = written.iter().filter(|(tenant, _)| tenant == "bad").map(|(_, value)| *value).collect();
    assert!(of_bad.len() == 1 && is_stale_nan(of_bad[0]), "it ends once it is known to: {of_bad:?}");
}

#[tokio::test]
async fn whatever_a_tenants_data_does_to_an_expression_stays_with_the_tenant() {
    let names: [Given<'_>; 3] =
        [("errors_a", "good", "", 1.0), ("errors_a", "bad", "", 1.0), ("errors_b", "bad", "", 1.0)];
    let labels: [Given<'_>; 3] =
        [("errors", "good", "1", 1.0), ("errors", "bad", "1", 1.0), ("errors", "bad", "2", 1.0)];
    for (expr, given) in [
        ("rate({__name__=~\"errors_.*\"}[5m] offset 1ms) >= 0 or {__name__=~\"errors_.*\"} * 1 > 0", names),
        ("label_replace(errors, \"more\", \"\", \"\", \"\") > 0", labels),
        ("errors > 0", labels),
    ] {
        let mut bench = Bench::new(&format!("{{alert: A, expr: '{expr}', labels: {{more: all}}}}")).await;
        bench.step(&given).await;
        assert_eq!(bench.told, [line("good", AlertState::Firing)], "{expr}: {}", bench.rule(&Scope::All).last_error);
        assert_eq!(*bench.world.left_out.lock(), [("bad".to_owned(), "data")], "{expr}");
    }
}

#[tokio::test]
async fn one_tenants_cardinality_uses_up_nobody_elses_limit() {
    let many: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let mut given: Vec<Given<'_>> = many.iter().map(|more| ("errors", "bad", more.as_str(), 1.0)).collect();
    given.push(("errors", "good", "", 1.0));

    let mut bench = Bench::limited("{alert: A, expr: errors > 0}", 10).await;
    bench.step(&given).await;
    assert_eq!(bench.told, [line("good", AlertState::Firing)]);
    assert_eq!(*bench.world.left_out.lock(), [("bad".to_owned(), "limit")]);

    let mut bench = Bench::new("{alert: A, expr: errors > 0}").await;
    bench.evaluator.limit(Duration::from_secs(60), QueryBounds { max_samples: 20, ..QueryBounds::NONE });
    bench.step(&given).await;
    assert_eq!(bench.told, [line("good", AlertState::Firing)], "{}", bench.rule(&Scope::All).last_error);
    assert!(bench.rule(&Scope::All).last_error.contains("query.max_samples"));
}

#[tokio::test]
async fn too_many_left_out_are_the_rules_fault() {
    let tenants: Vec<String> = (0..80).map(|number| format!("t{number}")).collect();
    let mut given: Vec<Given<'_>> = GOOD.to_vec();
    for tenant in &tenants {
        given.extend([
            ("errors", tenant.as_str(), "", 1.0),
            ("requests", tenant, "", 1.0),
            ("requests", tenant, "1", 1.0),
        ]);
    }
    let mut bench = Bench::new(RATIO).await;
    for _ in 0..40 {
        bench.step(&given).await;
        assert_eq!((bench.rule(&Scope::All).health, bench.told.len()), ("err", 0));
    }
}

#[tokio::test]
async fn an_annotation_that_fails_says_so_in_its_place() {
    let query =
        r#"{{ with query "errors / on(tenant, service) group_left() requests" }}{{ . | first | value }}{{ end }}"#;
    let rule = format!("{{alert: A, expr: errors > 0, annotations: {{ratio: '{query}'}}}}");
    let mut bench = Bench::new(&rule).await;
    bench.step(&[GOOD.as_slice(), &TWICE].concat()).await;
    assert_eq!(bench.told, [line("bad", AlertState::Firing), line("good", AlertState::Firing)]);
    let ratio = |tenant: &str| bench.seen_by(tenant).alerts.unwrap().remove(0).annotations["ratio"].clone();
    assert_eq!(ratio("good"), "0.9");
    assert!(ratio("bad").starts_with("<error expanding template: "), "{}", ratio("bad"));
}
