use std::io::Read;

use bytes::Bytes;
use tenantscope_wire::{Encoding, ReceivedBody};

use crate::{DecodeError, DecodeLimits};

/// The body without its compression; never more than the limit is held, whatever the body claims.
pub(crate) fn decompress(body: &ReceivedBody, limits: &DecodeLimits) -> Result<Bytes, DecodeError> {
    let max_bytes = limits.max_decoded_bytes;
    let too_large = DecodeError::TooLarge { max_bytes };
    match body.encoding {
        Encoding::Identity if body.bytes.len() > max_bytes => Err(too_large),
        Encoding::Identity => Ok(body.bytes.clone()),
        Encoding::Gzip => bounded(flate2::read::MultiGzDecoder::new(&body.bytes[..]), &body.bytes, max_bytes),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&body.bytes[..])
                .map_err(|error| DecodeError::Compression(error.to_string()))?;
            // A frame may ask for a window of any size: 8 MiB is what the format's document asks decoders to support.
            decoder.window_log_max(23).map_err(|error| DecodeError::Compression(error.to_string()))?;
            bounded(decoder, &body.bytes, max_bytes)
        }
        Encoding::Snappy => {
            let wrong = |error: snap::Error| DecodeError::Compression(error.to_string());
            if snap::raw::decompress_len(&body.bytes).map_err(wrong)? > max_bytes {
                return Err(too_large);
            }
            snap::raw::Decoder::new().decompress_vec(&body.bytes).map(Bytes::from).map_err(wrong)
        }
    }
}

fn bounded(decoder: impl Read, compressed: &Bytes, max_bytes: usize) -> Result<Bytes, DecodeError> {
    // Telemetry shrinks by about six; the first guess saves most of the growing.
    let mut decoded = Vec::with_capacity(compressed.len().saturating_mul(6).min(max_bytes));
    let one_more = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(one_more).read_to_end(&mut decoded).map_err(|error| DecodeError::Compression(error.to_string()))?;
    if decoded.len() > max_bytes {
        return Err(DecodeError::TooLarge { max_bytes });
    }
    Ok(decoded.into())
}
