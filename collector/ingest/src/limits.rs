//! What may be under way at the same time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tenantscope_model::{Bytes, TimeSpan};
use tenantscope_tenancy::{Quota, Quotas};
use tenantscope_wire::Refused;

use crate::telemetry;

/// Bounds of the way in, each a configuration key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What each tenant may use. Default: no bound of its own.
    #[serde(rename = "default")]
    pub tenant: Quota,
    /// What tenants of a tier (their attribute `tier`) may use instead.
    pub tiers: BTreeMap<String, Quota>,
    /// The largest body as received. Default 16 MiB.
    pub max_body_bytes: Bytes,
    /// The largest body once decompressed. Default 64 MiB.
    pub max_decoded_bytes: Bytes,
    /// Bodies of all senders that are being received or wait for the disk. Default 200 MiB.
    pub max_in_flight_bytes: Bytes,
    /// The share of one account (or forwarder) in these, in percent. Default 50.
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
            max_body_bytes: Bytes(16 << 20),
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
    pub fn body_bytes(&self) -> usize {
        usize::try_from(self.max_body_bytes.0).unwrap_or(usize::MAX)
    }

    /// The tenants' part.
    pub(crate) fn quotas(&self) -> Quotas {
        Quotas { default: self.tenant, tiers: self.tiers.clone() }
    }

    /// The largest body once decompressed, as a size in memory.
    pub(crate) fn decoded_bytes(&self) -> usize {
        usize::try_from(self.max_decoded_bytes.0).unwrap_or(usize::MAX)
    }
}

/// Counts the bytes of bodies that are under way, over all and by sender.
#[derive(Debug)]
pub(crate) struct InFlight {
    max_body_bytes: usize,
    max_bytes: u64,
    max_sender_bytes: u64,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    by_sender: HashMap<String, OfSender>,
}

/// What one sender has under way.
#[derive(Debug, Default)]
struct OfSender {
    bytes: u64,
    requests: u64,
}

/// Bytes that are reserved; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    used: Arc<Mutex<Used>>,
    sender: String,
    bytes: u64,
}

impl InFlight {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max_bytes = limits.max_in_flight_bytes.0;
        let share = u128::from(max_bytes) * u128::from(limits.max_sender_percent.clamp(1, 100)) / 100;
        // One largest body must always fit, or it would be refused for ever with "try again".
        let max_bytes = max_bytes.max(limits.max_body_bytes.0);
        let max_sender_bytes = u64::try_from(share).unwrap_or(u64::MAX).max(limits.max_body_bytes.0);
        Self { max_body_bytes: limits.body_bytes(), max_bytes, max_sender_bytes, used: Arc::default() }
    }

    /// Room for one more request of a sender, which may have so many.
    pub(crate) fn reserve(
        &self,
        sender: String,
        body_bytes: usize,
        max_requests: Option<u64>,
    ) -> Result<Permit, Refused> {
        if body_bytes > self.max_body_bytes {
            let message = format!("body of {body_bytes} bytes is over {} bytes", self.max_body_bytes);
            return Err(Refused::too_large("body_too_large", message));
        }
        let bytes = body_bytes as u64;
        let mut used = self.used.lock();
        if used.bytes + bytes > self.max_bytes {
            let message = "too many bytes are under way";
            return Err(Refused::unavailable("in_flight", message, Duration::from_secs(1)));
        }
        let (sender_bytes, requests) =
            used.by_sender.get(&sender).map_or((0, 0), |of_sender| (of_sender.bytes, of_sender.requests));
        if max_requests.is_some_and(|max_requests| requests >= max_requests) {
            let message = format!("{requests} requests of this sender are under way");
            return Err(Refused::throttled("max_concurrent_requests", message, Duration::from_secs(1)));
        }
        if sender_bytes + bytes > self.max_sender_bytes {
            let message = "too many bytes of this sender are under way";
            return Err(Refused::throttled("sender_in_flight", message, Duration::from_secs(1)));
        }
        used.bytes += bytes;
        let of_sender = used.by_sender.entry(sender.clone()).or_default();
        of_sender.bytes += bytes;
        of_sender.requests += 1;
        telemetry::in_flight(used.bytes);
        drop(used);
        Ok(Permit { used: Arc::clone(&self.used), sender, bytes })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.used.lock();
        used.bytes = used.bytes.saturating_sub(self.bytes);
        telemetry::in_flight(used.bytes);
        if let Some(of_sender) = used.by_sender.get_mut(&self.sender) {
            of_sender.bytes = of_sender.bytes.saturating_sub(self.bytes);
            of_sender.requests = of_sender.requests.saturating_sub(1);
            if of_sender.requests == 0 {
                used.by_sender.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_wire::RefusedKind;

    #[test]
    fn the_shape_of_the_design_is_read() {
        let text = "{default: {active_series: 100000, samples_per_second: 10000}, tiers: {gold: {active_series: 500000}}, max_body_bytes: 8MiB}";
        let limits: Limits = serde_saphyr::from_str(text).unwrap();
        assert_eq!(limits.tenant.samples_per_second, Some(10_000));
        assert_eq!(limits.tiers["gold"].active_series, Some(500_000));
        assert_eq!((limits.body_bytes(), limits.max_decoding), (8 << 20, 4));
        assert!(serde_saphyr::from_str::<Limits>("{default: {series: 1}}").is_err());
    }

    #[test]
    fn one_sender_at_its_share_leaves_room_for_others() {
        let limits = Limits { max_body_bytes: Bytes(40), max_in_flight_bytes: Bytes(100), ..Limits::default() };
        let in_flight = InFlight::new(&limits);
        let kind = |result: Result<Permit, Refused>| result.unwrap_err().kind;
        assert_eq!(kind(in_flight.reserve("a".into(), 41, None)), RefusedKind::TooLarge);
        let first = in_flight.reserve("a".into(), 40, None).unwrap();
        assert_eq!(kind(in_flight.reserve("a".into(), 20, None)), RefusedKind::Throttled);
        let others = in_flight.reserve("b".into(), 40, None).unwrap();
        assert_eq!(kind(in_flight.reserve("c".into(), 21, None)), RefusedKind::Unavailable);
        drop((first, others));
        assert!(in_flight.reserve("a".into(), 40, None).is_ok());
        assert!(in_flight.used.lock().by_sender.is_empty());
    }

    #[test]
    fn requests_of_one_sender_are_bounded_and_end() {
        let in_flight = InFlight::new(&Limits::default());
        let first = in_flight.reserve("a".into(), 0, Some(1)).unwrap();
        let refused = in_flight.reserve("a".into(), 0, Some(1)).unwrap_err();
        assert_eq!((refused.reason, refused.kind), ("max_concurrent_requests", RefusedKind::Throttled));
        in_flight.reserve("b".into(), 0, Some(1)).unwrap();
        drop(first);
        in_flight.reserve("a".into(), 0, Some(1)).unwrap();
    }
}
