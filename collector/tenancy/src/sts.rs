//! A proof's way to STS: checked here, rebuilt from fixed parts, sent to the endpoint of our own configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use moka::sync::Cache;
use reqwest::Client;
use reqwest::redirect::Policy;
use tenantscope_model::Region;
use tenantscope_wire::Proof;
use tenantscope_wire::proof::{InvalidProof, sts_host};
use tokio::sync::Semaphore;

use crate::caller::{self, Caller};
use crate::config::StsConfig;
use crate::secret::same_bytes;

/// The largest answer of STS that is read; real ones are below 1 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Nonces that are remembered; each is forgotten once its signature is too old anyway.
const MAX_NONCES: u64 = 200_000;
/// Longest nonce, so that the memory above is bounded.
const MAX_NONCE_BYTES: usize = 128;

/// Why a configuration of STS can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSts {
    /// A proof could be replayed against another collector.
    #[error("identity.server_name is needed where identity.sts is given")]
    NoServerName,
    /// Nowhere to ask.
    #[error("identity.sts.endpoints is empty")]
    NoEndpoint,
    /// It is no address that may be asked.
    #[error("identity.sts.endpoints.{region}: {url:?} is not https (http is allowed to a loopback address only)")]
    Endpoint {
        /// Which.
        region: Region,
        /// What is given.
        url: String,
    },
    /// The HTTP client can't be made.
    #[error("identity.sts: {0}")]
    Client(#[source] reqwest::Error),
}

/// Why a proof does not count.
#[derive(Debug, thiserror::Error)]
pub enum ProofRefused {
    /// Its form is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidProof),
    /// It is signed for another server.
    #[error("the proof is not signed for this collector")]
    OtherServer,
    /// It is signed for a host that is not the region's STS.
    #[error("the proof is signed for a host that is not the STS of its region")]
    OtherHost,
    /// It is too old, or from the future.
    #[error("the proof's signature is more than {max_age_seconds} s away from the collector's clock")]
    Stale {
        /// The bound.
        max_age_seconds: u64,
    },
    /// It was used before.
    #[error("the proof was used before")]
    Replayed,
    /// Its region is not configured here.
    #[error("this collector takes no proofs of region {0}")]
    UnknownRegion(Region),
    /// STS does not accept the signature.
    #[error("STS does not accept the signature (status {status})")]
    Rejected {
        /// Its answer.
        status: u16,
    },
    /// The caller has a role that may not send.
    #[error("the caller's role is not allowed to send")]
    WrongRole,
    /// Too many proofs are being checked.
    #[error("too many proofs are being checked; try again")]
    Busy,
    /// STS can't be asked, or gives no answer that can be read.
    #[error("STS can't be asked: {0}")]
    Unreachable(String),
}

impl ProofRefused {
    /// A fixed word for counters and answers.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_proof",
            Self::OtherServer => "other_server",
            Self::OtherHost => "other_host",
            Self::Stale { .. } => "stale_proof",
            Self::Replayed => "replayed_proof",
            Self::UnknownRegion(_) => "unknown_region",
            Self::Rejected { .. } => "signature_rejected",
            Self::WrongRole => "wrong_role",
            Self::Busy => "proofs_busy",
            Self::Unreachable(_) => "sts_unreachable",
        }
    }
}

/// Checks proofs. One for the program's life.
#[derive(Debug)]
pub(crate) struct Sts {
    server_name: String,
    config: StsConfig,
    endpoints: BTreeMap<Region, reqwest::Url>,
    client: Client,
    nonces: Cache<String, ()>,
    outstanding: Semaphore,
}

impl Sts {
    pub(crate) fn try_new(server_name: Option<&str>, config: &StsConfig) -> Result<Self, InvalidSts> {
        let server_name = server_name.filter(|name| !name.is_empty()).ok_or(InvalidSts::NoServerName)?.to_owned();
        if config.endpoints.is_empty() {
            return Err(InvalidSts::NoEndpoint);
        }
        let mut endpoints = BTreeMap::new();
        for (region, url) in &config.endpoints {
            let wrong = || InvalidSts::Endpoint { region: region.clone(), url: url.clone() };
            endpoints.insert(region.clone(), allowed_endpoint(url).ok_or_else(wrong)?);
        }
        // reqwest takes the process's provider; where the program already chose one, that one stays.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(config.timeout.0)
            .pool_max_idle_per_host(8)
            .build()
            .map_err(InvalidSts::Client)?;
        let nonces = Cache::builder().max_capacity(MAX_NONCES).time_to_live(remembered(config.max_age.0)).build();
        let outstanding = Semaphore::new(config.max_outstanding.max(1));
        Ok(Self { server_name, config: config.clone(), endpoints, client, nonces, outstanding })
    }

