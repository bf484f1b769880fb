//! The block `registry:` of `collector.yaml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use tenantscope_model::{Bytes, TimeSpan};

use crate::registry::tenants::check_attribute_name;

/// `registry:`, whose accounts are whose.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "RawRegistry")]
pub struct RegistryConfig {
    /// `tenants.yaml`, relative to the file that names it.
    pub file: Option<PathBuf>,
    /// The accounts of an AWS organization.
    pub organizations: Option<OrganizationsConfig>,
    /// What happens to data of an account that no tenant has.
    pub unknown: Unknown,
    /// The name of this collector as tenants' `home` has it; data of tenants with another home is refused.
    pub home: Option<String>,
    /// The tags that every account must have.
    pub tag_policy: Vec<RequiredTag>,
    /// When an account counts as silent, and how long it may take to settle in.
    pub coverage: CoverageConfig,
    /// How much of unknown accounts is held, where `unknown` is `quarantine`.
    pub quarantine: QuarantineConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegistry {
    file: Option<PathBuf>,
    organizations: Option<OrganizationsConfig>,
    #[serde(default)]
    unknown: Unknown,
    home: Option<String>,
    #[serde(default)]
    tag_policy: Vec<RequiredTag>,
    #[serde(default)]
    coverage: CoverageConfig,
    #[serde(default)]
    quarantine: QuarantineConfig,
}

impl RegistryConfig {
    /// A registry that is one file.
    pub fn of_file(file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), ..Self::default() }
    }
}

impl TryFrom<RawRegistry> for RegistryConfig {
    type Error = String;
    fn try_from(raw: RawRegistry) -> Result<Self, String> {
        if raw.file.is_none() && raw.organizations.is_none() {
            return Err("needs file, organizations or both".to_owned());
        }
        let RawRegistry { file, organizations, unknown, home, tag_policy, coverage, quarantine } = raw;
        Ok(Self { file, organizations, unknown, home, tag_policy, coverage, quarantine })
    }
}

/// `registry.organizations:`, how the accounts of an AWS organization become tenants' accounts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrganizationsConfig {
    /// From the start of one reading to the start of the next; default 30s.
    pub refresh: TimeSpan,
    /// The tag of an account whose value is its tenant's id; default `tenant`.
    pub tenant_tag: String,
    /// Whose an account without that tag is.
    pub untagged: Untagged,
    /// The tag of an account whose value is the name of the collector that may hold its data; default `home`.
    pub home_tag: String,
    /// The tag of an account with the former ids of its tenant, between spaces; default `tenant_aliases`.
    pub alias_tag: String,
    /// Attributes of tenants and the tags that give them; default `tier`, `wave` and `owner`, from tags of these names.
    #[serde(deserialize_with = "attribute_names")]
    pub attributes: BTreeMap<String, String>,
    /// Paths of organizational units (`/Tenants`, `/Tenants/Gold`); only accounts in and below these count, all where it
    /// is empty.
    #[serde(deserialize_with = "unit_paths")]
    pub under: Vec<String>,
    /// The most calls a second; default 8, which leaves others of the organization room.
    #[serde(deserialize_with = "call_rate")]
    pub calls_per_second: f64,
}

impl Default for OrganizationsConfig {
    fn default() -> Self {
        Self {
            refresh: TimeSpan::from_secs(30),
            tenant_tag: "tenant".to_owned(),
            untagged: Untagged::Account,
            home_tag: "home".to_owned(),
            alias_tag: "tenant_aliases".to_owned(),
            attributes: ["tier", "wave", "owner"].map(|name| (name.to_owned(), name.to_owned())).into(),
            under: Vec::new(),
            calls_per_second: 8.0,
        }
    }
}

/// Whose an account without the tenant tag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Untagged {
    /// A tenant of its own, whose id is the account's; the account's name is shown with it. Names are not unique in an
    /// organization and may change, so they are no ids.
    #[default]
    Account,
    /// Nobody's: it is an unknown account.
    Unknown,
}

/// One entry of `registry.tag_policy:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredTag {
    /// The tag's name, whose case counts as it does in AWS.
    pub tag: String,
    /// The values that are allowed; any but an empty one, where there are none.
    #[serde(default)]
    pub values: Vec<String>,
}

/// `registry.coverage:`, when somebody is to be woken for an account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoverageConfig {
    /// How long after the last sign of its agent an account is silent; default 30m, twice a token's life.
    pub silent_after: TimeSpan,
    /// How long a new account may take to report, and its alerts wake nobody; default 1h.
    pub settle: TimeSpan,
}

impl Default for CoverageConfig {
    fn default() -> Self {
        Self { silent_after: TimeSpan::from_secs(30 * 60), settle: TimeSpan::from_secs(3600) }
    }
}

/// `registry.quarantine:`, how much is held of accounts that no tenant has, over all of them; one gets a quarter at most.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineConfig {
    /// Accounts; default 100.
    pub max_accounts: usize,
    /// Samples, log records and spans on one day, in UTC; default 1,000,000.
    pub max_records_per_day: u64,
    /// Bytes of bodies as they come, on one day; default 256 MiB.
    pub max_bytes_per_day: Bytes,
}

impl Default for QuarantineConfig {
    fn default() -> Self {
        Self { max_accounts: 100, max_records_per_day: 1_000_000, max_bytes_per_day: Bytes(256 << 20) }
    }
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

fn attribute_names<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let attributes = BTreeMap::<String, String>::deserialize(from)?;
    for name in attributes.keys() {
        check_attribute_name(name).map_err(serde::de::Error::custom)?;
    }
    Ok(attributes)
}

fn unit_paths<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let paths = Vec::<String>::deserialize(from)?;
    match paths.iter().find(|path| !path.starts_with('/') || path.len() > 1 && path.ends_with('/')) {
        Some(wrong) => Err(serde::de::Error::custom(format!("{wrong:?} is no path such as /Tenants/Gold"))),
        None => Ok(paths),
    }
}

fn call_rate<'de, D: serde::Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let rate = f64::deserialize(from)?;
    match rate {
        r if (0.1..=100.0).contains(&r) => Ok(rate),
        _ => Err(serde::de::Error::custom("calls_per_second must be between 0.1 and 100")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RegistryConfig, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_registry_is_a_file_or_an_organization_or_both() {
        let registry = read("{file: tenants.yaml, unknown: quarantine}").unwrap();
        assert_eq!(registry.unknown, Unknown::Quarantine);
        let registry = read("{organizations: {refresh: 60s}}").unwrap();
        let organizations = registry.organizations.unwrap();
        assert_eq!((organizations.refresh, organizations.tenant_tag.as_str()), (TimeSpan::from_secs(60), "tenant"));
        assert!(read("{unknown: refuse}").unwrap_err().contains("file, organizations or both"));
    }

    #[test]
    fn what_can_not_be_is_told() {
        for (wrong, says) in [
            ("{file: a, organisations: {}}", "organisations"),
            ("{organizations: {refesh: 1s}}", "refesh"),
            ("{organizations: {attributes: {\"a-b\": x}}}", "label name"),
            ("{organizations: {attributes: {tenant: x}}}", "stamped"),
            ("{organizations: {under: [Tenants]}}", "no path"),
            ("{organizations: {calls_per_second: 0}}", "between"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
