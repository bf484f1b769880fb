//! From an OTLP request to a batch of the spool: encoded and compressed once.

use std::io::Write;

use bytes::Bytes;
use prost::Message;
use tenantscope_model::Signal;
use tenantscope_wire::{BodyForm, Encoding};

use crate::config::Compression;
use crate::spool::Batch;

/// zstd's level: OTLP shrinks about tenfold already here, and higher ones cost more than they save.
const ZSTD_LEVEL: i32 = 3;

/// Encodes and compresses a request with this many items.
pub fn pack(
    signal: Signal,
    request: &impl Message,
    items: usize,
    compression: Compression,
) -> Result<Batch, std::io::Error> {
    let plain = request.encode_to_vec();
    let (encoding, body) = match compression {
        Compression::Zstd => (Encoding::Zstd, zstd::bulk::compress(&plain, ZSTD_LEVEL)?),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&plain)?;
            (Encoding::Gzip, encoder.finish()?)
        }
    };
    Ok(Batch { signal, form: BodyForm::OtlpProtobuf, encoding, items: items as u64, body: Bytes::from(body) })
}
