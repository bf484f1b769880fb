//! Received forms to OTLP or series, stamping, the journal record, delta accumulation.
//!
//! ```text
//! ReceivedBody ──decode──→ Decoded ──claims──→ (tenancy decides) ──stamp──→ Stamped{StampedBatch, Deltas}
//!      └──────────────────→ Record{decisions, header, body as received} ←─ bytes ─→ journal
//!                            Record::replay ──→ the same Stamped;  Record::to_otlp ──→ what forward sends
//! ```
//!
//! # Invariants
//! - Pure: no I/O, no clock, no randomness, no state but what the caller hands in. (The fingerprints of unmade labels
//!   are keyed by the process; nothing that is kept or compared depends on them.)
//! - What a remote write's series are called is not made into strings unless somebody asks for it.
//! - No input makes it panic, and nothing is decompressed past [`DecodeLimits::max_decoded_bytes`].
//! - What a batch says of its tenant, account and region never reaches a label or attribute of that name, unless the
//!   decision says the same; nor has a series that was received one of the collector's own names.
//! - A replay of a record's bytes, with the accumulators of its position, gives the same stamped batch.

mod accumulate;
mod attribute;
mod bounds;
mod claims;
mod count;
mod decode;
mod decompress;
mod exponential;
mod firehose;
mod footprint;
mod labels;
mod loki;
mod native;
mod otlp;
mod otlp_json;
mod own;
mod record;
mod remote_write;
mod resource;
mod series;
mod series_otlp;
mod stamp;
mod volume;
mod write;
mod write_metadata;

pub use accumulate::{Accumulators, AccumulatorsError, Deltas};
pub use bounds::{Bounds, RecordBounds};
pub use claims::{
    ACCOUNT_ATTRIBUTE, ACCOUNT_LABEL, EXPORTED, PROVIDER_ATTRIBUTE, REGION_ATTRIBUTE, REGION_LABEL, TENANT_ATTRIBUTE,
    TENANT_LABEL,
};
pub use decode::{DecodeError, DecodeLimits, Decoded, decode, is_known};
pub use firehose::Delivery;
pub use otlp::OtlpRequest;
pub use record::{Record, RecordBody, RecordError};
pub use series::{CADENCE_METADATA, CLOUDWATCH_SCOPE, DELAY_METADATA};
pub use stamp::{Origin, Rejected, Stamped, stamp};
pub use tenantscope_model::{Claim, Decision};
pub use volume::Volume;
