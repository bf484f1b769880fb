//! `forward:` of `collector.yaml`, checked when it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;
use tenantscope_model::{Bytes, Signal, TimeSpan};
use tenantscope_wire::client::ClientError;

use crate::target::Target;

/// How a target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// OTLP over gRPC; `url` is the server's address.
    OtlpGrpc,
    /// OTLP over HTTP in protobuf; `url` is what `/v1/metrics`, `/v1/logs` and `/v1/traces` come behind.
    OtlpHttp,
}

/// How bodies are compressed on the way to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Every OTLP server takes it.
    #[default]
    Gzip,
    /// For servers that take it; another collector does.
    Zstd,
    /// None.
    None,
}

/// Where a target's bearer token comes from. It is read anew after each refusal of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A file, relative to the configuration file; white space at its end is cut off.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

/// One system that gets everything that was stamped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawTarget")]
pub struct TargetConfig {
    /// 1 to 40 characters of `[A-Za-z0-9_-]`: it names the cursors, the lanes and the metrics' label.
    pub name: String,
    /// How it is spoken to.
    pub kind: TargetKind,
    /// Its address.
    pub url: Uri,
    /// How much may wait for it in each journal; past that the oldest is skipped. Default 1 GiB, and never more than
    /// three quarters of the journal, so that a target that is away cannot fill it.
    pub max_bytes: u64,
    /// Which signals it gets. Default all.
    pub signals: BTreeSet<Signal>,
    /// Headers (gRPC metadata) of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its bearer token.
    pub token: Option<TokenSource>,
    /// PEM file, relative to the configuration file, of the authorities to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// How long one request may take. Default 10 s.
    pub timeout: Duration,
    /// How bodies are compressed. Default gzip.
    pub compression: Compression,
}

/// Leaves the headers' values out: they may be secrets.
impl fmt::Debug for TargetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("url", &self.url)
            .field("max_bytes", &self.max_bytes)
            .field("signals", &self.signals)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    name: String,
    kind: TargetKind,
    url: String,
    #[serde(default = "default_max_bytes")]
    max_bytes: Bytes,
    #[serde(default)]
    signals: Option<Vec<Signal>>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    token_env: Option<String>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default = "default_timeout")]
    timeout: TimeSpan,
    #[serde(default)]
    compression: Compression,
}

fn default_max_bytes() -> Bytes {
    Bytes(1 << 30)
}

fn default_timeout() -> TimeSpan {
    TimeSpan::from_secs(10)
}

/// Headers that the protocol or another key sets.
const RESERVED: [&str; 8] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "host",
    "te",
];

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The name breaks its rule.
    #[error("target name {0:?} is not 1 to 40 letters, digits, '_' or '-'")]
    Name(String),
    /// Two targets have the same name.
    #[error("target {0:?} is there twice")]
    Duplicate(String),
    /// The URL is none, or of another kind.
    #[error("target {target:?}: url {url:?} is not http://… or https://… without user, query or fragment")]
    Url {
        /// Whose.
        target: String,
        /// The URL.
        url: String,
    },
    /// A header is none, or is set by something else.
    #[error("target {target:?}: header {header:?} is no header that can be set here")]
    Header {
        /// Whose.
        target: String,
        /// The header's name.
        header: String,
    },
    /// Both a file and an environment variable.
    #[error("target {0:?}: only one of token_file and token_env can be given")]
    TwoTokens(String),
    /// The token can't be read.
    #[error("target {target:?}: {origin}: {message}")]
    Token {
        /// Whose.
        target: String,
        /// The file or the variable.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// There is no client for it.
    #[error("target {target:?}: {source}")]
    Client {
        /// Whose.
        target: String,
        /// Why.
        source: ClientError,
    },
    /// Nothing would be sent, or nothing could wait.
    #[error("target {target:?}: {key} must not be empty or 0")]
    Empty {
        /// Whose.
        target: String,
        /// Which key.
        key: &'static str,
    },
}

impl TryFrom<RawTarget> for TargetConfig {
    type Error = TargetError;

    fn try_from(raw: RawTarget) -> Result<Self, TargetError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if !(1..=40).contains(&raw.name.len()) || !raw.name.bytes().all(allowed) {
            return Err(TargetError::Name(raw.name.chars().take(64).collect()));
        }
        let url = parse_url(&raw.name, &raw.url)?;
        let headers = raw.headers.iter().map(|(name, value)| parse_header(&raw.name, name, value));
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        let token = match (raw.token_file, raw.token_env) {
            (Some(_), Some(_)) => return Err(TargetError::TwoTokens(raw.name)),
            (Some(path), None) => Some(TokenSource::File(path)),
            (None, name) => name.map(TokenSource::Env),
        };
        let signals: BTreeSet<Signal> = raw.signals.unwrap_or_else(|| Signal::ALL.to_vec()).into_iter().collect();
        let empty = [
            ("signals", signals.is_empty()),
            ("max_bytes", raw.max_bytes.0 == 0),
            ("timeout", raw.timeout.0.is_zero()),
        ];
        if let Some((key, _)) = empty.into_iter().find(|(_, is_empty)| *is_empty) {
            return Err(TargetError::Empty { target: raw.name, key });
        }
        Ok(Self {
            name: raw.name,
            kind: raw.kind,
            url,
            max_bytes: raw.max_bytes.0,
            signals,
            headers,
            token,
            ca_file: raw.ca_file,
            timeout: raw.timeout.0,
            compression: raw.compression,
        })
    }
}

