//! Issuers' keys: fetched when one is needed that we don't have, kept for an hour, bounded in number and size.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use http::StatusCode;
use moka::sync::Cache;
use parking_lot::RwLock;
use reqwest::{Certificate, Client, Url};
use ring::signature as sig;
use serde::Deserialize;

use crate::config::Algorithm;
use crate::identity::discovery::KeysAt;
use crate::identity::fetch;
use crate::identity::slots::Slots;

/// The largest set of keys that is read, and the most keys of it.
const MAX_SET_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
/// The largest document that is read to find one.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
/// Issuers whose keys are kept; where each account is an issuer, there may be thousands.
const MAX_ISSUERS: u64 = 16_384;
/// How long a fetch may take, and how many there may be at once.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_FETCHES: usize = 32;
/// Keys older than this are fetched again, and used on while that fails, until they are too old.
const FRESH_MS: i64 = 3_600_000;
const TOO_OLD_MS: i64 = 24 * FRESH_MS;
/// An issuer is asked at most this often, whatever tokens claim to be signed by.
const ASK_EVERY_MS: i64 = 30_000;

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyUnknown {
    #[error("the issuer has no such key")]
    NoKey,
    #[error("the issuer's keys can't be had now; try again")]
    Unreachable,
    #[error("too many issuers' keys are being fetched; try again")]
    Busy,
}

/// The keys of the issuers of one entry of the configuration.
#[derive(Debug)]
pub(crate) struct Jwks {
    client: Client,
    sets: Cache<String, Arc<Set>>,
    slots: Slots,
}

/// The keys at one address.
#[derive(Debug, Default)]
struct Set {
    fetched: RwLock<Fetched>,
    /// Whoever fetches; others that need it wait, and look again.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Fetched {
    keys: Arc<Vec<Key>>,
    at_ms: Option<i64>,
    asked_at_ms: Option<i64>,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    kid: Option<String>,
    alg: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// What is to be done for a key.
enum Step {
    Use(Key),
    /// It can be used, but a newer set is due.
    UseAndFetch(Key),
    Fetch,
    Refuse(KeyUnknown),
}

impl Jwks {
    pub(crate) fn try_new(authorities: &[Certificate]) -> Result<Self, reqwest::Error> {
        let client = fetch::client(FETCH_TIMEOUT, authorities)?;
        let sets = Cache::builder().max_capacity(MAX_ISSUERS).time_to_idle(Duration::from_secs(24 * 3600)).build();
        Ok(Self { client, sets, slots: Slots::new(MAX_FETCHES) })
    }

    /// The key of this id (the only one, where a token names none) for the algorithm.
    pub(crate) async fn key(
        &self,
        at: &KeysAt,
        kid: Option<&str>,
        algorithm: Algorithm,
        from: IpAddr,
        now_ms: i64,
    ) -> Result<Key, KeyUnknown> {
        let address = at.address();
        let set = self.sets.get_with_by_ref(&address, Arc::default);
        let step = || set.fetched.read().step(kid, algorithm, now_ms);
        let _fetching = match step() {
            Step::Use(key) => return Ok(key),
            Step::Refuse(why) => return Err(why),
            Step::UseAndFetch(key) => match set.fetching.try_lock() {
                Ok(fetching) => fetching,
                Err(_) => return Ok(key),
            },
            Step::Fetch => set.fetching.lock().await,
        };
        // Somebody else may have fetched meanwhile.
        match step() {
            Step::Use(key) => return Ok(key),
            Step::Refuse(why) => return Err(why),
            Step::UseAndFetch(_) | Step::Fetch => {}
        }
        let _slot = self.slots.take(from).ok_or(KeyUnknown::Busy)?;
        // Noted before the answer: also whoever goes away meanwhile has asked.
        set.fetched.write().asked_at_ms = Some(now_ms);
        match self.fetch(at).await {
            Ok(keys) => {
                let fetched = Fetched { keys: Arc::new(keys), at_ms: Some(now_ms), asked_at_ms: Some(now_ms) };
                *set.fetched.write() = fetched;
            }
            // Where part of an issuer's name is anybody's to choose, only one that had keys is worth a line.
            Err(error) if set.fetched.read().at_ms.is_some() => {
                tracing::warn!(
                    address,
                    error,
                    "an issuer's keys can't be had; those from before are used on for a day"
                );
            }
            Err(error) => tracing::debug!(address, error, "an issuer's keys can't be had"),
        }
        match step() {
            Step::Use(key) | Step::UseAndFetch(key) => Ok(key),
            Step::Refuse(why) => Err(why),
            Step::Fetch => Err(KeyUnknown::Unreachable),
        }
    }

    async fn fetch(&self, at: &KeysAt) -> Result<Vec<Key>, String> {
        let url = fetch::allowed_url(&at.address()).ok_or("it is no address that may be asked")?;
        let body = match at {
            KeysAt::Set(_) => self.get(url, MAX_SET_BYTES).await?,
            KeysAt::Document { .. } => {
                let document = self.get(url, MAX_DOCUMENT_BYTES).await?;
                let keys = at.followed(&document).ok_or("the answer is no document that can be followed to keys")?;
                self.get(keys, MAX_SET_BYTES).await?
            }
        };
        parse(&body).ok_or_else(|| "the answer is no set of keys".to_owned())
    }

