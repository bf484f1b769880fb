//! Logs and spans: buffer, Delta tables, LogQL, TraceQL.
