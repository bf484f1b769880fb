//! gzip and zstd, as much at a time as there is.

use std::io::{self, Write as _};

use axum::http::{HeaderMap, header};
use flate2::write::GzEncoder;

/// A content coding that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Zstd,
    Gzip,
}

/// Fast ones: an answer is read once.
const ZSTD_LEVEL: i32 = 1;
const GZIP_LEVEL: flate2::Compression = flate2::Compression::new(1);

impl Coding {
    /// The one that the client likes most; of equal ones zstd.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut best: Option<(Self, f32)> = None;
        for clause in given.flat_map(|value| value.split(',')) {
            let (name, parameter) = clause.split_once(';').unwrap_or((clause, ""));
            let quality =
                parameter.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse().ok()).unwrap_or(0.0);
            let coding = match name.trim() {
                "zstd" => Self::Zstd,
                "gzip" | "x-gzip" => Self::Gzip,
                _ => continue,
            };
            let better = best.is_none_or(|(other, most)| quality > most || (quality == most && other == Self::Gzip));
            if quality > 0.0 && better {
                best = Some((coding, quality));
            }
        }
        best.map(|(coding, _)| coding)
    }

    /// Its name in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// Takes text and gives what came of it so far.
pub(super) enum Compressor {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Compressor {
    /// A new stream.
    pub(super) fn try_new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?),
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), GZIP_LEVEL)),
        })
    }

    /// Takes more in; what is ready comes out, perhaps nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    /// The rest.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}