    /// The caller whom STS names, if everything about the proof holds.
    pub(crate) async fn verify(&self, proof: &Proof, now_ms: i64) -> Result<Caller, ProofRefused> {
        let endpoint = self.check(proof, now_ms)?;
        // No queue: a proof that waited would only grow older.
        let _permit = self.outstanding.try_acquire().map_err(|_| ProofRefused::Busy)?;
        // Taken before STS is asked, so that two at once can't both pass; given back if the proof does not hold,
        // so that nobody without credentials can fill the cache.
        if !self.nonces.entry(proof.nonce.clone()).or_insert(()).is_fresh() {
            return Err(ProofRefused::Replayed);
        }
        let caller = self.ask(endpoint, proof).await.and_then(|caller| self.check_role(caller));
        if caller.is_err() {
            self.nonces.invalidate(&proof.nonce);
        }
        caller
    }

    fn check(&self, proof: &Proof, now_ms: i64) -> Result<reqwest::Url, ProofRefused> {
        if !same_bytes(proof.server.as_bytes(), self.server_name.as_bytes()) {
            return Err(ProofRefused::OtherServer);
        }
        let max_age = self.config.max_age.0;
        let age_ms = now_ms.abs_diff(proof.signed_at_ms()?);
        if u128::from(age_ms) > max_age.as_millis() {
            return Err(ProofRefused::Stale { max_age_seconds: max_age.as_secs() });
        }
        let unknown = || ProofRefused::UnknownRegion(proof.region.clone());
        let endpoint = self.endpoints.get(&proof.region).ok_or_else(unknown)?;
        // The signed host goes with the request, so it must not lead to another service behind the same front end.
        if proof.host != sts_host(&proof.region) && proof.host != authority(endpoint) {
            return Err(ProofRefused::OtherHost);
        }
        if proof.nonce.len() < 16 || proof.nonce.len() > MAX_NONCE_BYTES {
            return Err(InvalidProof::Field("nonce").into());
        }
        Ok(endpoint.clone())
    }

    async fn ask(&self, mut endpoint: reqwest::Url, proof: &Proof) -> Result<Caller, ProofRefused> {
        let request = proof.to_request_parts()?;
        endpoint.set_path(request.path);
        let unreachable = |error: reqwest::Error| ProofRefused::Unreachable(error.without_url().to_string());
        let sending = self.client.request(request.method, endpoint).headers(request.headers).body(request.body);
        let mut response = sending.send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_client_error() {
            return Err(ProofRefused::Rejected { status: status.as_u16() });
        }
        if !status.is_success() {
            return Err(ProofRefused::Unreachable(format!("status {}", status.as_u16())));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ProofRefused::Unreachable("the answer is too long".to_owned()));
            }
            answer.extend_from_slice(&chunk);
        }
        let text = std::str::from_utf8(&answer).map_err(|error| ProofRefused::Unreachable(error.to_string()))?;
        caller::parse(text).map_err(|error| ProofRefused::Unreachable(error.to_string()))
    }

    fn check_role(&self, caller: Caller) -> Result<Caller, ProofRefused> {
        match &self.config.role {
            Some(pattern) if !caller::matches(pattern, &caller.arn) => Err(ProofRefused::WrongRole),
            _ => Ok(caller),
        }
    }
}

/// A signature holds from `max_age` before its time to `max_age` after it.
fn remembered(max_age: Duration) -> Duration {
    max_age.saturating_mul(2).saturating_add(Duration::from_secs(60))
}

fn allowed_endpoint(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    let host = url.host_str()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let allowed = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (allowed && plain && url.path() == "/").then_some(url)
}

fn authority(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
