//! Who sends: from headers for each batch, from a proof once in fifteen minutes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tenantscope_model::{AccountId, TenantId};
use tenantscope_wire::{Name, Peer, Proof, ProofOfAccount, Refused};

use crate::config::IdentityConfig;
use crate::credential;
use crate::holders::{Holder, Holders, InvalidHolder};
use crate::nonces::Nonces;
use crate::readers::Exposure;
use crate::registry::{AccountRefused, Registry};
use crate::sender::{ProvedAgent, Sender};
use crate::sts::{InvalidSts, ProofRefused, Sts};
use crate::telemetry;
use crate::token::{KeyError, PREFIX, TOKEN_LIFETIME, TokenClaims, TokenKey, TokenRefused};

/// Checks who sends, and gives out tokens. Shared by all listeners; holds no lock while it waits.
#[derive(Debug)]
pub struct Identity(Mode);

#[derive(Debug)]
enum Mode {
    Open { key: TokenKey },
    Strict(Box<Strict>),
}

#[derive(Debug)]
struct Strict {
    registry: Arc<Registry>,
    key: TokenKey,
    sts: Option<Sts>,
    tokens: Holders,
    firehose: Holders,
}

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
    /// A static token.
    #[error("identity.tokens: {0}")]
    Token(#[source] InvalidHolder),
    /// A Firehose access key.
    #[error("identity.firehose: {0}")]
    Firehose(#[source] InvalidHolder),
    /// A token and an access key have one name, so they would share lanes.
    #[error("the name {0:?} is given in identity.tokens and in identity.firehose")]
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
        Self(Mode::Open { key: TokenKey::random() })
    }

    /// By proofs and tokens. `base` is the configuration file's folder; the key is made in `data_dir` at the first
    /// start. Blocks on files.
    pub fn try_new(
        config: &IdentityConfig,
        registry: Arc<Registry>,
        base: &Path,
        data_dir: &Path,
    ) -> Result<Self, InvalidIdentity> {
        let now_ms = system_now_ms();
        let nonces = Nonces::open(&data_dir.join("identity.nonces"), now_ms).map_err(InvalidIdentity::Nonces)?;
        let sts = sts(config, &Arc::new(nonces))?;
        let (tokens, firehose) = holders(config, base)?;
        let key = TokenKey::open(&key_path(config, base, data_dir))?;
        Ok(Self(Mode::Strict(Box::new(Strict { registry, key, sts, tokens, firehose }))))
    }

    /// Checks what [`Identity::try_new`] would, without making a key: for `check`.
    pub fn check(config: &IdentityConfig, base: &Path) -> Result<(), InvalidIdentity> {
        sts(config, &Arc::new(Nonces::in_memory()))?;
        holders(config, base).map(drop)
    }

    /// Refuses open mode where others than this machine can reach us. To be asked before listening.
    pub fn check_exposure(&self, exposure: Exposure) -> Result<(), OpenBeyondLoopback> {
        if self.is_open() && exposure == Exposure::Network { Err(OpenBeyondLoopback) } else { Ok(()) }
    }

    /// Whether everybody may send.
    pub fn is_open(&self) -> bool {
        matches!(self.0, Mode::Open { .. })
    }

    /// Who sends with these headers.
    pub fn sender(&self, headers: &HeaderMap, now_ms: i64) -> Result<Sender, Refused> {
        let sender = match &self.0 {
            Mode::Open { .. } => open_sender(headers),
            Mode::Strict(strict) => strict.sender(headers, now_ms),
        };
        sender.inspect_err(|refused| telemetry::sender_refused(refused.reason))
    }

    /// Who delivers through Firehose with these headers: its access key stands in a header of its own.
    pub fn firehose_sender(&self, headers: &HeaderMap, _now_ms: i64) -> Result<Sender, Refused> {
        let sender = match &self.0 {
            // Firehose can't name a tenant in open mode, others that speak its protocol can.
            Mode::Open { .. } => open_sender(headers),
            Mode::Strict(strict) => strict.firehose_sender(headers),
        };
        sender.inspect_err(|refused| telemetry::sender_refused(refused.reason))
    }

    /// Checks a proof; asks STS for it where it is one.
    pub async fn prove(&self, proof: &ProofOfAccount, peer: &Peer, now_ms: i64) -> Result<Proved, Refused> {
        let proved = match &self.0 {
            Mode::Open { .. } => Ok(Proved { account: None, tenant: Some(TenantId::anonymous()), relay: None }),
            Mode::Strict(strict) => strict.prove(proof, peer, now_ms).await,
        };
        telemetry::proof(proved.as_ref().map_or_else(|refused| refused.reason, |_| "accepted"));
        proved
    }

    /// The token for what was proved.
    pub fn issue(&self, proved: &Proved, agent: &Name, epoch: Option<u64>, now_ms: i64) -> IssuedToken {
        let key = match &self.0 {
            Mode::Open { key } => key,
            Mode::Strict(strict) => &strict.key,
        };
        let lifetime_ms = i64::try_from(TOKEN_LIFETIME.as_millis()).unwrap_or(i64::MAX);
        let expires_at_ms = now_ms.saturating_add(lifetime_ms);
        let (account, relay) = (proved.account, proved.relay.clone());
        let token = key.sign(&TokenClaims { account, relay, agent: agent.clone(), epoch, expires_at_ms });
        IssuedToken { token, expires_at_ms, valid_for: TOKEN_LIFETIME }
    }
}

