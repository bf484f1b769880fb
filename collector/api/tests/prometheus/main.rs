//! Prometheus's API as its clients ask it, over a store that holds two tenants.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod bench;
mod calls;
mod limits;
mod statistics;
