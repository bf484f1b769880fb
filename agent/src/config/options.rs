//! What a command line or the environment may say; each has its key in `agent.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use tenantscope_model::Region;

use super::document::{Compression, PlainText, ProofKind};
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
    /// Where the agent may speak plain text (`http://…` as the collector's address)
    #[arg(long, env = "TENANTSCOPE_PLAIN_TEXT", value_enum)]
    pub plain_text: Option<PlainText>,
    /// File with the token, for --proof token and --proof jwt
    #[arg(long, env = "TENANTSCOPE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Environment variable with the token, for --proof token
    #[arg(long, env = "TENANTSCOPE_TOKEN_ENV", value_name = "VARIABLE")]
    pub token_env: Option<String>,
    /// PEM file of the authorities to trust instead of the public ones
    #[arg(long, env = "TENANTSCOPE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file of the agent's own certificate, for --proof certificate
    #[arg(long, env = "TENANTSCOPE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, env = "TENANTSCOPE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
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
    /// Whether anything is collected; false to wait until the collector says what
    #[arg(long, env = "TENANTSCOPE_ENABLED", value_name = "BOOL")]
    pub enabled: Option<bool>,
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

/// A key, its option, and whether that is given.
type KeyAndOption = (&'static str, &'static str, fn(&Options) -> bool);

/// The options by their keys.
pub(super) const BY_KEY: [KeyAndOption; 25] = [
    ("collector", "collector", |it| it.collector.is_some()),
    ("name", "name", |it| it.name.is_some()),
    ("server_name", "server-name", |it| it.server_name.is_some()),
    ("proof", "proof", |it| it.proof.is_some()),
    ("plain_text", "plain-text", |it| it.plain_text.is_some()),
    ("token_file", "token-file", |it| it.token_file.is_some()),
    ("token_env", "token-env", |it| it.token_env.is_some()),
    ("tls.ca", "tls-ca", |it| it.tls_ca.is_some()),
    ("tls.cert", "tls-cert", |it| it.tls_cert.is_some()),
    ("tls.key", "tls-key", |it| it.tls_key.is_some()),
    ("compression", "compression", |it| it.compression.is_some()),
    ("spool.dir", "spool-dir", |it| it.spool_dir.is_some()),
    ("spool.max_bytes", "spool-max-bytes", |it| it.spool_max_bytes.is_some()),
    ("spool.max_age", "spool-max-age", |it| it.spool_max_age.is_some()),
    ("enabled", "enabled", |it| it.enabled.is_some()),
    ("regions", "regions", |it| it.regions.is_some()),
    ("interval", "interval", |it| it.interval.is_some()),
    ("sources.cloudwatch.namespaces", "cloudwatch-namespaces", |it| it.cloudwatch_namespaces.is_some()),
    ("sources.logs.groups", "logs-groups", |it| it.logs_groups.is_some()),
    ("sources.otlp.grpc", "otlp-grpc", |it| it.otlp_grpc.is_some()),
    ("sources.otlp.http", "otlp-http", |it| it.otlp_http.is_some()),
    ("listen.http", "telemetry-listen", |it| it.telemetry_listen.is_some()),
    ("traces.endpoint", "traces-endpoint", |it| it.traces_endpoint.is_some()),
    ("budget_usd_per_month", "budget-usd-per-month", |it| it.budget_usd_per_month.is_some()),
    ("drain", "drain", |it| it.drain.is_some()),
];

impl Options {
    /// The patterns of a list option.
    pub(super) fn globs(texts: &[String]) -> Vec<Glob> {
        texts.iter().map(Glob::new).collect()
    }

    /// The option and the variable that give a key its value, where the file does not.
    pub(super) fn source_of(&self, key: &str) -> Option<(&'static str, String)> {
        let (_, option, _) = BY_KEY.iter().find(|(known, _, is_given)| *known == key && is_given(self))?;
        Some((option, variable(option)))
    }
}

/// The environment variable of an option.
pub(super) fn variable(option: &str) -> String {
    format!("TENANTSCOPE_{}", option.to_uppercase().replace('-', "_"))
}
