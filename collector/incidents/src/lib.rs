//! Reach, routes, silences, the outbox, and notifiers.
