//! So much a second on average, and so much at once.

use std::time::Duration;

/// The longest that anybody is told to wait.
const MAX_DELAY_SECONDS: f64 = 3600.0;

/// What is left of a rate.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Below zero after a batch that was larger than what was left; it is paid back before the next one.
    left: f64,
    refilled_at_ms: Option<i64>,
}

/// What a rate allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    pub(super) per_second: f64,
    pub(super) burst: f64,
}

impl Rate {
    /// Takes an amount, or says after how long there is something again.
    pub(super) fn spend(&mut self, amount: f64, allowed: Allowed, now_ms: i64) -> Result<(), Duration> {
        let Allowed { per_second, burst } = allowed;
        // A clock that was put back refills nothing.
        let passed_ms = self.refilled_at_ms.map_or(i64::MAX, |at_ms| now_ms.saturating_sub(at_ms).max(0));
        self.left = (self.left + passed_ms as f64 / 1000.0 * per_second).min(burst);
        self.refilled_at_ms = Some(now_ms);
        if self.left <= 0.0 {
            let seconds = if per_second > 0.0 { (1.0 - self.left) / per_second } else { MAX_DELAY_SECONDS };
            return Err(Duration::from_secs_f64(seconds.clamp(0.1, MAX_DELAY_SECONDS)));
        }
        self.left -= amount;
        Ok(())
    }

    /// What was taken for nothing. The next refill keeps it within the burst.
    pub(super) fn give_back(&mut self, amount: f64) {
        self.left += amount;
    }
}
