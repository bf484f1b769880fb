//! The blocks `identity:`, `registry:` and `readers:` of `collector.yaml`.

mod identity;
mod readers;
mod registry;

pub use identity::{FirehoseKeyConfig, IdentityConfig, StaticTokenConfig, StsConfig};
pub use readers::{ReaderConfig, ScopeConfig};
pub use registry::{OrganizationsConfig, RegistryConfig, Unknown, Untagged};