impl Proved {
    /// The part of a lane's key that the credential gives, as [`Sender::lane_owner`] has it.
    pub fn lane_owner(&self) -> String {
        match (&self.account, &self.relay) {
            (Some(account), _) => account.to_string(),
            (None, Some(name)) => format!("relay/{name}"),
            (None, None) => format!("open/{}", self.tenant.clone().unwrap_or_else(TenantId::anonymous)),
        }
    }
}

impl Strict {
    fn sender(&self, headers: &HeaderMap, now_ms: i64) -> Result<Sender, Refused> {
        let malformed = |error: credential::MalformedAuthorization| {
            Refused::unauthenticated("malformed_authorization", error.to_string())
        };
        let token = credential::token(headers).map_err(malformed)?;
        let token = token.ok_or_else(|| Refused::unauthenticated("no_credential", "a bearer token is needed"))?;
        if !token.starts_with(PREFIX) {
            return self.static_sender(self.static_token(&token)?);
        }
        let claims = self.key.verify(&token, now_ms).map_err(|refused| token_refused(&refused))?;
        match (claims.account, claims.relay) {
            (Some(account), None) => {
                let owner = self.registry.owner(account).map_err(account_refused)?;
                let agent = Some(ProvedAgent { name: claims.agent, epoch: claims.epoch });
                Ok(Sender::Account { account, owner, agent })
            }
            (None, Some(name)) => {
                // Removing a static token ends the tokens that were given out for it.
                let found = self.tokens.named(&name);
                self.static_sender(found.ok_or_else(|| token_refused(&TokenRefused::NotOurs))?)
            }
            _ => Err(token_refused(&TokenRefused::NotOurs)),
        }
    }

    fn firehose_sender(&self, headers: &HeaderMap) -> Result<Sender, Refused> {
        let malformed =
            |error: credential::MalformedAccessKey| Refused::unauthenticated("malformed_access_key", error.to_string());
        let key = credential::access_key(headers).map_err(malformed)?;
        let key = key.ok_or_else(|| Refused::unauthenticated("no_access_key", "an access key is needed"))?;
        let holder = self.firehose.holder(key);
        self.static_sender(
            holder.ok_or_else(|| Refused::unauthenticated("unknown_access_key", "the access key is not known"))?,
        )
    }

    fn static_token(&self, token: &str) -> Result<&Holder, Refused> {
        let holder = self.tokens.holder(token);
        holder.ok_or_else(|| Refused::unauthenticated("unknown_token", "the token is not known"))
    }

    fn static_sender(&self, holder: &Holder) -> Result<Sender, Refused> {
        match holder.single_account() {
            Some(account) => {
                let owner = self.registry.owner(account).map_err(account_refused)?;
                Ok(Sender::Account { account, owner, agent: None })
            }
            None => Ok(Sender::Relay {
                name: Arc::clone(&holder.name),
                accounts: Arc::clone(&holder.accounts),
                registry: Arc::clone(&self.registry),
            }),
        }
    }

