//! The agent's configuration: `agent.yaml`, environment and flags become one [`Config`], or an error that names what
//! is wrong. No string leaves this module unchecked.

mod document;
mod error;
mod options;
mod sources;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use tenantscope_wire::client::{ClientOptions, Protocol};
use tenantscope_wire::tls::{CertificateFiles, ClientTlsFiles};
use tenantscope_wire::{AgentDocument, Name};

pub use document::{Compression, Document, PlainText, ProofKind};
pub use error::ConfigError;
pub use options::Options;
pub use sources::{CloudWatch, Logs, OtlpReceiver, Sources, StatisticsRule, Xray};
pub use tenantscope_model::{Bytes, InvalidQuantity, TimeSpan};
pub use tenantscope_wire::document::{Glob, InvalidDocument, Statistic};

/// The longest time that a shutdown may take to deliver what is spooled.
const MAX_DRAIN: TimeSpan = TimeSpan::from_secs(600);

/// The shortest token that a collector takes.
const MIN_TOKEN_BYTES: usize = 8;

/// Bounds of `interval`; the file's and the document's are checked where they stand.
const INTERVALS: std::ops::RangeInclusive<TimeSpan> = TimeSpan::from_secs(1)..=TimeSpan::from_secs(86_400);

/// Everything that the agent goes by, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the collector.
    pub collector: Uri,
    /// The agent's name, a part of its lanes' key.
    pub name: Name,
    /// The name that a proof is signed for.
    pub server_name: String,
    /// How the account is proved.
    pub proof: Proof,
    /// The authorities to trust, and the agent's own certificate.
    pub tls: ClientTlsFiles,
    /// How batches are compressed.
    pub compression: Compression,
    /// The buffer on disk.
    pub spool: Spool,
    /// What is collected, as long as the collector has no document for this agent.
    pub collected: Collected,
    /// The agent's own file and options, over which the collector's document goes.
    own: Box<(AgentDocument, Options)>,
    /// Address of the agent's own metrics.
    pub telemetry_listen: Option<SocketAddr>,
    /// Where the agent's own spans go.
    pub traces_endpoint: Option<String>,
    /// How long the end may take to deliver what is spooled. Default 10 s; 60 s for `once`.
    pub drain: Option<TimeSpan>,
}

/// What a document says, checked and with defaults filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collected {
    /// The sources that are on.
    pub sources: Sources,
    /// What collection may cost in a month.
    pub budget_usd_per_month: Option<f64>,
}

/// How the account is proved.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// A signed `sts:GetCallerIdentity`.
    Sts,
    /// A web identity token (a JWT), in a file that somebody renews.
    Jwt(PathBuf),
    /// The certificate of the connection.
    Certificate,
    /// A static token.
    Token(String),
    /// None, for a collector in open mode.
    None,
}

impl std::fmt::Debug for Proof {
    // A token is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sts => "Sts",
            Self::Jwt(_) => "Jwt(…)",
            Self::Certificate => "Certificate",
            Self::Token(_) => "Token(…)",
            Self::None => "None",
        })
    }
}

/// The buffer on disk.
#[derive(Debug, Clone)]
pub struct Spool {
    /// The folder. Default `./tenantscope-agent-spool`.
    pub dir: PathBuf,
    /// Its size. Default 512 MiB.
    pub max_bytes: Bytes,
    /// The age past which a batch is dropped; none by default.
    pub max_age: Option<TimeSpan>,
}

impl Config {
    /// Puts file, environment and flags together and checks all of it.
    pub fn load(options: &Options) -> Result<Self, ConfigError> {
        let Some(path) = &options.config else { return Self::resolve(Document::default(), options) };
        let text = document::read(path)?;
        let resolved = Document::parse(&text, path).and_then(|document| Self::resolve(document, options));
        resolved.map_err(|error| error.placed(path, &text, options))
    }

