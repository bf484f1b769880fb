//! What may be under way at the same time: bytes of bodies, over all, by sender and by tenant.
//!
//! Who holds much leaves room for whoever comes: one holder may have so many percent of what the others leave free. One
//! alone has its share of all, two have less each, and there is always room for one more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantscope_model::TenantId;
use tenantscope_wire::Refused;

use crate::limits::Limits;
use crate::telemetry;

/// Counts the bytes of bodies that are under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    max_bytes: u64,
    max_body_bytes: u64,
    max_percent: u64,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: u64,
    by_holder: HashMap<Holder, Held>,
}

/// Whose bytes are counted together: a credential's, and a tenant's over all of its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Sender(String),
    Tenant(TenantId),
}

/// What one holder has under way.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: u64,
    requests: u64,
}

/// Bytes that are reserved; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    used: Arc<Mutex<Used>>,
    holders: Vec<Holder>,
    bytes: u64,
}

impl InFlight {
    pub(crate) fn new(limits: &Limits) -> Self {
        // One largest body must always fit, or it would be refused for ever with "try again".
        let max_bytes = limits.max_in_flight_bytes.0.max(limits.max_body_bytes.0);
        Self {
            max_bytes,
            max_body_bytes: limits.max_body_bytes.0.max(limits.firehose_body_bytes() as u64),
            max_percent: u64::from(limits.max_sender_percent.clamp(1, 100)),
            used: Arc::default(),
        }
    }

    /// Room for one more body of a sender (and of its tenant, where it has one), which may have so many requests.
    pub(crate) fn reserve(
        &self,
        sender: String,
        tenant: Option<&TenantId>,
        body_bytes: usize,
        max_requests: Option<u64>,
    ) -> Result<Permit, Refused> {
        let bytes = body_bytes as u64;
        if bytes > self.max_body_bytes {
            let message = format!("body of {bytes} bytes is over {} bytes", self.max_body_bytes);
            return Err(Refused::too_large("body_too_large", message));
        }
        let mut used = self.used.lock();
        let sender = Holder::Sender(sender);
        let requests = used.held(&sender).requests;
        if max_requests.is_some_and(|max_requests| requests >= max_requests) {
            let message = format!("{requests} requests of this sender are under way");
            return Err(Refused::throttled("max_concurrent_requests", message, Duration::from_secs(1)));
        }
        if used.bytes + bytes > self.max_bytes {
            let message = "too many bytes are under way";
            return Err(Refused::unavailable("in_flight", message, Duration::from_secs(1)));
        }
        let holders: Vec<Holder> = [sender].into_iter().chain(tenant.cloned().map(Holder::Tenant)).collect();
        let is_past_share = |holder: &Holder| match used.held(holder).bytes {
            // One body fits, however small its holder's share is.
            0 => false,
            held => held + bytes > self.share_of(&used, holder),
        };
        if holders.iter().any(is_past_share) {
            let message = "too many bytes of this sender are under way";
            return Err(Refused::throttled("sender_in_flight", message, Duration::from_secs(1)));
        }
        used.bytes += bytes;
        for holder in &holders {
            let held = used.by_holder.entry(holder.clone()).or_default();
            held.bytes += bytes;
            held.requests += 1;
        }
        telemetry::in_flight(used.bytes);
        drop(used);
        Ok(Permit { used: Arc::clone(&self.used), holders, bytes })
    }

    /// What a holder may have while the others have what they have.
    fn share_of(&self, used: &Used, holder: &Holder) -> u64 {
        let others = used.bytes.saturating_sub(used.held(holder).bytes);
        let left = self.max_bytes.saturating_sub(others);
        left.saturating_mul(self.max_percent) / 100
    }
}

impl Used {
    fn held(&self, holder: &Holder) -> Held {
        self.by_holder.get(holder).copied().unwrap_or_default()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut used = self.used.lock();
        used.bytes = used.bytes.saturating_sub(self.bytes);
        telemetry::in_flight(used.bytes);
        for holder in &self.holders {
            if let Some(held) = used.by_holder.get_mut(holder) {
                held.bytes = held.bytes.saturating_sub(self.bytes);
                held.requests = held.requests.saturating_sub(1);
                if held.requests == 0 {
                    used.by_holder.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantscope_model::Bytes;
    use tenantscope_wire::RefusedKind;

    fn limits(max_body_bytes: u64, max_in_flight_bytes: u64) -> Limits {
        let (max_body_bytes, max_in_flight_bytes) = (Bytes(max_body_bytes), Bytes(max_in_flight_bytes));
        Limits { max_body_bytes, max_firehose_body_bytes: Bytes(0), max_in_flight_bytes, ..Limits::default() }
    }

    fn reason(result: Result<Permit, Refused>) -> (&'static str, RefusedKind) {
        let refused = result.unwrap_err();
        (refused.reason, refused.kind)
    }

    #[test]
    fn one_sender_at_its_share_leaves_room_for_others() {
        let limits = limits(40, 100);
        let in_flight = InFlight::new(&limits);
        let reserve = |sender: &str, bytes| in_flight.reserve(sender.to_owned(), None, bytes, None);
        assert_eq!(reason(reserve("a", 41)), ("body_too_large", RefusedKind::TooLarge));
        let first = reserve("a", 40).unwrap();
        assert_eq!(reason(reserve("a", 20)), ("sender_in_flight", RefusedKind::Throttled));
        let others = reserve("b", 40).unwrap();
        assert_eq!(reason(reserve("c", 21)), ("in_flight", RefusedKind::Unavailable));
        drop((first, others));
        assert!(reserve("a", 40).is_ok());
        assert!(in_flight.used.lock().by_holder.is_empty());
    }

    #[test]
    fn the_more_there_are_the_less_one_may_hold_and_there_is_room_for_one_more() {
        let limits = limits(1, 1000);
        let in_flight = InFlight::new(&limits);
        let take_all = |sender: &str| {
            std::iter::from_fn(|| in_flight.reserve(sender.to_owned(), None, 1, None).ok()).collect::<Vec<Permit>>()
        };
        let held: Vec<Vec<Permit>> = ["a", "b", "c", "d"].map(take_all).into();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [500, 250, 125, 62]);
        assert!(in_flight.reserve("e".into(), None, 1, None).is_ok());
    }

    #[test]
    fn the_credentials_of_a_tenant_share_its_share() {
        let limits = limits(40, 100);
        let in_flight = InFlight::new(&limits);
        let tenant = TenantId::try_new("acme").unwrap();
        let _first = in_flight.reserve("a".into(), Some(&tenant), 40, None).unwrap();
        assert_eq!(reason(in_flight.reserve("b".into(), Some(&tenant), 20, None)).0, "sender_in_flight");
        in_flight.reserve("c".into(), Some(&TenantId::try_new("globex").unwrap()), 20, None).unwrap();
    }

    #[test]
    fn requests_of_one_sender_are_bounded_and_end() {
        let in_flight = InFlight::new(&Limits::default());
        let reserve = |sender: &str| in_flight.reserve(sender.to_owned(), None, 0, Some(1));
        let first = reserve("a").unwrap();
        assert_eq!(reason(reserve("a")), ("max_concurrent_requests", RefusedKind::Throttled));
        reserve("b").unwrap();
        drop(first);
        reserve("a").unwrap();
    }
}
