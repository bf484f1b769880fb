//! What changed between two configurations and between two registries.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tenantscope_model::TenantId;
use tenantscope_tenancy::{AUDIT, Registry, Tenants};
use tokio_util::sync::CancellationToken;

use crate::config::UNTIL_RESTART;
use crate::rounds;

/// How often the registry in force is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How many tenants a line names.
const MAX_NAMED: usize = 100;

/// The sections of a configuration file, to be compared. Only those of limits and prices are shown: others may hold what
/// nobody but the program should read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sections(Map<String, Value>);

const SHOWN: [&str; 2] = ["limits", "cost"];

impl Sections {
    /// Of a file that was read before; nothing where it can't be read again.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        let text = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        Self(serde_saphyr::from_str(&text).unwrap_or_default())
    }

    fn changed(&self, after: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(after.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != after.0.get(*name)).cloned().collect()
    }

    /// Takes a key out.
    fn take(&mut self, key: &str) -> Option<Value> {
        match key.split_once('.') {
            None => self.0.remove(key),
            Some((section, key)) => {
                let keys = self.0.get_mut(section)?.as_object_mut()?;
                let taken = keys.remove(key);
                if keys.is_empty() {
                    self.0.remove(section);
                }
                taken
            }
        }
    }

    /// Tells the audit log of a reload by somebody, and what was exchanged by it; and whoever reads the log, what was
    /// changed and waits for a restart.
    pub(crate) fn tell_reload(&self, read: &Self, by: &str) {
        let (mut before, mut after) = (self.clone(), read.clone());
        let is_changed = |key: &&str| before.take(key) != after.take(key);
        let waiting: Vec<&str> = UNTIL_RESTART.iter().copied().filter(is_changed).collect();
        let changed = before.changed(&after);
        if !waiting.is_empty() {
            tracing::warn!(
                keys = waiting.join(" "),
                "these were changed in the file and are in force after a restart only"
            );
        }
        let (changed_json, waiting_json) = (json(&changed), json(&waiting));
        tracing::info!(target: AUDIT, by, changed_json, waiting_json, "configuration_reloaded");
        for section in SHOWN.into_iter().filter(|section| changed.iter().any(|changed| changed == section)) {
            let (before_json, after_json) = (json(&before.0.get(section)), json(&after.0.get(section)));
            tracing::info!(target: AUDIT, by, section, before_json, after_json, "limits_changed");
        }
    }
}

/// Tells of tenants that come, go and change, wherever the registry has them from, until `stop`.
pub(crate) async fn follow_registry(registry: Arc<Registry>, stop: CancellationToken) {
    let mut before = registry.tenants();
    while rounds::next(EVERY, &stop).await {
        let after = registry.tenants();
        if !Arc::ptr_eq(&before, &after) {
            tell_registry(&before, &after);
            before = after;
        }
    }
}

fn tell_registry(before: &Tenants, after: &Tenants) {
    let (mut added, mut changed, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for tenant in after.iter() {
        match before.get(&tenant.id) {
            None => added.push(&tenant.id),
            Some(was) if was.accounts != tenant.accounts || was.attributes != tenant.attributes => {
                changed.push(&tenant.id);
            }
            Some(_) => {}
        }
    }
    removed.extend(before.iter().map(|tenant| &tenant.id).filter(|id| after.get(id).is_none()));
    if added.is_empty() && changed.is_empty() && removed.is_empty() {
        return;
    }
    let named =
        |tenants: &[&TenantId]| json(&tenants.iter().take(MAX_NAMED).map(|tenant| tenant.as_str()).collect::<Vec<_>>());
    tracing::info!(
        target: AUDIT,
        added_total = added.len(), changed_total = changed.len(), removed_total = removed.len(),
        added_json = named(&added), changed_json = named(&changed), removed_json = named(&removed),
        "registry_changed"
    );
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
