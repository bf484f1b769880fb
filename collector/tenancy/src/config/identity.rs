//! `identity:`, how senders prove who they are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tenantscope_model::{AccountId, Region, TimeSpan};

use super::{CertificateConfig, JwtConfig, RevokedConfig};
use crate::identity::secret::Secrets;

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
    /// The access keys of Firehose's HTTP endpoint deliveries.
    pub firehose: Vec<FirehoseKeyConfig>,
    /// Web identity tokens (JWTs) of these issuers.
    pub jwt: Vec<JwtConfig>,
    /// Clients' certificates, where the listeners have `client_ca`.
    pub certificates: Vec<CertificateConfig>,
    /// Accounts whose credentials no longer count.
    pub revoked: Vec<RevokedConfig>,
    /// The key that signs our tokens, 32 bytes or more; default `identity.key` in the data directory, made at the
    /// first start. A file beside it with `.previous` at its name's end holds the key before it, whose tokens hold until
    /// they end.
    pub key_file: Option<PathBuf>,
    /// How long the key in the data directory signs before another is made; 30 days by default.
    pub key_rotation: Option<TimeSpan>,
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
    /// The token, and the one before it where both hold.
    pub secrets: Secrets,
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
    previous_token_sha256: Option<String>,
    previous_token_file: Option<PathBuf>,
    previous_token_env: Option<String>,
    accounts: Vec<AccountId>,
}

impl TryFrom<RawStaticToken> for StaticTokenConfig {
    type Error = String;
    fn try_from(raw: RawStaticToken) -> Result<Self, String> {
        let of = |error: &dyn std::fmt::Display| format!("token {:?}: {error}", raw.name);
        let current = (raw.token_sha256, raw.token_file, raw.token_env);
        let previous = (raw.previous_token_sha256, raw.previous_token_file, raw.previous_token_env);
        let secrets = Secrets::try_new(["token", "previous_token"], current, previous).map_err(|e| of(&e))?;
        if raw.accounts.is_empty() {
            return Err(of(&"accounts is empty"));
        }
        Ok(Self { name: raw.name, secrets, accounts: raw.accounts })
    }
}

/// One entry of `identity.firehose:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFirehoseKey")]
pub struct FirehoseKeyConfig {
    /// Who delivers with it.
    pub name: String,
    /// The access key, and the one before it where both hold.
    pub secrets: Secrets,
    /// Of which accounts deliveries may come.
    pub accounts: Vec<AccountId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFirehoseKey {
    name: String,
    key_sha256: Option<String>,
    key_file: Option<PathBuf>,
    key_env: Option<String>,
    previous_key_sha256: Option<String>,
    previous_key_file: Option<PathBuf>,
    previous_key_env: Option<String>,
    accounts: Vec<AccountId>,
}

impl TryFrom<RawFirehoseKey> for FirehoseKeyConfig {
    type Error = String;
    fn try_from(raw: RawFirehoseKey) -> Result<Self, String> {
        let of = |error: &dyn std::fmt::Display| format!("firehose {:?}: {error}", raw.name);
        let current = (raw.key_sha256, raw.key_file, raw.key_env);
        let previous = (raw.previous_key_sha256, raw.previous_key_file, raw.previous_key_env);
        let secrets = Secrets::try_new(["key", "previous_key"], current, previous).map_err(|e| of(&e))?;
        if raw.accounts.is_empty() {
            return Err(of(&"accounts is empty"));
        }
        Ok(Self { name: raw.name, secrets, accounts: raw.accounts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::secret::Secret;

    #[test]
    fn the_block_of_the_design_is_read() {
        let identity: IdentityConfig = serde_saphyr::from_str(
            r#"
server_name: collector.example.com
sts: {endpoints: {eu-west-1: "https://sts.eu-west-1.amazonaws.com"}, role: "arn:aws:sts::*:assumed-role/tenantscope-agent/*", max_age: 2m}
tokens: [{name: legacy, token_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", accounts: ["111122223333"]}]
firehose: [{name: streams, key_file: new, previous_key_file: old, accounts: ["111122223333"]}]
"#,
        )
        .unwrap();
        let sts = identity.sts.unwrap();
        assert_eq!(sts.max_age, TimeSpan::from_secs(120));
        assert_eq!(sts.timeout, TimeSpan::from_secs(5));
        assert_eq!(identity.tokens[0].accounts.len(), 1);
        assert_eq!(identity.firehose[0].secrets.previous, Some(Secret::File("old".into())));
    }

    #[test]
    fn unknown_keys_and_doubtful_secrets_are_errors() {
        assert!(serde_saphyr::from_str::<IdentityConfig>("server_nam: x").is_err());
        let wrong = |text: &str| serde_saphyr::from_str::<IdentityConfig>(text).unwrap_err().to_string();
        let two = wrong("firehose: [{name: a, key_env: A, key_file: b, accounts: [\"111122223333\"]}]");
        assert!(two.contains("exactly one of key_sha256, key_file and key_env"), "{two}");
        let previous = wrong(
            "tokens: [{name: a, token_env: A, previous_token_env: B, previous_token_file: b, accounts: [\"111122223333\"]}]",
        );
        assert!(previous.contains("previous_token_file"), "{previous}");
        assert!(wrong("firehose: [{name: a, key_env: A, accounts: []}]").contains("accounts is empty"));
    }
}
