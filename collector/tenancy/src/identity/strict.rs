//! What of the configuration decides who sends: built whole, never changed, exchanged by a reload.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use moka::sync::Cache;
use tenantscope_model::AccountId;
use tenantscope_wire::{Name, Peer, Proof, ProofOfAccount, Refused};

use crate::config::{AccountOf, CertificateConfig, CertificateOf, IdentityConfig, JwtConfig};
use crate::identity::certificate::{Fit, Names, SanPattern};
use crate::identity::credential;
use crate::identity::holders::{Holder, Holders};
use crate::identity::jwt::{Claims, Issuer, JwtRefused, Unverified, looks_like_jwt};
use crate::identity::nonces::Nonces;
use crate::identity::refusals;
use crate::identity::revoked::Revoked;
use crate::identity::secret::TokenDigest;
use crate::identity::sts::{ProofRefused, Sts};
use crate::identity::token::{PREFIX, TokenKeys, TokenRefused};
use crate::identity::{InvalidIdentity, Proved};
use crate::registry::Registry;
use crate::registry::owner::{AccountRefused, Owner};
use crate::sender::{ProvedAgent, Sender};

/// Verified web identity tokens that are remembered, and for how long, so that not each batch costs a signature's check.
const MAX_VERIFIED: u64 = 50_000;
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// The credentials that count.
#[derive(Debug)]
pub(crate) struct Strict {
    registry: Arc<Registry>,
    sts: Option<Sts>,
    tokens: Holders,
    firehose: Holders,
    issuers: Vec<(Issuer, AccountOf)>,
    verified: Cache<TokenDigest, Verified>,
    certificates: Vec<Certificate>,
    revoked: Revoked,
}

#[derive(Debug)]
struct Certificate {
    san: SanPattern,
    relay: Option<Holder>,
}

/// What a web identity token proved.
#[derive(Debug, Clone, Copy)]
struct Verified {
    account: AccountId,
    given_at_ms: i64,
    expires_at_ms: i64,
}

/// For whom a credential speaks.
pub(crate) enum Subject {
    Account(AccountId),
    Relay(Holder),
}

impl Strict {
    /// `base` is the configuration file's folder. Reads files.
    pub(crate) fn try_new(
        config: &IdentityConfig,
        registry: Arc<Registry>,
        nonces: &Arc<Nonces>,
        base: &Path,
    ) -> Result<Self, InvalidIdentity> {
        let parts = Parts::try_new(config, nonces, base)?;
        Ok(Self {
            registry,
            sts: parts.sts,
            tokens: parts.tokens,
            firehose: parts.firehose,
            issuers: parts.issuers,
            verified: Cache::builder().max_capacity(MAX_VERIFIED).time_to_live(VERIFIED_FOR).build(),
            certificates: parts.certificates,
            revoked: Revoked::new(&config.revoked),
        })
    }

    /// Who sends; `fence` is the newest epoch that was given to an agent.
    pub(crate) async fn sender(
        &self,
        keys: &TokenKeys,
        headers: &HeaderMap,
        peer: &Peer,
        fence: impl Fn(&str, &Name) -> Option<u64>,
        now_ms: i64,
    ) -> Result<Sender, Refused> {
        let malformed = |error: credential::MalformedAuthorization| {
            Refused::unauthenticated("malformed_authorization", error.to_string())
        };
        let Some(token) = credential::token(headers).map_err(malformed)? else {
            let subject = self.certified(peer)?;
            return self.admit(subject, None, None);
        };
        if token.starts_with(PREFIX) {
            return self.sender_by_our_token(keys, &token, fence, now_ms);
        }
        if looks_like_jwt(&token) && !self.issuers.is_empty() {
            let verified = self.verified(&token, peer, now_ms).await?;
            return self.admit(Subject::Account(verified.account), None, Some(verified.given_at_ms));
        }
        self.admit(subject_of(self.static_token(&token)?), None, None)
    }

