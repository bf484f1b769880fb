//! What a command line or the environment may say; each has its key in `agent.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use tenantscope_model::Region;

use super::document::{Compression, ProofKind};
use super::{Bytes, Glob, TimeSpan};

/// Options of every mode. A flag counts before its environment variable, that before the file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// Configuration file (YAML)
    #[arg(long, env = "TENANTSCOPE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the collector's OTLP/gRPC listener, such as `https://collector.example.com:4317`
    #[arg(long, env = "TENANTSCOPE_COLLECTOR", value_name = "URL")]
    pub collector: Option<String>,
    /// The agent's name; the host's name by default
    #[arg(long, env = "TENANTSCOPE_NAME")]
    pub name: Option<String>,
    /// The name that the proof is signed for; the collector's host by default
    #[arg(long, env = "TENANTSCOPE_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// How the account is proved
    #[arg(long, env = "TENANTSCOPE_PROOF", value_enum)]
    pub proof: Option<ProofKind>,
    /// File with the token, for --proof token and --proof jwt
    #[arg(long, env = "TENANTSCOPE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Environment variable with the token, for --proof token
    #[arg(long, env = "TENANTSCOPE_TOKEN_ENV", value_name = "VARIABLE")]
    pub token_env: Option<String>,
    /// PEM file of the authorities to trust instead of the public ones
    #[arg(long, env = "TENANTSCOPE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// How batches are compressed
    #[arg(long, env = "TENANTSCOPE_COMPRESSION", value_enum)]
    pub compression: Option<Compression>,
    /// Folder of the spool
    #[arg(long, env = "TENANTSCOPE_SPOOL_DIR", value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Size of the spool, such as 512MiB
    #[arg(long, env = "TENANTSCOPE_SPOOL_MAX_BYTES", value_name = "SIZE")]
    pub spool_max_bytes: Option<Bytes>,
    /// Age past which a spooled batch is dropped, such as 48h
    #[arg(long, env = "TENANTSCOPE_SPOOL_MAX_AGE", value_name = "DURATION")]
    pub spool_max_age: Option<TimeSpan>,
    /// Regions of all AWS sources that do not name their own
    #[arg(long, env = "TENANTSCOPE_REGIONS", value_name = "REGION", value_delimiter = ',')]
    pub regions: Option<Vec<Region>>,
    /// Time between two rounds of all AWS sources, such as 60s
    #[arg(long, env = "TENANTSCOPE_INTERVAL", value_name = "DURATION")]
    pub interval: Option<TimeSpan>,
    /// CloudWatch namespaces, as patterns
    #[arg(long, env = "TENANTSCOPE_CLOUDWATCH_NAMESPACES", value_name = "PATTERN", value_delimiter = ',')]
    pub cloudwatch_namespaces: Option<Vec<String>>,
    /// Log groups, as patterns
    #[arg(long, env = "TENANTSCOPE_LOGS_GROUPS", value_name = "PATTERN", value_delimiter = ',')]
    pub logs_groups: Option<Vec<String>>,
    /// Address to receive OTLP/gRPC on
    #[arg(long, env = "TENANTSCOPE_OTLP_GRPC", value_name = "ADDRESS")]
    pub otlp_grpc: Option<SocketAddr>,
    /// Address to receive OTLP/HTTP on
    #[arg(long, env = "TENANTSCOPE_OTLP_HTTP", value_name = "ADDRESS")]
    pub otlp_http: Option<SocketAddr>,
    /// Address of the agent's own /metrics
    #[arg(long, env = "TENANTSCOPE_TELEMETRY_LISTEN", value_name = "ADDRESS")]
    pub telemetry_listen: Option<SocketAddr>,
    /// OTLP/gRPC address for the agent's own traces
    #[arg(long, env = "TENANTSCOPE_TRACES_ENDPOINT", value_name = "URL")]
    pub traces_endpoint: Option<String>,
    /// What collection may cost in a month, in US dollars
    #[arg(long, env = "TENANTSCOPE_BUDGET_USD_PER_MONTH", value_name = "USD")]
    pub budget_usd_per_month: Option<f64>,
    /// How long a shutdown may take to deliver what is spooled
    #[arg(long, env = "TENANTSCOPE_DRAIN", value_name = "DURATION")]
    pub drain: Option<TimeSpan>,
}

impl Options {
    /// The patterns of a list option.
    pub(super) fn globs(texts: &[String]) -> Vec<Glob> {
        texts.iter().map(Glob::new).collect()
    }
}
