//! The command line. Each option has a configuration key and an environment variable too.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What holds for each command.
const AFTER_HELP: &str = "\
Exit codes: 0 done (serve: ended by SIGTERM or SIGINT), 1 it could not be done or check found an error, 2 the command line
is wrong.
Environment: TENANTSCOPE_CONFIG, _DATA_DIR, _HTTP, _OTLP_GRPC, _OTLP_HTTP, _TOKEN_FILE, _CA, _LOG and _LOG_FORMAT stand for the
options of these names; the standard AWS_… variables hold for AWS Organizations and buckets.
Every key of the configuration: docs/collector-configuration.md.";

/// The collector: proves whose each byte is, stores it, and serves one view over all tenants.
#[derive(Debug, Parser)]
#[command(name = "tenantscope-collector", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log filter, such as `info` or `tenantscope_ingest=debug`.
    #[arg(
        long,
        display_order = 900,
        global = true,
        env = "TENANTSCOPE_LOG",
        default_value = "info,delta_kernel=warn,datafusion=warn",
        value_name = "FILTER"
    )]
    pub log: String,
    /// How log lines are written.
    #[arg(
        long,
        display_order = 901,
        global = true,
        env = "TENANTSCOPE_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive, store, serve; ends with 0 after SIGTERM or SIGINT. SIGHUP reloads rules,
    /// objectives, registry, credentials, certificates, routes, agents' documents, limits and prices; what was changed
    /// beside these is named in the log and waits for a restart.
    Serve(Serve),
    /// Check the configuration and every file that it names; silent and 0 if all is right, else 1 and `file:line: message`.
    Check(Check),
    /// Write SLO reports, one a tenant, as the running collector computes them.
    Report(Report),
    /// Look after tenants.
    #[command(subcommand)]
    Tenants(Tenants),
}

/// What to do about tenants.
#[derive(Debug, Subcommand)]
pub enum Tenants {
    /// List tenants with their accounts, attributes and former ids, a line each.
    List(Asking),
    /// Show all that is known of a tenant, as JSON.
    Show(ShowTenant),
    /// Remove everything of a tenant from every store of the running collector; refused while the registry lists it. Prints
    /// the record of what was removed; 0 once everything is gone that can go at once, else 1: it goes on by itself.
    Remove(RemoveTenant),
}

/// How the running collector is asked.
#[derive(Debug, Args)]
pub struct Asking {
    /// The running collector's configuration: it says where the collector listens.
    #[arg(long, env = "TENANTSCOPE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// The token of a reader who may, where the collector has readers configured.
    #[arg(long, env = "TENANTSCOPE_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates of those who may vouch for the collector's, in PEM, where the system's do not.
    #[arg(long, env = "TENANTSCOPE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Options of `tenants show`.
#[derive(Debug, Args)]
pub struct ShowTenant {
    /// The tenant; a former id will do.
    #[arg(value_name = "TENANT")]
    pub tenant: String,
    /// How the collector is asked.
    #[command(flatten)]
    pub asking: Asking,
}

/// Options of `tenants remove`.
#[derive(Debug, Args)]
pub struct RemoveTenant {
    /// The tenant.
    #[arg(value_name = "TENANT")]
    pub tenant: String,
    /// How the collector is asked; the token must be that of a reader of all tenants.
    #[command(flatten)]
    pub asking: Asking,
}

/// Options of `serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The configuration; without one, or without a registry in it, the collector runs open, on loopback alone.
    #[arg(long, env = "TENANTSCOPE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is stored [default: ./tenantscope-data] [key: data_dir].
    #[arg(long, env = "TENANTSCOPE_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for readers, remote write and pages [default: 127.0.0.1:9099] [key: listen.http].
    #[arg(long, env = "TENANTSCOPE_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Address for OTLP over gRPC [default: 127.0.0.1:4317] [key: listen.otlp_grpc].
    #[arg(long, env = "TENANTSCOPE_OTLP_GRPC", value_name = "ADDRESS")]
    pub otlp_grpc: Option<SocketAddr>,
    /// Address for OTLP over HTTP [default: 127.0.0.1:4318] [key: listen.otlp_http].
    #[arg(long, env = "TENANTSCOPE_OTLP_HTTP", value_name = "ADDRESS")]
    pub otlp_http: Option<SocketAddr>,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration.
    #[arg(long, env = "TENANTSCOPE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Let warnings count as errors.
    #[arg(long)]
    pub strict: bool,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The month, such as 2026-10 (UTC).
    #[arg(long, value_name = "YYYY-MM")]
    pub month: String,
    /// One tenant; without it, every tenant.
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// The reports' form.
    #[arg(long, default_value = "html")]
    pub format: ReportFormat,
    /// The folder to write TENANT.FORMAT into; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How the collector is asked.
    #[command(flatten)]
    pub asking: Asking,
}

/// A report's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A page with a plot, complete in one file.
    Html,
    /// For programs.
    Json,
    /// A table.
    Csv,
    /// For wikis and mail.
    Md,
}

impl ReportFormat {
    /// The file's ending and the API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Md => "md",
        }
    }
}
