//! Burn-rate alerts and budgets over the real PromQL engine and the real rule runner.
#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../../rules/tests/memory/mod.rs"]
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use memory::Memory;
use parking_lot::Mutex;
use tenantscope_model::{Alert, AlertState, Labels, Sample, Scope, StampedSeries, TenantId};
use tenantscope_promql::{Engine, Evaluator, Limits};
use tenantscope_rules::{BoxFuture, Clock, Groups, Notify, Options, Results, RuleKey, Runner, WriteError};
use tenantscope_slo::{Audience, Objectives, Period};

const SLO: &str = r#"
apiVersion: openslo/v1
kind: SLO
metadata:
  name: api
  annotations: {tenantscope.io/query-offset: 0s, tenantscope.io/selector: "tier=gold"}
spec:
  indicator:
    spec:
      ratioMetric:
        counter: COUNTER
        GOODBAD: {metricSource: {type: Prometheus, spec: {query: 'COUNTED'}}}
        total: {metricSource: {type: Prometheus, spec: {query: requests_total}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{targetPercent: 99.9}]
"#;

#[derive(Default)]
struct World {
    now_ms: AtomicI64,
    store: Arc<Memory>,
    notified: Mutex<Vec<Alert>>,
}

impl Results for World {
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.store.write(&series);
        Box::pin(std::future::ready(Ok(())))
    }

    fn left_out(&self, _: &TenantId, _: &'static str) {}
}

impl Notify for World {
    fn notify(&self, _: RuleKey, alerts: Vec<Alert>) -> BoxFuture<'_, ()> {
        self.notified.lock().extend(alerts);
        Box::pin(std::future::ready(()))
    }
}

impl Clock for World {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

const START: i64 = 1_800_000_000_000;
const MINUTE: i64 = 60_000;

impl World {
    fn evaluator(&self) -> Arc<Evaluator> {
        Arc::new(Evaluator::new(Engine::new(Limits::default()), self.store.clone()))
    }

    fn add(&self, name: &str, tenant: &str, more: (&str, &str), t_ms: i64, value: f64) {
        let labels = Labels::from_pairs([("__name__", name), ("tenant", tenant), more]);
        self.store.add(&labels, [Sample { t_ms, value }]);
    }

    /// Two hours of traffic of 60 requests a minute; in the last ten minutes 10 % of those of `bad` and `bronze` fail,
    /// and half of those of `quiet`, which has one request in ten minutes.
    fn fill(&self, gauges: bool) {
        let mut sums = [(0.0, 0.0); 4];
        for minute in 0..=120 {
            let t_ms = START + minute * MINUTE;
            for ((tenant, tier), (ok, failed)) in
                [("good", "gold"), ("bad", "gold"), ("quiet", "gold"), ("bronze", "bronze")].iter().zip(&mut sums)
            {
                self.add("tenantscope_tenant_info", tenant, ("tier", tier), t_ms, 1.0);
                let count = if *tenant == "quiet" { f64::from(minute % 10 == 0) } else { 60.0 };
                let share = match *tenant {
                    _ if minute <= 110 => 0.0,
                    "bad" | "bronze" => 0.2,
                    "quiet" => 0.5,
                    _ => 0.0,
                };
                let (more_ok, more_failed) = (count * (1.0 - share), count * share);
                if gauges {
                    (*ok, *failed) = (more_ok, more_failed);
                    self.add("requests_total", tenant, ("region", "eu"), t_ms, *ok + *failed);
                    self.add("failed", tenant, ("region", "eu"), t_ms, *failed);
                } else {
                    *ok += more_ok;
                    *failed += more_failed;
                    self.add("requests_total", tenant, ("code", "200"), t_ms, *ok);
                    self.add("requests_total", tenant, ("code", "500"), t_ms, *failed);
                }
            }
        }
    }

