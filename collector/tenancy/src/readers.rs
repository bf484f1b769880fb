//! Who may read what.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use tenantscope_model::Scope;

use crate::config::{ReaderConfig, ScopeConfig};
use crate::credential::{self, InvalidOrgId};
use crate::secret::{SecretError, TokenDigest};
use crate::telemetry;

/// Where the listeners for readers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// On loopback addresses only.
    Loopback,
    /// On at least one other address.
    Network,
}

impl Exposure {
    /// Of these addresses.
    pub fn of(addresses: impl IntoIterator<Item = std::net::SocketAddr>) -> Self {
        let all_loopback = addresses.into_iter().all(|address| address.ip().is_loopback());
        if all_loopback { Self::Loopback } else { Self::Network }
    }
}

/// The readers and their scopes. Built anew at a reload, never changed.
#[derive(Debug, Clone)]
pub struct Readers {
    readers: Vec<Reader>,
    without_credential: Option<Scope>,
}

#[derive(Debug, Clone)]
struct Reader {
    name: Arc<str>,
    digests: Vec<TokenDigest>,
    scope: Scope,
}

/// Who reads, and what it may see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reading {
    /// The reader's name in the configuration; empty where nobody needs a credential.
    pub reader: Arc<str>,
    /// What its credential allows; where nobody needs one, what it asks for. It tells readers apart.
    pub allowed: Scope,
    /// What it may see, narrowed by `X-Scope-OrgID`.
    pub scope: Scope,
}

/// Why a reader's secret can't be used.
#[derive(Debug, thiserror::Error)]
#[error("reader {name:?}: {source}")]
pub struct InvalidReader {
    name: String,
    source: SecretError,
}

/// Why a read is not allowed. It never tells whether a tenant exists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadDenied {
    /// There is no credential, and one is needed.
    #[error("a bearer token (or basic with the token as password) is needed")]
    NoCredential,
    /// The credential is none that we know, or can't be read.
    #[error("the credential is not known")]
    WrongCredential,
    /// The tenants that it asks for can't be read.
    #[error(transparent)]
    OrgId(#[from] InvalidOrgId),
}

impl ReadDenied {
    /// 401, or 400 for a wrong `X-Scope-OrgID`.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::NoCredential | Self::WrongCredential => StatusCode::UNAUTHORIZED,
            Self::OrgId(_) => StatusCode::BAD_REQUEST,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::WrongCredential => "wrong_credential",
            Self::OrgId(_) => "org_id",
        }
    }
}

impl Readers {
    /// The configured readers; `base` is the configuration file's folder.
    ///
    /// With none configured, everybody reads everything where only this machine can ask, and nobody elsewhere.
    pub fn try_new(configs: &[ReaderConfig], base: &Path, exposure: Exposure) -> Result<Self, InvalidReader> {
        let mut readers = Vec::with_capacity(configs.len());
        for config in configs {
            let wrong = |source| InvalidReader { name: config.name.clone(), source };
            let digests = config.secrets.digests(base).map_err(wrong)?;
            let scope = match &config.scope {
                ScopeConfig::All => Scope::All,
                ScopeConfig::Tenants(tenants) => Scope::tenants(tenants.iter().cloned()),
            };
            readers.push(Reader { name: config.name.as_str().into(), digests, scope });
        }
        let open = readers.is_empty() && exposure == Exposure::Loopback;
        if readers.is_empty() && !open {
            tracing::warn!("no readers are configured and the address is not loopback: every read will be refused");
        }
        Ok(Self { readers, without_credential: open.then_some(Scope::All) })
    }

    /// What the sender of these headers may see: its credential's scope, narrowed by `X-Scope-OrgID`.
    pub fn scope(&self, headers: &HeaderMap) -> Result<Scope, ReadDenied> {
        self.reading(headers).map(|reading| reading.scope)
    }

    /// The same, with the reader's name.
    pub fn reading(&self, headers: &HeaderMap) -> Result<Reading, ReadDenied> {
        self.allowed(headers).inspect_err(|denied| telemetry::read_denied(denied.reason()))
    }

