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

/// Counts the bytes of bodies that are under way. How many may be, whoever comes is told with the bounds that are in force
/// then; where these are lower than before, what is under way comes to its end.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
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
    limits: Arc<Limits>,
    used: Arc<Mutex<Used>>,
    holders: Vec<Holder>,
    bytes: u64,
}

impl InFlight {
    /// Room for one more body of a sender (and of its tenant, where it has one), which may have so many requests.
    pub(crate) fn reserve(
        &self,
        limits: Arc<Limits>,
        sender: String,
        tenant: Option<&TenantId>,
        bytes: u64,
        max_requests: Option<u64>,
    ) -> Result<Permit, Refused> {
        let mut used = self.used.lock();
        let sender = Holder::Sender(sender);
        let requests = used.held(&sender).requests;
        if max_requests.is_some_and(|max_requests| requests >= max_requests) {
            let message = format!("{requests} requests of this sender are under way");
            return Err(Refused::throttled("max_concurrent_requests", message, Duration::from_secs(1)));
        }
        if used.bytes + bytes > limits.in_flight_bytes() {
            let message = "too many bytes are under way";
            return Err(Refused::unavailable("in_flight", message, Duration::from_secs(1)));
        }
        let holders: Vec<Holder> = [sender].into_iter().chain(tenant.cloned().map(Holder::Tenant)).collect();
        let is_past_share = |holder: &Holder| match used.held(holder).bytes {
            // One body fits, however small its holder's share is.
            0 => false,
            held => held + bytes > used.share_of(holder, &limits),
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
        Ok(Permit { limits, used: Arc::clone(&self.used), holders, bytes })
    }
}

impl Permit {
    /// The bounds that were in force when its request came, by which it goes to its end.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}

impl Used {
    fn held(&self, holder: &Holder) -> Held {
        self.by_holder.get(holder).copied().unwrap_or_default()
    }

    /// What a holder may have while the others have what they have.
    fn share_of(&self, holder: &Holder, limits: &Limits) -> u64 {
        let others = self.bytes.saturating_sub(self.held(holder).bytes);
        let left = limits.in_flight_bytes().saturating_sub(others);
        left.saturating_mul(u64::from(limits.max_sender_percent.clamp(1, 100))) / 100
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

    fn limits(max_body_bytes: u64, max_in_flight_bytes: u64) -> Arc<Limits> {
        let (max_body_bytes, max_in_flight_bytes) = (Bytes(max_body_bytes), Bytes(max_in_flight_bytes));
        Arc::new(Limits { max_body_bytes, max_in_flight_bytes, ..Limits::default() })
    }

    /// An account's body, under these bounds.
    fn reserve(in_flight: &InFlight, limits: &Arc<Limits>, sender: &str, bytes: u64) -> Result<Permit, Refused> {
        in_flight.reserve(Arc::clone(limits), sender.to_owned(), None, bytes, None)
    }

    fn reason(result: Result<Permit, Refused>) -> (&'static str, RefusedKind) {
        let refused = result.unwrap_err();
        (refused.reason, refused.kind)
    }

    #[test]
    fn one_sender_at_its_share_leaves_room_for_others() {
        let (in_flight, limits) = (InFlight::default(), limits(40, 100));
        let reserve = |sender: &str, bytes| reserve(&in_flight, &limits, sender, bytes);
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
        let (in_flight, limits) = (InFlight::default(), limits(1, 1000));
        let reserve = |sender: &str| reserve(&in_flight, &limits, sender, 1);
        let take_all = |sender: &str| std::iter::from_fn(|| reserve(sender).ok()).collect::<Vec<Permit>>();
        let held: Vec<Vec<Permit>> = ["a", "b", "c", "d"].map(take_all).into();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [500, 250, 125, 62]);
        assert!(reserve("e").is_ok());
    }

    #[test]
    fn lower_bounds_end_nothing_that_is_under_way_and_count_it_for_whoever_comes_next() {
        let (in_flight, high, low) = (InFlight::default(), limits(40, 100), limits(10, 20));
        let held: Vec<Permit> = ["a", "b"].map(|sender| reserve(&in_flight, &high, sender, 40).unwrap()).into();
        assert_eq!(reason(reserve(&in_flight, &low, "c", 1)), ("in_flight", RefusedKind::Unavailable));
        assert_eq!(in_flight.used.lock().bytes, 80);
        drop(held);
        let first = reserve(&in_flight, &low, "a", 10).unwrap();
        assert_eq!(reason(reserve(&in_flight, &low, "a", 1)).0, "sender_in_flight");
        let others = reserve(&in_flight, &low, "b", 10).unwrap();
        assert_eq!(reason(reserve(&in_flight, &low, "c", 1)).0, "in_flight");
        let higher = reserve(&in_flight, &high, "c", 40).unwrap();
        drop((first, others, higher));
        let used = in_flight.used.lock();
        assert!(used.bytes == 0 && used.by_holder.is_empty());
    }

    #[test]
    fn the_credentials_of_a_tenant_share_its_share() {
        let (in_flight, limits) = (InFlight::default(), limits(40, 100));
        let reserve = |sender: &str, tenant: &str, bytes| {
            let tenant = TenantId::try_new(tenant).unwrap();
            in_flight.reserve(Arc::clone(&limits), sender.to_owned(), Some(&tenant), bytes, None)
        };
        let _first = reserve("a", "acme", 40).unwrap();
        assert_eq!(reason(reserve("b", "acme", 20)).0, "sender_in_flight");
        reserve("c", "globex", 20).unwrap();
    }

    #[test]
    fn requests_of_one_sender_are_bounded_and_end() {
        let (in_flight, limits) = (InFlight::default(), limits(40, 100));
        let reserve = |sender: &str| in_flight.reserve(Arc::clone(&limits), sender.to_owned(), None, 0, Some(1));
        let first = reserve("a").unwrap();
        assert_eq!(reason(reserve("a")), ("max_concurrent_requests", RefusedKind::Throttled));
        reserve("b").unwrap();
        drop(first);
        reserve("a").unwrap();
    }
}
