//! Bounds of the way in.

use std::collections::BTreeMap;

use serde::Deserialize;
use tenantscope_codec::DecodeLimits;
use tenantscope_model::{Bytes, TimeSpan};
use tenantscope_tenancy::{Quota, Quotas};

use crate::relays::RelayQuota;

/// Bounds of the way in, each a configuration key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What each tenant may use. Default: no bound of its own.
    #[serde(rename = "default")]
    pub tenant: Quota,
    /// What tenants of a tier (their attribute `tier`) may use instead.
    pub tiers: BTreeMap<String, Quota>,
    /// What one relay may send in all, whoever its tenants are.
    pub relays: RelayQuota,
    /// The largest body as received. Default 16 MiB.
    pub max_body_bytes: Bytes,
    /// The largest delivery of Firehose as received, instead. Default 64 MiB, above which Firehose makes none.
    pub max_firehose_body_bytes: Bytes,
    /// The largest body once decompressed. Default 64 MiB.
    pub max_decoded_bytes: Bytes,
    /// Bodies of all senders that are being received or wait for the disk. Default 200 MiB.
    pub max_in_flight_bytes: Bytes,
    /// The share of one account (or relay), and of one tenant, in these, in percent, while nobody else has any; of what
    /// others leave it is the same share. Default 50.
    pub max_sender_percent: u8,
    /// Bodies that are decoded at the same time, for each signal. Default 4.
    pub max_decoding: usize,
    /// How far ahead of our clock a metric's points may be; later ones are left out of their batch. 0: any time.
    /// Default 10 min.
    pub max_ahead: TimeSpan,
    /// Whether OTLP's names of metrics and labels keep all their characters (`http.requests`), as Prometheus's
    /// `NoUTF8EscapingWithSuffixes` has it, rather than letters, digits and underscores alone. Default false.
    pub utf8_names: bool,
    /// How often cursors follow the stores. Default 10 s.
    pub cursor_interval: TimeSpan,
    /// How often state files are written. Default 60 s.
    pub state_interval: TimeSpan,
    /// How often `tenantscope_tenant_info` and tenants' counts are written. Default 60 s.
    pub own_series_interval: TimeSpan,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tenant: Quota::default(),
            tiers: BTreeMap::new(),
            relays: RelayQuota::default(),
            max_body_bytes: Bytes(16 << 20),
            max_firehose_body_bytes: Bytes(64 << 20),
            max_decoded_bytes: Bytes(64 << 20),
            max_in_flight_bytes: Bytes(200 << 20),
            max_sender_percent: 50,
            max_decoding: 4,
            max_ahead: TimeSpan::from_secs(600),
            utf8_names: false,
            cursor_interval: TimeSpan::from_secs(10),
            state_interval: TimeSpan::from_secs(60),
            own_series_interval: TimeSpan::from_secs(60),
        }
    }
}

impl Limits {
    /// The largest body as received, as a size in memory.
    pub(crate) fn body_bytes(&self) -> usize {
        usize::try_from(self.max_body_bytes.0).unwrap_or(usize::MAX)
    }

    /// The largest delivery of Firehose, as a size in memory.
    pub(crate) fn firehose_body_bytes(&self) -> usize {
        usize::try_from(self.max_firehose_body_bytes.0.min(self.in_flight_bytes())).unwrap_or(usize::MAX)
    }

    /// What bodies may have under way together. The largest must always fit, or it would be refused for ever with "try
    /// again".
    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.max_in_flight_bytes.0.max(self.max_body_bytes.0)
    }

    /// The tenants' part.
    pub(crate) fn quotas(&self) -> Quotas {
        Quotas { default: self.tenant, tiers: self.tiers.clone() }
    }

    /// The decoders' part.
    pub(crate) fn decode(&self) -> DecodeLimits {
        DecodeLimits { max_decoded_bytes: usize::try_from(self.max_decoded_bytes.0).unwrap_or(usize::MAX) }
    }

    /// The latest time that a point which comes now may have; `None`: any.
    pub(crate) fn latest_ms(&self, now_ms: i64) -> Option<i64> {
        let ahead_ms = i64::try_from(self.max_ahead.0.as_millis()).unwrap_or(i64::MAX);
        (ahead_ms > 0).then(|| now_ms.saturating_add(ahead_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_the_design_is_read() {
        let text = "{default: {active_series: 100000, samples_per_second: 10000}, tiers: {gold: {active_series: 500000}}, max_body_bytes: 8MiB}";
        let limits: Limits = serde_saphyr::from_str(text).unwrap();
        assert_eq!(limits.tenant.samples_per_second, Some(10_000));
        assert_eq!(limits.tiers["gold"].active_series, Some(500_000));
        assert_eq!((limits.body_bytes(), limits.max_decoding), (8 << 20, 4));
        assert!(serde_saphyr::from_str::<Limits>("{default: {series: 1}}").is_err());
    }
}