    fn resolve(document: Document, options: &Options) -> Result<Self, ConfigError> {
        let own = AgentDocument {
            enabled: options.enabled.or(document.enabled).unwrap_or(true),
            sources: document.sources,
            budget_usd_per_month: document.budget_usd_per_month,
        };
        let options = Options {
            regions: options.regions.clone().or(document.regions),
            interval: options.interval.or(document.interval),
            ..options.clone()
        };
        let collector = collector_address(options.collector.clone().or(document.collector))?;
        let server_name = match options.server_name.clone().or(document.server_name) {
            Some(name) => name,
            None => collector.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        };
        let tls = tls(document.tls, &options)?;
        let proof = proof(
            options.proof.or(document.proof).unwrap_or(ProofKind::Sts),
            options.token_file.clone().or(document.token_file),
            options.token_env.clone().or(document.token_env),
            &tls,
        )?;
        check_plain_text(&collector, &proof, options.plain_text.or(document.plain_text).unwrap_or_default())?;
        let spool = spool(&document.spool, &options)?;
        if let Some(interval) = options.interval.filter(|interval| !INTERVALS.contains(interval)) {
            return Err(ConfigError::option("interval", format!("{interval} is not between 1s and 1d")));
        }
        let collected = collected(own.clone(), &options)?;
        // A document may switch off the last one; who writes it in the agent's own file has forgotten something.
        if own.enabled && collected.sources == Sources::default() {
            return Err(InvalidDocument::NoSource.into());
        }
        Ok(Self {
            collector,
            name: agent_name(options.name.clone().or(document.name))?,
            server_name,
            proof,
            tls,
            compression: options.compression.or(document.compression).unwrap_or(Compression::Zstd),
            spool,
            collected,
            telemetry_listen: options.telemetry_listen.or(document.listen.http),
            traces_endpoint: options.traces_endpoint.clone().or(document.traces.endpoint),
            drain: options.drain.or(document.drain).map(|drain| drain.min(MAX_DRAIN)),
            own: Box::new((own, options)),
        })
    }

    /// The way to the collector.
    pub fn client_options(&self) -> ClientOptions {
        let ClientTlsFiles { ca: ca_file, own: certificate } = self.tls.clone();
        ClientOptions { ca_file, certificate, ..ClientOptions::new(self.collector.to_string(), Protocol::Grpc) }
    }
}

impl Config {
    /// What is collected with this document of the collector's. A key that it leaves out stays as the agent's own file has
    /// it, and so does a source that it does not name; options and environment count before either.
    pub fn collected_with(&self, document: AgentDocument) -> Result<Collected, ConfigError> {
        let (own, options) = self.own.as_ref();
        // An agent that is to wait for a document has no sources of its own, unless its file names some.
        let own_sources = || own.sources.clone().or_else(|| own.enabled.then(sources::all_of_aws)).unwrap_or_default();
        let merged = AgentDocument {
            enabled: document.enabled,
            sources: match document.sources {
                Some(theirs) => Some(theirs.over(own_sources())),
                None => own.sources.clone(),
            },
            budget_usd_per_month: document.budget_usd_per_month.or(own.budget_usd_per_month),
        };
        collected(merged, options)
    }
}

fn collector_address(text: Option<String>) -> Result<Uri, ConfigError> {
    let text = text.ok_or_else(|| {
        ConfigError::option("collector", "is not set (key `collector`, --collector or TENANTSCOPE_COLLECTOR)")
    })?;
    let wrong = |what: &str| ConfigError::option("collector", format!("{text:?} {what}"));
    let address: Uri = text.parse().map_err(|_| wrong("is not a URL such as https://collector.example.com:4317"))?;
    match address.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(wrong("must begin with http:// or https://")),
    }
    if address.host().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    if !matches!(address.path(), "" | "/") {
        return Err(wrong("must have no path: it is the collector's OTLP/gRPC address"));
    }
    Ok(address)
}

/// The files must be right now, too: a wrong one is told with its key.
fn tls(section: document::TlsSection, options: &Options) -> Result<ClientTlsFiles, ConfigError> {
    let ca = options.tls_ca.clone().or(section.ca);
    let own = match (options.tls_cert.clone().or(section.cert), options.tls_key.clone().or(section.key)) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(CertificateFiles { cert, key }),
        (Some(_), None) => return Err(ConfigError::option("tls.cert", "needs tls.key, the file of its private key")),
        (None, Some(_)) => return Err(ConfigError::option("tls.key", "needs tls.cert, the file of its certificate")),
    };
    let tls = ClientTlsFiles { ca, own };
    tls.check().map_err(|error| {
        let is_of = |path: Option<&PathBuf>| path == Some(&error.path);
        let option = if is_of(tls.own.as_ref().map(|own| &own.key)) {
            "tls.key"
        } else if is_of(tls.own.as_ref().map(|own| &own.cert)) {
            "tls.cert"
        } else {
            "tls.ca"
        };
        ConfigError::option(option, error.to_string())
    })?;
    Ok(tls)
}

