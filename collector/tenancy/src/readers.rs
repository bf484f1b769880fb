//! Who may read what.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use tenantscope_model::{Scope, TenantId};
use tenantscope_wire::Peer;

use crate::config::{ReaderConfig, ReaderCredential, ScopeConfig};
use crate::identity::certificate::{Fit, Names, SanPattern};
use crate::identity::credential::{self, InvalidOrgId};
use crate::identity::jwt::{Claims, InvalidIssuer, Issuer, Unverified, looks_like_jwt};
use crate::identity::secret::{SecretError, TokenDigest};
use crate::registry::Registry;
use crate::registry::tenants::{Tenant, Tenants};
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
#[derive(Debug)]
pub struct Readers {
    by_token: HashMap<TokenDigest, Arc<Reader>>,
    by_jwt: Vec<(Issuer, BTreeMap<String, String>, Arc<Reader>)>,
    by_certificate: Vec<(SanPattern, Arc<Reader>)>,
    registry: Option<Arc<Registry>>,
    without_credential: Option<Scope>,
}

#[derive(Debug)]
struct Reader {
    name: Arc<str>,
    scope: ScopeConfig,
    /// Of a scope by attributes, as the registry last had it.
    matched: Mutex<Option<(Arc<Tenants>, Scope)>>,
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

/// Why a reader can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReader {
    /// Its secret.
    #[error("reader {name:?}: {source}")]
    Secret {
        /// Which.
        name: String,
        /// What is wrong.
        source: SecretError,
    },
    /// The issuer of its tokens.
    #[error("reader {name:?}: {source}")]
    Issuer {
        /// Which.
        name: String,
        /// What is wrong.
        source: InvalidIssuer,
    },
    /// Another reader has its secret, so nobody could tell them apart.
    #[error("reader {0:?} has a token that another one has too")]
    SecretTwice(String),
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
    /// It can't be checked now.
    #[error("the credential can't be checked now; try again")]
    NotNow,
    /// The tenants that it asks for can't be read.
    #[error(transparent)]
    OrgId(#[from] InvalidOrgId),
}

impl ReadDenied {
    /// 401, 400 for a wrong `X-Scope-OrgID`, or 503.
    pub fn http_status(&self) -> StatusCode {
        match self {
            Self::NoCredential | Self::WrongCredential => StatusCode::UNAUTHORIZED,
            Self::NotNow => StatusCode::SERVICE_UNAVAILABLE,
            Self::OrgId(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// A fixed word for it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::WrongCredential => "wrong_credential",
            Self::NotNow => "not_now",
            Self::OrgId(_) => "org_id",
        }
    }
}

impl Readers {
    /// The configured readers; `base` is the configuration file's folder.
    ///
    /// With none configured, everybody reads everything where only this machine can ask, and nobody elsewhere.
    pub fn try_new(configs: &[ReaderConfig], base: &Path, exposure: Exposure) -> Result<Self, InvalidReader> {
        let open = configs.is_empty() && exposure == Exposure::Loopback;
        if configs.is_empty() && !open {
            tracing::warn!("no readers are configured and the address is not loopback: every read will be refused");
        }
        let mut readers = Self {
            by_token: HashMap::new(),
            by_jwt: Vec::new(),
            by_certificate: Vec::new(),
            registry: None,
            without_credential: open.then_some(Scope::All),
        };
        for config in configs {
            readers.add(config, base)?;
        }
        Ok(readers)
    }

    /// With the registry, which says what attributes tenants have; without one, no tenant has any.
    #[must_use]
    pub fn with_registry(self, registry: Option<Arc<Registry>>) -> Self {
        Self { registry, ..self }
    }

    fn add(&mut self, config: &ReaderConfig, base: &Path) -> Result<(), InvalidReader> {
        let (name, scope) = (config.name.as_str().into(), config.scope.clone());
        let reader = Arc::new(Reader { name, scope, matched: Mutex::default() });
        match &config.credential {
            ReaderCredential::Token(secrets) => {
                let wrong = |source| InvalidReader::Secret { name: config.name.clone(), source };
                for digest in secrets.digests(base).map_err(wrong)? {
                    if self.by_token.insert(digest, Arc::clone(&reader)).is_some() {
                        return Err(InvalidReader::SecretTwice(config.name.clone()));
                    }
                }
            }
            ReaderCredential::Jwt(jwt) => {
                let wrong = |source| InvalidReader::Issuer { name: config.name.clone(), source };
                self.by_jwt.push((Issuer::try_new(&jwt.issuer, base).map_err(wrong)?, jwt.claims.clone(), reader));
            }
            ReaderCredential::Certificate(san) => self.by_certificate.push((san.clone(), reader)),
        }
        Ok(())
    }

