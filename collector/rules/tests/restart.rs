//! A restart, over the real PromQL engine: alerts go on where they stopped, from what the rules themselves wrote.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod memory;
mod outside;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use memory::Memory;
use outside::Outside;
use tenantscope_model::{Alert, AlertState, Labels, Sample, Scope, StampedSeries, TenantId};
use tenantscope_promql::{Engine, Evaluator, Limits};
use tenantscope_rules::{BoxFuture, GroupDefaults, Groups, Options, Results, Runner, WriteError};

const RULES: &str = r#"
groups:
- name: g
  interval: 15s
  rules:
  - alert: High
    expr: load > 5
    for: 30s
    labels: {severity: page}
  - alert: High
    expr: load > 9
    labels: {severity: wake}
"#;

#[derive(Default)]
struct World {
    outside: Arc<Outside>,
    store: Arc<Memory>,
}

impl Results for World {
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.store.write(&series);
        Box::pin(std::future::ready(Ok(())))
    }

    fn left_out(&self, _: &TenantId, _: &'static str) {}
}

impl World {
    async fn start(self: &Arc<Self>, at_ms: i64) -> Runner {
        self.outside.now_ms.store(at_ms, Ordering::Relaxed);
        let evaluator = Evaluator::new(Engine::new(Limits::default()), self.store.clone());
        let runner = Runner::new(
            Arc::new(evaluator),
            self.clone(),
            self.outside.clone(),
            self.outside.clone(),
            Options::default(),
        );
        runner.reload(Groups::parse("r.yaml", RULES, GroupDefaults::default()).unwrap()).await.unwrap();
        runner
    }

    /// A step of 15 s in which each tenant has a load.
    async fn step(&self, runner: &Runner, at_ms: i64, loads: &[(&str, f64)]) {
        for (tenant, value) in loads {
            let labels = Labels::from_pairs([("__name__", "load"), ("tenant", *tenant)]);
            self.store.add(&labels, [Sample { t_ms: at_ms, value: *value }]);
        }
        self.outside.now_ms.store(at_ms, Ordering::Relaxed);
        runner.tick(at_ms).await;
    }

    fn told(&self) -> Vec<(String, String, AlertState)> {
        let alerts = std::mem::take(&mut *self.outside.notified.lock());
        let label = |alert: &Alert, name| alert.labels.get(name).unwrap_or("").to_owned();
        alerts.iter().map(|alert| (label(alert, "tenant"), label(alert, "severity"), alert.state)).collect()
    }
}

fn line(tenant: &str, severity: &str, state: AlertState) -> (String, String, AlertState) {
    (tenant.to_owned(), severity.to_owned(), state)
}

#[tokio::test]
async fn alerts_go_on_where_they_stopped() {
    let world = Arc::new(World::default());
    let groups = Groups::parse("r.yaml", RULES, GroupDefaults::default()).unwrap();
    let first = groups.specs()[0].aligned_at_or_before(1_800_000_000_000);
    let before = world.start(first - 1).await;
    for i in 0..3 {
        let over = if i < 2 { 10.0 } else { 0.0 };
        world.step(&before, first + i * 15_000, &[("on", 6.0), ("ends", 6.0), ("over", over)]).await;
    }
    let told = world.told();
    assert!(told.contains(&line("on", "page", AlertState::Firing)));
    assert!(told.contains(&line("over", "wake", AlertState::Resolved)), "{told:?}");
    world.step(&before, first + 45_000, &[("on", 6.0), ("ends", 6.0), ("over", 0.0), ("new", 6.0)]).await;
    drop(before);
    world.told();

    let later = first + 45_000 + 600_000;
    let after = world.start(later - 1).await;
    world.step(&after, later, &[("on", 6.0), ("ends", 0.0), ("over", 0.0), ("new", 6.0)]).await;
    let expected = [line("ends", "page", AlertState::Resolved), line("on", "page", AlertState::Firing)];
    assert_eq!(world.told(), expected, "what ended before is not told of again, nor by the rule of the same name");
    let on = after.alerts(&Scope::only("on".parse().unwrap()));
    assert_eq!(on[0].active_at, first);
    world.step(&after, later + 15_000, &[("on", 6.0), ("new", 6.0)]).await;
    assert_eq!(world.told(), [line("new", "page", AlertState::Firing)], "half of `for` had passed before");
}
