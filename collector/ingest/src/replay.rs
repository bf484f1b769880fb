//! A start: what the journal has and the state, or the store, has not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tenantscope_codec::{Deltas, Record};
use tenantscope_journal::{Journal, ReadError};
use tenantscope_model::{Position, RemovedTenants, Signal};

use crate::line::is_empty;
use crate::state::{Change, State};
use crate::store::Store;
use crate::telemetry;

const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Reads the journal behind the state, in order and without admission: what the store has changes the state only,
/// what it has not goes into both. Nothing of a tenant that was removed behind a record goes into the store.
///
/// A record that can't be read any more is counted and passed over: it was acknowledged, but stopping would lose the
/// ones behind it as well.
pub(crate) fn run(
    signal: Signal,
    journal: &Journal,
    store: &dyn Store,
    state: &mut State,
    removed: &RemovedTenants,
) -> Result<(), ReadError> {
    let durable = store.durable().0;
    let after = state.position.min(durable);
    let end = journal.end();
    if after + 1 < journal.first() && journal.first() <= end {
        let first = journal.first();
        tracing::error!(%signal, after, first, "journal begins behind the state, records between are lost");
    }
    if after < end {
        tracing::info!(%signal, state = state.position, store = durable, end, "replaying journal");
    }
    let started = Instant::now();
    let mut told = started;
    let mut reader = journal.reader(after);
    let mut records: u64 = 0;
    while let Some(record) = reader.next_record()? {
        one(signal, record.position, record.bytes, (store, durable), state, removed);
        records += 1;
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            tracing::info!(%signal, position = record.position, end, "replaying journal");
        }
    }
    if records > 0 {
        tracing::info!(%signal, records, end, seconds = started.elapsed().as_secs_f64(), "journal replayed");
    }
    Ok(())
}

fn one(
    signal: Signal,
    position: u64,
    bytes: Vec<u8>,
    (store, durable): (&dyn Store, u64),
    state: &mut State,
    removed: &RemovedTenants,
) {
    let unreadable = |error: &dyn std::fmt::Display| {
        telemetry::unreadable(signal);
        tracing::error!(%signal, position, %error, "journal record can't be read again");
    };
    let record = match Record::from_bytes(Bytes::from(bytes)) {
        Ok(record) => record,
        Err(error) => return unreadable(&error),
    };
    let into_store = position > durable;
    let into_state = position > state.position;
    // Without deltas nothing of the body is needed for the state; to know that, it must be decoded all the same.
    let needs_body = into_store || signal == Signal::Metrics;
    let mut deltas = Deltas::default();
    if needs_body {
        match record.replay(&state.accumulators) {
            Ok(mut stamped) => {
                deltas = stamped.deltas;
                for tenant in removed.at(signal, Position(position)) {
                    stamped.batch.leave_out_tenant(tenant);
                }
                if into_store && !is_empty(&stamped.batch) {
                    store.prepare_replay(stamped.batch)(Position(position));
                }
            }
            Err(error) => unreadable(&error),
        }
    }
    if into_state {
        state.advance(position, Change::of(&record), deltas);
    }
    telemetry::replayed(signal, into_store);
}
