//! Time that senders owe, since each of their missteps costs some: until when each does, in bounded memory.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Senders that are remembered; each is forgotten when it owes nothing any more.
pub(crate) const MAX_SENDERS: usize = 20_000;

/// Until when each sender owes.
#[derive(Debug, Default)]
pub(crate) struct Owed(Mutex<HashMap<String, Instant>>);

impl Owed {
    /// One more misstep, which costs `time`; until when the sender owes now, `at_most` from now. Absent where too many
    /// others owe for it to be remembered.
    pub(crate) fn add(&self, sender: &str, time: Duration, at_most: Duration, now: Instant) -> Option<Instant> {
        let mut until = self.0.lock();
        if until.len() >= MAX_SENDERS && !until.contains_key(sender) {
            until.retain(|_, at| *at > now);
            if until.len() >= MAX_SENDERS {
                return None;
            }
        }
        let at = until.entry(sender.to_owned()).or_insert(now);
        *at = ((*at).max(now) + time).min(now + at_most);
        Some(*at)
    }

    /// Until when a sender owes.
    pub(crate) fn until(&self, sender: &str) -> Option<Instant> {
        self.0.lock().get(sender).copied()
    }

    #[cfg(test)]
    pub(crate) fn senders(&self) -> usize {
        self.0.lock().len()
    }
}