    fn sender_by_our_token(
        &self,
        keys: &TokenKeys,
        token: &str,
        fence: impl Fn(&str, &Name) -> Option<u64>,
        now_ms: i64,
    ) -> Result<Sender, Refused> {
        let claims = keys.verify(token, now_ms).map_err(|refused| refusals::token(&refused))?;
        let given_at_ms = Some(claims.given_at_ms());
        match (claims.account, claims.relay) {
            (Some(account), None) => {
                let newest = claims.epoch.and_then(|_| fence(account.as_str(), &claims.agent));
                if newest > claims.epoch {
                    return Err(refusals::old_epoch(&claims.agent));
                }
                let agent = ProvedAgent { name: claims.agent, epoch: claims.epoch };
                self.admit(Subject::Account(account), Some(agent), given_at_ms)
            }
            (None, Some(name)) => {
                // Removing a relay's credential ends the tokens that were given out for it.
                let found = self.tokens.named(&name).or_else(|| self.certified_relay(&name));
                let holder = found.ok_or_else(|| refusals::token(&TokenRefused::NotOurs))?;
                self.admit(Subject::Relay(holder.clone()), None, given_at_ms)
            }
            _ => Err(refusals::token(&TokenRefused::NotOurs)),
        }
    }

    /// Who delivers through Firehose.
    pub(crate) fn firehose_sender(&self, headers: &HeaderMap) -> Result<Sender, Refused> {
        let malformed =
            |error: credential::MalformedAccessKey| Refused::unauthenticated("malformed_access_key", error.to_string());
        let key = credential::access_key(headers).map_err(malformed)?;
        let key = key.ok_or_else(|| Refused::unauthenticated("no_access_key", "an access key is needed"))?;
        let unknown = || Refused::unauthenticated("unknown_access_key", "the access key is not known");
        self.admit(subject_of(self.firehose.holder(key).ok_or_else(unknown)?), None, None)
    }

    /// Checks a proof.
    pub(crate) async fn prove(&self, proof: &ProofOfAccount, peer: &Peer, now_ms: i64) -> Result<Proved, Refused> {
        let (subject, given_at_ms) = match proof {
            ProofOfAccount::Sts(proof) => (Subject::Account(self.prove_by_sts(proof, peer, now_ms).await?), None),
            ProofOfAccount::Token { token } => (subject_of(self.static_token(token)?), None),
            ProofOfAccount::Jwt { token } => {
                let verified = self.verified(token, peer, now_ms).await?;
                (Subject::Account(verified.account), Some(verified.given_at_ms))
            }
            ProofOfAccount::Certificate => (self.certified(peer)?, None),
            _ => return Err(Refused::invalid("unknown_proof", "this kind of proof is not known here")),
        };
        match subject {
            Subject::Relay(holder) => Ok(Proved::relay(&holder.name)),
            Subject::Account(account) => {
                Ok(Proved::account(account, self.owner(account, given_at_ms)?.single().cloned()))
            }
        }
    }

    /// Whose the account is, if a credential that was given out then counts for it.
    fn owner(&self, account: AccountId, given_at_ms: Option<i64>) -> Result<Owner, Refused> {
        self.revoked.check(account, given_at_ms).map_err(refusals::revoked)?;
        self.registry.owner(account).map_err(refusals::account)
    }

    /// Checks one of our own tokens, by which its holder asks what to go by.
    pub(crate) fn prove_by_our_token(
        &self,
        keys: &TokenKeys,
        token: &str,
        fence: impl Fn(&str, &Name) -> Option<u64>,
        now_ms: i64,
    ) -> Result<Proved, Refused> {
        match self.sender_by_our_token(keys, token, fence, now_ms)? {
            Sender::Account { account, owner, .. } => Ok(Proved::account(account, owner.single().cloned())),
            Sender::Relay { name, .. } => Ok(Proved::relay(&name)),
            Sender::Open { .. } => Err(refusals::token(&TokenRefused::NotOurs)),
        }
    }

