//! Who is it, whose is it, what may it do: registry, proofs, tokens, scopes, quotas.
//!
//! ```text
//! agent's Proof ──→ Identity::prove ──→ STS of our own configuration ──→ account ──→ Registry ──→ Proved
//!                   Identity::issue  ──→ token (15 minutes)
//! batch's headers → Identity::sender, firehose_sender ──→ Sender ── decide(Claim) ──→ Stamp or refusal
//! read's headers ─→ Readers::scope   ──→ Scope
//! ```
//!
//! # Invariants
//! - The account comes from a credential that was checked, never from a payload; the tenant from the account through
//!   the registry, asked anew for each batch, so a reload counts at once.
//! - A proof's request goes to an endpoint of our configuration, with fixed path and body; each proof counts once.
//! - A registry is in force whole or not at all; an invalid file changes nothing.
//! - Without a credential a read sees everything only where nobody but this machine can ask; `X-Scope-OrgID` narrows.
//! - Secrets are kept as digests and compared in constant time; neither they nor tokens or proofs are ever logged.

mod caller;
mod config;
mod credential;
mod holders;
mod identity;
mod quota;
mod readers;
mod registry;
mod secret;
mod sender;
mod sts;
mod telemetry;
mod tenants;
mod token;

#[cfg(test)]
mod tests;

pub use config::{
    FirehoseKeyConfig, IdentityConfig, ReaderConfig, RegistryConfig, ScopeConfig, StaticTokenConfig, StsConfig, Unknown,
};
pub use credential::{InvalidOrgId, SCOPE_ORG_ID};
pub use holders::InvalidHolder;
pub use identity::{Identity, InvalidIdentity, IssuedToken, OpenBeyondLoopback, Proved};
pub use quota::{QueryQuota, Quota, Quotas, TIER_ATTRIBUTE};
pub use readers::{Exposure, InvalidReader, ReadDenied, Readers, Reading};
pub use registry::{AccountRefused, Owner, Registry};
pub use secret::{Secret, SecretError, Secrets, TokenDigest};
pub use sender::{ProvedAgent, Sender};
pub use sts::{InvalidSts, ProofRefused};
pub use tenants::{RegistryError, TENANT_INFO, Tenant, Tenants};
pub use token::{KeyError, TOKEN_LIFETIME, TokenClaims, TokenKey, TokenRefused};
