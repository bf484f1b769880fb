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
mod audit;
mod config;
mod cost;
mod identity;
mod quota;
mod readers;
mod registry;
mod sender;
mod telemetry;

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
pub use identity::credential::{InvalidOrgId, SCOPE_ORG_ID};
pub use identity::holders::InvalidHolder;
pub use identity::jwt::InvalidIssuer;
pub use identity::key_file::KeyError;
pub use identity::secret::{Secret, SecretError, Secrets, TokenDigest};
pub use identity::sts::{InvalidSts, ProofRefused};
pub use identity::token::{TOKEN_LIFETIME, TokenClaims, TokenKeys, TokenRefused};
pub use identity::{Identity, InvalidIdentity, IssuedToken, OpenBeyondLoopback, Prepared, Proved};
pub use quota::{QueryQuota, Quota, Quotas, TIER_ATTRIBUTE};
pub use readers::{Exposure, InvalidReader, ReadDenied, Readers, Reading};
pub use registry::coverage::{AccountCoverage, CoverageState, SignalCoverage, TENANT_COVERAGE};
pub use registry::ledger::Quarantined;
pub use registry::merge::{Conflict, ConflictKind};
pub use registry::moves::AccountMove;
pub use registry::organization::{AccountState, OrganizationFailure, OrganizationStatus};
pub use registry::organizations::OrganizationsReader;
pub use registry::owner::{AccountRefused, Owner};
pub use registry::pooled::{Others, Pooled};
pub use registry::tag_policy::{TagFinding, TagProblem, TagReport};
pub use registry::tenants::{Account, AccountSource, TENANT_INFO, Tenant, Tenants, UNIT_ATTRIBUTE};
pub use registry::tenants_file::RegistryError;
pub use registry::{PreparedRegistry, Registry};
pub use sender::{ProvedAgent, Sender};
