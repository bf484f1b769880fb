//! Calls no faster than a rate, with a short burst.

use std::time::Duration;

use tokio::time::Instant;

/// So many calls may come at once after a pause.
const BURST: f64 = 10.0;

/// A bucket of calls.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    left: f64,
    filled_at: Instant,
}

impl Pace {
    /// This rate.
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, left: BURST, filled_at: Instant::now() }
    }

    /// Another rate from now on.
    pub(crate) fn set_rate(&mut self, per_second: f64) {
        self.per_second = per_second;
    }

    /// Waits for its turn.
    pub(crate) async fn wait(&mut self) {
        let pause = self.take(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes a turn, which comes after the pause that is returned.
    fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled_at);
        self.left = (self.left + passed.as_secs_f64() * self.per_second).min(BURST) - 1.0;
        self.filled_at = now;
        Duration::from_secs_f64((-self.left / self.per_second).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let begun = Instant::now();
        let mut pace = Pace::new(5.0);
        let mut now = begun;
        for turn in 0..60 {
            now += pace.take(now);
            assert!(turn >= 10 || now == begun);
        }
        let taken = now - begun;
        assert!(taken > Duration::from_millis(9_900) && taken < Duration::from_millis(10_100), "{taken:?}");
        pace.take(now + Duration::from_secs(3600));
        assert!(pace.left <= BURST);
    }
}
