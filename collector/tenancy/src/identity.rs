//! Who sends: from headers for each batch, from a proof once in fifteen minutes.

pub(crate) mod arn;
pub(crate) mod caller;
pub(crate) mod certificate;
pub(crate) mod credential;
pub(crate) mod discovery;
pub(crate) mod fetch;
pub(crate) mod holders;
pub(crate) mod jwks;
pub(crate) mod jwt;
pub(crate) mod key_file;
pub(crate) mod nonces;
pub(crate) mod refusals;
pub(crate) mod revoked;
pub(crate) mod secret;
pub(crate) mod slots;
pub(crate) mod strict;
pub(crate) mod sts;
pub(crate) mod token;

#[cfg(test)]
mod jwt_tests;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use moka::sync::Cache;
use parking_lot::RwLock;
use tenantscope_model::{AccountId, TenantId, TimeSpan};
use tenantscope_wire::{Name, Peer, ProofOfAccount, Refused};

use crate::config::IdentityConfig;
use crate::identity::holders::InvalidHolder;
use crate::identity::jwt::InvalidIssuer;
use crate::identity::key_file::{KeyError, KeyFile};
use crate::identity::nonces::Nonces;
use crate::identity::strict::{Parts, Strict};
use crate::identity::sts::InvalidSts;
use crate::identity::token::{TOKEN_LIFETIME, TokenClaims, TokenKeys, lifetime_ms};
use crate::readers::Exposure;
use crate::registry::Registry;
use crate::sender::Sender;
use crate::telemetry;

/// How long the key in the data directory signs, where the configuration does not say.
const KEY_ROTATION: TimeSpan = TimeSpan::from_secs(30 * 86_400);
/// Agents whose newest epoch is remembered.
const MAX_FENCES: u64 = 200_000;

/// Checks who sends, and gives out tokens. Shared by all listeners; holds no lock while it waits.
#[derive(Debug)]
pub struct Identity(Mode);

#[derive(Debug)]
enum Mode {
    Open { keys: Box<TokenKeys> },
    Strict(Box<Governed>),
}

/// What is in force, and what outlives a reload.
#[derive(Debug)]
struct Governed {
    registry: Arc<Registry>,
    nonces: Arc<Nonces>,
    /// The newest epoch of each agent (by the account and its name) that was given one. It need be known only as long as
    /// tokens of an older one hold; the lanes fence what is stored.
    fences: Cache<(String, Name), u64>,
    in_force: RwLock<InForce>,
}

#[derive(Debug)]
struct InForce {
    strict: Arc<Strict>,
    keys: Arc<TokenKeys>,
    key_file: KeyFile,
}

/// A configuration that was read and found right; see [`Identity::prepare`].
#[derive(Debug)]
pub struct Prepared(Option<InForce>);

