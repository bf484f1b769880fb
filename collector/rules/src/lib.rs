//! Prometheus rule groups: evaluation on time, alert state, templates.
//!
//! ```text
//! rule files ─→ Groups ─→ Runner ─ at each group's time ─→ Evaluate (all tenants at once)
//!  objectives ─↗             │                                 │
//!                            │        recording results, ALERTS, ALERTS_FOR_STATE ─→ Results
//!                            └─ views for the API              alerts, again and again ─→ Notify
//! ```
//!
//! Rule files are Prometheus's own, unchanged ([`Groups::load`]); every mistake is found with its line. A [`Runner`]
//! evaluates each group at its interval, aligned to it with an offset of the group's own, as Prometheus does. A rule
//! is evaluated once over all tenants. Where that fails for what a tenant's data is, the tenants that fail alone are
//! found and left out, so that one can't end a rule for all: nothing of theirs begins or ends, and no time counts,
//! until the rule works for them again, which is tried from time to time.
//!
//! # Invariants
//! - Knows no store, no HTTP, no notifier: series go out through [`Results`], alerts through [`Notify`].
//! - A group is never evaluated twice at once, nor twice for the same time.
//! - A template of an alert about a tenant can query that tenant only.
//! - A view shows a reader no alert, and no error text, outside its scope.
//! - A tenant's data that has no answer changes nothing for the others, unless the rule itself matches across tenants.
//! - The time comes from [`Clock`], or as an argument.

mod alerting;
mod context;
mod duration;
mod failure;
mod file;
mod group;
mod isolation;
mod restore;
mod rule;
mod runner;
mod seam;
mod spec;
mod telemetry;
mod template;
mod trial;
mod view;

pub use context::Options;
pub use duration::{InvalidDuration, format_duration, parse_duration};
pub use file::{GroupDefaults, LoadError, Mistake};
pub use rule::Health;
pub use runner::{Groups, Runner};
pub use seam::{BoxFuture, Clock, Notify, Results, RuleKey, SystemClock, WriteError};
pub use spec::{GroupSpec, RuleKind, RuleSpec};
pub use template::{Template, TemplateData, TemplateError};
pub use view::{AlertView, GroupView, RuleView};
