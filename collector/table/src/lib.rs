//! Delta tables: commit, snapshot, expiry.
