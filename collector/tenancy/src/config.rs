//! The blocks `identity:`, `registry:` and `readers:` of `collector.yaml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tenantscope_model::{AccountId, Region, TenantId, TimeSpan};

use crate::secret::Secret;

/// `identity:`, how senders prove who they are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Our name; a proof must be signed for it. Needed where `sts` is given.
    pub server_name: Option<String>,
    /// Proofs by a signed GetCallerIdentity.
    pub sts: Option<StsConfig>,
    /// Static tokens, for development and for other collectors that forward to us.
    pub tokens: Vec<StaticTokenConfig>,
    /// The key that signs our tokens, 32 bytes or more; default `identity.key` in the data directory, made at the
    /// first start.
    pub key_file: Option<PathBuf>,
}

/// `identity.sts:`, where and how a proof is checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StsConfig {
    /// The STS endpoint of each region from which proofs are taken. A proof names a region, never an address.
    pub endpoints: BTreeMap<Region, String>,
    /// The caller's ARN must match; `*` stands for any characters.
    #[serde(default)]
    pub role: Option<String>,
    /// How long STS may take to answer.
    #[serde(default = "StsConfig::default_timeout")]
    pub timeout: TimeSpan,
    /// How old (or how far ahead) a proof's signature may be.
    #[serde(default = "StsConfig::default_max_age")]
    pub max_age: TimeSpan,
    /// How many proofs may wait for STS at the same time; more are told to try again.
    #[serde(default = "StsConfig::default_max_outstanding")]
    pub max_outstanding: usize,
}

impl StsConfig {
    fn default_timeout() -> TimeSpan {
        TimeSpan::from_secs(5)
    }
    // AWS itself refuses signatures older than this.
    fn default_max_age() -> TimeSpan {
        TimeSpan::from_secs(300)
    }
    fn default_max_outstanding() -> usize {
        64
    }
}

/// One entry of `identity.tokens:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawStaticToken")]
pub struct StaticTokenConfig {
    /// Who sends with it; also the forwarder's name in a lane's key.
    pub name: String,
    /// The token.
    pub secret: Secret,
    /// For which accounts it may send.
    pub accounts: Vec<AccountId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStaticToken {
    name: String,
    token_sha256: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    accounts: Vec<AccountId>,
}

impl TryFrom<RawStaticToken> for StaticTokenConfig {
    type Error = String;
    fn try_from(raw: RawStaticToken) -> Result<Self, String> {
        let secret = Secret::try_new(raw.token_sha256, raw.token_file, raw.token_env)
            .map_err(|error| format!("token {:?}: {error}", raw.name))?;
        if raw.accounts.is_empty() {
            return Err(format!("token {:?}: accounts is empty", raw.name));
        }
        Ok(Self { name: raw.name, secret, accounts: raw.accounts })
    }
}

/// `registry:`, whose accounts are whose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// `tenants.yaml`, relative to the file that names it.
    pub file: PathBuf,
    /// What happens to data of an account that no tenant has.
    #[serde(default)]
    pub unknown: Unknown,
    /// The name of this collector as tenants' `home` has it; data of tenants with another home is refused.
    #[serde(default)]
    pub home: Option<String>,
}

/// What happens to data of an account that no tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It is held under the tenant `unassigned`.
    Quarantine,
}

/// One entry of `readers:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawReader")]
pub struct ReaderConfig {
    /// Who reads with it.
    pub name: String,
    /// The token.
    pub secret: Secret,
    /// What may be seen.
    pub scope: ScopeConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReader {
    name: String,
    token_sha256: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    scope: ScopeConfig,
}

impl TryFrom<RawReader> for ReaderConfig {
    type Error = String;
    fn try_from(raw: RawReader) -> Result<Self, String> {
        let secret = Secret::try_new(raw.token_sha256, raw.token_file, raw.token_env)
            .map_err(|error| format!("reader {:?}: {error}", raw.name))?;
        Ok(Self { name: raw.name, secret, scope: raw.scope })
    }
}

/// A reader's scope: `all`, or `{tenants: [...]}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeConfig {
    /// Every tenant, and what has no tenant.
    All,
    /// These tenants.
    Tenants(Vec<TenantId>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_the_design_are_read() {
        let identity: IdentityConfig = serde_saphyr::from_str(
            r#"
server_name: collector.example.com
sts: {endpoints: {eu-west-1: "https://sts.eu-west-1.amazonaws.com"}, role: "arn:aws:sts::*:assumed-role/tenantscope-agent/*", max_age: 2m}
tokens: [{name: legacy, token_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", accounts: ["111122223333"]}]
"#,
        )
        .unwrap();
        let sts = identity.sts.unwrap();
        assert_eq!(sts.max_age, TimeSpan::from_secs(120));
        assert_eq!(sts.timeout, TimeSpan::from_secs(5));
        assert_eq!(identity.tokens[0].accounts.len(), 1);

        let readers: Vec<ReaderConfig> = serde_saphyr::from_str(
            "- {name: oncall, token_file: oncall.token, scope: all}\n- {name: acme, token_env: ACME, scope: {tenants: [acme]}}\n",
        )
        .unwrap();
        assert_eq!(readers[0].scope, ScopeConfig::All);
        assert_eq!(readers[1].scope, ScopeConfig::Tenants(vec![TenantId::try_new("acme").unwrap()]));

        let registry: RegistryConfig = serde_saphyr::from_str("{file: tenants.yaml, unknown: quarantine}").unwrap();
        assert_eq!(registry.unknown, Unknown::Quarantine);
    }

    #[test]
    fn unknown_keys_and_doubtful_secrets_are_errors() {
        assert!(serde_saphyr::from_str::<IdentityConfig>("server_nam: x").is_err());
        assert!(serde_saphyr::from_str::<RegistryConfig>("{file: a, organisations: {}}").is_err());
        let two = "[{name: a, token_env: A, token_file: b, scope: all}]";
        assert!(serde_saphyr::from_str::<Vec<ReaderConfig>>(two).is_err());
        let none = "[{name: a, scope: all}]";
        assert!(serde_saphyr::from_str::<Vec<ReaderConfig>>(none).is_err());
        let plain = "[{name: a, token: secret, scope: all}]";
        assert!(serde_saphyr::from_str::<Vec<ReaderConfig>>(plain).is_err());
    }
}
