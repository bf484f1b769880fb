use std::io::{self, Write};

use crate::Encoding;

/// Zstandard's own default: a good ratio at little cost.
const ZSTD_LEVEL: i32 = 3;

/// Compresses a body that we send.
pub fn compress(encoding: Encoding, body: &[u8]) -> io::Result<Vec<u8>> {
    match encoding {
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(body)?;
            encoder.finish()
        }
        Encoding::Zstd => zstd::stream::encode_all(body, ZSTD_LEVEL),
        Encoding::Snappy => Err(io::Error::new(io::ErrorKind::Unsupported, "OTLP has no snappy")),
    }
}