    fn admit(&self, subject: Subject, agent: Option<ProvedAgent>, given_at_ms: Option<i64>) -> Result<Sender, Refused> {
        match subject {
            Subject::Account(account) => {
                Ok(Sender::Account { account, owner: self.owner(account, given_at_ms)?, agent })
            }
            Subject::Relay(holder) => {
                let accounts = self.revoked.without(&holder.accounts, given_at_ms).map_err(refusals::revoked)?;
                self.check_all_read(&accounts)?;
                Ok(Sender::Relay { accounts, name: holder.name, registry: Arc::clone(&self.registry) })
            }
        }
    }

    /// Lets a relay wait until it is known whose its accounts are: what its batch has of others would be left out for good.
    fn check_all_read(&self, accounts: &BTreeSet<AccountId>) -> Result<(), Refused> {
        if self.registry.is_complete() {
            return Ok(());
        }
        let mut refused = accounts.iter().filter_map(|account| self.registry.owner(*account).err());
        let unread = refused.find(|refused| matches!(refused, AccountRefused::NotReadYet(_)));
        unread.map_or(Ok(()), |refused| Err(refusals::account(refused)))
    }

    fn static_token(&self, token: &str) -> Result<&Holder, Refused> {
        let holder = self.tokens.holder(token);
        holder.ok_or_else(|| Refused::unauthenticated("unknown_token", "the token is not known"))
    }

    async fn prove_by_sts(&self, proof: &Proof, peer: &Peer, now_ms: i64) -> Result<AccountId, Refused> {
        let Some(sts) = &self.sts else {
            return Err(Refused::forbidden("no_sts", "this collector takes no proofs by STS"));
        };
        let refused = |refused: ProofRefused| refusals::proof(&refused);
        let holds = sts.verify(proof, peer.address.ip(), now_ms).await.map_err(refused)?;
        self.owner(holds.caller.account, None)?;
        let caller = holds.count().map_err(refused)?;
        tracing::debug!(account = %caller.account, arn = caller.arn, "proof accepted");
        Ok(caller.account)
    }

    async fn verified(&self, token: &str, peer: &Peer, now_ms: i64) -> Result<Verified, Refused> {
        let digest = TokenDigest::of(token);
        let known = self.verified.get(&digest).filter(|verified| now_ms < verified.expires_at_ms);
        if let Some(verified) = known {
            return Ok(verified);
        }
        let verified = self.verify(token, peer, now_ms).await.map_err(|refused| refusals::jwt(&refused))?;
        self.verified.insert(digest, verified);
        Ok(verified)
    }

