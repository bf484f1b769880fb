//! Web identity tokens: form, signature by a key of the issuer, claims. Verified with ring, as everything here is; what
//! the token says of itself chooses nothing but which of the issuer's keys is tried.

use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{Algorithm, ClaimPath, IssuerConfig};
use crate::identity::arn::{self, ArnPattern};
use crate::identity::discovery::{Hosts, KeysAt};
use crate::identity::fetch;
use crate::identity::jwks::{Jwks, KeyUnknown};

/// The longest token that is read.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How far the issuer's clock may be from ours.
const LEEWAY_SECONDS: f64 = 60.0;

/// Why an issuer can't be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidIssuer {
    /// It could sign anything, or nothing.
    #[error("{issuer:?}: {key} is empty")]
    Empty {
        /// Which.
        issuer: String,
        /// The key.
        key: &'static str,
    },
    /// Its name.
    #[error("{0:?} is no https address (http is allowed to a loopback address only) with at most one *, in its host")]
    Issuer(String),
    /// Where its keys are.
    #[error(
        "{issuer:?}: jwks {jwks:?} is neither discovery, nor a path, nor an https address (http to a loopback address only); with * it is one of the former"
    )]
    Jwks {
        /// Which.
        issuer: String,
        /// What is given.
        jwks: String,
    },
    /// The HTTP client.
    #[error("{issuer:?}: {message}")]
    Client {
        /// Which.
        issuer: String,
        /// What is wrong.
        message: String,
    },
}

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JwtRefused {
    #[error("the token is no JWT")]
    Malformed,
    #[error("the token's issuer is not trusted here")]
    UnknownIssuer,
    #[error("the token is signed by an algorithm that is not allowed")]
    Algorithm,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has expired, or does not say when it does")]
    Expired,
    #[error("the token is from the future")]
    NotYet,
    #[error("the token's subject is not allowed")]
    Subject,
    #[error("the token has not the claims that are needed")]
    Claims,
    #[error(transparent)]
    Key(#[from] KeyUnknown),
}

impl JwtRefused {
    /// A fixed word for counters and answers.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed_jwt",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Algorithm => "jwt_algorithm",
            Self::Signature => "jwt_signature",
            Self::Audience => "jwt_audience",
            Self::Expired => "expired_jwt",
            Self::NotYet => "future_jwt",
            Self::Subject => "jwt_subject",
            Self::Claims => "jwt_claims",
            Self::Key(KeyUnknown::NoKey) => "jwt_unknown_key",
            Self::Key(KeyUnknown::Unreachable) => "jwks_unreachable",
            Self::Key(KeyUnknown::Busy) => "jwks_busy",
        }
    }

    /// Whether the same token may count later: its issuer's keys could not be had.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Key(KeyUnknown::Unreachable | KeyUnknown::Busy))
    }
}

/// A token whose form is right, and of which nothing is known to be true.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Map<String, Value>,
}

/// RFC 7515: `crit` names what must be understood; we understand no extension.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// What a verified token says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims(Map<String, Value>);

/// Whether a bearer token has the form of a JWT: three parts, the first of which is a JSON object in base64.
pub(crate) fn looks_like_jwt(token: &str) -> bool {
    token.starts_with("eyJ") && token.bytes().filter(|b| *b == b'.').count() == 2
}

impl<'a> Unverified<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, JwtRefused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwtRefused::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtRefused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtRefused::Malformed)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| JwtRefused::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| JwtRefused::Malformed)?;
        if header.crit.is_some() {
            return Err(JwtRefused::Malformed);
        }
        let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| JwtRefused::Malformed)?;
        Ok(Self { signed, signature: decode(signature)?, header, claims })
    }

    fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }
}

/// An issuer whose tokens count.
#[derive(Debug)]
pub(crate) struct Issuer {
    /// What is before and after the `*`, or the whole name.
    name: (String, Option<String>),
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    subject: Option<Subject>,
    jwks_at: JwksAt,
    jwks: Jwks,
}

#[derive(Debug)]
enum JwksAt {
    Below(String),
    Address(String),
    /// Where the issuer's document says.
    Discovered(Hosts),
}

#[derive(Debug)]
enum Subject {
    Arn(ArnPattern),
    Text(String),
}

impl Issuer {
    /// `base` is the folder of the configuration file.
    pub(crate) fn try_new(config: &IssuerConfig, base: &Path) -> Result<Self, InvalidIssuer> {
        let issuer = || config.issuer.clone();
        let audiences: Vec<String> = config.audience.as_slice().iter().filter(|a| !a.is_empty()).cloned().collect();
        for (key, is_empty) in [("audience", audiences.is_empty()), ("algorithms", config.algorithms.is_empty())] {
            if is_empty {
                return Err(InvalidIssuer::Empty { issuer: issuer(), key });
            }
        }
        let name = issuer_name(&config.issuer).ok_or_else(|| InvalidIssuer::Issuer(issuer()))?;
        let jwks_at = match config.jwks.starts_with('/') {
            true => JwksAt::Below(config.jwks.clone()),
            false if config.jwks == IssuerConfig::DISCOVERY => {
                JwksAt::Discovered(if name.1.is_none() { Hosts::Any } else { Hosts::Own })
            }
            false if name.1.is_none() && fetch::allowed_url(&config.jwks).is_some() => {
                JwksAt::Address(config.jwks.clone())
            }
            false => return Err(InvalidIssuer::Jwks { issuer: issuer(), jwks: config.jwks.clone() }),
        };
        let client = |message| InvalidIssuer::Client { issuer: issuer(), message };
        let authorities = match &config.ca {
            Some(ca) => fetch::authorities(&base.join(ca)).map_err(client)?,
            None => Vec::new(),
        };
        let jwks = Jwks::try_new(&authorities).map_err(|error| client(error.to_string()))?;
        let subject = config
            .subject
            .as_ref()
            .map(|text| ArnPattern::try_new(text).map_or_else(|| Subject::Text(text.clone()), Subject::Arn));
        Ok(Self { name, audiences, algorithms: config.algorithms.clone(), subject, jwks_at, jwks })
    }

