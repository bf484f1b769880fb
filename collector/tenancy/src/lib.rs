//! Who is it, whose is it, what may it do: registry, proofs, tokens, scopes, quotas.
//!
//! ```text
//! agent's Proof ──→ Identity::prove ──→ STS of our own configuration ──→ account ──→ Registry ──→ Proved
//!                   Identity::issue  ──→ token (15 minutes)
//! batch's headers → Identity::sender, firehose_sender ──→ Sender ── decide(Claim) ──→ Stamp or refusal
//! read's headers ─→ Readers::scope   ──→ Scope
//! tenants.yaml, AWS Organizations (OrganizationsReader) ── merge, the file wins ─→ Registry
//! ```
//!
//! # Invariants
//! - The account comes from a credential that was checked, never from a payload; the tenant from the account through
//!   the registry, asked anew for each batch, so a reload counts at once.
//! - A proof's request goes to an endpoint of our configuration, with fixed path and body; each proof counts once.
//! - A registry is in force whole or not at all; an invalid file changes nothing, and neither does an organization that
//!   can't be read: the last good copy of it is kept on disk (FORMAT.md).
//! - Without a credential a read sees everything only where nobody but this machine can ask; `X-Scope-OrgID` narrows.
//! - Secrets are kept as digests and compared in constant time; neither they nor tokens or proofs are ever logged.

mod arn;
mod caller;
mod certificate;
mod config;
mod credential;
mod fetch;
mod holders;
mod identity;
mod jwks;
mod jwt;
mod kept;
mod key_file;
mod merge;
mod nonces;
mod organization;
mod organizations;
mod pace;
mod quota;
mod readers;
mod refusals;
mod registry;
mod registry_telemetry;
mod revoked;
mod secret;
mod sender;
mod slots;
mod strict;
mod sts;
mod telemetry;
mod tenants;
mod tenants_file;
mod token;

#[cfg(test)]
mod jwt_tests;
#[cfg(test)]
mod tests;

pub use config::{
    AccountOf, Algorithm, CertificateConfig, ClaimPath, FirehoseKeyConfig, IdentityConfig, IssuerConfig, JwtConfig,
    OneOrMany, OrganizationsConfig, ReaderConfig, ReaderCredential, ReaderJwtConfig, RegistryConfig, RevokedConfig,
    ScopeConfig, StaticTokenConfig, StsConfig, Unknown, Untagged,
};
pub use credential::{InvalidOrgId, SCOPE_ORG_ID};
pub use holders::InvalidHolder;
pub use identity::{Identity, InvalidIdentity, IssuedToken, OpenBeyondLoopback, Prepared, Proved};
pub use jwt::InvalidIssuer;
pub use key_file::KeyError;
pub use merge::{Conflict, ConflictKind};
pub use organization::AccountState;
pub use organizations::OrganizationsReader;
pub use quota::{QueryQuota, Quota, Quotas, TIER_ATTRIBUTE};
pub use readers::{Exposure, InvalidReader, ReadDenied, Readers, Reading};
pub use registry::{AccountRefused, OrganizationFailure, OrganizationStatus, Owner, Registry};
pub use secret::{Secret, SecretError, Secrets, TokenDigest};
pub use sender::{ProvedAgent, Sender};
pub use sts::{InvalidSts, ProofRefused};
pub use tenants::{Account, AccountSource, TENANT_INFO, Tenant, Tenants, UNIT_ATTRIBUTE};
pub use tenants_file::RegistryError;
pub use token::{TOKEN_LIFETIME, TokenClaims, TokenKeys, TokenRefused};
