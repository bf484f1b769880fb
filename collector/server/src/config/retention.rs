//! `metrics.retention`: a time for everything, or classes and who has which.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use tenantscope_metrics::{ClassOf, DEFAULT_CLASS, Retention, RetentionClass};
use tenantscope_model::{Bytes, TenantId, TimeSpan};
use tenantscope_tenancy::{Registry, TIER_ATTRIBUTE};

const FALLBACK: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// How long series are kept.
#[derive(Debug, Clone)]
pub enum RetentionConfig {
    /// All of them alike.
    All(TimeSpan),
    /// By class.
    Classes(ClassesConfig),
}

/// Classes of retention, and the tenants that have them. Class `default` is everybody else's.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassesConfig {
    /// By name.
    pub classes: BTreeMap<String, ClassConfig>,
    /// Tier of the registry to class.
    #[serde(default)]
    pub tiers: BTreeMap<String, String>,
    /// Tenant to class, whatever its tier.
    #[serde(default)]
    pub tenants: BTreeMap<String, String>,
}

/// A class: a time, or `{keep: 30d, max_bytes: 10GiB}`.
#[derive(Debug, Clone)]
pub struct ClassConfig {
    /// How long samples are kept, by their own time.
    pub keep: TimeSpan,
    /// Bytes of blocks at which the oldest go before their time.
    pub max_bytes: Option<Bytes>,
}

impl RetentionConfig {
    fn check(classes: &ClassesConfig) -> Result<(), String> {
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if let Some(name) = classes.classes.keys().find(|name| name.is_empty() || !name.chars().all(named)) {
            return Err(format!("retention class {name:?} is not made of letters, digits, '_' and '-'"));
        }
        if !classes.classes.contains_key(DEFAULT_CLASS) {
            return Err(format!("retention has no class {DEFAULT_CLASS:?}"));
        }
        let used = classes.tiers.iter().map(|(of, class)| ("tier", of, class));
        let used = used.chain(classes.tenants.iter().map(|(of, class)| ("tenant", of, class)));
        for (kind, of, class) in used {
            if !classes.classes.contains_key(class) {
                return Err(format!("retention of {kind} {of:?}: there is no class {class:?}"));
            }
        }
        match classes.tenants.keys().find(|id| TenantId::try_new(id).is_err()) {
            Some(id) => Err(format!("retention of tenant {id:?}: not a tenant id")),
            None => Ok(()),
        }
    }

    /// The time that what has no class of its own is kept.
    pub fn of_default(&self) -> TimeSpan {
        match self {
            Self::All(keep) => *keep,
            // It was checked that there is one.
            Self::Classes(config) => config.classes.get(DEFAULT_CLASS).map_or(TimeSpan(FALLBACK), |class| class.keep),
        }
    }

    /// The classes; tiers are looked up in the registry as it is at the time.
    pub fn classes(&self, registry: Option<Arc<Registry>>) -> Retention {
        let Self::Classes(config) = self else { return Retention::default() };
        let class = |class: &ClassConfig| RetentionClass {
            keep: Some(class.keep.0),
            max_bytes: class.max_bytes.map(|bytes| bytes.0),
        };
        let classes = config.classes.iter().map(|(name, config)| (name.clone(), class(config))).collect();
        let config = config.clone();
        let class_of = move |tenant: &str| config.class_of(tenant, registry.as_deref());
        Retention { classes, class_of: ClassOf::new(class_of) }
    }
}

impl ClassesConfig {
    /// A tenant's own class, else its tier's. A renamed tenant's history is kept for as long as the tenant's data.
    fn class_of(&self, tenant: &str, registry: Option<&Registry>) -> Option<String> {
        let of_name = |name: &str| self.tenants.get(name).cloned();
        let Some(registered) = registry.map(Registry::tenants) else { return of_name(tenant) };
        let named = TenantId::try_new(tenant).ok()?;
        let id = registered.current_id(&named);
        let by_tier = || self.tiers.get(registered.get(id)?.attributes.get(TIER_ATTRIBUTE)?).cloned();
        of_name(tenant).or_else(|| of_name(id.as_str())).or_else(by_tier)
    }
}

impl<'de> Deserialize<'de> for RetentionConfig {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RetentionConfig;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a time such as 30d, or classes of retention")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                text.parse().map(RetentionConfig::All).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Err(E::custom(format!("{number} has no unit; give a time such as {number}d")))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let classes = ClassesConfig::deserialize(MapAccessDeserializer::new(map))?;
                RetentionConfig::check(&classes).map_err(de::Error::custom)?;
                Ok(RetentionConfig::Classes(classes))
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for ClassConfig {
    fn deserialize<D: de::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            keep: TimeSpan,
            max_bytes: Option<Bytes>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ClassConfig;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a time such as 30d, or keep and max_bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let keep = text.parse().map_err(E::custom)?;
                Ok(ClassConfig { keep, max_bytes: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Whole { keep, max_bytes } = Whole::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ClassConfig { keep, max_bytes })
            }
        }
        from.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {

    use tenantscope_tenancy::RegistryConfig;

    use super::*;

    #[test]
    fn a_renamed_tenants_history_is_kept_for_as_long_as_its_data() {
        let text = "{classes: {default: 30d, long: 400d, short: 7d}, tiers: {gold: long}, tenants: {beta: short}}";
        let config: RetentionConfig = serde_saphyr::from_str(text).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tenants = "tenants: [{id: acme, attributes: {tier: gold}, aliases: [old]}, {id: beta, aliases: [bee]}]";
        std::fs::write(dir.path().join("tenants.yaml"), tenants).unwrap();
        let registry = Registry::open(&RegistryConfig::of_file("tenants.yaml"), dir.path()).unwrap();
        let RetentionConfig::Classes(classes) = config else { panic!("these are classes") };
        let class = |tenant| classes.class_of(tenant, Some(&registry));
        let found = ["acme", "old", "beta", "bee", "other"].map(class);
        assert_eq!(
            found,
            [Some("long"), Some("long"), Some("short"), Some("short"), None].map(|c| c.map(str::to_owned))
        );
    }
}
