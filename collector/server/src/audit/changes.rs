//! What changed between two configurations and between two registries.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tenantscope_model::TenantId;
use tenantscope_tenancy::{AUDIT, Registry, Tenants};
use tokio_util::sync::CancellationToken;

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
/// What a running program keeps as it was at its start.
const UNTIL_RESTART: [&str; 9] =
    ["audit", "data_dir", "external_url", "forward", "journal", "lake", "listen", "metrics", "traces"];

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

    /// Tells the audit log of a reload by somebody, and what was exchanged by it; and whoever reads the log, what was
    /// changed and waits for a restart.
    pub(crate) fn tell_reload(&self, after: &Self, by: &str) {
        let is_kept = |section: &String| UNTIL_RESTART.contains(&section.as_str());
        let (waiting, changed): (Vec<String>, Vec<String>) = self.changed(after).into_iter().partition(is_kept);
        let waiting = waiting.join(" ");
        if !waiting.is_empty() {
            tracing::warn!(sections = waiting, "these were changed in the file and are in force after a restart only");
        }
        tracing::info!(target: AUDIT, by, changed = changed.join(" "), waiting, "configuration_reloaded");
        for section in SHOWN.into_iter().filter(|section| changed.iter().any(|changed| changed == section)) {
            let text = |of: &Self| of.0.get(section).map_or_else(String::new, Value::to_string);
            tracing::info!(target: AUDIT, by, section, before = text(self), after = text(after), "limits_changed");
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
    let named = |tenants: &[&TenantId]| {
        tenants.iter().take(MAX_NAMED).map(|tenant| tenant.as_str()).collect::<Vec<_>>().join(" ")
    };
    tracing::info!(
        target: AUDIT,
        added_total = added.len(), changed_total = changed.len(), removed_total = removed.len(),
        added = named(&added), changed = named(&changed), removed = named(&removed),
        "registry_changed"
    );
}
