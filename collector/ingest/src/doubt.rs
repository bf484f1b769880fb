//! Senders that are doubted: much of what they sent of late came to nothing once it was decompressed and decoded.
//!
//! Each sender has a credit of time that may be wasted for it. Whoever has used it up is decoded one batch after another
//! with pauses in between, on one thread for all who are doubted, and past a few that wait nothing of it is read any more.
//! So bombs and garbage, as fast as they come, take a small part of one core, and what a good sender gets wrong costs it
//! nothing.

use std::time::Duration;

use tenantscope_wire::{Refused, RefusedKind};
use tokio::time::Instant;

use crate::owed::Owed;
use crate::telemetry;
use crate::turns::{Turn, Turns};

/// Time that may be wasted for a sender at once.
const CREDIT: Duration = Duration::from_millis(250);
/// Of each second of which the credit grows again: a hundredth of a core.
const WASTE_PERCENT: u32 = 1;
/// However much was wasted, after that time a sender is trusted anew.
const MAX_DOUBTED: Duration = Duration::from_secs(60);
/// The pause after a wasted decoding, as a multiple of what it took.
const PAUSES: u32 = 9;
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Batches of one doubted sender that wait.
const MAX_WAITING: usize = 3;

/// Whose credit is used up.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// When a sender's credit is whole again.
    whole_at: Owed,
    turns: Turns,
}

impl Default for Doubt {
    fn default() -> Self {
        Self { whole_at: Owed::default(), turns: Turns::new(1) }
    }
}

/// Time in which a credit that is used up is whole again.
fn whole_after() -> Duration {
    CREDIT * 100 / WASTE_PERCENT
}

/// The right to be decoded.
#[derive(Debug)]
pub(crate) struct Place {
    turn: Turn,
    is_doubted: bool,
}

impl Doubt {
    /// Refuses a batch of a doubted sender of which others wait, before it is read.
    pub(crate) fn check(&self, sender: &str) -> Result<(), Refused> {
        if self.is_doubted(sender, Instant::now()) && self.turns.waiting_of(sender) >= MAX_WAITING {
            let message = "much of what this sender sent came to nothing, and enough of it waits to be decoded";
            return Err(Refused::throttled("too_much_refused", message, MAX_PAUSE));
        }
        Ok(())
    }

    /// A place among those who are trusted, or among those who are not.
    pub(crate) async fn place(&self, trusted: &Turns, sender: &str) -> Result<Place, Refused> {
        if !self.is_doubted(sender, Instant::now()) {
            let turn = trusted.turn(sender).await;
            // What came of others while this one waited may have raised doubts.
            if !self.is_doubted(sender, Instant::now()) {
                return Ok(Place { turn, is_doubted: false });
            }
        }
        self.check(sender)?;
        telemetry::doubted();
        Ok(Place { turn: self.turns.turn(sender).await, is_doubted: true })
    }

    /// Notes what decoding a batch took that was refused for good. A doubted sender's place is free after a pause.
    pub(crate) fn note(&self, sender: &str, refused: &Refused, took: Duration, place: Place) {
        if !matches!(refused.kind, RefusedKind::Invalid | RefusedKind::TooLarge | RefusedKind::Unsupported) {
            return;
        }
        self.waste(sender, took, Instant::now());
        if place.is_doubted {
            tokio::spawn(async move {
                tokio::time::sleep((took * PAUSES).min(MAX_PAUSE)).await;
                drop(place.turn);
            });
        }
    }

    fn waste(&self, sender: &str, took: Duration, now: Instant) {
        self.whole_at.add(sender, took * 100 / WASTE_PERCENT, whole_after() + MAX_DOUBTED, now);
    }

    fn is_doubted(&self, sender: &str, now: Instant) -> bool {
        self.whole_at.until(sender).is_some_and(|at| at > now + whole_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_sender_is_doubted_past_its_credit_and_trusted_anew_later() {
        let (doubt, now) = (Doubt::default(), Instant::now());
        doubt.waste("a", 250 * MS, now);
        assert!(!doubt.is_doubted("a", now));
        doubt.waste("a", 10 * MS, now);
        assert!(doubt.is_doubted("a", now) && !doubt.is_doubted("b", now));
        assert!(!doubt.is_doubted("a", now + 1001 * MS), "a hundredth of the time is forgiven");
        doubt.waste("a", 3600 * 1000 * MS, now);
        assert!(doubt.is_doubted("a", now + MAX_DOUBTED - MS) && !doubt.is_doubted("a", now + MAX_DOUBTED));
    }

    #[test]
    fn now_and_then_a_bad_batch_raises_no_doubt() {
        let (doubt, begin) = (Doubt::default(), Instant::now());
        for second in 0..10_000 {
            doubt.waste("a", 10 * MS, begin + second * 1000 * MS);
        }
        assert!(!doubt.is_doubted("a", begin + 9_999 * 1000 * MS));
    }

    #[tokio::test]
    async fn doubted_batches_wait_for_one_another_and_for_the_pause_and_past_a_few_are_refused_unread() {
        let (doubt, trusted) = (std::sync::Arc::new(Doubt::default()), Turns::new(4));
        doubt.waste("bully", 1000 * MS, Instant::now());
        let first = doubt.place(&trusted, "bully").await.unwrap();
        assert!(first.is_doubted);
        for waiting in 0..MAX_WAITING {
            let (of_task, trusted) = (std::sync::Arc::clone(&doubt), trusted.clone());
            tokio::spawn(async move {
                let place = of_task.place(&trusted, "bully").await.unwrap();
                of_task.note("bully", &Refused::invalid("decode", ""), 10 * MS, place);
            });
            while doubt.turns.waiting_of("bully") == waiting {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(doubt.check("bully").unwrap_err().reason, "too_much_refused");
        doubt.check("other").unwrap();
        assert!(!doubt.place(&trusted, "other").await.unwrap().is_doubted);
        let began = Instant::now();
        drop(first);
        drop(doubt.place(&trusted, "bully").await.unwrap());
        assert!(began.elapsed() >= 90 * MS * MAX_WAITING as u32, "each of the others was followed by its pause");
    }
}
