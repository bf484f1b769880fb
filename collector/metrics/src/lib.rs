//! The metric store: memory, parts and their manifest, the series index.