    async fn get(&self, url: Url, max_bytes: usize) -> Result<Vec<u8>, String> {
        let answer = fetch::send(self.client.get(url), max_bytes).await.map_err(|error| error.to_string())?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(format!("status {}", status.as_u16())),
        }
    }
}

impl Fetched {
    fn step(&self, kid: Option<&str>, algorithm: Algorithm, now_ms: i64) -> Step {
        let age_ms = self.at_ms.map(|at_ms| now_ms.saturating_sub(at_ms));
        let found = self.find(kid, algorithm).filter(|_| age_ms.is_some_and(|age_ms| age_ms < TOO_OLD_MS));
        let asked_lately = self.asked_at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < ASK_EVERY_MS);
        match (found, age_ms.is_some_and(|age_ms| age_ms < FRESH_MS)) {
            (Some(key), true) => Step::Use(key.clone()),
            (Some(key), false) if asked_lately => Step::Use(key.clone()),
            (Some(key), false) => Step::UseAndFetch(key.clone()),
            (None, _) if !asked_lately => Step::Fetch,
            (None, true) => Step::Refuse(KeyUnknown::NoKey),
            (None, false) => Step::Refuse(KeyUnknown::Unreachable),
        }
    }

    fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        match kid {
            Some(kid) => fitting.find(|key| key.kid.as_deref() == Some(kid)),
            // A token that names no key is one of an issuer that has one.
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl Key {
    fn fits(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let of_kind = match self.material {
            Material::Rsa { .. } => matches!(algorithm, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Material::P256(_) => algorithm == ES256,
            Material::P384(_) => algorithm == ES384,
            Material::Ed25519(_) => algorithm == EdDSA,
        };
        of_kind && self.alg.as_ref().is_none_or(|alg| *alg == format!("{algorithm:?}"))
    }

    /// Whether it signed this, by this algorithm.
    pub(crate) fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        let plain = |by: &'static dyn sig::VerificationAlgorithm, key: &[u8]| {
            sig::UnparsedPublicKey::new(by, key).verify(signed, signature).is_ok()
        };
        match &self.material {
            Material::P256(point) => plain(&sig::ECDSA_P256_SHA256_FIXED, point),
            Material::P384(point) => plain(&sig::ECDSA_P384_SHA384_FIXED, point),
            Material::Ed25519(point) => plain(&sig::ED25519, point),
            Material::Rsa { n, e } => {
                let by: &sig::RsaParameters = match algorithm {
                    Algorithm::RS256 => &sig::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::RS384 => &sig::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::RS512 => &sig::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::PS256 => &sig::RSA_PSS_2048_8192_SHA256,
                    Algorithm::PS384 => &sig::RSA_PSS_2048_8192_SHA384,
                    Algorithm::PS512 => &sig::RSA_PSS_2048_8192_SHA512,
                    Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => return false,
                };
                sig::RsaPublicKeyComponents { n, e }.verify(by, signed, signature).is_ok()
            }
        }
    }
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<serde_json::Value>,
}

/// RFC 7517; what is missing or not known makes a key that is passed over.
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn parse(json: &[u8]) -> Option<Vec<Key>> {
    let set: RawSet = serde_json::from_slice(json).ok()?;
    let known = set.keys.into_iter().filter_map(|raw| key(serde_json::from_value(raw).ok()?));
    Some(known.take(MAX_KEYS).collect())
}

fn key(raw: RawKey) -> Option<Key> {
    if raw.used_for.as_deref().is_some_and(|used_for| used_for != "sig") {
        return None;
    }
    let decode = |text: &Option<String>| text.as_ref().and_then(|text| BASE64URL.decode(text).ok());
    let number = |text: &Option<String>| {
        let bytes = decode(text)?;
        let zeros = bytes.iter().take_while(|b| **b == 0).count();
        bytes.get(zeros..).map(<[u8]>::to_vec)
    };
    let point = |bytes: usize| {
        let (x, y) = (decode(&raw.x)?, decode(&raw.y)?);
        (x.len() == bytes && y.len() == bytes).then(|| [&[4], x.as_slice(), &y].concat())
    };
    let material = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => Material::Rsa { n: number(&raw.n)?, e: number(&raw.e)? },
        ("EC", Some("P-256")) => Material::P256(point(32)?),
        ("EC", Some("P-384")) => Material::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Material::Ed25519(decode(&raw.x).filter(|x| x.len() == 32)?),
        _ => return None,
    };
    Some(Key { kid: raw.kid, alg: raw.alg, material })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jwks() {
        tenantscope_fuzz::fuzz!("jwks", |input| {
            let Some(keys) = parse(input) else { return };
            assert!(keys.len() <= MAX_KEYS);
            // A key of an issuer's making must not be one that fits everything, nor bring the verifier down.
            for key in &keys {
                let algorithms =
                    [Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
                assert!(algorithms.iter().filter(|algorithm| key.fits(**algorithm)).count() <= 2);
                assert!(algorithms.iter().all(|algorithm| !key.verifies(*algorithm, b"signed", &[7; 64])));
            }
        });
    }
}
