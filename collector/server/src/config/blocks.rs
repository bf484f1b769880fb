//! `metrics.blocks`: when windows become blocks, and where these lie.

use std::path::Path;

use serde::Deserialize;
use tenantscope_metrics::{BlockOptions, Location, S3Location};
use tenantscope_model::{Bytes, TimeSpan};
use url::Url;

/// Bytes of blocks in a bucket that are kept on the local disk: 4 GiB.
const CACHE_MAX_BYTES: u64 = 4 << 30;

/// `blocks:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlocksConfig {
    /// Whether windows become blocks at all; default true.
    pub enabled: Option<bool>,
    /// How long after its end a window becomes a block; default 2h.
    pub after: Option<TimeSpan>,
    /// How long a closed window must not have been written to before; default 5m.
    pub settle: Option<TimeSpan>,
    /// The same for late data, which rewrite blocks; default 1h.
    pub late_settle: Option<TimeSpan>,
    /// Small files of one day become one up to this size; default 64 MiB.
    pub compact_max_bytes: Option<Bytes>,
    /// How long a file that was replaced stays for readers that know it; default 1h.
    pub removed_grace: Option<TimeSpan>,
    /// Memory for the series of blocks that queries found; default 256 MiB.
    pub index_cache_bytes: Option<Bytes>,
    /// A bucket instead of the data folder.
    pub s3: Option<S3Config>,
}

/// `s3:`; credentials come from the standard `AWS_…` variables or the machine's role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// `s3://bucket/prefix`.
    #[serde(deserialize_with = "s3_url")]
    pub url: Url,
    /// Another endpoint than AWS's own; default `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// Default `AWS_REGION`.
    pub region: Option<String>,
    /// Whether the bucket is named in the path; default false.
    #[serde(default)]
    pub path_style: bool,
    /// Whether the endpoint may be plain HTTP; default false.
    #[serde(default)]
    pub allow_http: bool,
    /// Local disk for what was read; default 4 GiB.
    pub cache_max_bytes: Option<Bytes>,
}

fn s3_url<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let text = String::deserialize(from)?;
    let url = Url::parse(&text).map_err(serde::de::Error::custom)?;
    if url.scheme() != "s3" || url.host_str().is_none_or(str::is_empty) {
        return Err(serde::de::Error::custom("not a URL such as s3://bucket/prefix"));
    }
    Ok(url)
}

impl BlocksConfig {
    /// The store's options; `dir` is a local folder for what is on its way to a bucket, and for what was read of it.
    pub fn options(&self, dir: &Path) -> BlockOptions {
        let defaults = BlockOptions::default();
        let span = |given: Option<TimeSpan>, default| given.map_or(default, |span| span.0);
        BlockOptions {
            enabled: self.enabled.unwrap_or(defaults.enabled),
            location: self.s3.as_ref().map(|s3| Location::S3(s3.location(dir))),
            after: span(self.after, defaults.after),
            settle: span(self.settle, defaults.settle),
            late_settle: span(self.late_settle, defaults.late_settle),
            compact_max_bytes: self.compact_max_bytes.map_or(defaults.compact_max_bytes, |bytes| bytes.0),
            removed_grace: span(self.removed_grace, defaults.removed_grace),
            index_cache_bytes: self.index_cache_bytes.map_or(defaults.index_cache_bytes, super::stores::in_memory),
            ..defaults
        }
    }
}

impl S3Config {
    fn location(&self, dir: &Path) -> S3Location {
        S3Location {
            url: self.url.clone(),
            endpoint: self.endpoint.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            region: self.region.clone(),
            path_style: self.path_style,
            allow_http: self.allow_http,
            local_dir: dir.to_owned(),
            cache_max_bytes: self.cache_max_bytes.map_or(CACHE_MAX_BYTES, |bytes| bytes.0),
        }
    }
}
