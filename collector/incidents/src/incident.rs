//! Incidents and the alerts in them, as they are kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tenantscope_model::{Alert, AlertState, TenantId};

use crate::reach::Reach;

/// An alert as it is kept: it fired, and perhaps ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldAlert {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// When it began to fire, in milliseconds since the epoch.
    pub starts_ms: i64,
    /// When it ended; absent while it fires.
    pub ended_ms: Option<i64>,
    /// Until when it fires if nothing more is heard of it.
    pub valid_until_ms: i64,
    /// Where a person can look at the expression.
    pub generator_url: String,
}

impl HeldAlert {
    /// An alert that its rule handed on at `now_ms`; `None` if it is only pending.
    pub(crate) fn of(alert: &Alert, now_ms: i64) -> Option<Self> {
        if alert.state == AlertState::Pending {
            return None;
        }
        let labels = alert.labels.iter().map(|label| (label.name.to_string(), label.value.to_string())).collect();
        let ended_ms = alert.resolved_at_ms.filter(|_| alert.state == AlertState::Resolved);
        Some(Self {
            labels,
            annotations: alert.annotations.clone(),
            starts_ms: alert.fired_at_ms.unwrap_or(alert.active_at_ms),
            ended_ms,
            valid_until_ms: alert.valid_until_ms.unwrap_or(now_ms + 4 * 60_000),
            generator_url: alert.generator_url.clone(),
        })
    }

    /// Whose it is.
    pub fn tenant(&self) -> Option<TenantId> {
        TenantId::try_new(self.labels.get("tenant")?).ok()
    }

    /// A name for its labels: the same labels have the same, after a restart too.
    pub fn fingerprint(&self) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for (name, value) in &self.labels {
            for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }
}

/// Alerts of one rule that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Rule and reach; while it is open, no other has it.
    pub key: String,
    /// The rule.
    pub rule: String,
    /// The alerts' name.
    pub alert: String,
    /// How far it reaches.
    pub reach: Reach,
    /// When it opened, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// When something about it last changed.
    pub updated_ms: i64,
    /// When it ended; absent while it is open.
    pub resolved_ms: Option<i64>,
    /// The incident that took its place, when it grew or shrank.
    pub superseded_by: Option<String>,
    /// Everyone who was affected at some time.
    pub tenants: BTreeSet<TenantId>,
    /// Its alerts by fingerprint, those that ended included.
    pub alerts: BTreeMap<String, HeldAlert>,
    /// The alerts that fired when its notifiers were last told.
    pub(crate) told: BTreeSet<String>,
    /// When they were told.
    pub(crate) told_ms: i64,
}

impl Incident {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.resolved_ms.is_none()
    }

    /// Fingerprints of the alerts that fire.
    pub(crate) fn firing(&self) -> BTreeSet<String> {
        self.alerts.iter().filter(|(_, alert)| alert.ended_ms.is_none()).map(|(name, _)| name.clone()).collect()
    }
}
