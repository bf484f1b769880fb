//! `readers:`, who may read what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tenantscope_model::TenantId;

use super::{ClaimPath, ReaderJwtConfig};
use crate::identity::certificate::SanPattern;
use crate::identity::secret::{Secret, Secrets};

/// One entry of `readers:`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawReader")]
pub struct ReaderConfig {
    /// Who reads with it.
    pub name: String,
    /// What is shown.
    pub credential: ReaderCredential,
    /// What may be seen.
    pub scope: ScopeConfig,
}

/// What a reader shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReaderCredential {
    /// A token, and the one before it where both hold.
    Token(Secrets),
    /// A web identity token (a JWT).
    Jwt(Box<ReaderJwtConfig>),
    /// A client's certificate.
    #[allow(private_interfaces)]
    Certificate(SanPattern),
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
    jwt: Option<ReaderJwtConfig>,
    certificate: Option<String>,
    scope: Option<ScopeConfig>,
}

impl TryFrom<RawReader> for ReaderConfig {
    type Error = String;
    fn try_from(raw: RawReader) -> Result<Self, String> {
        let name = raw.name.clone();
        Self::read(raw).map_err(|error| format!("reader {name:?}: {error}"))
    }
}

impl ReaderConfig {
    fn read(raw: RawReader) -> Result<Self, String> {
        let text = |error: crate::identity::secret::SecretError| error.to_string();
        let (digest, file, env) = (raw.token_sha256, raw.token_file, raw.token_env);
        let current = Secret::try_optional("token", digest, file, env).map_err(text)?;
        let (digest, file, env) = (raw.previous_token_sha256, raw.previous_token_file, raw.previous_token_env);
        let previous = Secret::try_optional("previous_token", digest, file, env).map_err(text)?;
        if current.is_none() && previous.is_some() {
            return Err("there is a previous_token and no token".to_owned());
        }
        let pattern = raw.certificate.as_ref().map(|san| {
            SanPattern::try_new(san, "{tenant}")
                .ok_or_else(|| format!("certificate {san:?} is no URI or DNS name with at most one {{tenant}}"))
        });
        let credential = match (current, raw.jwt, pattern.transpose()?) {
            (Some(current), None, None) => ReaderCredential::Token(Secrets { current, previous }),
            (None, Some(jwt), None) => ReaderCredential::Jwt(Box::new(jwt)),
            (None, None, Some(san)) => ReaderCredential::Certificate(san),
            _ => return Err("exactly one of a token, jwt and certificate is needed".to_owned()),
        };
        let scope = match (&credential, raw.scope) {
            (ReaderCredential::Certificate(san), None) if san.has_placeholder() => ScopeConfig::Placed,
            (ReaderCredential::Certificate(san), Some(_)) if san.has_placeholder() => {
                return Err("the certificate's {tenant} is its scope; there can be no other".to_owned());
            }
            (ReaderCredential::Jwt(_), Some(scope)) => scope,
            (_, Some(ScopeConfig::Claim(_))) => return Err("only a jwt has claims".to_owned()),
            (_, Some(scope)) => scope,
            (_, None) => return Err("scope is missing; give all, {tenants: […]} or {attributes: {…}}".to_owned()),
        };
        Ok(Self { name: raw.name, credential, scope })
    }
}

/// A reader's scope: `all`, `{tenants: [...]}`, `{attributes: {tier: gold}}` or `{claim: tenant}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScopeConfig {
    /// Every tenant, and what has no tenant.
    All,
    /// These tenants.
    Tenants(Vec<TenantId>),
    /// The tenants whose attributes have all of these values, as the registry has them at the time of a read.
    Attributes(BTreeMap<String, String>),
    /// The tenant, or the tenants, that a claim of the token names.
    Claim(ClaimPath),
    /// The tenant in the certificate's `{tenant}`.
    #[serde(skip)]
    Placed,
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
            "[{name: a, token_env: A}]",
            "[{name: a, token_env: A, scope: {claim: tenant}}]",
            "[{name: a, token_env: A, scope: placed}]",
            "[{name: a, previous_token_env: A, certificate: x, scope: all}]",
            "[{name: a, certificate: 'spiffe://x/{tenant}', scope: all}]",
            "[{name: a, certificate: 'spiffe://x/oncall'}]",
            "[{name: a, token_env: A, certificate: 'spiffe://x/oncall', scope: all}]",
        ] {
            assert!(serde_saphyr::from_str::<Vec<ReaderConfig>>(wrong).is_err(), "{wrong}");
        }
    }
}
