//! Web identity tokens (JWTs) of issuers that are trusted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tenantscope_model::AccountId;

/// How tokens of an issuer are checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The claim `iss`; `*` stands for letters, digits and - in the host, as where each account has an issuer of its own.
    pub issuer: String,
    /// One of them must be in the claim `aud`.
    pub audience: OneOrMany<String>,
    /// The algorithms that are taken; nothing else is, whatever a token says.
    pub algorithms: Vec<Algorithm>,
    /// Where the keys are: a path below the issuer, an address, or `discovery`, which asks the issuer's OpenID Connect
    /// document.
    #[serde(default = "IssuerConfig::default_jwks")]
    pub jwks: String,
    /// The claim `sub` must match; `*` stands for any characters, of an ARN's for those of one part.
    #[serde(default)]
    pub subject: Option<String>,
    /// PEM file of the authorities to trust for the keys' address instead of the public ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl IssuerConfig {
    /// What `jwks` is where the issuer's document says where the keys are.
    pub(crate) const DISCOVERY: &str = "discovery";

    fn default_jwks() -> String {
        "/.well-known/jwks.json".to_owned()
    }
}

/// One entry of `identity.jwt:`: an issuer, and the account of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawJwt")]
pub struct JwtConfig {
    /// The issuer.
    pub issuer: IssuerConfig,
    /// Whose account it is.
    pub account: AccountOf,
}

/// Where the account of a token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountOf {
    /// A claim, by its path.
    Claim(ClaimPath),
    /// The configuration: all tokens of the issuer are of one account.
    Fixed(AccountId),
}

// `deny_unknown_fields` and `flatten` don't go together, so the issuer's keys are here again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJwt {
    issuer: String,
    audience: OneOrMany<String>,
    algorithms: Vec<Algorithm>,
    #[serde(default = "IssuerConfig::default_jwks")]
    jwks: String,
    subject: Option<String>,
    ca: Option<PathBuf>,
    account_claim: Option<ClaimPath>,
    account: Option<AccountId>,
}

impl TryFrom<RawJwt> for JwtConfig {
    type Error = String;
    fn try_from(raw: RawJwt) -> Result<Self, String> {
        let account = match (raw.account_claim, raw.account) {
            (Some(path), None) => AccountOf::Claim(path),
            (None, Some(account)) => AccountOf::Fixed(account),
            _ => return Err(format!("jwt {:?}: exactly one of account_claim and account is needed", raw.issuer)),
        };
        let RawJwt { issuer, audience, algorithms, jwks, subject, ca, .. } = raw;
        Ok(Self { issuer: IssuerConfig { issuer, audience, algorithms, jwks, subject, ca }, account })
    }
}

/// `readers[].jwt:`, whose tokens may read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "RawReaderJwt")]
pub struct ReaderJwtConfig {
    /// The issuer.
    pub issuer: IssuerConfig,
    /// Claims that must have (or, where they are lists, must hold) these values.
    pub claims: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReaderJwt {
    issuer: String,
    audience: OneOrMany<String>,
    algorithms: Vec<Algorithm>,
    #[serde(default = "IssuerConfig::default_jwks")]
    jwks: String,
    subject: Option<String>,
    ca: Option<PathBuf>,
    #[serde(default)]
    claims: BTreeMap<String, String>,
}

impl From<RawReaderJwt> for ReaderJwtConfig {
    fn from(raw: RawReaderJwt) -> Self {
        let RawReaderJwt { issuer, audience, algorithms, jwks, subject, ca, claims } = raw;
        Self { issuer: IssuerConfig { issuer, audience, algorithms, jwks, subject, ca }, claims }
    }
}

/// The names by which a claim is reached; one name, or several for a claim within claims.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ClaimPath(pub OneOrMany<String>);

/// A value or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Some.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// A signature algorithm of JWTs; those with a shared secret, and none at all, are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs)] // RFC 7518 and RFC 8037 name them
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}