    async fn firing(self: &Arc<Self>, objectives: &Objectives) -> Vec<(String, String)> {
        let end = START + 120 * MINUTE;
        self.now_ms.store(end - 5 * MINUTE, Ordering::Relaxed);
        let runner = Runner::new(self.evaluator(), self.clone(), self.clone(), self.clone(), Options::default());
        let mut groups = Groups::default();
        groups.add(objectives.rule_groups()).unwrap();
        runner.reload(groups).await.unwrap();
        for step in -20..=0 {
            runner.tick(end + step * 15_000).await;
        }
        for group in runner.groups(&Scope::All) {
            for rule in group.rules {
                assert_eq!((rule.health, rule.last_error.as_str()), ("ok", ""), "{}", rule.name);
            }
        }
        let firing = runner.alerts(&Scope::All).into_iter().filter(|alert| alert.state == AlertState::Firing);
        let text = |alert: &tenantscope_rules::AlertView, name| alert.labels.get(name).unwrap_or("").to_owned();
        let mut firing: Vec<_> = firing.map(|alert| (text(&alert, "tenant"), text(&alert, "severity"))).collect();
        firing.sort();
        firing
    }
}

fn objectives(counter: bool, kind: &str, query: &str) -> Objectives {
    let text = SLO.replace("COUNTER", &counter.to_string()).replace("GOODBAD", kind).replace("COUNTED", query);
    Objectives::parse("slo.yaml", &text).unwrap()
}

fn bad_pages_and_tickets() -> Vec<(String, String)> {
    ["page", "ticket"].iter().map(|severity| ("bad".to_owned(), (*severity).to_owned())).collect()
}

#[tokio::test]
async fn a_counter_of_bad_events_pages_for_the_bad_tenant_only() {
    let world = Arc::new(World::default());
    world.fill(false);
    let objectives = objectives(true, "bad", "requests_total{code=\"500\"}");
    assert_eq!(
        world.firing(&objectives).await,
        bad_pages_and_tickets(),
        "quiet has too few events, bronze no objective"
    );
}

#[tokio::test]
async fn a_counter_of_good_events_says_the_same() {
    let world = Arc::new(World::default());
    world.fill(false);
    let objectives = objectives(true, "good", "requests_total{code=\"200\"}");
    assert_eq!(world.firing(&objectives).await, bad_pages_and_tickets());
}

#[tokio::test]
async fn numbers_for_each_period_say_the_same() {
    let world = Arc::new(World::default());
    world.fill(true);
    let objectives = objectives(false, "bad", "failed");
    assert_eq!(world.firing(&objectives).await, bad_pages_and_tickets());
    let budgets = objectives.budgets(&*world.evaluator(), &Scope::All, START + 120 * MINUTE).unwrap();
    let of = |tenant: &str| budgets.iter().find(|budget| budget.tenant.as_str() == tenant);
    let bad = of("bad").unwrap();
    assert_eq!((bad.total_events, bad.bad_events), (121.0 * 60.0, 120.0));
    assert!((bad.remaining - (1.0 - 120.0 / 7.26)).abs() < 1e-6, "{bad:?}");
    assert_eq!(of("good").unwrap().remaining, 1.0);
    assert!(of("bronze").is_none());
}

#[tokio::test]
async fn a_report_finds_two_hours_of_counters_in_a_month() {
    let world = Arc::new(World::default());
    world.fill(false);
    let objectives = objectives(true, "bad", "requests_total{code=\"500\"}");
    let month = Period::month_of(START).unwrap();
    let audience = Audience::Tenant("bad".parse().unwrap());
    let report = objectives.report(&*world.evaluator(), &audience, &month, month.to_ms).unwrap();
    let [objective] = report.objectives.as_slice() else { panic!("{report:?}") };
    // A counter's first value is not an increase.
    assert!((objective.total_events / 7_200.0 - 1.0).abs() < 0.05, "{}", objective.total_events);
    assert!((objective.bad_events / 120.0 - 1.0).abs() < 0.1, "{}", objective.bad_events);
    let [bad] = objective.bad_periods.as_slice() else { panic!("{:?}", objective.bad_periods) };
    let (from, to) = (START + 110 * MINUTE, START + 120 * MINUTE);
    assert!(bad.from_ms <= from && bad.to_ms >= to - MINUTE && bad.to_ms - bad.from_ms <= 25 * MINUTE, "{bad:?}");
}
