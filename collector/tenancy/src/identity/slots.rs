//! How many may do something dear at the same time, and how much of that one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Places for work that a stranger can start. One address takes half of them at most, so that a flood from there leaves
/// room for others.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    all: usize,
    of_one: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    address: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

impl Slots {
    /// At least one.
    pub(crate) fn new(all: usize) -> Self {
        let all = all.max(1);
        Self { all, of_one: all.div_ceil(2), taken: Arc::default() }
    }

    /// A place, if there is one.
    pub(crate) fn take(&self, address: IpAddr) -> Option<Slot> {
        let address = network(address);
        let mut taken = self.taken.lock();
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= self.all || of_address >= self.of_one {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(Slot { address, taken: Arc::clone(&self.taken) })
    }
}

/// What counts as one address: of IPv6, whoever has one has a /64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        taken.all -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let slots = Slots::new(4);
        let take = |address: &str| slots.take(address.parse().unwrap());
        let first = [take("2001:db8::1"), take("2001:db8::ffff:2")];
        assert!(first.iter().all(Option::is_some) && take("2001:db8::3").is_none());
        let others = [take("2001:db8:0:1::1"), take("::ffff:10.0.0.1")];
        assert!(others.iter().all(Option::is_some));
        drop(first);
        assert!(slots.taken.lock().by_address.contains_key(&IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let slots = Slots::new(4);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let (first, second) = (slots.take(a), slots.take(a));
        assert!(first.is_some() && second.is_some() && slots.take(a).is_none());
        let others = [slots.take(b), slots.take(b)];
        assert!(others.iter().all(Option::is_some) && slots.take(IpAddr::from([10, 0, 0, 3])).is_none());
        drop(first);
        assert!(slots.take(a).is_some());
        drop((second, others));
        assert!(slots.taken.lock().by_address.is_empty());
    }
}