    /// Who asks with these headers, over a connection of this peer, and what may be seen: its credential's scope, narrowed
    /// by `X-Scope-OrgID`.
    pub async fn reading(&self, headers: &HeaderMap, peer: &Peer, now_ms: i64) -> Result<Reading, ReadDenied> {
        let reading = self.allowed(headers, peer, now_ms).await;
        reading.inspect_err(|denied| telemetry::read_denied(denied.reason()))
    }

    async fn allowed(&self, headers: &HeaderMap, peer: &Peer, now_ms: i64) -> Result<Reading, ReadDenied> {
        let (reader, allowed) = match &self.without_credential {
            Some(all) => (None, all.clone()),
            None => {
                let (reader, allowed) = self.by_credential(headers, peer, now_ms).await?;
                (Some(reader), allowed)
            }
        };
        let allowed = self.with_history(&allowed);
        let scope = match credential::org_ids(headers)? {
            None => allowed.clone(),
            Some(tenants) => allowed.intersect(&self.with_history(&Scope::tenants(tenants))),
        };
        Ok(match reader {
            Some(reader) => Reading { reader, allowed, scope },
            None => Reading { reader: Arc::default(), allowed: scope.clone(), scope },
        })
    }

    /// A tenant's history lies under its former ids, too.
    fn with_history(&self, scope: &Scope) -> Scope {
        self.registry.as_ref().map_or_else(|| scope.clone(), |registry| registry.tenants().with_history(scope))
    }

    async fn by_credential(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        now_ms: i64,
    ) -> Result<(Arc<str>, Scope), ReadDenied> {
        let Some(token) = credential::token(headers).map_err(|_| ReadDenied::WrongCredential)? else {
            return self.certified(peer);
        };
        if let Some(reader) = self.by_token.get(&TokenDigest::of(&token)) {
            return Ok((Arc::clone(&reader.name), reader.allowed(self.registry.as_deref(), None, None)));
        }
        if self.by_jwt.is_empty() || !looks_like_jwt(&token) {
            return Err(ReadDenied::WrongCredential);
        }
        self.by_jwt(&token, peer, now_ms).await
    }

    /// Of all entries that a token fits, the first.
    async fn by_jwt(&self, token: &str, peer: &Peer, now_ms: i64) -> Result<(Arc<str>, Scope), ReadDenied> {
        let token = Unverified::parse(token).map_err(|_| ReadDenied::WrongCredential)?;
        let mut denied = ReadDenied::WrongCredential;
        for (issuer, needed, reader) in self.by_jwt.iter().filter(|(issuer, ..)| issuer.is_issuer_of(&token)) {
            match issuer.verify(&token, peer.address.ip(), now_ms).await {
                Ok(claims) if needed.iter().all(|(name, text)| claims.holds(name, text)) => {
                    let scope = reader.allowed(self.registry.as_deref(), Some(&claims), None);
                    return Ok((Arc::clone(&reader.name), scope));
                }
                Ok(_) => {}
                Err(refused) => {
                    tracing::debug!(reader = %reader.name, reason = refused.reason(), "token refused");
                    if refused.may_pass() {
                        denied = ReadDenied::NotNow;
                    }
                }
            }
        }
        Err(denied)
    }

    /// Of all entries that the connection's certificate fits, the first.
    fn certified(&self, peer: &Peer) -> Result<(Arc<str>, Scope), ReadDenied> {
        let certificate = peer.certificate.as_ref().filter(|_| !self.by_certificate.is_empty());
        let names = Names::of(certificate.ok_or(ReadDenied::NoCredential)?);
        for (san, reader) in &self.by_certificate {
            match san.fit(&names) {
                Fit::No => {}
                Fit::Yes(placed) => {
                    let scope = reader.allowed(self.registry.as_deref(), None, Some(&placed));
                    return Ok((Arc::clone(&reader.name), scope));
                }
                Fit::Doubtful => return Err(ReadDenied::WrongCredential),
            }
        }
        Err(ReadDenied::WrongCredential)
    }
}

impl Reader {
    fn allowed(&self, registry: Option<&Registry>, claims: Option<&Claims>, placed: Option<&str>) -> Scope {
        match &self.scope {
            ScopeConfig::All => Scope::All,
            ScopeConfig::Tenants(tenants) => Scope::tenants(tenants.iter().cloned()),
            ScopeConfig::Attributes(wanted) => {
                registry.map_or_else(Scope::none, |registry| self.matching(registry, wanted))
            }
            ScopeConfig::Claim(path) => claims.and_then(|claims| claims.get(path)).map_or_else(Scope::none, named),
            ScopeConfig::Placed => Scope::tenants(placed.and_then(|tenant| TenantId::try_new(tenant).ok())),
        }
    }

