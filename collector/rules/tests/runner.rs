//! Groups at the crate's door: time, state, results, alerts, reloads and restarts, on a manual clock.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use outside::Outside;
use parking_lot::Mutex;
use tenantscope_model::{
    AlertState, Evaluate, EvaluateApart, EvaluateError, Evaluated, Labels, Scope, StampedSeries, TenantId, is_stale_nan,
};
use tenantscope_rules::{BoxFuture, GroupDefaults, Groups, Options, Results, Runner, WriteError};

/// What the test says each expression gives, and everything that came out.
#[derive(Default)]
struct World {
    outside: Arc<Outside>,
    answers: Mutex<BTreeMap<String, Result<Vec<Evaluated>, EvaluateError>>>,
    written: Mutex<Vec<StampedSeries>>,
}

impl World {
    fn set(&self, expression: &str, tenants: &[(&str, f64)]) {
        let element = |(tenant, value): &(&str, f64)| Evaluated {
            labels: Labels::from_pairs([("__name__", "errors"), ("tenant", *tenant)]),
            value: *value,
        };
        self.answers.lock().insert(expression.to_owned(), Ok(tenants.iter().map(element).collect()));
    }

    /// The series of a name that were written since the last look, with their values.
    fn written(&self, name: &str) -> Vec<(String, f64)> {
        let mut written = self.written.lock();
        let named = written.iter().filter(|series| series.labels.metric_name() == name);
        let mut found: Vec<_> = named.map(|s| (s.labels.to_string(), s.samples[0].value)).collect();
        written.retain(|series| series.labels.metric_name() != name);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn notified(&self) -> Vec<(String, AlertState)> {
        let alerts = std::mem::take(&mut *self.outside.notified.lock());
        alerts.iter().map(|a| (a.labels.get("tenant").unwrap_or("").to_owned(), a.state)).collect()
    }
}

impl Evaluate for World {
    fn evaluate(&self, _: &Scope, expression: &str, at_ms: i64) -> Result<Vec<Evaluated>, EvaluateError> {
        if expression.contains("ALERTS_FOR_STATE") {
            return Ok(self.state_series(expression, at_ms));
        }
        self.answers.lock().get(expression).cloned().unwrap_or(Ok(Vec::new()))
    }
}

impl EvaluateApart for World {
    fn evaluate_without(
        &self,
        tenants: &BTreeSet<TenantId>,
        expression: &str,
        at_ms: i64,
    ) -> Result<Vec<Evaluated>, EvaluateError> {
        let stays =
            |one: &Evaluated| one.labels.get("tenant").is_none_or(|t| tenants.iter().all(|of| of.as_str() != t));
        Ok(self.evaluate(&Scope::All, expression, at_ms)?.into_iter().filter(stays).collect())
    }

    fn tenants_of(&self, expression: &str, at_ms: i64) -> Result<BTreeSet<TenantId>, EvaluateError> {
        let found = self.evaluate(&Scope::All, expression, at_ms).unwrap_or_default();
        Ok(found.iter().filter_map(|one| TenantId::try_new(one.labels.get("tenant")?).ok()).collect())
    }
}

impl World {
    /// The store's part in a restart: the last sample of each state series in the last five minutes.
    fn state_series(&self, expression: &str, at_ms: i64) -> Vec<Evaluated> {
        let wants_time = expression.contains("timestamp");
        let range_ms = if wants_time { 3_600_000 } else { 300_000 };
        let mut last: BTreeMap<Labels, (i64, f64)> = BTreeMap::new();
        for series in self.written.lock().iter().filter(|s| s.labels.metric_name() == "ALERTS_FOR_STATE") {
            let sample = series.samples[0];
            let skipped = wants_time && is_stale_nan(sample.value);
            if sample.t_ms <= at_ms && sample.t_ms > at_ms - range_ms && !skipped {
                last.insert(series.labels.clone(), (sample.t_ms, sample.value));
            }
        }
        let held = last.into_iter().filter(|(_, (_, value))| !is_stale_nan(*value));
        held.map(|(labels, (t_ms, value))| Evaluated {
            labels,
            value: if wants_time { t_ms as f64 / 1000.0 } else { value },
        })
        .collect()
    }
}

impl Results for World {
    fn write(&self, series: Vec<StampedSeries>) -> BoxFuture<'_, Result<(), WriteError>> {
        self.written.lock().extend(series);
        Box::pin(std::future::ready(Ok(())))
    }

