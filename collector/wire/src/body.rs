use std::fmt;

use bytes::Bytes;
use tenantscope_model::Signal;

/// In which form a body is, once decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyForm {
    /// An OTLP `Export…ServiceRequest` in protobuf.
    OtlpProtobuf,
    /// The same in OTLP's JSON mapping.
    OtlpJson,
    /// Prometheus remote write 1.0: a `WriteRequest` in protobuf.
    RemoteWriteV1,
    /// Prometheus remote write 2.0: an `io.prometheus.write.v2.Request` in protobuf.
    RemoteWriteV2,
    /// Loki's `logproto.PushRequest` in protobuf.
    LokiProtobuf,
    /// The same in the JSON of Loki's HTTP API.
    LokiJson,
    /// A delivery of Amazon Data Firehose: JSON with records in base64, of metric streams or of log subscriptions.
    Firehose,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// It is not.
    #[default]
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Snappy's block form, as remote write has it.
    Snappy,
}

impl Encoding {
    /// The name in `content-encoding` and `grpc-encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }

    /// The encoding of that name, in any case; `None` for one that we do not know. An empty name means identity.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim();
        if name.is_empty() {
            return Some(Self::Identity);
        }
        [Self::Identity, Self::Gzip, Self::Zstd, Self::Snappy]
            .into_iter()
            .find(|encoding| name.eq_ignore_ascii_case(encoding.as_str()))
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A body exactly as it came: neither decompressed nor decoded. Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct ReceivedBody {
    /// Which service or path it came in by.
    pub signal: Signal,
    /// Its form under the compression.
    pub form: BodyForm,
    /// Its compression.
    pub encoding: Encoding,
    /// The bytes, without gRPC's frame.
    pub bytes: Bytes,
}

/// Tells the size, never the content.
impl fmt::Debug for ReceivedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedBody")
            .field("signal", &self.signal)
            .field("form", &self.form)
            .field("encoding", &self.encoding)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}
