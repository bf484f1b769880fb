//! From a journal record to the body that a target gets: stamped OTLP in protobuf, compressed.

use bytes::Bytes;
use tenantscope_codec::{Record, RecordBody, TENANT_LABEL};
use tenantscope_journal::Record as JournalRecord;
use tenantscope_model::{Position, RemovedTenants, Signal};
use tenantscope_wire::{Encoding, compress};

use crate::config::Compression;

/// What a target gets for one journal record.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) signal: Signal,
    pub(crate) encoding: Encoding,
    /// An `Export…ServiceRequest`, compressed.
    pub(crate) bytes: Bytes,
    /// Data points, log records or spans in it.
    pub(crate) records: u64,
    /// Samples of series without a tenant, which are not in it.
    pub(crate) without_tenant: u64,
    /// Tenants of whom something was in the record, and who were removed behind it.
    pub(crate) removed_tenants: u64,
}

/// What a journal record came to.
#[derive(Debug)]
pub(crate) enum Made {
    /// Something to send.
    Batch(Batch),
    /// Nothing to send, which is as it should be.
    Nothing {
        /// Samples of series without a tenant, which are for readers of all tenants only.
        without_tenant: u64,
        /// As in [`Batch`].
        removed_tenants: u64,
    },
    /// It cannot be understood, and never will be.
    Unreadable {
        /// A fixed word for a counter.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// Decodes, stamps, encodes and compresses. Takes a while for large batches: not for a runtime's thread.
pub(crate) fn make(read: JournalRecord, signal: Signal, compression: Compression, removed: &RemovedTenants) -> Made {
    let mut record = match Record::from_bytes(Bytes::from(read.bytes)) {
        Ok(record) => record,
        Err(error) => return Made::Unreadable { reason: "unreadable", message: error.to_string() },
    };
    let removed = removed.at(signal, Position(read.position));
    let removed_tenants = removed.filter(|tenant| record.leave_out_tenant(tenant)).count() as u64;
    let without_tenant = remove_series_without_tenant(&mut record.body);
    let request = match record.to_otlp() {
        Ok(request) => request,
        Err(error) => return Made::Unreadable { reason: "undecodable", message: error.to_string() },
    };
    if request.signal() != signal {
        let message = format!("{} in the journal of {signal}", request.signal());
        return Made::Unreadable { reason: "wrong_signal", message };
    }
    let records = request.records() as u64;
    if records == 0 {
        return Made::Nothing { without_tenant, removed_tenants };
    }
    let encoding = match compression {
        Compression::None => Encoding::Identity,
        Compression::Gzip => Encoding::Gzip,
        Compression::Zstd => Encoding::Zstd,
    };
    match compress(encoding, &request.to_bytes()) {
        Ok(bytes) => {
            let bytes = bytes.into();
            Made::Batch(Batch { signal, encoding, bytes, records, without_tenant, removed_tenants })
        }
        Err(error) => Made::Unreadable { reason: "compression", message: error.to_string() },
    }
}

/// Says how many samples went with them.
fn remove_series_without_tenant(body: &mut RecordBody) -> u64 {
    let RecordBody::Own { series, .. } = body else {
        return 0; // what was received has a tenant, or was refused; and a tombstone holds nothing
    };
    let mut removed = 0;
    series.retain(|series| {
        let has_tenant = series.labels.get(TENANT_LABEL).is_some_and(|tenant| !tenant.is_empty());
        if !has_tenant {
            removed += (series.samples.len() + series.histograms.len()) as u64;
        }
        has_tenant
    });
    removed
}
