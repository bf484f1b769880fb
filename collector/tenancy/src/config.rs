//! The blocks `identity:`, `registry:` and `readers:` of `collector.yaml`.

mod identity;
mod readers;

use std::path::PathBuf;

use serde::Deserialize;

pub use identity::{FirehoseKeyConfig, IdentityConfig, StaticTokenConfig, StsConfig};
pub use readers::{ReaderConfig, ScopeConfig};

/// `registry:`, whose accounts are whose.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// `tenants.yaml`, relative to the file that names it.
    pub file: PathBuf,
    /// What happens to data of an account that no tenant has.
    #[serde(default)]
    pub unknown: Unknown,
    /// The name of this collector as tenants' `home` has it; data of tenants with another home is refused.
    #[serde(default)]
    pub home: Option<String>,
}

/// What happens to data of an account that no tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It is held under the tenant `unassigned`.
    Quarantine,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_the_design_is_read() {
        let registry: RegistryConfig = serde_saphyr::from_str("{file: tenants.yaml, unknown: quarantine}").unwrap();
        assert_eq!(registry.unknown, Unknown::Quarantine);
        assert!(serde_saphyr::from_str::<RegistryConfig>("{file: a, organisations: {}}").is_err());
    }
}
