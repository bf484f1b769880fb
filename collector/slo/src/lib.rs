//! Objectives (OpenSLO), error budgets, burn-rate alerts, reports.
//!
//! ```text
//! OpenSLO v1 files ─→ Objectives ─→ rule groups ─→ rules: error ratios by window, burn-rate alerts
//!                          ├─→ budgets ─→ pages, API          (over Evaluate, within a reader's scope)
//!                          └─→ Report of a month ─→ HTML, JSON, CSV, Markdown
//! ```
//!
//! One objective applies to every tenant that its selector matches: its queries are summed `by (tenant)`, once for
//! all. What OpenSLO does not have is said in annotations ([`SELECTOR`], [`TIME_SCALE`], [`MIN_EVENTS`],
//! [`QUERY_OFFSET`], [`RUNBOOK`]). A query is a selector of a counter (`counter: true`) or of numbers of events for
//! each period, as CloudWatch's sums are (`counter: false`); or an expression with `{{.window}}` in it that gives the
//! number of events in the window and keeps the label `tenant`.
//!
//! # Invariants
//! - Knows no store and no HTTP: everything is read through `Evaluate`, with the reader's scope.
//! - A tenant without events in a window has no ratio there, rather than a good or a bad one.
//! - A report's JSON keeps its fields' names.

mod budget;
mod chart;
mod document;
mod objective;
mod page;
mod report;
mod rules;
mod text;

pub use budget::Budget;
pub use objective::{MIN_EVENTS, Objective, Objectives, QUERY_OFFSET, RUNBOOK, SELECTOR, TIME_SCALE, Window};
pub use report::{Audience, BadPeriod, InvalidMonth, ObjectiveReport, Period, Point, Report, TenantLine};
pub use text::csv_field;
