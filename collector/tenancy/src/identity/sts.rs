//! A proof's way to STS: checked here, rebuilt from fixed parts, sent to the endpoint of our own configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{StatusCode, header};
use moka::sync::Cache;
use reqwest::Client;
use sha2::{Digest as _, Sha256};
use tenantscope_model::{AccountId, Region, TimeSpan};
use tenantscope_wire::Proof;
use tenantscope_wire::proof::{InvalidProof, is_aws_host, partition, sts_host};

use crate::config::StsConfig;
use crate::identity::arn::{self, ArnPattern};
use crate::identity::caller::{self, Caller};
use crate::identity::fetch;
use crate::identity::nonces::{Nonces, NotKept, NotTaken};
use crate::identity::secret::same_bytes;
use crate::identity::slots::Slots;

/// The largest answer of STS that is read; real ones are below 1 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The oldest signature that any configuration takes.
const MAX_AGE: TimeSpan = TimeSpan::from_secs(15 * 60);
/// How long a nonce is remembered beyond the time at which its signature is too old, should the clock be set back.
const CLOCK_STEP_MS: i64 = 60_000;
/// False proofs that are remembered, so that the same one is not asked about again and again.
const MAX_REJECTED: u64 = 10_000;

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
    /// It is another region's, or another service of AWS.
    #[error("identity.sts.endpoints.{region}: {url:?} is not the STS of {region}")]
    OtherRegion {
        /// Which.
        region: Region,
        /// What is given.
        url: String,
    },
    /// A pattern that could fit something else than it seems to.
    #[error("identity.sts.role: {0:?} is no ARN of six parts with * for any characters of a part")]
    Role(String),
    /// Proofs could be replayed for longer than their nonces are remembered.
    #[error("identity.sts.max_age is more than 15m")]
    MaxAge,
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
    #[error("STS does not accept the signature")]
    Rejected,
    /// STS names a caller of another partition than the region's.
    #[error("the caller is not of the region's partition")]
    OtherPartition,
    /// The caller has a role that may not send.
    #[error("the caller's role is not allowed to send")]
    WrongRole,
    /// Too many proofs are being checked.
    #[error("too many proofs are being checked; try again")]
    Busy,
    /// More of the account's proofs counted than are remembered of one.
    #[error("the account proves itself too often; try again later")]
    TooMany,
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
            Self::Rejected => "signature_rejected",
            Self::OtherPartition => "other_partition",
            Self::WrongRole => "wrong_role",
            Self::Busy => "proofs_busy",
            Self::TooMany => "too_many_proofs",
            Self::Unreachable(_) => "sts_unreachable",
        }
    }
}

/// Checks proofs. A reload makes another one, with the same nonces.
#[derive(Debug)]
pub(crate) struct Sts {
    server_name: String,
    max_age: TimeSpan,
    role: Option<ArnPattern>,
    endpoints: BTreeMap<Region, reqwest::Url>,
    client: Client,
    nonces: Arc<Nonces>,
    rejected: Cache<[u8; 32], ()>,
    slots: Slots,
}

impl Sts {
    pub(crate) fn try_new(
        server_name: Option<&str>,
        config: &StsConfig,
        nonces: Arc<Nonces>,
    ) -> Result<Self, InvalidSts> {
        let server_name = server_name.filter(|name| !name.is_empty()).ok_or(InvalidSts::NoServerName)?.to_owned();
        if config.endpoints.is_empty() {
            return Err(InvalidSts::NoEndpoint);
        }
        if config.max_age > MAX_AGE {
            return Err(InvalidSts::MaxAge);
        }
        let role = |text: &String| ArnPattern::try_new(text).ok_or_else(|| InvalidSts::Role(text.clone()));
        let client = fetch::client(config.timeout.0, &[]).map_err(InvalidSts::Client)?;
        Ok(Self {
            server_name,
            max_age: config.max_age,
            role: config.role.as_ref().map(role).transpose()?,
            endpoints: endpoints(&config.endpoints)?,
            client,
            nonces,
            rejected: Cache::builder().max_capacity(MAX_REJECTED).time_to_live(MAX_AGE.0).build(),
            slots: Slots::new(config.max_outstanding),
        })
    }

