//! Keeps groups running, exchanges them, and shows them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use tenantscope_model::{EvaluateApart, Scope, TenantId, stale_nan};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::context::{Context, Options};
use crate::file::{self, GroupDefaults, LoadError, Mistake};
use crate::group::Group;
use crate::restore::is_distinct;
use crate::rule::{Rule, stamped_series};
use crate::seam::{Clock, Notify, Results};
use crate::spec::{GroupSpec, RuleKind};
use crate::telemetry::TELEMETRY;
use crate::view::{AlertView, GroupView};

/// Checked rule groups.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Groups(Vec<GroupSpec>);

impl Groups {
    /// Reads rule files; every mistake in all of them is found. Blocks.
    pub fn load<P: AsRef<Path>>(files: &[P], defaults: GroupDefaults) -> Result<Self, LoadError> {
        let mut groups = Vec::new();
        let mut mistakes = Vec::new();
        for path in files {
            match file::load(path.as_ref(), defaults) {
                Ok(found) => groups.extend(found),
                Err(found) => mistakes.extend(found),
            }
        }
        if mistakes.is_empty() { Ok(Self(groups)) } else { Err(LoadError { mistakes }) }
    }

    /// Reads one file's text.
    pub fn parse(file: &str, text: &str, defaults: GroupDefaults) -> Result<Self, LoadError> {
        file::parse(file, text, defaults).map(Self).map_err(|mistakes| LoadError { mistakes })
    }

    /// Adds groups that come from elsewhere, such as objectives, after the same checks.
    pub fn add(&mut self, groups: Vec<GroupSpec>) -> Result<(), LoadError> {
        let mut mistakes = Vec::new();
        for group in &groups {
            mistakes.extend(group.check().into_iter().map(|(_, message)| Mistake {
                file: group.file.clone(),
                line: None,
                message: format!("group {:?}: {message}", group.name),
            }));
            if self.0.iter().any(|known| known.file == group.file && known.name == group.name) {
                let message = format!("group {:?} is given twice", group.name);
                mistakes.push(Mistake { file: group.file.clone(), line: None, message });
            }
        }
        if !mistakes.is_empty() {
            return Err(LoadError { mistakes });
        }
        self.0.extend(groups);
        Ok(())
    }

    /// The groups.
    pub fn specs(&self) -> &[GroupSpec] {
        &self.0
    }
}

/// Evaluates groups.
pub struct Runner {
    context: Arc<Context>,
    groups: RwLock<Vec<Arc<Group>>>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
}

impl Runner {
    /// A runner without groups: [`Runner::reload`] gives it some, [`Runner::run`] evaluates them.
    pub fn new(
        evaluate: Arc<dyn EvaluateApart>,
        results: Arc<dyn Results>,
        notify: Arc<dyn Notify>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        let context = Arc::new(Context { evaluate, results, notify, clock, options });
        let (groups, reloading) = (RwLock::default(), tokio::sync::Mutex::default());
        Self { context, groups, reloading, changed: watch::Sender::new(0) }
    }

    /// Exchanges the groups. One that did not change goes on undisturbed; in one that did, rules that are the same
    /// keep their alerts; series of rules that are gone are ended.
    pub async fn reload(&self, groups: Groups) -> Result<(), LoadError> {
        let _one = self.reloading.lock().await;
        let old = self.groups.read().clone();
        let mut by_key: HashMap<(String, String), Arc<Group>> =
            old.iter().map(|g| ((g.spec.file.clone(), g.spec.name.clone()), Arc::clone(g))).collect();
        let mut next = Vec::with_capacity(groups.0.len());
        let mut replaced = Vec::new();
        for spec in groups.0 {
            let key = (spec.file.clone(), spec.name.clone());
            match by_key.remove(&key) {
                Some(same) if same.spec == spec => next.push(same),
                before => {
                    let (file, name) = key;
                    let group = Group::try_new(spec).map_err(|error| LoadError {
                        mistakes: vec![Mistake { file, line: None, message: format!("group {name:?}: {error}") }],
                    })?;
                    let group = Arc::new(group);
                    replaced.extend(before.map(|before| (before, Arc::clone(&group))));
                    next.push(group);
                }
            }
        }
        // Nothing can fail from here on.
        for (before, after) in replaced {
            before.stop();
            after.take_over(&before).await;
        }
        let mut abandoned = Vec::new();
        for gone in by_key.into_values() {
            gone.stop();
            abandoned.extend(gone.abandon().await);
        }
        let rules: Vec<&Rule> = next.iter().flat_map(|group| group.rules.iter().map(|rule| &**rule)).collect();
        let alerting: Vec<&Rule> =
            rules.into_iter().filter(|rule| matches!(rule.spec.kind, RuleKind::Alerting { .. })).collect();
        for group in &next {
            let distinct = group.rules.iter().map(|rule| is_distinct(rule, &alerting)).collect();
            group.prepare(distinct, self.context.clock.now_ms()).await;
        }
        TELEMETRY.groups.set(i64::try_from(next.len()).unwrap_or(i64::MAX));
        *self.groups.write() = next;
        self.changed.send_modify(|generation| *generation += 1);
        if !abandoned.is_empty() {
            let now_ms = self.context.clock.now_ms();
            let ended = abandoned.into_iter().map(|labels| stamped_series(labels, stale_nan(), now_ms)).collect();
            if let Err(error) = self.context.results.write(ended).await {
                tracing::warn!(%error, "series of removed groups were not ended");
            }
        }
        Ok(())
    }

    /// Forgets what rules remember of a tenant that was removed, once no evaluation is under way that may have seen something
    /// of it: neither its alerts nor its series end, which would be told and written.
    pub async fn forget_tenant(&self, tenant: &TenantId) {
        let _one = self.reloading.lock().await;
        let groups = self.groups.read().clone();
        for group in groups {
            group.forget_tenant(tenant).await;
        }
    }

    /// Evaluates all groups at their times until `shutdown` is true (or its sender is gone), then waits for
    /// evaluations that run.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let mut started: Vec<Arc<Group>> = Vec::new();
        let permits = Arc::new(Semaphore::new(self.context.options.concurrent_groups.max(1)));
        let mut changed = self.changed.subscribe();
        loop {
            let groups = self.groups.read().clone();
            for group in &groups {
                if !started.iter().any(|running| Arc::ptr_eq(running, group)) {
                    tasks.spawn(Arc::clone(group).run(Arc::clone(&self.context), Arc::clone(&permits)));
                }
            }
            started = groups;
            tokio::select! {
                _ = changed.changed() => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a rule group's task ended");
                    }
                }
            }
        }
        for group in &started {
            group.stop();
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Evaluates what is due at `now_ms`: for a caller that has its own time, such as a test.
    pub async fn tick(&self, now_ms: i64) {
        let groups = self.groups.read().clone();
        for group in groups {
            group.tick(&self.context, now_ms).await;
        }
    }

    /// The groups, with those alerts that a reader of this scope may see.
    pub fn groups(&self, scope: &Scope) -> Vec<GroupView> {
        self.groups.read().iter().map(|group| GroupView::of(group, scope)).collect()
    }

    /// The alerts that hold and that a reader of this scope may see.
    pub fn alerts(&self, scope: &Scope) -> Vec<AlertView> {
        let groups = self.groups.read().clone();
        let rules = groups.iter().flat_map(|group| &group.rules);
        rules.flat_map(|rule| AlertView::of_rule(rule, scope)).collect()
    }
}
