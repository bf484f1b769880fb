//! `agent.yaml` as it is written: every key optional, unknown keys refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenantscope_model::Region;
use tenantscope_wire::document::{Sources, usd, yaml};

use super::{Bytes, ConfigError, TimeSpan};

/// The largest configuration file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Keys by which the collector's file is known.
const OF_THE_COLLECTOR: [&str; 13] = [
    "data_dir",
    "identity",
    "registry",
    "readers",
    "limits",
    "rules",
    "objectives",
    "incidents",
    "forward",
    "agents",
    "metrics",
    "lake",
    "journal",
];

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// Address of the collector's OTLP/gRPC listener.
    pub collector: Option<String>,
    /// What the agent calls itself; the host's name by default.
    pub name: Option<String>,
    /// The name that a proof is signed for; the host of `collector` by default.
    pub server_name: Option<String>,
    /// How the agent proves its account.
    pub proof: Option<ProofKind>,
    /// Where the agent may speak plain text, to an address of `http://`.
    pub plain_text: Option<PlainText>,
    /// With `proof: token` or `proof: jwt`: the file that holds the token.
    pub token_file: Option<PathBuf>,
    /// With `proof: token`: the environment variable that holds the token.
    pub token_env: Option<String>,
    /// TLS towards the collector.
    pub tls: TlsSection,
    /// How batches are compressed.
    pub compression: Option<Compression>,
    /// The buffer on disk.
    pub spool: SpoolSection,
    /// Whether anything is collected, as in [`tenantscope_wire::AgentDocument`].
    pub enabled: Option<bool>,
    /// The regions of sources that name none.
    pub regions: Option<Vec<Region>>,
    /// Time between two rounds of AWS sources that have no `interval`.
    pub interval: Option<TimeSpan>,
    /// What is collected, as in [`tenantscope_wire::AgentDocument`].
    pub sources: Option<Sources>,
    /// What collection may cost in a month, in US dollars, as in [`tenantscope_wire::AgentDocument`].
    #[serde(deserialize_with = "usd")]
    pub budget_usd_per_month: Option<f64>,
    /// Where the agent's own metrics can be read.
    pub listen: ListenSection,
    /// Where the agent's own traces go.
    pub traces: TracesSection,
    /// How long a shutdown may take to deliver what is spooled.
    pub drain: Option<TimeSpan>,
}

/// How the agent proves its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProofKind {
    /// A signed `sts:GetCallerIdentity` request.
    Sts,
    /// A web identity token (a JWT) from a file, read again for each exchange: whoever writes it there renews it.
    Jwt,
    /// The client certificate of `tls.cert` and `tls.key`, in which the collector finds the account
    Certificate,
    /// A static token, for development and for senders outside AWS.
    Token,
    /// Nothing: for a collector in open mode, which listens on loopback alone.
    None,
}

/// Where the agent may speak plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum PlainText {
    /// To loopback addresses, where nobody listens in.
    #[default]
    Loopback,
    /// Anywhere: a proxy of ours adds TLS, and nobody listens in between it and the agent.
    BehindAProxy,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Zstandard.
    Zstd,
    /// Gzip, for collectors other than ours.
    Gzip,
}

/// `tls`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSection {
    /// PEM file of the authorities to trust instead of the public ones.
    pub ca: Option<PathBuf>,
    /// PEM file of the agent's own certificate and those between it and its authority.
    pub cert: Option<PathBuf>,
    /// PEM file of its private key.
    pub key: Option<PathBuf>,
}

/// `spool`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolSection {
    /// The folder.
    pub dir: Option<PathBuf>,
    /// Its size; past that the oldest goes.
    pub max_bytes: Option<Bytes>,
    /// The age past which a batch is dropped.
    pub max_age: Option<TimeSpan>,
}

/// `listen`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSection {
    /// Address of `/metrics` and `/-/healthy`.
    pub http: Option<SocketAddr>,
}

/// `traces`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TracesSection {
    /// OTLP/gRPC address for the agent's own spans.
    pub endpoint: Option<String>,
}

impl Document {
    /// Parses a file's text; `path` is for the errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        yaml::read(text).map_err(|mistake| {
            let foreign = mistake.unknown_key.filter(|key| OF_THE_COLLECTOR.contains(&key.as_str()));
            let message = match foreign {
                Some(key) => format!(
                    "this looks like the collector's configuration, which has {key:?}; the agent needs a file of its own \
                     (--config or TENANTSCOPE_CONFIG, which both programs read)"
                ),
                None => mistake.message,
            };
            ConfigError::Invalid { path: path.to_path_buf(), line: mistake.line, message }
        })
    }
}

/// A file's text.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        let message = format!("the file has {size} bytes, more than {MAX_FILE_BYTES}");
        return Err(ConfigError::Invalid { path: path.to_path_buf(), line: 0, message });
    }
    std::fs::read_to_string(path).map_err(unreadable)
}