fn parse_url(target: &str, text: &str) -> Result<Uri, TargetError> {
    let wrong = || TargetError::Url { target: target.to_owned(), url: without_user(text) };
    let url: Uri = text.parse().map_err(|_| wrong())?;
    let known_scheme = matches!(url.scheme_str(), Some("http" | "https"));
    let plain = url.query().is_none() && !text.contains(['@', '#']);
    (known_scheme && plain && url.host().is_some_and(|host| !host.is_empty())).then_some(url).ok_or_else(wrong)
}

/// A password in a URL must not get into an error message.
fn without_user(text: &str) -> String {
    let shown = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    };
    shown.chars().take(200).collect()
}

fn parse_header(target: &str, name: &str, value: &str) -> Result<(HeaderName, HeaderValue), TargetError> {
    let wrong = || TargetError::Header { target: target.to_owned(), header: name.chars().take(64).collect() };
    let header: HeaderName = name.parse().map_err(|_| wrong())?;
    let taken = RESERVED.contains(&header.as_str()) || header.as_str().starts_with("tenantscope-");
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    value.set_sensitive(true);
    if taken { Err(wrong()) } else { Ok((header, value)) }
}

impl TargetConfig {
    /// The `authorization` header's value, read now; `base` is the folder of the configuration file.
    pub(crate) fn read_token(&self, base: &Path) -> Result<Option<HeaderValue>, TargetError> {
        let failed =
            |origin: String, message: String| TargetError::Token { target: self.name.clone(), origin, message };
        let (origin, token) = match &self.token {
            None => return Ok(None),
            Some(TokenSource::File(path)) => {
                let path = base.join(path);
                let origin = format!("token_file {}", path.display());
                let token =
                    std::fs::read_to_string(&path).map_err(|error| failed(origin.clone(), error.to_string()))?;
                (origin, token)
            }
            Some(TokenSource::Env(name)) => {
                let origin = format!("token_env {name}");
                let token = std::env::var(name).map_err(|_| failed(origin.clone(), "is not set".to_owned()))?;
                (origin, token)
            }
        };
        let token = token.trim_end();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| !token.is_empty());
        let mut value = value.ok_or_else(|| failed(origin, "holds no token".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// What `check` and the start look at: that no name is there twice, and that every file that a target names can be read.
pub fn check(targets: &[TargetConfig], base: &Path) -> Result<(), TargetError> {
    let mut names = BTreeSet::new();
    for target in targets {
        if !names.insert(&target.name) {
            return Err(TargetError::Duplicate(target.name.clone()));
        }
        Target::open(target.clone(), base.to_path_buf())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Vec<TargetConfig>, String> {
        // As the program shows it: the text around the place may hold a secret.
        let shown = |error: serde_saphyr::Error| {
            error.render_with_options(serde_saphyr::render_options! {
                formatter: &serde_saphyr::UserMessageFormatter,
                snippets: serde_saphyr::SnippetMode::Off,
            })
        };
        serde_saphyr::from_str(yaml).map_err(shown)
    }

    #[test]
    fn a_target_needs_a_name_a_kind_and_a_url() {
        let yaml = "- {name: otlp, kind: otlp_grpc, url: \"https://other:4317\"}\n\
                    - {name: two, kind: otlp_http, url: \"http://127.0.0.1:4318/otlp\", max_bytes: 10GiB, \
                       signals: [logs], token_env: T, timeout: 3s, compression: zstd, headers: {x-scope-orgid: a}}";
        let targets = parse(yaml).unwrap();
        assert_eq!((targets[0].max_bytes, targets[0].signals.len()), (1 << 30, 3));
        assert_eq!((targets[1].max_bytes, targets[1].timeout), (10 << 30, Duration::from_secs(3)));
        assert_eq!(targets[1].token, Some(TokenSource::Env("T".to_owned())));
        assert!(!format!("{targets:?}").contains("\"a\""), "header values are not shown");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let cases = [
            ("[{name: a/b, kind: otlp_grpc, url: \"http://x\"}]", "a/b"),
            ("[{name: a, kind: carrier_pigeon, url: \"http://x\"}]", "carrier_pigeon"),
            ("[{name: a, kind: otlp_grpc, url: \"ftp://x\"}]", "ftp://x"),
            ("[{name: a, kind: otlp_grpc, url: \"http://u:secret@x\"}]", "http://…@x"),
            ("[{name: a, kind: otlp_grpc, url: \"http://x\", mox_bytes: 1}]", "mox_bytes"),
            ("[{name: a, kind: otlp_grpc, url: \"http://x\", max_bytes: 0}]", "max_bytes"),
            ("[{name: a, kind: otlp_grpc, url: \"http://x\", headers: {tenantscope-lane: x}}]", "tenantscope-lane"),
            ("[{name: a, kind: otlp_grpc, url: \"http://x\", token_env: A, token_file: b}]", "only one of"),
        ];
        for (yaml, expected) in cases {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{yaml}: {error}");
        }
    }

    #[test]
    fn two_targets_of_one_name_or_a_missing_token_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let twice =
            parse("- {name: a, kind: otlp_grpc, url: \"http://x\"}\n- {name: a, kind: otlp_http, url: \"http://y\"}");
        assert!(matches!(check(&twice.unwrap(), dir.path()), Err(TargetError::Duplicate(_))));
        let with_token = parse("[{name: a, kind: otlp_grpc, url: \"http://x\", token_file: t}]").unwrap();
        assert!(matches!(check(&with_token, dir.path()), Err(TargetError::Token { .. })));
        std::fs::write(dir.path().join("t"), "long-enough\n").unwrap();
        check(&with_token, dir.path()).unwrap();
        assert_eq!(with_token[0].read_token(dir.path()).unwrap().unwrap(), "Bearer long-enough");
    }
}