/// What proves the account would be anybody's who listens in.
fn check_plain_text(collector: &Uri, proof: &Proof, allowed: PlainText) -> Result<(), ConfigError> {
    let host = collector.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_plain = collector.scheme_str() == Some("http");
    match proof {
        Proof::Certificate if is_plain => {
            Err(ConfigError::option("collector", "proof: certificate needs https://, where the certificate is shown"))
        }
        Proof::Sts | Proof::Jwt(_) | Proof::Token(_) if is_plain && !is_loopback && allowed == PlainText::Loopback => {
            let message = "proofs and tokens would go over a network in plain text; give an address of https://, or \
                           `plain_text: behind_a_proxy` where a proxy of yours adds TLS";
            Err(ConfigError::option("collector", message))
        }
        _ => Ok(()),
    }
}

fn agent_name(name: Option<String>) -> Result<Name, ConfigError> {
    let name = match name {
        Some(name) => name,
        None => host_name().unwrap_or_else(|| "agent".to_owned()),
    };
    Name::try_new(&name).map_err(|error| ConfigError::option("name", error.to_string()))
}

fn host_name() -> Option<String> {
    let from_kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    from_kernel
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

fn proof(
    kind: ProofKind,
    file: Option<PathBuf>,
    variable: Option<String>,
    tls: &ClientTlsFiles,
) -> Result<Proof, ConfigError> {
    let unreadable =
        |file: &Path, error: std::io::Error| ConfigError::option("token_file", format!("{}: {error}", file.display()));
    match (kind, file, variable) {
        (ProofKind::Sts, ..) => Ok(Proof::Sts),
        (ProofKind::None, ..) => Ok(Proof::None),
        (ProofKind::Certificate, ..) if tls.own.is_some() => Ok(Proof::Certificate),
        (ProofKind::Certificate, ..) => Err(ConfigError::option("proof", "certificate needs tls.cert and tls.key")),
        (ProofKind::Jwt, Some(file), _) => {
            // It may be renewed before it is needed, but a wrong name is told now.
            std::fs::metadata(&file).map_err(|error| unreadable(&file, error))?;
            Ok(Proof::Jwt(file))
        }
        (ProofKind::Jwt, None, _) => Err(ConfigError::option("proof", "jwt needs token_file")),
        (ProofKind::Token, Some(file), _) => {
            let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
            token("token_file", &text)
        }
        (ProofKind::Token, None, Some(variable)) => match std::env::var(&variable) {
            Ok(text) => token("token_env", &text),
            Err(_) => Err(ConfigError::option("token_env", format!("the variable {variable} is not set"))),
        },
        (ProofKind::Token, None, None) => Err(ConfigError::option("proof", "token needs token_file or token_env")),
    }
}

fn token(option: &'static str, text: &str) -> Result<Proof, ConfigError> {
    let text = text.trim();
    if text.len() < MIN_TOKEN_BYTES {
        let message =
            format!("the token is shorter than {MIN_TOKEN_BYTES} characters, and the collector takes none such");
        return Err(ConfigError::option(option, message));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(ConfigError::option(option, "the token has characters that a header cannot carry"));
    }
    Ok(Proof::Token(text.to_owned()))
}

fn spool(section: &document::SpoolSection, options: &Options) -> Result<Spool, ConfigError> {
    const SMALLEST: Bytes = Bytes(1 << 20);
    let dir = options.spool_dir.clone().or_else(|| section.dir.clone());
    let max_bytes = options.spool_max_bytes.or(section.max_bytes).unwrap_or(Bytes(512 << 20));
    if max_bytes < SMALLEST {
        return Err(ConfigError::option("spool.max_bytes", "is less than 1MiB"));
    }
    Ok(Spool {
        dir: dir.unwrap_or_else(|| Path::new("tenantscope-agent-spool").to_path_buf()),
        max_bytes,
        max_age: options.spool_max_age.or(section.max_age),
    })
}

fn collected(document: AgentDocument, options: &Options) -> Result<Collected, ConfigError> {
    let budget_usd_per_month = options.budget_usd_per_month.or(document.budget_usd_per_month);
    if let Some(usd) = budget_usd_per_month.filter(|usd| !usd.is_finite() || *usd < 0.0) {
        return Err(ConfigError::option("budget_usd_per_month", format!("{usd} is not an amount")));
    }
    Ok(Collected { sources: Sources::resolve(document, options)?, budget_usd_per_month })
}

#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
