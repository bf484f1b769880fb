//! Receivers, deduplication, admission, and the way of a batch into journal and store.
