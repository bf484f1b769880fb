//! How fast refusals are answered: whoever is refused much waits for each further answer, so that its next request comes
//! later. Asking again at once then costs the others nothing.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::owed::Owed;
use crate::telemetry;

/// Refusals of one sender that are answered at once, on average and in a burst.
const PER_SECOND: u32 = 50;
const BURST: Duration = Duration::from_secs(2);
/// The longest that an answer waits; senders give up after several times that.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Answers that wait at once. Past that they don't: what waits takes memory.
const MAX_WAITING: usize = 10_000;

/// Who was refused how much of late.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When a sender's refusals so far would have been answered, one after another.
    answered: Owed,
    waiting: Semaphore,
}

impl Default for Pace {
    fn default() -> Self {
        Self { answered: Owed::default(), waiting: Semaphore::new(MAX_WAITING) }
    }
}

impl Pace {
    /// Counts a refusal of a sender (or of an address, where nobody is known by it), and waits as long as its answer must.
    pub(crate) async fn wait(&self, sender: &str) {
        let wait = self.wait_at(sender, Instant::now());
        if wait.is_zero() {
            return;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return };
        telemetry::paced();
        tokio::time::sleep(wait).await;
    }

    fn wait_at(&self, sender: &str, now: Instant) -> Duration {
        // One that goes on does not owe for ever.
        let answered_at = self.answered.add(sender, Duration::from_secs(1) / PER_SECOND, BURST + MAX_WAIT, now);
        answered_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now + BURST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owed::MAX_SENDERS;

    #[test]
    fn a_flood_of_refusals_is_slowed_down_and_others_are_not() {
        let (pace, now) = (Pace::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(pace.wait_at("a", now), Duration::ZERO);
        }
        assert_eq!(pace.wait_at("a", now), Duration::from_millis(20));
        for _ in 0..1000 {
            assert!(pace.wait_at("a", now) <= MAX_WAIT);
        }
        assert_eq!(pace.wait_at("a", now), MAX_WAIT);
        assert_eq!(pace.wait_at("b", now), Duration::ZERO);
        assert_eq!(pace.wait_at("a", now + BURST + MAX_WAIT), Duration::ZERO, "what it owed is past");
    }

    #[test]
    fn senders_that_are_remembered_are_bounded() {
        let (pace, now) = (Pace::default(), Instant::now());
        for i in 0..MAX_SENDERS {
            pace.wait_at(&i.to_string(), now);
        }
        pace.wait_at("one more", now);
        assert_eq!(pace.answered.senders(), MAX_SENDERS);
        pace.wait_at("one more", now + Duration::from_secs(1));
        assert_eq!(pace.answered.senders(), 1);
    }
}
