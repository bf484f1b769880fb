//! So much a second on average, and so much at once.

use std::time::Duration;

/// The longest that anybody is told to wait.
const MAX_DELAY_SECONDS: f64 = 3600.0;

/// By so much a batch may be late behind a younger one.
const OVERTAKEN_BY_MS: i64 = 60_000;

/// What is left of a rate.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    /// Below zero after a batch that was larger than what was left; it is paid back before the next one.
    left: f64,
    refilled_at_ms: Option<i64>,
}

/// So many seconds' worth may come at once, where no burst is configured.
const BURST_SECONDS: f64 = 10.0;

/// What a rate allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

impl Allowed {
    pub(crate) fn new(rate: u64, burst: Option<u64>) -> Self {
        let per_second = rate as f64;
        Self { per_second, burst: burst.map_or(per_second * BURST_SECONDS, |burst| burst as f64) }
    }
}

impl Rate {
    /// Takes an amount, or says after how long there is something again.
    pub(crate) fn spend(&mut self, amount: f64, allowed: Allowed, now_ms: i64) -> Result<(), Duration> {
        self.check(allowed, now_ms)?;
        self.left -= amount;
        Ok(())
    }

    /// Whether there is something left, or after how long there is.
    pub(crate) fn check(&mut self, allowed: Allowed, now_ms: i64) -> Result<(), Duration> {
        let Allowed { per_second, burst } = allowed;
        let passed_ms = self.refilled_at_ms.map_or(i64::MAX, |at_ms| now_ms.saturating_sub(at_ms).max(0));
        self.left = (self.left + passed_ms as f64 / 1000.0 * per_second).min(burst);
        // Batches overtake one another, and no time counts twice for that. A clock that was put back goes on from there.
        let is_overtaken = |at_ms: &i64| *at_ms > now_ms && *at_ms - now_ms < OVERTAKEN_BY_MS;
        self.refilled_at_ms = Some(self.refilled_at_ms.filter(is_overtaken).unwrap_or(now_ms));
        if self.left <= 0.0 {
            let seconds = if per_second > 0.0 { (1.0 - self.left) / per_second } else { MAX_DELAY_SECONDS };
            return Err(Duration::from_secs_f64(seconds.clamp(0.1, MAX_DELAY_SECONDS)));
        }
        Ok(())
    }

    /// Takes an amount, whatever is left.
    pub(crate) fn owe(&mut self, amount: f64) {
        self.left -= amount;
    }

    /// What was taken for nothing. The next refill keeps it within the burst.
    pub(crate) fn give_back(&mut self, amount: f64) {
        self.left += amount;
    }
}