    /// What the token says, if it is this issuer's and holds.
    pub(crate) async fn verify(&self, token: &Unverified<'_>, from: IpAddr, now_ms: i64) -> Result<Claims, JwtRefused> {
        let issuer = token.issuer().filter(|issuer| self.is_called(issuer)).ok_or(JwtRefused::UnknownIssuer)?;
        let algorithm = self.algorithms.iter().find(|algorithm| format!("{algorithm:?}") == token.header.alg);
        let algorithm = *algorithm.ok_or(JwtRefused::Algorithm)?;
        // What needs no key is checked first: a false token must cost little.
        self.check(&token.claims, now_ms)?;
        let at = match &self.jwks_at {
            JwksAt::Address(address) => KeysAt::Set(address.clone()),
            JwksAt::Below(path) => KeysAt::Set(format!("{}{path}", issuer.trim_end_matches('/'))),
            JwksAt::Discovered(hosts) => KeysAt::Document { issuer: issuer.to_owned(), hosts: *hosts },
        };
        let key = self.jwks.key(&at, token.header.kid.as_deref(), algorithm, from, now_ms).await?;
        if !key.verifies(algorithm, token.signed.as_bytes(), &token.signature) {
            return Err(JwtRefused::Signature);
        }
        Ok(Claims(token.claims.clone()))
    }

    /// Whether it could be one of this issuer's.
    pub(crate) fn is_issuer_of(&self, token: &Unverified<'_>) -> bool {
        token.issuer().is_some_and(|issuer| self.is_called(issuer))
    }

    fn is_called(&self, issuer: &str) -> bool {
        match &self.name {
            (whole, None) => issuer == whole,
            (before, Some(after)) => {
                let between = issuer.strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
                // A part of a host's name and nothing more: no dot, no slash, no @ that would lead elsewhere.
                let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                between.is_some_and(|between| !between.is_empty() && between.len() <= 63 && plain(between))
            }
        }
    }

    fn check(&self, claims: &Map<String, Value>, now_ms: i64) -> Result<(), JwtRefused> {
        #[allow(clippy::cast_precision_loss)] // exact until the year 287396
        let now_s = now_ms as f64 / 1000.0;
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(()),
        };
        let expires = time("exp").ok().flatten().ok_or(JwtRefused::Expired)?;
        if expires + LEEWAY_SECONDS <= now_s {
            return Err(JwtRefused::Expired);
        }
        for name in ["nbf", "iat"] {
            let from = time(name).map_err(|()| JwtRefused::NotYet)?;
            if from.is_some_and(|from| from - LEEWAY_SECONDS > now_s) {
                return Err(JwtRefused::NotYet);
            }
        }
        let is_for_us =
            |audience: &Value| audience.as_str().is_some_and(|a| self.audiences.iter().any(|ours| ours == a));
        let for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_for_us),
            Some(audience) => is_for_us(audience),
            None => false,
        };
        if !for_us {
            return Err(JwtRefused::Audience);
        }
        let subject = claims.get("sub").and_then(Value::as_str);
        let allowed = match &self.subject {
            None => true,
            Some(Subject::Arn(pattern)) => subject.is_some_and(|subject| pattern.matches(subject)),
            Some(Subject::Text(pattern)) => subject.is_some_and(|subject| arn::matches(pattern, subject)),
        };
        if allowed { Ok(()) } else { Err(JwtRefused::Subject) }
    }
}

impl Claims {
    /// A claim by its path.
    pub(crate) fn get(&self, path: &ClaimPath) -> Option<&Value> {
        let (first, rest) = path.0.as_slice().split_first()?;
        rest.iter().try_fold(self.0.get(first)?, |value, name| value.as_object()?.get(name))
    }

    /// Whether a claim is the text, or a list that holds it.
    pub(crate) fn holds(&self, name: &str, text: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Array(values)) => values.iter().any(|value| value.as_str() == Some(text)),
            Some(value) => value.as_str() == Some(text),
            None => false,
        }
    }

    /// A time claim, in milliseconds since the epoch.
    #[allow(clippy::cast_possible_truncation)] // saturates
    pub(crate) fn time_ms(&self, name: &str) -> Option<i64> {
        self.0.get(name).and_then(Value::as_f64).map(|seconds| (seconds * 1000.0) as i64)
    }
}

/// The name, or what is before and after its `*`, which stands in the host's first part.
fn issuer_name(text: &str) -> Option<(String, Option<String>)> {
    let probe = text.replacen('*', "x", 1);
    let url = fetch::allowed_url(&probe).filter(|_| !probe.contains('*'))?;
    let Some((before, after)) = text.split_once('*') else { return Some((text.to_owned(), None)) };
    let (host, of_host) = (url.host_str()?, before.split_once("://").map(|(_, of_host)| of_host)?);
    // At least two more parts behind it: whoever can have the whole name under a public domain is nobody in particular.
    let of_first_part = !of_host.contains(['.', '/', ':', '@']) && host.split('.').count() >= 3;
    (of_first_part && after.starts_with(|c: char| c == '.' || c == '-' || c.is_ascii_alphanumeric()))
        .then(|| (before.to_owned(), Some(after.to_owned())))
}
