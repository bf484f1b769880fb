//! One group while it runs: its rules one after the other, at its times.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tenantscope_model::{Labels, TenantId, stale_nan};
use tokio::sync::watch;

use crate::alerting::millis;
use crate::context::Context;
use crate::isolation::Isolation;
use crate::restore;
use crate::rule::{Health, Outcome, Rule, stamped_series};
use crate::seam::RuleKey;
use crate::spec::{GroupSpec, RuleKind};
use crate::telemetry::TELEMETRY;
use crate::template::TemplateError;

pub(crate) struct Group {
    pub(crate) spec: GroupSpec,
    pub(crate) rules: Vec<Arc<Rule>>,
    /// Held while the group is evaluated.
    schedule: tokio::sync::Mutex<Schedule>,
    pub(crate) status: Mutex<GroupStatus>,
    stopped: watch::Sender<bool>,
}

struct Schedule {
    /// When it is to be evaluated next; not known before the first look at the clock.
    next_ms: Option<i64>,
    /// Whether the state of before a restart was looked for.
    restored: bool,
    /// Series of rules that are no more, to be ended at the next evaluation.
    orphans: Vec<Labels>,
    /// For each rule whether no other makes alerts like its own.
    distinct: Vec<bool>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct GroupStatus {
    pub(crate) last_evaluation_ms: Option<i64>,
    pub(crate) evaluation_seconds: f64,
    pub(crate) missed: u64,
}

impl Group {
    pub(crate) fn try_new(spec: GroupSpec) -> Result<Self, TemplateError> {
        let rules = spec.rules.iter().cloned().map(|rule| Rule::try_new(rule).map(Arc::new));
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let distinct = vec![false; rules.len()];
        let schedule = Schedule { next_ms: None, restored: false, orphans: Vec::new(), distinct };
        Ok(Self {
            spec,
            rules,
            schedule: tokio::sync::Mutex::new(schedule),
            status: Mutex::default(),
            stopped: watch::Sender::new(false),
        })
    }

    /// Says which rules' alerts can't be another's, and sets the first time of evaluation, after now.
    pub(crate) async fn prepare(&self, distinct: Vec<bool>, now_ms: i64) {
        self.schedule.lock().await.distinct = distinct;
        self.next_ms(now_ms).await;
    }

    /// Evaluates no more; one that runs is finished.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Takes over the state of a group that was stopped: of rules that are the same.
    pub(crate) async fn take_over(&self, old: &Self) {
        // The old group's last evaluation has to be over.
        let before = old.schedule.lock().await;
        let mut schedule = self.schedule.lock().await;
        schedule.next_ms = before.next_ms.filter(|_| old.spec.interval == self.spec.interval);
        schedule.restored = before.restored;
        *self.status.lock() = *old.status.lock();
        let mut taken = vec![false; old.rules.len()];
        for rule in &self.rules {
            let found = old.rules.iter().enumerate().find(|(at, candidate)| {
                !taken.get(*at).copied().unwrap_or(true) && candidate.spec.is_same_rule(&rule.spec)
            });
            if let Some((at, same)) = found {
                if let Some(flag) = taken.get_mut(at) {
                    *flag = true;
                }
                std::mem::swap(&mut *rule.state.lock(), &mut *same.state.lock());
                if rule.spec.expr != same.spec.expr || self.spec.limit != old.spec.limit {
                    rule.state.lock().isolation = Isolation::default();
                }
            }
        }
        schedule.orphans = before.orphans.clone();
        for (rule, _) in old.rules.iter().zip(taken).filter(|(_, taken)| !taken) {
            schedule.orphans.extend(rule.state.lock().series.drain());
        }
    }

    /// Waits for an evaluation that runs, then forgets a tenant's alerts and series.
    pub(crate) async fn forget_tenant(&self, tenant: &TenantId) {
        let mut schedule = self.schedule.lock().await;
        let is_other = |labels: &Labels| labels.get("tenant") != Some(tenant.as_str());
        schedule.orphans.retain(is_other);
        for rule in &self.rules {
            let mut state = rule.state.lock();
            state.series.retain(is_other);
            state.alerts.retain(is_other);
            state.isolation.forget(tenant);
        }
    }

    /// The series of the group's last evaluation, which it gives up.
    pub(crate) async fn abandon(&self) -> Vec<Labels> {
        let mut schedule = self.schedule.lock().await;
        let mut series = std::mem::take(&mut schedule.orphans);
        for rule in &self.rules {
            series.extend(rule.state.lock().series.drain());
        }
        series
    }

    /// Evaluates at its times until it is stopped.
    pub(crate) async fn run(self: Arc<Self>, context: Arc<Context>, permits: Arc<tokio::sync::Semaphore>) {
        let mut stopped = self.stopped.subscribe();
        loop {
            let next_ms = self.next_ms(context.clock.now_ms()).await;
            let wait_ms = u64::try_from(next_ms - context.clock.now_ms()).unwrap_or(0);
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_millis(wait_ms)) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
            let Ok(_permit) = permits.acquire().await else { return };
            self.tick(&context, context.clock.now_ms()).await;
        }
    }

    async fn next_ms(&self, now_ms: i64) -> i64 {
        let mut schedule = self.schedule.lock().await;
        let first = || self.spec.aligned_at_or_before(now_ms) + self.spec.interval_ms();
        *schedule.next_ms.get_or_insert_with(first)
    }

