//! Prometheus rule groups: evaluation on time, alert state, templates.
