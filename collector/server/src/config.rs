//! `collector.yaml`: read once, checked whole, with every file that it names.

mod at;
mod blocks;
mod listen;
mod problem;
mod retention;
mod stores;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use tenantscope_api::prometheus::QueryLimits;
use tenantscope_forward::TargetConfig;
use tenantscope_model::TimeSpan;
use tenantscope_tenancy::{AgentsConfig, CostConfig, IdentityConfig, Quotas, ReaderConfig, RegistryConfig};
use tenantscope_wire::document::yaml;

pub use at::At;
pub use blocks::{BlocksConfig, S3Config};
pub use listen::{Listen, PlainText, Tls};

pub use problem::Problem;
pub(crate) use problem::without_number;
pub use retention::{ClassConfig, ClassesConfig, RetentionConfig};
pub use stores::{JournalConfig, LakeConfig, MetricsConfig, QueryConfig};

use crate::audit::AuditConfig;
use crate::cli::Serve;

/// The largest configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Sections and keys that a running program keeps as they were at its start; a reload exchanges all others.
pub const UNTIL_RESTART: &[&str] = &[
    "audit",
    "data_dir",
    "external_url",
    "forward",
    "journal",
    "lake",
    "limits.cursor_interval",
    "limits.own_series_interval",
    "limits.state_interval",
    "listen",
    "metrics",
    "traces",
];

/// The whole of `collector.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is stored.
    pub data_dir: Option<PathBuf>,
    /// Where the collector listens.
    pub listen: Listen,
    /// How a person reaches the pages; goes into alerts' links.
    pub external_url: Option<String>,
    /// How senders prove who they are.
    pub identity: IdentityConfig,
    /// Whose accounts are whose; without it the collector is open, on loopback alone.
    pub registry: Option<RegistryConfig>,
    /// Who may read what.
    pub readers: Vec<ReaderConfig>,
    /// What batches may use.
    pub limits: tenantscope_ingest::Limits,
    /// What the tenants' use costs.
    pub cost: CostConfig,
    /// Who did what, written down.
    pub audit: AuditConfig,
    /// The journals.
    pub journal: JournalConfig,
    /// The metric store.
    pub metrics: MetricsConfig,
    /// The store of logs and spans.
    pub lake: LakeConfig,
    /// What a query may use.
    pub query: QueryConfig,
    /// Patterns of rule files.
    pub rules: Vec<String>,
    /// Patterns of OpenSLO files.
    pub objectives: Vec<String>,
    /// Who is told of what.
    pub incidents: tenantscope_incidents::Config,
    /// Other systems that get everything too.
    pub forward: Vec<TargetConfig>,
    /// What agents collect.
    pub agents: AgentsConfig,
    /// Where our own traces go.
    pub traces: Traces,
    /// The file's folder; what it names is relative to it.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The file, for the places of what is wrong in it.
    #[serde(skip)]
    source: Source,
}

#[derive(Debug, Default)]
struct Source {
    file: PathBuf,
    text: String,
    /// Made when the first place is asked for: most files have nothing wrong with them.
    lines: OnceLock<yaml::Lines>,
}

/// `traces:`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// An OTLP/gRPC endpoint for the collector's own traces.
    pub otlp_grpc: Option<String>,
}

impl Config {
    /// Reads a file; of what is wrong with it, the first.
    pub fn read(path: &Path) -> Result<Self, Problem> {
        Self::of_text(path, &read_text(path)?)
    }

    /// Reads a file; of what is wrong with it, the first of each section.
    pub fn read_all(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = read_text(path).map_err(|problem| vec![problem])?;
        Self::of_text(path, &text).map_err(|first| problem::of_sections(path, &text, first))
    }

    fn of_text(path: &Path, text: &str) -> Result<Self, Problem> {
        let mut config: Self = match text.trim() {
            "" => Self::default(), // an empty file changes nothing
            _ => yaml::read(text).map_err(|mistake| Problem::yaml(path, mistake))?,
        };
        config.folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        config.source = Source { file: path.to_path_buf(), text: text.to_owned(), lines: OnceLock::new() };
        Ok(config)
    }