    async fn prove(&self, proof: &ProofOfAccount, peer: &Peer, now_ms: i64) -> Result<Proved, Refused> {
        let account = match proof {
            ProofOfAccount::Sts(proof) => self.prove_by_sts(proof, peer, now_ms).await?,
            ProofOfAccount::Token { token } => {
                let known = self.static_token(token)?;
                match known.single_account() {
                    Some(account) => account,
                    None => {
                        return Ok(Proved { account: None, tenant: None, relay: Some(known.name.to_string()) });
                    }
                }
            }
            _ => return Err(Refused::invalid("unknown_proof", "this kind of proof is not known here")),
        };
        let owner = self.registry.owner(account).map_err(account_refused)?;
        Ok(Proved { account: Some(account), tenant: Some(owner.tenant), relay: None })
    }

    async fn prove_by_sts(&self, proof: &Proof, peer: &Peer, now_ms: i64) -> Result<AccountId, Refused> {
        let Some(sts) = &self.sts else {
            return Err(Refused::forbidden("no_sts", "this collector takes no proofs by STS"));
        };
        let caller = sts.verify(proof, peer.address.ip(), now_ms).await.map_err(|refused| proof_refused(&refused))?;
        tracing::debug!(account = %caller.account, arn = caller.arn, "proof accepted");
        Ok(caller.account)
    }
}

fn key_path(config: &IdentityConfig, base: &Path, data_dir: &Path) -> PathBuf {
    config.key_file.as_ref().map_or_else(|| data_dir.join("identity.key"), |file| base.join(file))
}

fn open_sender(headers: &HeaderMap) -> Result<Sender, Refused> {
    let tenant = credential::written_tenant(headers);
    tenant.map(|tenant| Sender::Open { tenant }).map_err(|error| Refused::invalid("org_id", error.to_string()))
}

/// Static tokens and Firehose access keys.
fn holders(config: &IdentityConfig, base: &Path) -> Result<(Holders, Holders), InvalidIdentity> {
    let tokens = Holders::of_tokens(&config.tokens, base).map_err(InvalidIdentity::Token)?;
    let firehose = Holders::of_firehose(&config.firehose, base).map_err(InvalidIdentity::Firehose)?;
    if let Some(shared) = firehose.names().find(|name| tokens.named(name).is_some()) {
        return Err(InvalidIdentity::NameShared(shared.to_string()));
    }
    Ok((tokens, firehose))
}

fn sts(config: &IdentityConfig, nonces: &Arc<Nonces>) -> Result<Option<Sts>, InvalidSts> {
    let of = |sts| Sts::try_new(config.server_name.as_deref(), sts, Arc::clone(nonces));
    config.sts.as_ref().map(of).transpose()
}

fn system_now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn token_refused(refused: &TokenRefused) -> Refused {
    let reason = match refused {
        TokenRefused::NotOurs => "unknown_token",
        TokenRefused::Expired => "expired_token",
    };
    Refused::unauthenticated(reason, refused.to_string())
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn account_refused(refused: AccountRefused) -> Refused {
    let (reason, message) = (refused.reason(), refused.to_string());
    match refused {
        AccountRefused::NotReadYet(_) => Refused::unavailable(reason, message, Duration::from_secs(5)),
        AccountRefused::Unknown(_) | AccountRefused::WrongHome { .. } => Refused::forbidden(reason, message),
    }
}

fn proof_refused(refused: &ProofRefused) -> Refused {
    let (reason, message) = (refused.reason(), refused.to_string());
    match refused {
        ProofRefused::Invalid(_) => Refused::invalid(reason, message),
        ProofRefused::OtherServer
        | ProofRefused::OtherHost
        | ProofRefused::UnknownRegion(_)
        | ProofRefused::OtherPartition
        | ProofRefused::WrongRole => Refused::forbidden(reason, message),
        ProofRefused::Stale { .. } | ProofRefused::Replayed | ProofRefused::Rejected => {
            Refused::unauthenticated(reason, message)
        }
        ProofRefused::Busy => Refused::unavailable(reason, message, Duration::from_secs(2)),
        ProofRefused::Unreachable(_) => Refused::unavailable(reason, message, Duration::from_secs(5)),
    }
}