    async fn verify(&self, token: &str, peer: &Peer, now_ms: i64) -> Result<Verified, JwtRefused> {
        let token = Unverified::parse(token)?;
        let mut refused = JwtRefused::UnknownIssuer;
        for (issuer, account) in self.issuers.iter().filter(|(issuer, _)| issuer.is_issuer_of(&token)) {
            match issuer.verify(&token, peer.address.ip(), now_ms).await {
                Ok(claims) => return verified(&claims, account),
                // An issuer may be there for several audiences.
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// Whose the certificate of the connection is.
    fn certified(&self, peer: &Peer) -> Result<Subject, Refused> {
        let none = || Refused::unauthenticated("no_credential", "a bearer token is needed");
        let certificate = peer.certificate.as_ref().filter(|_| !self.certificates.is_empty()).ok_or_else(none)?;
        let names = Names::of(certificate);
        let mut found = None;
        for entry in &self.certificates {
            match entry.san.fit(&names) {
                Fit::No => {}
                Fit::Yes(placed) if found.is_none() => found = Some((entry, placed)),
                // The same account by a URI and by a DNS name.
                Fit::Yes(placed) if entry.relay.is_none() && found.as_ref().is_some_and(|(_, p)| *p == placed) => {}
                _ => return Err(refusals::certificate("doubtful_certificate", "the certificate fits several senders")),
            }
        }
        let unknown = || refusals::certificate("unknown_certificate", "no name of the certificate is known");
        let (entry, placed) = found.ok_or_else(unknown)?;
        match &entry.relay {
            Some(holder) => Ok(Subject::Relay(holder.clone())),
            None => AccountId::try_new(&placed).map(Subject::Account).map_err(|_| unknown()),
        }
    }

    fn certified_relay(&self, name: &str) -> Option<&Holder> {
        self.certificates.iter().filter_map(|entry| entry.relay.as_ref()).find(|holder| *holder.name == *name)
    }
}

/// What the configuration has of each kind of credential.
pub(crate) struct Parts {
    sts: Option<Sts>,
    tokens: Holders,
    firehose: Holders,
    issuers: Vec<(Issuer, AccountOf)>,
    certificates: Vec<Certificate>,
}

impl Parts {
    pub(crate) fn try_new(config: &IdentityConfig, nonces: &Arc<Nonces>, base: &Path) -> Result<Self, InvalidIdentity> {
        let of_sts = |sts| Sts::try_new(config.server_name.as_deref(), sts, Arc::clone(nonces));
        let tokens = Holders::of_tokens(&config.tokens, base).map_err(InvalidIdentity::Token)?;
        let firehose = Holders::of_firehose(&config.firehose, base).map_err(InvalidIdentity::Firehose)?;
        let certificates: Vec<Certificate> = config.certificates.iter().map(certificate).collect();
        check_names(&tokens, &firehose, &certificates)?;
        let issuer = |jwt: &JwtConfig| Ok((Issuer::try_new(&jwt.issuer, base)?, jwt.account.clone()));
        Ok(Self {
            sts: config.sts.as_ref().map(of_sts).transpose()?,
            tokens,
            firehose,
            issuers: config.jwt.iter().map(issuer).collect::<Result<_, _>>().map_err(InvalidIdentity::Jwt)?,
            certificates,
        })
    }
}

fn certificate(config: &CertificateConfig) -> Certificate {
    let relay = match &config.whose {
        CertificateOf::Placed => None,
        CertificateOf::Relay { name, accounts } => {
            Some(Holder { name: name.as_str().into(), accounts: Arc::new(accounts.iter().copied().collect()) })
        }
    };
    Certificate { san: config.san.clone(), relay }
}

/// A name is one sender's, since lanes are kept by it.
fn check_names(tokens: &Holders, firehose: &Holders, certificates: &[Certificate]) -> Result<(), InvalidIdentity> {
    let of_certificates: Vec<&Arc<str>> =
        certificates.iter().filter_map(|entry| entry.relay.as_ref()).map(|holder| &holder.name).collect();
    let twice = |name: &Arc<str>| of_certificates.iter().filter(|other| **other == name).count() > 1;
    let shared = firehose.names().find(|name| tokens.named(name).is_some()).or_else(|| {
        let taken = |name: &Arc<str>| tokens.named(name).is_some() || firehose.named(name).is_some() || twice(name);
        of_certificates.iter().copied().find(|name| taken(name))
    });
    shared.map_or(Ok(()), |name| Err(InvalidIdentity::NameShared(name.to_string())))
}

fn subject_of(holder: &Holder) -> Subject {
    holder.single_account().map_or_else(|| Subject::Relay(holder.clone()), Subject::Account)
}

fn verified(claims: &Claims, account: &AccountOf) -> Result<Verified, JwtRefused> {
    let account = match account {
        AccountOf::Fixed(account) => Some(*account),
        AccountOf::Claim(path) => {
            claims.get(path).and_then(serde_json::Value::as_str).and_then(|text| AccountId::try_new(text).ok())
        }
    };
    let (account, expires_at_ms) = account.zip(claims.time_ms("exp")).ok_or(JwtRefused::Claims)?;
    // One that does not say when it was given out may have been at any time.
    let given_at_ms = claims.time_ms("iat").unwrap_or(i64::MIN);
    Ok(Verified { account, given_at_ms, expires_at_ms })
}