    /// A message about a place, with file and line.
    pub fn place(&self, at: &At, message: impl Display) -> String {
        let Source { file, text, lines } = &self.source;
        if file.as_os_str().is_empty() {
            return format!("{at}: {message}");
        }
        let line = lines.get_or_init(|| yaml::Lines::of(text)).of_key(at.as_str());
        format!("{}: {at}: {message}", yaml::place(file, line))
    }

    /// What `serve` runs with: the file, if one is named, with the command line's options over it.
    pub fn for_serve(options: &Serve) -> Result<Self, Problem> {
        let mut config = options.config.as_deref().map(Self::read).transpose()?.unwrap_or_default();
        config.data_dir = options.data_dir.clone().or(config.data_dir);
        config.listen.http = options.http.or(config.listen.http);
        config.listen.otlp_grpc = options.otlp_grpc.or(config.listen.otlp_grpc);
        config.listen.otlp_http = options.otlp_http.or(config.listen.otlp_http);
        Ok(config)
    }

    /// The limits of queries, everybody's and tenants'.
    pub fn query_limits(&self) -> QueryLimits {
        self.query.limits(self.quotas())
    }

    /// What tenants may use.
    pub fn quotas(&self) -> Quotas {
        Quotas { default: self.limits.tenant, tiers: self.limits.tiers.clone() }
    }

    /// The bounds of everybody, by the reasons of what is refused for them.
    pub fn bounds_of_all(&self) -> BTreeMap<&'static str, String> {
        let (limits, query) = (&self.limits, self.query_limits());
        BTreeMap::from([
            ("samples", format!("query.max_samples {}", query.max_samples)),
            ("series", format!("query.max_series {}", query.max_series)),
            ("memory", format!("query.max_bytes {}", query.max_bytes)),
            ("all_memory", format!("query.memory_max_bytes {}", query.memory_max_bytes)),
            ("steps", format!("query.max_steps {}", query.max_steps)),
            ("time", format!("query.timeout {}", TimeSpan(query.timeout))),
            ("queue", format!("query.max_waiting {}", query.max_waiting)),
            ("reader_queue", format!("query.max_waiting_per_reader {}", query.max_waiting_per_reader)),
            ("body_too_large", format!("max_body_bytes {}", limits.max_body_bytes.0)),
            ("too_large", format!("max_decoded_bytes {}", limits.max_decoded_bytes.0)),
            ("in_flight", format!("max_in_flight_bytes {}", limits.max_in_flight_bytes.0)),
            ("sender_in_flight", format!("max_sender_percent {}", limits.max_sender_percent)),
            ("too_far_ahead", format!("max_ahead {}", limits.max_ahead)),
        ])
    }

    /// Where everything is stored.
    pub fn data_dir(&self) -> PathBuf {
        match &self.data_dir {
            Some(dir) => self.folder.join(dir),
            None => PathBuf::from("tenantscope-data"),
        }
    }

    /// Where readers, remote write and pages are.
    pub fn http(&self) -> SocketAddr {
        self.listen.http.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 9099)))
    }

    /// Where OTLP over gRPC is.
    pub fn otlp_grpc(&self) -> SocketAddr {
        self.listen.otlp_grpc.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)))
    }

    /// Where OTLP over HTTP is.
    pub fn otlp_http(&self) -> SocketAddr {
        self.listen.otlp_http.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 4318)))
    }

    /// Whether every listener is on loopback, where no other machine reaches it.
    pub fn on_loopback(&self) -> bool {
        [self.http(), self.otlp_grpc(), self.otlp_http()].iter().all(|address| address.ip().is_loopback())
    }

    /// An address at which credentials would go in plain text over a network, where that is not allowed.
    pub fn plain_over_a_network(&self) -> Option<SocketAddr> {
        self.listen.plain_over_a_network([self.http(), self.otlp_grpc(), self.otlp_http()])
    }

    /// The files that a list of patterns names, sorted; a pattern without `*` must name a file.
    pub fn files(&self, patterns: &[String]) -> Result<Vec<PathBuf>, Problem> {
        let mut files = Vec::new();
        for pattern in patterns {
            files.extend(matching(&self.folder.join(pattern))?);
        }
        files.sort();
        files.dedup();
        Ok(files)
    }
}

