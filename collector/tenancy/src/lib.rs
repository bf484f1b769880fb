//! Who is it, whose is it, what may it do: registry, proofs, tokens, scopes, quotas.
//!
//! ```text
//! agent's Proof ──→ Identity::prove ──→ STS of our own configuration, issuer's keys, certificate ──→ account ──→ Proved
//!                   Identity::issue  ──→ token (15 minutes)
//! batch's headers → Identity::sender, firehose_sender ──→ Sender ── decide(Claim) ──→ Stamp or refusal
//! read's headers ─→ Readers::reading ──→ Reading (Scope)
//! agents' documents → Agents::answer ──→ the document in force for the agent's wave; what agents report → Agents::step
//! tenants.yaml, AWS Organizations (OrganizationsReader) ── merge, the file wins ─→ Registry
//! ```
//!
//! # Invariants
//! - The account comes from a credential that was checked, never from a payload; the tenant from the account through
//!   the registry, asked anew for each batch, so a reload counts at once.
//! - A proof's request goes to an endpoint of our configuration, in one form; each proof counts once (FORMAT.md).
//! - What of `identity:` is in force is in force whole, exchanged by a reload; nonces and fences outlive it.
//! - A registry is in force whole or not at all; an invalid file changes nothing, and neither does an organization that
//!   can't be read: the last good copy of it is kept on disk (FORMAT.md).
//! - Without a credential a read sees everything only where nobody but this machine can ask; `X-Scope-OrgID` narrows.
//! - Secrets are kept as digests and compared in constant time; neither they nor tokens or proofs are ever logged.

mod agents;
mod arn;
mod audit;
mod caller;
mod certificate;
mod config;
mod cost;
mod coverage;
mod credential;
mod fetch;
mod holders;
mod identity;
mod jwks;
mod jwt;
mod kept;
mod key_file;
mod ledger;
mod merge;
mod nonces;
mod organization;
mod organizations;
mod pace;
mod pooled;
mod quota;
mod readers;
mod reading;
mod refusals;
mod registry;
mod registry_telemetry;
mod revoked;
mod secret;
mod sender;
mod slots;
mod strict;
mod sts;
mod tag_policy;
mod telemetry;
mod tenants;
mod tenants_file;
mod token;

#[cfg(test)]
mod jwt_tests;
#[cfg(test)]
mod tests;

pub use agents::{
    AgentState, AgentView, Agents, AgentsConfig, AgentsView, Asking, DocumentConfig, DocumentView, Halt, InvalidAgents,
    NotKept, NotResumed, PreparedAgents, ResumeError, RolloutState, RolloutView, Selector, Summary, Told, WaveConfig,
    WaveView,
};
pub use audit::AUDIT;
pub use config::{
    AccountOf, Algorithm, CertificateConfig, ClaimPath, CoverageConfig, FirehoseKeyConfig, IdentityConfig,
    IssuerConfig, JwtConfig, OneOrMany, OrganizationsConfig, QuarantineConfig, ReaderConfig, ReaderCredential,
    ReaderJwtConfig, RegistryConfig, RequiredTag, RevokedConfig, ScopeConfig, StaticTokenConfig, StsConfig, Unknown,
    Untagged,
};
pub use cost::{CostConfig, CostKind, Prices};
pub use coverage::{AccountCoverage, CoverageState, SignalCoverage, TENANT_COVERAGE};
pub use credential::{InvalidOrgId, SCOPE_ORG_ID};
pub use holders::InvalidHolder;
pub use identity::{Identity, InvalidIdentity, IssuedToken, OpenBeyondLoopback, Prepared, Proved};
pub use jwt::InvalidIssuer;
pub use key_file::KeyError;
pub use ledger::Quarantined;
pub use merge::{Conflict, ConflictKind};
pub use organization::AccountState;
pub use organizations::OrganizationsReader;
pub use pooled::{Others, Pooled};
pub use quota::{QueryQuota, Quota, Quotas, TIER_ATTRIBUTE};
pub use readers::{Exposure, InvalidReader, ReadDenied, Readers, Reading};
pub use registry::{AccountRefused, OrganizationFailure, OrganizationStatus, Owner, Registry};
pub use secret::{Secret, SecretError, Secrets, TokenDigest};
pub use sender::{ProvedAgent, Sender};
pub use sts::{InvalidSts, ProofRefused};
pub use tag_policy::{TagFinding, TagProblem, TagReport};
pub use tenants::{Account, AccountSource, TENANT_INFO, Tenant, Tenants, UNIT_ATTRIBUTE};
pub use tenants_file::RegistryError;
pub use token::{TOKEN_LIFETIME, TokenClaims, TokenKeys, TokenRefused};