    /// The caller whom STS names, if everything about the proof holds. What costs nothing is checked first. It counts only
    /// once [`Holds::count`] is called.
    pub(crate) async fn verify<'a>(
        &'a self,
        proof: &'a Proof,
        from: IpAddr,
        now_ms: i64,
    ) -> Result<Holds<'a>, ProofRefused> {
        let endpoint = self.check(proof, now_ms)?;
        let request = proof.to_request_parts()?;
        let fingerprint = fingerprint(proof);
        if self.rejected.contains_key(&fingerprint) {
            return Err(ProofRefused::Rejected);
        }
        // No queue: a proof that waited would only grow older.
        let _slot = self.slots.take(from).ok_or(ProofRefused::Busy)?;
        // Taken before STS is asked, so that two at once can't both pass.
        let until_ms = proof.signed_at_ms()?.saturating_add(MAX_AGE.as_ms()).saturating_add(CLOCK_STEP_MS);
        self.nonces.take(&proof.nonce, until_ms, now_ms).map_err(|not_taken| match not_taken {
            NotTaken::Before => ProofRefused::Replayed,
            NotTaken::Full => ProofRefused::Busy,
        })?;
        let nonce = GivenBack { nonces: &self.nonces, nonce: Some(&proof.nonce) };
        let caller = self.ask(endpoint, request).await.inspect_err(|refused| {
            if matches!(refused, ProofRefused::Rejected) {
                self.rejected.insert(fingerprint, ());
            }
        })?;
        self.check_caller(&caller, &proof.region)?;
        Ok(Holds { caller, nonce })
    }

    fn check(&self, proof: &Proof, now_ms: i64) -> Result<reqwest::Url, ProofRefused> {
        if !same_bytes(proof.server.as_bytes(), self.server_name.as_bytes()) {
            return Err(ProofRefused::OtherServer);
        }
        let age_ms = now_ms.abs_diff(proof.signed_at_ms()?);
        if u128::from(age_ms) > self.max_age.0.as_millis() {
            return Err(ProofRefused::Stale { max_age_seconds: self.max_age.0.as_secs() });
        }
        let unknown = || ProofRefused::UnknownRegion(proof.region.clone());
        let endpoint = self.endpoints.get(&proof.region).ok_or_else(unknown)?;
        // The signed host goes with the request, so it must not lead to another service behind the same front end.
        if proof.host != sts_host(&proof.region) && proof.host != authority(endpoint) {
            return Err(ProofRefused::OtherHost);
        }
        Ok(endpoint.clone())
    }

    async fn ask(
        &self,
        mut endpoint: reqwest::Url,
        request: tenantscope_wire::proof::ProofRequest,
    ) -> Result<Caller, ProofRefused> {
        endpoint.set_path(request.path);
        let sending = self.client.request(request.method, endpoint).headers(request.headers).body(request.body);
        // What STS answers in depends on this; XML alone is read.
        let answer = fetch::send(sending.header(header::ACCEPT, "text/xml"), MAX_ANSWER_BYTES).await;
        let unreachable = |error: &dyn std::fmt::Display| ProofRefused::Unreachable(error.to_string());
        let answer = answer.map_err(|error| unreachable(&error))?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(ProofRefused::Rejected),
            // STS throttles with this status; anything else that it means is wrong for good.
            StatusCode::BAD_REQUEST if !answer.body.windows(10).any(|part| part == b"Throttling") => {
                return Err(ProofRefused::Rejected);
            }
            status => return Err(unreachable(&format_args!("status {}", status.as_u16()))),
        }
        if !matches!(answer.media_type.as_str(), "text/xml" | "application/xml") {
            return Err(unreachable(&"the answer is no XML"));
        }
        let text = std::str::from_utf8(&answer.body).map_err(|error| unreachable(&error))?;
        caller::parse(text).map_err(|error| unreachable(&error))
    }

    fn check_caller(&self, caller: &Caller, region: &Region) -> Result<(), ProofRefused> {
        let of = arn::parts(&caller.arn).map(|[_, partition, ..]| partition);
        if of != Some(partition(region)) {
            return Err(ProofRefused::OtherPartition);
        }
        match &self.role {
            Some(pattern) if !pattern.matches(&caller.arn) => Err(ProofRefused::WrongRole),
            _ => Ok(()),
        }
    }
}

