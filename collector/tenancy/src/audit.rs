//! What goes into the audit log.

/// The target of events that are written down for good: who was let in and who was not, what was changed and deleted, who
/// read across tenants. The event's message is what happened, its fields are with whom and what; none of them may be a
/// secret, or anything that nobody checked and that has no bound. What can come
/// often is added up by its fields with `per_minute = true`, or written once a day with `once_a_day = true`; a field whose name
/// begins with `last_` tells no event from another then. A field whose name ends with `_json` is a text with JSON, which is
/// written as such, under the name without that. docs/audit.md lists the events.
pub const AUDIT: &str = "audit";
