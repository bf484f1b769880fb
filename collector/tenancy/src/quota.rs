//! What one tenant may use, by tier.

use std::collections::BTreeMap;

use serde::Deserialize;
use tenantscope_model::{Bytes, TenantId, TimeSpan};

use crate::registry::tenants::Tenants;

/// The attribute whose value names a tenant's tier.
pub const TIER_ATTRIBUTE: &str = "tier";

/// Bounds of one tenant; an absent one does not bound. What is past one is refused with the bound's name as the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// Series that got a sample within the last hour.
    pub active_series: Option<u64>,
    /// Series that were not active before, on average over some minutes.
    pub new_series_per_minute: Option<u64>,
    /// Samples a second, on average over some seconds.
    pub samples_per_second: Option<u64>,
    /// Samples that may come at once. Default: ten seconds' worth.
    pub samples_burst: Option<u64>,
    /// Bytes of log records (as OTLP has them) a second, on average over some seconds.
    pub log_bytes_per_second: Option<Bytes>,
    /// Bytes of log records that may come at once. Default: ten seconds' worth.
    pub log_burst_bytes: Option<Bytes>,
    /// Spans a second, on average over some seconds.
    pub spans_per_second: Option<u64>,
    /// Spans that may come at once. Default: ten seconds' worth.
    pub spans_burst: Option<u64>,
    /// Labels of one series, its name among them; those that we stamp are not counted.
    pub max_label_names_per_series: Option<u64>,
    /// Bytes of a label's name.
    pub max_label_name_length: Option<u64>,
    /// Bytes of a label's value.
    pub max_label_value_length: Option<u64>,
    /// How old a sample may be when it comes.
    pub max_sample_age: Option<TimeSpan>,
    /// A log record's body.
    pub max_log_line_bytes: Option<Bytes>,
    /// Name and value of one attribute of a log record, a span, or the resource that they come from.
    pub max_attribute_bytes: Option<Bytes>,
    /// Requests of one credential that are under way at the same time.
    pub max_concurrent_requests: Option<u64>,
    /// What its queries may use.
    pub query: QueryQuota,
}

/// Bounds of one tenant's queries; an absent one is that of everybody's queries, and none is above that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryQuota {
    /// How long a query may take, waiting included.
    pub timeout: Option<TimeSpan>,
    /// Samples that a query may load.
    pub max_samples: Option<u64>,
    /// Series that one of its selectors may find.
    pub max_series: Option<u64>,
    /// Memory of one query.
    pub max_bytes: Option<Bytes>,
    /// Times of a range query, less one.
    pub max_steps: Option<u64>,
    /// From a query's start to its end.
    pub max_range: Option<TimeSpan>,
    /// Queries at the same time.
    pub max_concurrent: Option<usize>,
    /// Queries that wait for their turn.
    pub max_waiting: Option<usize>,
}

impl QueryQuota {
    /// The bounds that are set, by the reasons of what is refused for them, as they stand in the configuration.
    pub fn bounds(&self) -> Vec<(&'static str, String)> {
        let named = |key: &str, bound: Option<String>| bound.map(|bound| format!("query.{key} {bound}"));
        let bounds = [
            ("time", named("timeout", self.timeout.map(|bound| bound.to_string()))),
            ("samples", named("max_samples", self.max_samples.map(|bound| bound.to_string()))),
            ("series", named("max_series", self.max_series.map(|bound| bound.to_string()))),
            ("memory", named("max_bytes", self.max_bytes.map(|bound| bound.0.to_string()))),
            ("steps", named("max_steps", self.max_steps.map(|bound| bound.to_string()))),
            ("range", named("max_range", self.max_range.map(|bound| bound.to_string()))),
            ("reader_queue", named("max_waiting", self.max_waiting.map(|bound| bound.to_string()))),
        ];
        bounds.into_iter().filter_map(|(reason, bound)| Some((reason, bound?))).collect()
    }

    /// These bounds, and where there is none, another's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            timeout: self.timeout.or(other.timeout),
            max_samples: self.max_samples.or(other.max_samples),
            max_series: self.max_series.or(other.max_series),
            max_bytes: self.max_bytes.or(other.max_bytes),
            max_steps: self.max_steps.or(other.max_steps),
            max_range: self.max_range.or(other.max_range),
            max_concurrent: self.max_concurrent.or(other.max_concurrent),
            max_waiting: self.max_waiting.or(other.max_waiting),
        }
    }
}