    fn left_out(&self, _: &TenantId, _: &'static str) {}
}

const RULES: &str = r#"
groups:
- name: g
  interval: 15s
  rules:
  - record: tenant:errors
    expr: errors
    labels: {kind: all}
  - alert: Errors
    expr: errors > 1
    for: 30s
    labels: {severity: page}
    annotations: {summary: "{{ $labels.tenant }}: {{ $value }}"}
"#;

fn groups(text: &str) -> Groups {
    Groups::parse("r.yaml", text, GroupDefaults::default()).unwrap()
}

fn runner(world: &Arc<World>) -> Runner {
    let start_ms = first_ms(&groups(RULES)) - 1;
    world.outside.now_ms.fetch_max(start_ms, Ordering::Relaxed);
    Runner::new(world.clone(), world.clone(), world.outside.clone(), world.outside.clone(), Options::default())
}

/// The group's first evaluation at or after a time that is far from the epoch.
fn first_ms(groups: &Groups) -> i64 {
    groups.specs()[0].aligned_at_or_before(1_700_000_000_000) + 15_000
}

async fn tick(runner: &Runner, world: &World, at_ms: i64) {
    world.outside.now_ms.store(at_ms, Ordering::Relaxed);
    runner.tick(at_ms).await;
}

#[tokio::test]
async fn a_group_is_evaluated_at_its_times_only() {
    let world = Arc::new(World::default());
    world.set("errors", &[("a", 1.0)]);
    let groups = groups(RULES);
    let first = first_ms(&groups);
    let runner = runner(&world);
    runner.reload(groups).await.unwrap();
    tick(&runner, &world, first - 10_000).await;
    assert!(world.written("tenant:errors").is_empty());
    tick(&runner, &world, first).await;
    let written = world.written("tenant:errors");
    assert_eq!(written, [(r#"tenant:errors{kind="all", tenant="a"}"#.to_owned(), 1.0)]);
    tick(&runner, &world, first + 14_999).await;
    assert!(world.written("tenant:errors").is_empty());
    tick(&runner, &world, first + 61_000).await;
    assert_eq!(world.written("tenant:errors").len(), 1, "the times that were missed are not made up for");
    let view = &runner.groups(&Scope::All)[0];
    assert_eq!((view.missed_evaluations, view.last_evaluation), (3, Some(first + 60_000)));
    assert_eq!(view.rules[0].health, "ok");
}

#[tokio::test]
async fn a_series_that_is_gone_is_ended() {
    let world = Arc::new(World::default());
    world.set("errors", &[("a", 1.0), ("b", 2.0)]);
    let groups = groups(RULES);
    let first = first_ms(&groups);
    let runner = runner(&world);
    runner.reload(groups).await.unwrap();
    tick(&runner, &world, first).await;
    assert_eq!(world.written("tenant:errors").len(), 2);
    world.set("errors", &[("a", 1.0)]);
    tick(&runner, &world, first + 15_000).await;
    let written = world.written("tenant:errors");
    assert_eq!(written.len(), 2);
    assert!(is_stale_nan(written[1].1) && written[1].0.contains(r#"tenant="b""#));
    runner.reload(Groups::default()).await.unwrap();
    let written = world.written("tenant:errors");
    assert!(written.len() == 1 && is_stale_nan(written[0].1), "a removed group's series are ended: {written:?}");
}

#[tokio::test]
async fn an_alert_fires_is_told_again_and_is_resolved() {
    let world = Arc::new(World::default());
    world.set("errors > 1", &[("bad", 5.0)]);
    let groups = groups(RULES);
    let first = first_ms(&groups);
    let runner = runner(&world);
    runner.reload(groups).await.unwrap();
    tick(&runner, &world, first).await;
    assert!(world.notified().is_empty());
    let pending = r#"ALERTS{alertname="Errors", alertstate="pending", severity="page", tenant="bad"}"#;
    assert_eq!(world.written("ALERTS"), [(pending.to_owned(), 1.0)]);
    tick(&runner, &world, first + 30_000).await;
    assert_eq!(world.notified(), [("bad".to_owned(), AlertState::Firing)]);
    let shown = runner.alerts(&Scope::All);
    assert_eq!(shown[0].annotations["summary"], "bad: 5");
    assert!(runner.alerts(&Scope::only("good".parse().unwrap())).is_empty());
    assert_eq!(runner.alerts(&Scope::only("bad".parse().unwrap())).len(), 1);
    tick(&runner, &world, first + 45_000).await;
    assert!(world.notified().is_empty());
    tick(&runner, &world, first + 90_000).await;
    assert_eq!(world.notified(), [("bad".to_owned(), AlertState::Firing)], "told again after the resend delay");
    world.set("errors > 1", &[]);
    tick(&runner, &world, first + 105_000).await;
    assert_eq!(world.notified(), [("bad".to_owned(), AlertState::Resolved)]);
    assert!(runner.alerts(&Scope::All).is_empty());
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    let world = Arc::new(World::default());
    world.set("errors > 1", &[("bad", 5.0), ("ends", 5.0), ("over", 2.0)]);
    let first = first_ms(&groups(RULES));
    let before = runner(&world);
    before.reload(groups(RULES)).await.unwrap();
    for step in 0..3 {
        tick(&before, &world, first + step * 15_000).await;
    }
    assert_eq!(world.notified().len(), 3);
    world.set("errors > 1", &[("bad", 5.0), ("ends", 5.0), ("late", 3.0)]);
    tick(&before, &world, first + 45_000).await;
    world.notified();
    drop(before);

    world.set("errors > 1", &[("bad", 5.0), ("late", 3.0)]);
    let after = runner(&world);
    after.reload(groups(RULES)).await.unwrap();
    tick(&after, &world, first + 90_000).await;
    let expected = [("bad", AlertState::Firing), ("ends", AlertState::Resolved)];
    assert_eq!(world.notified(), expected.map(|(t, s)| (t.to_owned(), s)), "over had ended before the restart");
    let bad = after.alerts(&Scope::only("bad".parse().unwrap()));
    assert_eq!(bad[0].active_at, first, "since when it holds is kept");
    let late = after.alerts(&Scope::only("late".parse().unwrap()));
    assert_eq!(late[0].state, AlertState::Pending, "an outage is no time in which the condition held");
    tick(&after, &world, first + 105_000).await;
    assert_eq!(world.notified(), [("late".to_owned(), AlertState::Firing)]);
}

#[tokio::test]
async fn a_reload_keeps_the_state_of_what_is_the_same() {
    let world = Arc::new(World::default());
    world.set("errors > 1", &[("bad", 5.0)]);
    let first = first_ms(&groups(RULES));
    let runner = runner(&world);
    runner.reload(groups(RULES)).await.unwrap();
    tick(&runner, &world, first).await;
    // The recording rule changes, the alerting rule does not.
    runner.reload(groups(&RULES.replace("kind: all", "kind: some"))).await.unwrap();
    world.set("errors", &[("a", 1.0)]);
    tick(&runner, &world, first + 30_000).await;
    assert_eq!(world.notified(), [("bad".to_owned(), AlertState::Firing)]);
}

#[tokio::test]
async fn a_failure_is_shown_without_other_tenants_names() {
    let world = Arc::new(World::default());
    let failure = EvaluateError::Execution("found duplicate series for tenant secret".to_owned());
    world.answers.lock().insert("errors".to_owned(), Err(failure));
    let groups = groups(RULES);
    let first = first_ms(&groups);
    let runner = runner(&world);
    runner.reload(groups).await.unwrap();
    tick(&runner, &world, first).await;
    let all = serde_json::to_string(&runner.groups(&Scope::All)).unwrap();
    assert!(all.contains("secret") && all.contains(r#""health":"err""#), "{all}");
    let one = serde_json::to_string(&runner.groups(&Scope::only("a".parse().unwrap()))).unwrap();
    assert!(!one.contains("secret") && one.contains("evaluation failed"), "{one}");
}

#[tokio::test]
async fn it_runs_by_itself_and_stops() {
    let world = Arc::new(World::default());
    let clock = Arc::new(tenantscope_rules::SystemClock);
    world.set("errors", &[("a", 1.0)]);
    let runner = Arc::new(Runner::new(world.clone(), world.clone(), world.outside.clone(), clock, Options::default()));
    runner.reload(groups(&RULES.replace("15s", "20ms"))).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn({
        let runner = runner.clone();
        async move { runner.run(stopped).await }
    });
    while world.written("tenant:errors").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn of_a_removed_tenant_nothing_ends_since_that_would_be_told_and_written() {
    let world = Arc::new(World::default());
    for expression in ["errors", "errors > 1"] {
        world.set(expression, &[("a", 2.0), ("b", 2.0)]);
    }
    let groups = groups(RULES);
    let first = first_ms(&groups);
    let runner = runner(&world);
    runner.reload(groups).await.unwrap();
    for step in 0..3 {
        tick(&runner, &world, first + step * 15_000).await;
    }
    assert_eq!(world.notified().len(), 2);
    world.written.lock().clear();
    for expression in ["errors", "errors > 1"] {
        world.set(expression, &[("b", 2.0)]);
    }
    runner.forget_tenant(&TenantId::try_new("a").unwrap()).await;
    assert_eq!(runner.alerts(&Scope::All).len(), 1);
    for step in 3..10 {
        tick(&runner, &world, first + step * 15_000).await;
    }
    let written = world.written.lock();
    assert!(written.iter().all(|series| series.labels.get("tenant") == Some("b")), "{written:?}");
    assert!(world.notified().iter().all(|(tenant, _)| tenant == "b"));
}