    /// Asked anew at each read: a tenant whose attribute changes is out of sight from then on.
    fn matching(&self, registry: &Registry, wanted: &BTreeMap<String, String>) -> Scope {
        let tenants = registry.tenants();
        let mut matched = self.matched.lock();
        if let Some((of, scope)) = matched.as_ref()
            && Arc::ptr_eq(of, &tenants)
        {
            return scope.clone();
        }
        let fits =
            |tenant: &&Arc<Tenant>| wanted.iter().all(|(name, value)| tenant.attributes.get(name) == Some(value));
        let scope = Scope::tenants(tenants.iter().filter(fits).map(|tenant| tenant.id.clone()));
        *matched = Some((tenants, scope.clone()));
        scope
    }
}

/// The tenant or the tenants that a claim names; one that is no tenant id names none.
fn named(claim: &Value) -> Scope {
    let texts = match claim {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    Scope::tenants(texts.iter().filter_map(Value::as_str).filter_map(|text| TenantId::try_new(text).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::secret::Secret;

    fn reader(token: &str, scope: ScopeConfig) -> ReaderConfig {
        let credential = ReaderCredential::Token(Secret::Sha256(TokenDigest::of(token)).into());
        ReaderConfig { name: "r".into(), credential, scope }
    }

    async fn reading_of(readers: &Readers, headers: &HeaderMap) -> Result<Reading, ReadDenied> {
        readers.reading(headers, &Peer::unknown(), 0).await
    }

    async fn scope_of(readers: &Readers, headers: &HeaderMap) -> Result<Scope, ReadDenied> {
        reading_of(readers, headers).await.map(|reading| reading.scope)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn scope(ids: &[&str]) -> Scope {
        Scope::tenants(ids.iter().map(|id| TenantId::try_new(id).unwrap()))
    }

    #[tokio::test]
    async fn a_header_narrows_and_never_widens() {
        let acme = ScopeConfig::Tenants(vec![TenantId::try_new("acme").unwrap(), TenantId::try_new("beta").unwrap()]);
        let configs = [reader("all-token", ScopeConfig::All), reader("acme-token", acme)];
        let readers = Readers::try_new(&configs, Path::new("."), Exposure::Network).unwrap();
        let ask = async |token: &str, org: &str| {
            let bearer = format!("Bearer {token}");
            scope_of(&readers, &headers(&[("authorization", &bearer), ("x-scope-orgid", org)])).await
        };
        assert_eq!(ask("all-token", "x|y").await, Ok(scope(&["x", "y"])));
        assert_eq!(ask("acme-token", "acme|other").await, Ok(scope(&["acme"])));
        assert!(ask("acme-token", "other").await.unwrap().is_none());
        assert!(matches!(ask("all-token", "a|").await, Err(ReadDenied::OrgId(_))));
        assert_eq!(ask("guess", "acme").await, Err(ReadDenied::WrongCredential));
        assert_eq!(scope_of(&readers, &HeaderMap::new()).await, Err(ReadDenied::NoCredential));
    }

    #[tokio::test]
    async fn a_reader_stays_the_same_however_it_narrows() {
        let reading = async |readers: &Readers, org: &str| {
            let asked = headers(&[("authorization", "Bearer token"), ("x-scope-orgid", org)]);
            let Reading { reader, allowed, scope } = reading_of(readers, &asked).await.unwrap();
            assert_eq!(scope, self::scope(&[org]));
            (reader, allowed)
        };
        let with_credential =
            Readers::try_new(&[reader("token", ScopeConfig::All)], Path::new("."), Exposure::Network).unwrap();
        assert_eq!(reading(&with_credential, "a").await, reading(&with_credential, "b").await);
        let open = Readers::try_new(&[], Path::new("."), Exposure::Loopback).unwrap();
        assert_ne!(
            reading(&open, "a").await,
            reading(&open, "b").await,
            "where there are no credentials, tenants are readers"
        );
    }

    #[tokio::test]
    async fn without_readers_only_loopback_reads() {
        let open = Readers::try_new(&[], Path::new("."), Exposure::Loopback).unwrap();
        assert_eq!(scope_of(&open, &HeaderMap::new()).await, Ok(Scope::All));
        assert_eq!(scope_of(&open, &headers(&[("x-scope-orgid", "a")])).await, Ok(scope(&["a"])));
        let closed = Readers::try_new(&[], Path::new("."), Exposure::Network).unwrap();
        assert_eq!(scope_of(&closed, &HeaderMap::new()).await, Err(ReadDenied::NoCredential));
        let addresses = ["127.0.0.1:1", "[::1]:2", "0.0.0.0:3"].map(|text| text.parse().unwrap());
        assert_eq!(Exposure::of(addresses), Exposure::Network);
        assert_eq!(Exposure::of(addresses[..2].iter().copied()), Exposure::Loopback);
    }

    #[tokio::test]
    async fn a_renamed_tenant_reads_its_history_and_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let of_file = crate::RegistryConfig::of_file("tenants.yaml");
        let write = |text: &str| std::fs::write(dir.path().join("tenants.yaml"), text).unwrap();
        write("tenants: [{id: acme, aliases: [old]}, {id: beta}]");
        let registry = Arc::new(Registry::open(&of_file, dir.path()).unwrap());
        let only = |id: &str| ScopeConfig::Tenants(vec![TenantId::try_new(id).unwrap()]);
        let configs = [reader("all", ScopeConfig::All), reader("acme", only("acme")), reader("beta", only("beta"))];
        let readers = Readers::try_new(&configs, dir.path(), Exposure::Network).unwrap();
        let readers = readers.with_registry(Some(Arc::clone(&registry)));
        let ask = async |token: &str, org: Option<&str>| {
            let mut asked = headers(&[("authorization", &format!("Bearer {token}"))]);
            asked.extend(org.map(|org| (http::HeaderName::from_static("x-scope-orgid"), org.parse().unwrap())));
            scope_of(&readers, &asked).await.unwrap()
        };
        assert_eq!(ask("acme", None).await, scope(&["acme", "old"]));
        assert_eq!(ask("all", Some("acme")).await, scope(&["acme", "old"]));
        assert_eq!(ask("acme", Some("old")).await, scope(&["old"]));
        assert_eq!(ask("all", None).await, Scope::All);
        assert_eq!(ask("beta", None).await, scope(&["beta"]));
        assert!(ask("beta", Some("acme")).await.is_none() && ask("beta", Some("old")).await.is_none());

        // Another tenant takes the id: from then on its data is its own.
        write("tenants: [{id: acme}, {id: beta}, {id: old}]");
        registry.put_in_force(registry.prepare(&of_file, dir.path()).unwrap());
        assert_eq!(ask("acme", None).await, scope(&["acme"]));
        assert!(ask("acme", Some("old")).await.is_none());
    }

    #[tokio::test]
    async fn attributes_are_asked_of_the_registry_at_each_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |tier: &str| {
            let text = format!(
                "tenants: [{{id: acme, attributes: {{tier: {tier}, wave: a}}}}, {{id: beta, attributes: {{tier: gold}}}}]"
            );
            std::fs::write(dir.path().join("tenants.yaml"), text).unwrap();
        };
        write("gold");
        let of_file = crate::RegistryConfig::of_file("tenants.yaml");
        let registry = Arc::new(Registry::open(&of_file, dir.path()).unwrap());
        let gold = ScopeConfig::Attributes(BTreeMap::from([("tier".into(), "gold".into())]));
        let asked = headers(&[("authorization", "Bearer gold-token")]);
        let without = Readers::try_new(&[reader("gold-token", gold.clone())], dir.path(), Exposure::Network).unwrap();
        assert!(scope_of(&without, &asked).await.unwrap().is_none(), "without a registry nobody has attributes");
        let readers = without.with_registry(Some(Arc::clone(&registry)));
        assert_eq!(scope_of(&readers, &asked).await, Ok(scope(&["acme", "beta"])));
        write("silver");
        registry.put_in_force(registry.prepare(&of_file, dir.path()).unwrap());
        assert_eq!(scope_of(&readers, &asked).await, Ok(scope(&["beta"])));
        let narrowed = headers(&[("authorization", "Bearer gold-token"), ("x-scope-orgid", "acme|beta")]);
        assert_eq!(scope_of(&readers, &narrowed).await, Ok(scope(&["beta"])));
    }
}
