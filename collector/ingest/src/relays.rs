//! What one relay may send in all. What its tenants may is bounded too, by their quotas, once they are known.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::Deserialize;
use tenantscope_model::Bytes;
use tenantscope_wire::Refused;

use crate::usage::rate::{Allowed, Rate};

/// Bounds of one relay; an absent one does not bound. Past one its batches are refused before they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayQuota {
    /// Requests a second, on average over ten seconds.
    pub requests_per_second: Option<u64>,
    /// Bytes of bodies a second as they are received, on average over ten seconds.
    pub received_bytes_per_second: Option<Bytes>,
    /// Requests that are under way at the same time. Default: `max_concurrent_requests` of `limits.default`.
    pub max_concurrent_requests: Option<u64>,
}

/// What is left of it. Relays are as many as the configuration has.
#[derive(Debug)]
pub(crate) struct Relays(Mutex<State>);

#[derive(Debug)]
struct State {
    quota: RelayQuota,
    used: HashMap<String, Used>,
}

#[derive(Debug, Default)]
struct Used {
    requests: Rate,
    bytes: Rate,
}

impl Relays {
    pub(crate) fn new(quota: RelayQuota) -> Self {
        Self(Mutex::new(State { quota, used: HashMap::new() }))
    }

    pub(crate) fn replace(&self, quota: RelayQuota) {
        self.0.lock().quota = quota;
    }

    /// One more request of a relay, before its body is read; how many it may have under way.
    pub(crate) fn reserve(&self, name: &str, now_ms: i64) -> Result<Option<u64>, Refused> {
        let mut state = self.0.lock();
        let quota = state.quota;
        let used = state.used.entry(name.to_owned()).or_default();
        if let Some(rate) = quota.received_bytes_per_second {
            used.bytes.check(Allowed::new(rate.0, None), now_ms).map_err(|delay| {
                let message = format!("over {} bytes of bodies a second of this relay", rate.0);
                Refused::throttled("received_bytes_per_second", message, delay)
            })?;
        }
        if let Some(rate) = quota.requests_per_second {
            used.requests.spend(1.0, Allowed::new(rate, None), now_ms).map_err(|delay| {
                let message = format!("over {rate} requests a second of this relay");
                Refused::throttled("requests_per_second", message, delay)
            })?;
        }
        Ok(quota.max_concurrent_requests)
    }

    /// A body that was received, whatever becomes of it.
    pub(crate) fn received(&self, name: &str, bytes: usize) {
        let mut state = self.0.lock();
        if state.quota.received_bytes_per_second.is_some() {
            state.used.entry(name.to_owned()).or_default().bytes.owe(bytes as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    #[test]
    fn a_relay_past_its_rates_is_refused_and_others_are_not() {
        let relays =
            Relays::new(serde_saphyr::from_str("{requests_per_second: 1, received_bytes_per_second: 10}").unwrap());
        let reason = |name: &str, at_ms| relays.reserve(name, NOW_MS + at_ms).map_err(|refused| refused.reason);
        for _ in 0..10 {
            reason("a", 0).unwrap();
        }
        assert_eq!(reason("a", 0), Err("requests_per_second"));
        reason("b", 0).unwrap();
        relays.received("b", 150);
        assert_eq!(reason("b", 1_000), Err("received_bytes_per_second"));
        assert_eq!(reason("a", 2_000), Ok(None));
        relays.replace(RelayQuota { max_concurrent_requests: Some(3), ..RelayQuota::default() });
        assert_eq!(reason("b", 1_000), Ok(Some(3)));
    }
}
