//! From an OTLP request to a batch of the spool: encoded and compressed once.

use bytes::Bytes;
use prost::Message;
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding};

use crate::config::Compression;
use crate::spool::Batch;

/// Encodes and compresses a request with this many items.
pub fn pack(
    signal: Signal,
    request: &impl Message,
    items: usize,
    compression: Compression,
) -> Result<Batch, std::io::Error> {
    let plain = request.encode_to_vec();
    let encoding = match compression {
        Compression::Zstd => Encoding::Zstd,
        Compression::Gzip => Encoding::Gzip,
    };
    let body = tenantscope_wire::compress(encoding, &plain)?;
    Ok(Batch { signal, form: BodyForm::OtlpProtobuf, encoding, items: items as u64, body: Bytes::from(body) })
}