impl Quota {
    /// These bounds, and where there is none, another's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            active_series: self.active_series.or(other.active_series),
            new_series_per_minute: self.new_series_per_minute.or(other.new_series_per_minute),
            samples_per_second: self.samples_per_second.or(other.samples_per_second),
            samples_burst: self.samples_burst.or(other.samples_burst),
            log_bytes_per_second: self.log_bytes_per_second.or(other.log_bytes_per_second),
            log_burst_bytes: self.log_burst_bytes.or(other.log_burst_bytes),
            spans_per_second: self.spans_per_second.or(other.spans_per_second),
            spans_burst: self.spans_burst.or(other.spans_burst),
            max_label_names_per_series: self.max_label_names_per_series.or(other.max_label_names_per_series),
            max_label_name_length: self.max_label_name_length.or(other.max_label_name_length),
            max_label_value_length: self.max_label_value_length.or(other.max_label_value_length),
            max_sample_age: self.max_sample_age.or(other.max_sample_age),
            max_log_line_bytes: self.max_log_line_bytes.or(other.max_log_line_bytes),
            max_attribute_bytes: self.max_attribute_bytes.or(other.max_attribute_bytes),
            max_concurrent_requests: self.max_concurrent_requests.or(other.max_concurrent_requests),
            query: self.query.or(other.query),
        }
    }

    /// The bounds of what it writes that are set, by the names that they have in the configuration and as reasons.
    pub fn write_bounds(&self) -> Vec<(&'static str, String)> {
        let number = |bound: Option<u64>| bound.map(|bound| bound.to_string());
        let bytes = |bound: Option<Bytes>| number(bound.map(|bound| bound.0));
        let bounds = [
            ("active_series", number(self.active_series)),
            ("new_series_per_minute", number(self.new_series_per_minute)),
            ("samples_per_second", number(self.samples_per_second)),
            ("log_bytes_per_second", bytes(self.log_bytes_per_second)),
            ("spans_per_second", number(self.spans_per_second)),
            ("max_label_names_per_series", number(self.max_label_names_per_series)),
            ("max_label_name_length", number(self.max_label_name_length)),
            ("max_label_value_length", number(self.max_label_value_length)),
            ("max_sample_age", self.max_sample_age.map(|bound| bound.to_string())),
            ("max_log_line_bytes", bytes(self.max_log_line_bytes)),
            ("max_attribute_bytes", bytes(self.max_attribute_bytes)),
            ("max_concurrent_requests", number(self.max_concurrent_requests)),
        ];
        bounds.into_iter().filter_map(|(name, bound)| Some((name, bound?))).collect()
    }

    /// Whether single records are bounded.
    pub fn bounds_records(&self) -> bool {
        self.max_label_names_per_series.is_some()
            || self.max_label_name_length.is_some()
            || self.max_label_value_length.is_some()
            || self.max_sample_age.is_some()
            || self.max_log_line_bytes.is_some()
            || self.max_attribute_bytes.is_some()
    }

    /// Whether how much a tenant writes is bounded.
    pub fn bounds_rates(&self) -> bool {
        self.active_series.is_some()
            || self.new_series_per_minute.is_some()
            || self.samples_per_second.is_some()
            || self.log_bytes_per_second.is_some()
            || self.spans_per_second.is_some()
    }
}

/// The quotas of all tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Of tenants without a tier, and where their tier says nothing.
    pub default: Quota,
    /// By tier.
    pub tiers: BTreeMap<String, Quota>,
}

impl Quotas {
    /// A tenant's quota; without a registry every tenant has the default.
    pub fn of(&self, tenant: &TenantId, tenants: Option<&Tenants>) -> Quota {
        let tier =
            tenants.and_then(|tenants| tenants.get(tenant)).and_then(|found| found.attributes.get(TIER_ATTRIBUTE));
        let of_tier = tier.and_then(|tier| self.tiers.get(tier)).copied().unwrap_or_default();
        of_tier.or(self.default)
    }

    /// Whether any tenant's quota is so.
    pub fn any(&self, is_so: fn(&Quota) -> bool) -> bool {
        is_so(&self.default) || self.tiers.values().any(is_so)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_tier_overrides_what_it_names() {
        let text = "tenants: [{id: a, attributes: {tier: gold}}, {id: b}, {id: c, attributes: {tier: unheard}}]";
        let tenants = Tenants::parse(Path::new("tenants.yaml"), text).unwrap();
        let default = Quota {
            active_series: Some(10),
            samples_per_second: Some(5),
            query: QueryQuota { max_samples: Some(7), max_steps: Some(9), ..QueryQuota::default() },
            ..Quota::default()
        };
        let gold = Quota {
            active_series: Some(50),
            query: QueryQuota { max_samples: Some(70), ..QueryQuota::default() },
            max_log_line_bytes: Some(Bytes(1 << 10)),
            ..Quota::default()
        };
        let quotas = Quotas { default, tiers: BTreeMap::from([("gold".to_owned(), gold)]) };
        let of = |id: &str| quotas.of(&TenantId::try_new(id).unwrap(), Some(&tenants));
        let query = QueryQuota { max_samples: Some(70), max_steps: Some(9), ..QueryQuota::default() };
        assert_eq!(of("a"), Quota { active_series: Some(50), query, samples_per_second: Some(5), ..gold });
        let named = [("active_series", "50"), ("samples_per_second", "5"), ("max_log_line_bytes", "1024")];
        assert_eq!(of("a").write_bounds(), named.map(|(name, bound)| (name, bound.to_owned())));
        assert_eq!((of("b"), of("c"), of("unknown")), (default, default, default));
        assert!(quotas.any(Quota::bounds_rates) && quotas.any(Quota::bounds_records));
        assert!(!Quotas::default().any(Quota::bounds_rates));
    }
}
