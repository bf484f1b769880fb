//! Incidents: alerts in, their reach found, the right people told.
//!
//! ```text
//! rules ─ alerts of one rule ─→ Incidents::take ─→ reach (members with data, attributes) ─→ incident opens, grows, ends
//!                                    │ one transaction
//!                                    ├─ alerts, incidents ─→ list, within a reader's scope
//!                                    └─ outbox ─→ a task for each notifier ─→ Alertmanager (alerts as they are)
//!                                                                         └→ webhook (incidents)
//! ```
//!
//! An incident gathers the alerts of one rule; its key is rule and [`Reach`]. Growing to a wider reach opens the new
//! key and then ends the narrower one; shrinking waits until it lasted. Routes match labels of the alert, attributes
//! of its tenant, and the reach.
//!
//! # Invariants
//! - A change and its notifications are one transaction: nothing is told that is not kept, and what is kept is told,
//!   after a restart too. Delivery is at least once.
//! - What waits for one notifier delays no other.
//! - A notifier is told of alerts only that a route to it matches; a reader sees alerts only of the scope.
//! - Everything is bounded: alerts of a rule, ended incidents, the outbox, the age of a notification.
//! - Knows no rules and no PromQL.

mod book;
mod config;
mod delivery;
mod incident;
mod incidents;
mod payload;
mod reach;
mod removal;
mod store;
mod telemetry;
mod view;

pub use config::{Config, ConfigError, NotifierConfig, NotifierKind, RouteConfig};
pub use incident::{HeldAlert, Incident};
pub use incidents::{Incidents, IncidentsError};
pub use reach::{Member, Reach, reach};
pub use removal::RemovedAlerts;
pub use store::StoreError;
pub use view::IncidentView;

/// Milliseconds since the epoch, for what runs by itself; everything else is given the time.
fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