    fn allowed(&self, headers: &HeaderMap) -> Result<Reading, ReadDenied> {
        let (reader, allowed) = match &self.without_credential {
            Some(all) => (None, all),
            None => {
                let reader = self.by_credential(headers)?;
                (Some(reader), &reader.scope)
            }
        };
        let scope = match credential::org_ids(headers)? {
            None => allowed.clone(),
            Some(tenants) => allowed.intersect(&Scope::tenants(tenants)),
        };
        Ok(match reader {
            Some(reader) => Reading { reader: Arc::clone(&reader.name), allowed: allowed.clone(), scope },
            None => Reading { reader: Arc::default(), allowed: scope.clone(), scope },
        })
    }

    fn by_credential(&self, headers: &HeaderMap) -> Result<&Reader, ReadDenied> {
        let token = credential::token(headers).map_err(|_| ReadDenied::WrongCredential)?;
        let digest = TokenDigest::of(&token.ok_or(ReadDenied::NoCredential)?);
        self.readers.iter().find(|reader| reader.digests.contains(&digest)).ok_or(ReadDenied::WrongCredential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use tenantscope_model::TenantId;

    fn reader(token: &str, scope: ScopeConfig) -> ReaderConfig {
        ReaderConfig { name: "r".into(), secrets: Secret::Sha256(TokenDigest::of(token)).into(), scope }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn scope(ids: &[&str]) -> Scope {
        Scope::tenants(ids.iter().map(|id| TenantId::try_new(id).unwrap()))
    }

    #[test]
    fn a_header_narrows_and_never_widens() {
        let acme = ScopeConfig::Tenants(vec![TenantId::try_new("acme").unwrap(), TenantId::try_new("beta").unwrap()]);
        let configs = [reader("all-token", ScopeConfig::All), reader("acme-token", acme)];
        let readers = Readers::try_new(&configs, Path::new("."), Exposure::Network).unwrap();
        let ask = |token: &str, org: &str| {
            let bearer = format!("Bearer {token}");
            readers.scope(&headers(&[("authorization", &bearer), ("x-scope-orgid", org)]))
        };
        assert_eq!(ask("all-token", "x|y"), Ok(scope(&["x", "y"])));
        assert_eq!(ask("acme-token", "acme|other"), Ok(scope(&["acme"])));
        assert!(ask("acme-token", "other").unwrap().is_none());
        assert!(matches!(ask("all-token", "a|"), Err(ReadDenied::OrgId(_))));
        assert_eq!(ask("guess", "acme"), Err(ReadDenied::WrongCredential));
        assert_eq!(readers.scope(&HeaderMap::new()), Err(ReadDenied::NoCredential));
    }

    #[test]
    fn a_reader_stays_the_same_however_it_narrows() {
        let reading = |readers: &Readers, org: &str| {
            let asked = headers(&[("authorization", "Bearer token"), ("x-scope-orgid", org)]);
            let Reading { reader, allowed, scope } = readers.reading(&asked).unwrap();
            assert_eq!(scope, self::scope(&[org]));
            (reader, allowed)
        };
        let with_credential =
            Readers::try_new(&[reader("token", ScopeConfig::All)], Path::new("."), Exposure::Network).unwrap();
        assert_eq!(reading(&with_credential, "a"), reading(&with_credential, "b"));
        let open = Readers::try_new(&[], Path::new("."), Exposure::Loopback).unwrap();
        assert_ne!(reading(&open, "a"), reading(&open, "b"), "where there are no credentials, tenants are readers");
    }

    #[test]
    fn without_readers_only_loopback_reads() {
        let open = Readers::try_new(&[], Path::new("."), Exposure::Loopback).unwrap();
        assert_eq!(open.scope(&HeaderMap::new()), Ok(Scope::All));
        assert_eq!(open.scope(&headers(&[("x-scope-orgid", "a")])), Ok(scope(&["a"])));
        let closed = Readers::try_new(&[], Path::new("."), Exposure::Network).unwrap();
        assert_eq!(closed.scope(&HeaderMap::new()), Err(ReadDenied::NoCredential));
        let addresses = ["127.0.0.1:1", "[::1]:2", "0.0.0.0:3"].map(|text| text.parse().unwrap());
        assert_eq!(Exposure::of(addresses), Exposure::Network);
        assert_eq!(Exposure::of(addresses[..2].iter().copied()), Exposure::Loopback);
    }
}
