//! Received forms to OTLP or series, stamping, the journal record, delta accumulation.