/// A proof that holds, of whose caller it is to be seen whether it counts here. Any account of AWS can make one, so it
/// takes no room unless it does.
pub(crate) struct Holds<'a> {
    pub(crate) caller: Caller,
    nonce: GivenBack<'a>,
}

impl Holds<'_> {
    /// It counts, this once.
    pub(crate) fn count(mut self) -> Result<Caller, ProofRefused> {
        self.nonce.keep(self.caller.account).map_err(|not_kept| match not_kept {
            NotKept::TooMany => ProofRefused::TooMany,
            NotKept::Io(error) => {
                tracing::error!(%error, "nonces can't be written");
                ProofRefused::Busy
            }
        })?;
        Ok(self.caller)
    }
}

/// A nonce that is given back when its proof does not count, also if whoever sent it goes away.
struct GivenBack<'a> {
    nonces: &'a Nonces,
    nonce: Option<&'a str>,
}

impl GivenBack<'_> {
    fn keep(&mut self, account: AccountId) -> Result<(), NotKept> {
        if let Some(nonce) = self.nonce {
            self.nonces.keep(nonce, account)?;
        }
        self.nonce = None;
        Ok(())
    }
}

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        if let Some(nonce) = self.nonce {
            self.nonces.give_back(nonce);
        }
    }
}

/// Of all that differs between two proofs, so that a false one does not stand for a true one.
fn fingerprint(proof: &Proof) -> [u8; 32] {
    let mut hash = Sha256::new();
    let token = proof.security_token.as_deref().unwrap_or_default();
    for part in [&*proof.host, &proof.nonce, &proof.amz_date, &proof.authorization, token] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

fn endpoints(configured: &BTreeMap<Region, String>) -> Result<BTreeMap<Region, reqwest::Url>, InvalidSts> {
    let mut endpoints = BTreeMap::new();
    for (region, text) in configured {
        let (url, region) = (fetch::allowed_url(text), region.clone());
        let Some(url) = url.filter(|url| url.path() == "/") else {
            return Err(InvalidSts::Endpoint { region, url: text.clone() });
        };
        if !is_sts_of(&region, url.host_str().unwrap_or_default()) {
            return Err(InvalidSts::OtherRegion { region, url: text.clone() });
        }
        endpoints.insert(region, url);
    }
    Ok(endpoints)
}

/// A host of AWS must be the region's STS (or its FIPS or VPC endpoint); of other hosts nothing is known.
fn is_sts_of(region: &Region, host: &str) -> bool {
    let regional = sts_host(region);
    let in_region = regional.trim_start_matches("sts.");
    let private = format!(".sts.{}", in_region.replacen('.', ".vpce.", 1));
    !is_aws_host(host) || host == regional || host == format!("sts-fips.{in_region}") || host.ends_with(&private)
}

fn authority(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_aws_is_the_regions_sts() {
        let is = |region: &str, host: &str| is_sts_of(&Region::try_new(region).unwrap(), host);
        assert!(is("eu-west-1", "sts.eu-west-1.amazonaws.com") && is("us-east-1", "sts-fips.us-east-1.amazonaws.com"));
        assert!(is("eu-west-1", "vpce-1-2.sts.eu-west-1.vpce.amazonaws.com"));
        assert!(is("eu-west-1", "sts.example.com"));
        assert!(!is("eu-west-1", "sts.us-east-1.amazonaws.com") && !is("eu-west-1", "iam.eu-west-1.amazonaws.com"));
        assert!(!is("cn-north-1", "sts.cn-north-1.amazonaws.com") && !is("us-east-1", "sts.amazonaws.com"));
        assert!(!is("eu-west-1", "bucket.s3.eu-west-1.amazonaws.com"));
    }
}
