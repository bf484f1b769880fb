//! `agent.yaml` as it is written: every key optional, unknown keys refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenantscope_model::Region;

use super::{Bytes, ConfigError, Glob, TimeSpan};

/// The largest configuration file.
const MAX_FILE_BYTES: u64 = 1 << 20;

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
    /// With `proof: token`: the file that holds the token.
    pub token_file: Option<PathBuf>,
    /// With `proof: token`: the environment variable that holds the token.
    pub token_env: Option<String>,
    /// TLS towards the collector.
    pub tls: TlsSection,
    /// How batches are compressed.
    pub compression: Option<Compression>,
    /// The buffer on disk.
    pub spool: SpoolSection,
    /// What is collected.
    pub sources: Option<SourcesSection>,
    /// What collection may cost in a month, in US dollars.
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
    /// A static token, for development and for senders outside AWS.
    Token,
    /// Nothing: for a collector in open mode, which listens on loopback alone.
    None,
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

/// `sources`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourcesSection {
    /// CloudWatch metrics.
    pub cloudwatch: Option<CloudWatchSection>,
    /// CloudWatch Logs.
    pub logs: Option<LogsSection>,
    /// X-Ray traces.
    pub xray: Option<XraySection>,
    /// OTLP from applications.
    pub otlp: Option<OtlpSection>,
}

/// `sources.cloudwatch`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudWatchSection {
    /// The regions; the AWS configuration's own by default.
    pub regions: Option<Vec<Region>>,
    /// The namespaces, as patterns; all that are present by default.
    pub namespaces: Option<Vec<Glob>>,
    /// Time between two rounds.
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    pub lookback: Option<TimeSpan>,
    /// How long datapoints are read again because CloudWatch revises them.
    pub overlap: Option<TimeSpan>,
    /// The most metrics that one round asks for.
    pub max_metrics: Option<usize>,
    /// Statistics other than the built-in ones; the first that matches counts.
    pub statistics: Vec<StatisticsSection>,
}

/// One entry of `sources.cloudwatch.statistics`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticsSection {
    /// The namespaces that it is for.
    pub namespace: Glob,
    /// The metrics that it is for; all by default.
    #[serde(default)]
    pub metric: Option<Glob>,
    /// The statistics, such as `Sum` or `p99`; none turns the metric off.
    pub statistics: Vec<Statistic>,
    /// The period in seconds, 60 by default.
    #[serde(default)]
    pub period: Option<TimeSpan>,
}

/// A CloudWatch statistic by its name in the API: `Sum`, `Average`, `p99`, `tm90`, …
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Statistic(String);

impl Statistic {
    /// Checks the name's form.
    pub fn try_new(name: &str) -> Result<Self, String> {
        const PLAIN: [&str; 6] = ["Sum", "Average", "Maximum", "Minimum", "SampleCount", "IQM"];
        const EXTENDED: [&str; 6] = ["p", "tm", "wm", "tc", "ts", "pr"];
        let behind_letters = name.trim_start_matches(|c: char| c.is_ascii_lowercase());
        let letters = name.strip_suffix(behind_letters).unwrap_or_default();
        let is_percentile = EXTENDED.contains(&letters) && behind_letters.parse::<f64>().is_ok_and(|p| p <= 100.0);
        let is_range = matches!(letters, "") && is_extended_range(name);
        if PLAIN.contains(&name) || is_percentile || is_range {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!("{name:?} is no CloudWatch statistic such as Sum, Average, Maximum or p99"))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `TM(10%:90%)`, `PR(:300)` and their like.
fn is_extended_range(name: &str) -> bool {
    let Some((kind, behind)) = name.split_once('(') else { return false };
    ["TM", "WM", "TC", "TS", "PR"].contains(&kind)
        && behind.ends_with(')')
        && behind.contains(':')
        && behind.trim_end_matches(')').chars().all(|c| c.is_ascii_digit() || ".:%".contains(c))
}

impl TryFrom<String> for Statistic {
    type Error = String;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::try_new(&name)
    }
}

/// `sources.logs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogsSection {
    /// The regions; the AWS configuration's own by default.
    pub regions: Option<Vec<Region>>,
    /// The log groups, as patterns.
    pub groups: Option<Vec<Glob>>,
    /// Time between two rounds.
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    pub lookback: Option<TimeSpan>,
    /// How late an event may come and still be found.
    pub overlap: Option<TimeSpan>,
    /// The most groups that are read.
    pub max_groups: Option<usize>,
}

/// `sources.xray`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct XraySection {
    /// The regions; the AWS configuration's own by default.
    pub regions: Option<Vec<Region>>,
    /// Time between two rounds.
    pub interval: Option<TimeSpan>,
    /// How far the first round looks back.
    pub lookback: Option<TimeSpan>,
    /// How late a segment may come and still be found.
    pub overlap: Option<TimeSpan>,
    /// X-Ray filter expression; all traces by default.
    pub filter: Option<String>,
}

/// `sources.otlp`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSection {
    /// Address for OTLP/gRPC.
    pub grpc: Option<SocketAddr>,
    /// Address for OTLP/HTTP.
    pub http: Option<SocketAddr>,
}

impl Document {
    /// Reads a file; errors name it and the line.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_FILE_BYTES {
            let message = format!("the file has {size} bytes, more than {MAX_FILE_BYTES}");
            return Err(ConfigError::Invalid { path: path.to_path_buf(), line: 0, message });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, path)
    }

    /// Parses a file's text; `path` is for the errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| ConfigError::Invalid {
            path: path.to_path_buf(),
            line: error.location().map_or(0, |location| location.line()),
            message: error.render_with_options(serde_saphyr::render_options! {
                formatter: &serde_saphyr::UserMessageFormatter,
                snippets: serde_saphyr::SnippetMode::Off,
            }),
        })
    }
}