/// Why an identity can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum InvalidIdentity {
    /// The STS block.
    #[error(transparent)]
    Sts(#[from] InvalidSts),
    /// The file of the nonces that were used.
    #[error("identity.nonces in the data directory: {0}")]
    Nonces(#[source] std::io::Error),
    /// The key of our tokens.
    #[error("identity key: {0}")]
    Key(#[from] KeyError),
    /// Whoever keeps the key file rotates it.
    #[error("identity.key_rotation is for the key in the data directory, not for one of identity.key_file")]
    RotationOfKeyFile,
    /// A static token.
    #[error("identity.tokens: {0}")]
    Token(#[source] InvalidHolder),
    /// A Firehose access key.
    #[error("identity.firehose: {0}")]
    Firehose(#[source] InvalidHolder),
    /// An issuer of web identity tokens.
    #[error("identity.jwt: {0}")]
    Jwt(#[source] InvalidIssuer),
    /// Two credentials have one name, so they would share lanes.
    #[error("the name {0:?} is given twice in identity.tokens, identity.firehose and identity.certificates")]
    NameShared(String),
}

/// Open mode on an address that others reach too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("without a registry everybody may send, so only loopback addresses may be listened on")]
pub struct OpenBeyondLoopback;

/// A proof that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The account; absent for a forwarder and in open mode.
    pub account: Option<AccountId>,
    /// Its tenant; absent for a forwarder.
    pub tenant: Option<TenantId>,
    relay: Option<String>,
}

/// A token that was given out.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    /// Its text; a secret.
    pub token: String,
    /// When it ends, in milliseconds since the epoch.
    pub expires_at_ms: i64,
    /// How long it holds from now.
    pub valid_for: Duration,
}

impl Identity {
    /// Open mode: everybody who reaches us may send, so only loopback addresses may be listened on.
    pub fn open() -> Self {
        Self(Mode::Open { keys: Box::new(TokenKeys::random()) })
    }

    /// By proofs and tokens. `base` is the configuration file's folder; the key is made in `data_dir` at the first
    /// start. Blocks on files.
    pub fn try_new(
        config: &IdentityConfig,
        registry: Arc<Registry>,
        base: &Path,
        data_dir: &Path,
    ) -> Result<Self, InvalidIdentity> {
        let now = SystemTime::now();
        let nonces = Nonces::open(&data_dir.join("identity.nonces"), ms(now)).map_err(InvalidIdentity::Nonces)?;
        let nonces = Arc::new(nonces);
        let strict = Arc::new(Strict::try_new(config, Arc::clone(&registry), &nonces, base)?);
        let key_file = key_file(config, base, data_dir)?;
        let keys = Arc::new(key_file.open(now)?);
        let fences = Cache::builder().max_capacity(MAX_FENCES).time_to_live(TOKEN_LIFETIME).build();
        let in_force = RwLock::new(InForce { strict, keys, key_file });
        Ok(Self(Mode::Strict(Box::new(Governed { registry, nonces, fences, in_force }))))
    }

    /// Checks what [`Identity::try_new`] would, without making a key: for `check`.
    pub fn check(config: &IdentityConfig, base: &Path) -> Result<(), InvalidIdentity> {
        key_file(config, base, Path::new(""))?;
        Parts::try_new(config, &Arc::new(Nonces::in_memory()), base).map(drop)
    }

    /// Reads another configuration, with its files and keys; changes nothing yet. Blocks on files.
    pub fn prepare(&self, config: &IdentityConfig, base: &Path, data_dir: &Path) -> Result<Prepared, InvalidIdentity> {
        let Mode::Strict(governed) = &self.0 else { return Self::check(config, base).map(|()| Prepared(None)) };
        let strict = Strict::try_new(config, Arc::clone(&governed.registry), &governed.nonces, base)?;
        let key_file = key_file(config, base, data_dir)?;
        let keys = Arc::new(key_file.open(SystemTime::now())?);
        Ok(Prepared(Some(InForce { strict: Arc::new(strict), keys, key_file })))
    }

    /// Puts it in force, for requests that come from now on.
    pub fn put_in_force(&self, prepared: Prepared) {
        if let (Mode::Strict(governed), Some(in_force)) = (&self.0, prepared.0) {
            *governed.in_force.write() = in_force;
        }
    }

    /// Makes the next key of our tokens where it is time; to be called now and then. Blocks on files.
    pub fn rotate_key_if_due(&self, now: SystemTime) -> Result<bool, KeyError> {
        let Mode::Strict(governed) = &self.0 else { return Ok(false) };
        let key_file = governed.in_force.read().key_file.clone();
        if !key_file.rotate_if_due(now)? {
            return Ok(false);
        }
        let keys = Arc::new(key_file.open(now)?);
        let mut in_force = governed.in_force.write();
        // A reload that came meanwhile read the same files, or names others.
        if in_force.key_file == key_file {
            in_force.keys = keys;
        }
        Ok(true)
    }

    /// Refuses open mode where others than this machine can reach us. To be asked before listening.
    pub fn check_exposure(&self, exposure: Exposure) -> Result<(), OpenBeyondLoopback> {
        if self.is_open() && exposure == Exposure::Network { Err(OpenBeyondLoopback) } else { Ok(()) }
    }

    /// Whether everybody may send.
    pub fn is_open(&self) -> bool {
        matches!(self.0, Mode::Open { .. })
    }

    /// Who sends with these headers, over a connection of this peer.
    pub async fn sender(&self, headers: &HeaderMap, peer: &Peer, now_ms: i64) -> Result<Sender, Refused> {
        let sender = match &self.0 {
            Mode::Open { .. } => open_sender(headers),
            Mode::Strict(governed) => {
                let (strict, keys) = governed.credentials();
                let fence = |account: &str, agent: &Name| governed.newest_epoch(account, agent);
                strict.sender(&keys, headers, peer, fence, now_ms).await
            }
        };
        sender.inspect_err(|refused| telemetry::sender_refused(refused.reason))
    }

    /// Who delivers through Firehose with these headers: its access key stands in a header of its own.
    pub fn firehose_sender(&self, headers: &HeaderMap) -> Result<Sender, Refused> {
        let sender = match &self.0 {
            // Firehose can't name a tenant in open mode, others that speak its protocol can.
            Mode::Open { .. } => open_sender(headers),
            Mode::Strict(governed) => governed.credentials().0.firehose_sender(headers),
        };
        sender.inspect_err(|refused| telemetry::sender_refused(refused.reason))
    }

    /// Checks a proof; asks STS for it, or an issuer for its keys, where it needs that.
    pub async fn prove(&self, proof: &ProofOfAccount, peer: &Peer, now_ms: i64) -> Result<Proved, Refused> {
        let proved = match &self.0 {
            Mode::Open { .. } => Ok(Proved { account: None, tenant: Some(TenantId::anonymous()), relay: None }),
            Mode::Strict(governed) => {
                let (strict, keys) = governed.credentials();
                match proof {
                    ProofOfAccount::Held { token } => {
                        let fence = |account: &str, agent: &Name| governed.newest_epoch(account, agent);
                        strict.prove_by_our_token(&keys, token, fence, now_ms)
                    }
                    proof => strict.prove(proof, peer, now_ms).await,
                }
            }
        };
        let accepted = if matches!(proof, ProofOfAccount::Held { .. }) { "held" } else { "accepted" };
        telemetry::proof(proved.as_ref().map_or_else(|refused| refused.reason, |_| accepted));
        proved
    }

    /// The token for what was proved. With an epoch, tokens of the agent with older ones end.
    pub fn issue(&self, proved: &Proved, agent: &Name, epoch: Option<u64>, now_ms: i64) -> IssuedToken {
        let expires_at_ms = now_ms.saturating_add(lifetime_ms());
        let (account, relay) = (proved.account, proved.relay.clone());
        let claims = TokenClaims { account, relay, agent: agent.clone(), epoch, expires_at_ms };
        let token = match &self.0 {
            Mode::Open { keys } => keys.sign(&claims),
            Mode::Strict(governed) => {
                if let (Some(account), Some(epoch)) = (account, epoch) {
                    governed.fences.insert((account.to_string(), agent.clone()), epoch);
                }
                governed.credentials().1.sign(&claims)
            }
        };
        IssuedToken { token, expires_at_ms, valid_for: TOKEN_LIFETIME }
    }
}

impl Governed {
    fn newest_epoch(&self, account: &str, agent: &Name) -> Option<u64> {
        self.fences.get(&(account.to_owned(), agent.clone()))
    }

    /// The credentials and the keys that count now.
    fn credentials(&self) -> (Arc<Strict>, Arc<TokenKeys>) {
        let in_force = self.in_force.read();
        (Arc::clone(&in_force.strict), Arc::clone(&in_force.keys))
    }
}

impl Proved {
    pub(crate) fn account(account: AccountId, tenant: Option<TenantId>) -> Self {
        Self { account: Some(account), tenant, relay: None }
    }

    pub(crate) fn relay(name: &str) -> Self {
        Self { account: None, tenant: None, relay: Some(name.to_owned()) }
    }

    /// The part of a lane's key that the credential gives, as [`Sender::lane_owner`] has it.
    pub fn lane_owner(&self) -> String {
        match (&self.account, &self.relay) {
            (Some(account), _) => account.to_string(),
            (None, Some(name)) => format!("relay/{name}"),
            (None, None) => format!("open/{}", self.tenant.clone().unwrap_or_else(TenantId::anonymous)),
        }
    }
}

fn open_sender(headers: &HeaderMap) -> Result<Sender, Refused> {
    let tenant = credential::written_tenant(headers);
    tenant.map(|tenant| Sender::Open { tenant }).map_err(|error| Refused::invalid("org_id", error.to_string()))
}

fn key_file(config: &IdentityConfig, base: &Path, data_dir: &Path) -> Result<KeyFile, InvalidIdentity> {
    match (&config.key_file, config.key_rotation) {
        (Some(_), Some(_)) => Err(InvalidIdentity::RotationOfKeyFile),
        (Some(file), None) => Ok(KeyFile { path: base.join(file), rotation: None }),
        (None, rotation) => {
            let rotation = rotation.unwrap_or(KEY_ROTATION).0;
            Ok(KeyFile { path: data_dir.join("identity.key"), rotation: Some(rotation) })
        }
    }
}

fn ms(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
