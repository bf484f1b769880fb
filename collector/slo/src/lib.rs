//! Objectives (OpenSLO), error budgets, burn-rate alerts, reports.
