//! The blocks `identity:`, `registry:` and `readers:` of `collector.yaml`.

mod certificates;
mod identity;
mod jwt;
mod readers;
mod registry;
mod revoked;

pub use certificates::CertificateConfig;
pub(crate) use certificates::CertificateOf;
pub use identity::{FirehoseKeyConfig, IdentityConfig, StaticTokenConfig, StsConfig};
pub use jwt::{AccountOf, Algorithm, ClaimPath, IssuerConfig, JwtConfig, OneOrMany, ReaderJwtConfig};
pub use readers::{ReaderConfig, ReaderCredential, ScopeConfig};
pub use registry::{
    CoverageConfig, OrganizationsConfig, QuarantineConfig, RegistryConfig, RequiredTag, Unknown, Untagged,
};
pub use revoked::RevokedConfig;
