//! What incidents say of themselves. Notifiers' names are the configuration's, so they are few.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, register_int_counter, register_int_counter_vec, register_int_gauge,
};

static TELEMETRY: LazyLock<Telemetry> = LazyLock::new(Telemetry::register);

/// Absent where the registry refused a metric, which is then not counted.
pub(crate) struct Telemetry {
    notifications: Option<IntCounterVec>,
    incidents: Option<IntCounterVec>,
    dropped: Option<IntCounterVec>,
    quiet: Option<IntCounter>,
    waiting: Option<IntGauge>,
}

impl Telemetry {
    pub(crate) fn get() -> &'static Self {
        &TELEMETRY
    }

    fn register() -> Self {
        Self {
            notifications: register_int_counter_vec!(
                "tenantscope_incidents_notifications_total",
                "Attempts to deliver notifications, by outcome: delivered, failed, given_up.",
                &["notifier", "outcome"]
            )
            .ok(),
            incidents: register_int_counter_vec!(
                "tenantscope_incidents_changes_total",
                "Incidents that opened, changed or ended.",
                &["change"]
            )
            .ok(),
            dropped: register_int_counter_vec!(
                "tenantscope_incidents_dropped_total",
                "What was dropped for lack of room: alerts or notifications.",
                &["what"]
            )
            .ok(),
            quiet: register_int_counter!(
                "tenantscope_incidents_quiet_alerts_total",
                "Alerts that woke nobody since their account settles in or is on its way out."
            )
            .ok(),
            waiting: register_int_gauge!("tenantscope_incidents_outbox_entries", "Notifications that wait.").ok(),
        }
    }

    pub(crate) fn notified(&self, notifier: &str, outcome: &str, count: usize) {
        if let Some(counter) = &self.notifications {
            counter.with_label_values(&[notifier, outcome]).inc_by(count as u64);
        }
    }

    pub(crate) fn changed(&self, change: &str) {
        if let Some(counter) = &self.incidents {
            counter.with_label_values(&[change]).inc();
        }
    }

    pub(crate) fn quiet(&self, count: u64) {
        if let Some(counter) = &self.quiet {
            counter.inc_by(count);
        }
    }

    pub(crate) fn dropped(&self, what: &str, count: u64) {
        if let Some(counter) = self.dropped.as_ref().filter(|_| count > 0) {
            counter.with_label_values(&[what]).inc_by(count);
        }
    }

    pub(crate) fn waiting(&self, count: u64) {
        if let Some(gauge) = &self.waiting {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