    /// Evaluates if it is time. Times that passed meanwhile are missed, and counted.
    pub(crate) async fn tick(&self, context: &Arc<Context>, now_ms: i64) {
        let due_ms = self.next_ms(now_ms).await;
        let mut schedule = self.schedule.lock().await;
        if now_ms < due_ms || self.is_stopped() {
            return;
        }
        let interval_ms = self.spec.interval_ms();
        let missed = (now_ms - due_ms) / interval_ms;
        if missed > 0 {
            let missed = u64::try_from(missed).unwrap_or(0);
            self.status.lock().missed += missed;
            TELEMETRY.missed.inc_by(missed);
        }
        let at_ms = due_ms + missed * interval_ms;
        schedule.next_ms = Some(at_ms + interval_ms);
        self.evaluate(&mut schedule, context, at_ms).await;
    }

    #[tracing::instrument(name = "rule_group", skip_all, fields(group = self.spec.name, rules = self.rules.len()))]
    async fn evaluate(&self, schedule: &mut Schedule, context: &Arc<Context>, at_ms: i64) {
        let started = Instant::now();
        let may_restore = !std::mem::replace(&mut schedule.restored, true);
        for (at, rule) in self.rules.iter().enumerate() {
            if may_restore && matches!(rule.spec.kind, RuleKind::Alerting { .. }) {
                let distinct = schedule.distinct.get(at).copied().unwrap_or(false);
                self.restore_rule(rule, context, at_ms, distinct).await;
            }
            self.evaluate_rule(rule, context, at_ms).await;
        }
        self.end_orphans(schedule, context, at_ms).await;
        let seconds = started.elapsed().as_secs_f64();
        if let Some(histogram) = &TELEMETRY.group_seconds {
            histogram.observe(seconds);
        }
        let mut status = self.status.lock();
        status.last_evaluation_ms = Some(at_ms);
        status.evaluation_seconds = seconds;
    }

    async fn restore_rule(&self, rule: &Arc<Rule>, context: &Arc<Context>, at_ms: i64, distinct: bool) {
        let (spec, looked_at, context) = (self.spec.clone(), Arc::clone(rule), Arc::clone(context));
        let found =
            blocking(move || restore::restore(&looked_at, &spec, &context, at_ms, distinct).map_err(|e| e.to_string()));
        match found.await {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                TELEMETRY.restored.inc_by(found.len() as u64);
                tracing::info!(
                    group = self.spec.name,
                    rule = rule.spec.name(),
                    alerts = found.len(),
                    "alerts restored"
                );
                rule.state.lock().alerts.restore(found);
            }
            Err(error) => {
                tracing::warn!(group = self.spec.name, rule = rule.spec.name(), error, "alerts were not restored");
            }
        }
    }

    async fn evaluate_rule(&self, rule: &Arc<Rule>, context: &Arc<Context>, at_ms: i64) {
        let started = Instant::now();
        let (spec, evaluated, in_thread) = (self.spec.clone(), Arc::clone(rule), Arc::clone(context));
        let outcome = blocking(move || evaluated.evaluate(&spec, &in_thread, at_ms)).await;
        TELEMETRY.evaluations.inc();
        let result = match outcome {
            Ok(outcome) => self.hand_on(rule, context, outcome).await,
            Err(error) => Err(error),
        };
        if result.is_ok() {
            self.tell_left_out(rule, context);
        }
        let mut state = rule.state.lock();
        state.status.last_evaluation_ms = Some(at_ms);
        state.status.evaluation_seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                state.status.health = Health::Ok;
                state.status.last_error.clear();
            }
            Err(error) => {
                TELEMETRY.failures.inc();
                // Said once, not at each evaluation.
                if state.status.last_error != error {
                    tracing::warn!(group = self.spec.name, rule = rule.spec.name(), error, "rule failed");
                }
                state.status.health = Health::Err;
                state.status.last_error = error;
            }
        }
    }

    fn tell_left_out(&self, rule: &Rule, context: &Context) {
        let mut state = rule.state.lock();
        for (tenant, failure) in state.isolation.left_out() {
            context.results.left_out(tenant, failure.reason());
        }
        let count = state.isolation.left_out().count();
        // Said once, not at each evaluation.
        if state.status.left_out != count {
            tracing::warn!(
                group = self.spec.name,
                rule = rule.spec.name(),
                tenants = count,
                "tenants are left out of rule"
            );
            state.status.left_out = count;
        }
    }

    /// Alerts first: a journal that is full must not keep a person from being told.
    async fn hand_on(&self, rule: &Rule, context: &Context, outcome: Outcome) -> Result<(), String> {
        if !outcome.alerts.is_empty() {
            TELEMETRY.notified.inc_by(outcome.alerts.len() as u64);
            context.notify.notify(self.rule_key(rule), outcome.alerts).await;
        }
        if outcome.series.is_empty() {
            return Ok(());
        }
        context.results.write(outcome.series).await.map_err(|error| {
            TELEMETRY.write_failures.inc();
            error.to_string()
        })
    }

    async fn end_orphans(&self, schedule: &mut Schedule, context: &Context, at_ms: i64) {
        if schedule.orphans.is_empty() {
            return;
        }
        let data_ms = at_ms - millis(self.spec.query_offset);
        let orphans = std::mem::take(&mut schedule.orphans);
        let ended = orphans.into_iter().map(|labels| stamped_series(labels, stale_nan(), data_ms)).collect();
        if let Err(error) = context.results.write(ended).await {
            TELEMETRY.write_failures.inc();
            tracing::warn!(group = self.spec.name, %error, "series of removed rules were not ended");
        }
    }

    fn rule_key(&self, rule: &Rule) -> RuleKey {
        RuleKey {
            file: self.spec.file.clone(),
            group: self.spec.name.clone(),
            alert: rule.spec.name().to_owned(),
            labels: rule.constant_labels.clone(),
        }
    }
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("evaluation stopped: {error}")),
    }
}
