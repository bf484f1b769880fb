//! `readers:`, who may read what.

use std::path::PathBuf;

use serde::Deserialize;
use tenantscope_model::TenantId;

use crate::secret::{Secret, Secrets};

/// One entry of `readers:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawReader")]
pub struct ReaderConfig {
    /// Who reads with it.
    pub name: String,
    /// The token, and the one before it where both hold.
    pub secrets: Secrets,
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
    previous_token_sha256: Option<String>,
    previous_token_file: Option<PathBuf>,
    previous_token_env: Option<String>,
    scope: ScopeConfig,
}

impl TryFrom<RawReader> for ReaderConfig {
    type Error = String;
    fn try_from(raw: RawReader) -> Result<Self, String> {
        let of = |error: &dyn std::fmt::Display| format!("reader {:?}: {error}", raw.name);
        let current = Secret::try_new("token", raw.token_sha256, raw.token_file, raw.token_env).map_err(|e| of(&e))?;
        let (digest, file, env) = (raw.previous_token_sha256, raw.previous_token_file, raw.previous_token_env);
        let previous = Secret::try_optional("previous_token", digest, file, env).map_err(|e| of(&e))?;
        Ok(Self { name: raw.name, secrets: Secrets { current, previous }, scope: raw.scope })
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
    fn the_block_of_the_design_is_read() {
        let readers: Vec<ReaderConfig> = serde_saphyr::from_str(
            "- {name: oncall, token_file: oncall.token, scope: all}\n- {name: acme, token_env: ACME, scope: {tenants: [acme]}}\n",
        )
        .unwrap();
        assert_eq!(readers[0].scope, ScopeConfig::All);
        assert_eq!(readers[1].scope, ScopeConfig::Tenants(vec![TenantId::try_new("acme").unwrap()]));
    }

    #[test]
    fn unknown_keys_and_doubtful_secrets_are_errors() {
        for wrong in [
            "[{name: a, token_env: A, token_file: b, scope: all}]",
            "[{name: a, scope: all}]",
            "[{name: a, token: secret, scope: all}]",
        ] {
            assert!(serde_saphyr::from_str::<Vec<ReaderConfig>>(wrong).is_err(), "{wrong}");
        }
    }
}