fn read_text(path: &Path) -> Result<String, Problem> {
    let size_bytes = std::fs::metadata(path).map_err(|error| Problem::file(path, &error))?.len();
    if size_bytes > MAX_FILE_BYTES {
        return Err(Problem::file(path, &format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| Problem::file(path, &error))
}

/// `*` stands for any characters of a file's name; folders are taken as they are written.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>, Problem> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let Some((before, after)) = name.split_once('*') else { return Ok(vec![pattern.to_path_buf()]) };
    let folder = pattern.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|error| Problem::file(pattern, &error))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Problem::file(pattern, &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let long_enough = name.len() >= before.len() + after.len();
        if long_enough && name.starts_with(before) && name.ends_with(after) && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("collector.yaml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|problem| problem.to_string().replace(&dir.path().display().to_string(), "DIR"))
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let problem = config("data_dir: x\nlisten:\n  htpp: 127.0.0.1:1\n").unwrap_err();
        assert!(problem.starts_with("DIR/collector.yaml:3: ") && problem.contains("htpp"), "{problem}");
        assert!(!problem.contains("at line"), "the line is said once: {problem}");
    }

    #[test]
    fn retention_is_one_time_or_classes_and_a_class_that_is_not_there_is_named() {
        let all = config("metrics: {retention: 90d}\n").unwrap();
        assert_eq!(all.metrics.own_retention(), Some(std::time::Duration::from_secs(90 * 86_400)));
        let classes = "metrics:\n  retention:\n    classes: {default: 30d, gold: {keep: 400d, max_bytes: 10GiB}}\n";
        let some = config(&format!("{classes}    tiers: {{gold: gold}}\n")).unwrap();
        assert_eq!(some.metrics.own_retention(), Some(std::time::Duration::from_secs(30 * 86_400)));
        let problem = config(&format!("{classes}    tenants: {{acme: silver}}\n")).unwrap_err();
        assert!(problem.contains("collector.yaml:") && problem.contains("there is no class \"silver\""), "{problem}");
        let problem = config("metrics: {retention: {classes: {gold: 1d}}}\n").unwrap_err();
        assert!(problem.contains("no class \"default\""), "{problem}");
    }

    #[test]
    fn a_bucket_is_named_by_its_url() {
        let bucket =
            "metrics: {blocks: {after: 3h, s3: {url: 's3://bucket/prefix', endpoint: 'http://127.0.0.1:8333'}}}\n";
        assert!(config(bucket).is_ok());
        let problem = config("metrics: {blocks: {s3: {url: 'https://bucket'}}}\n").unwrap_err();
        assert!(problem.contains("s3://bucket/prefix"), "{problem}");
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = config("# nothing\n").or_else(|_| config("")).unwrap();
        assert!(config.on_loopback() && config.registry.is_none());
    }

    #[test]
    fn patterns_find_files_and_names_must_exist_later() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "b.yaml", "c.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let config = Config { folder: dir.path().to_path_buf(), ..Config::default() };
        let found = config.files(&["*.yaml".into(), "a.yaml".into()]).unwrap();
        assert_eq!(found, [dir.path().join("a.yaml"), dir.path().join("b.yaml")]);
        let problem = config.files(&["none/*.yaml".into()]).unwrap_err().to_string();
        assert!(problem.contains("none/*.yaml: "), "{problem}");
    }

    #[test]
    fn a_pattern_beside_a_configuration_named_without_a_folder_is_in_the_current_one() {
        assert_eq!(matching(Path::new("*.toml")).unwrap(), [Path::new("./Cargo.toml")]);
    }
}
