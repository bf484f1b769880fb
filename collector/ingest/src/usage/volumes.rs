//! What a tenant writes by signal, and the rate that bounds it.

use tenantscope_codec::Volume;
use tenantscope_model::{Bytes, Signal};
use tenantscope_tenancy::Quota;
use tenantscope_wire::Refused;

use super::rate::{Allowed, Rate};

const SIGNALS: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Spans];

/// What is left of a tenant's rates.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    samples: Rate,
    log_bytes: Rate,
    spans: Rate,
}

/// What a batch took of each, in the order of the signals above.
#[derive(Debug, Default)]
pub(super) struct Paid([u64; 3]);

/// The rate of a signal.
struct Bound {
    /// Its name in the configuration, and as a reason.
    name: &'static str,
    what: &'static str,
    rate: u64,
    burst: Option<u64>,
}

impl Bound {
    fn of(quota: &Quota, signal: Signal) -> Option<Self> {
        let bytes = |bound: Option<Bytes>| bound.map(|bound| bound.0);
        let (name, what, rate, burst) = match signal {
            Signal::Metrics => ("samples_per_second", "samples", quota.samples_per_second, quota.samples_burst),
            Signal::Logs => (
                "log_bytes_per_second",
                "bytes of logs",
                bytes(quota.log_bytes_per_second),
                bytes(quota.log_burst_bytes),
            ),
            Signal::Spans => ("spans_per_second", "spans", quota.spans_per_second, quota.spans_burst),
        };
        rate.map(|rate| Self { name, what, rate, burst })
    }

    fn allowed(&self) -> Allowed {
        Allowed::new(self.rate, self.burst)
    }

    fn refused(&self, delay: std::time::Duration) -> Refused {
        Refused::throttled(self.name, format!("over {} {} a second", self.rate, self.what), delay)
    }
}

impl Volumes {
    /// Refuses where nothing is left.
    pub(super) fn check(&mut self, signal: Signal, quota: &Quota, now_ms: i64) -> Result<(), Refused> {
        let Some(bound) = Bound::of(quota, signal) else { return Ok(()) };
        self.of(signal).check(bound.allowed(), now_ms).map_err(|delay| bound.refused(delay))
    }

    /// Takes what a batch holds, and notes what was taken.
    pub(super) fn spend(&mut self, paid: &mut Paid, quota: &Quota, volume: Volume, now_ms: i64) -> Result<(), Refused> {
        let amounts = [volume.samples, volume.log_bytes, volume.spans];
        for ((signal, amount), paid) in SIGNALS.into_iter().zip(amounts).zip(&mut paid.0) {
            if let (Some(bound), true) = (Bound::of(quota, signal), amount > 0) {
                let spent = self.of(signal).spend(amount as f64, bound.allowed(), now_ms);
                spent.map_err(|delay| bound.refused(delay))?;
                *paid = amount;
            }
        }
        Ok(())
    }

    /// What was taken for nothing.
    pub(super) fn give_back(&mut self, paid: &Paid) {
        for (signal, paid) in SIGNALS.into_iter().zip(paid.0) {
            self.of(signal).give_back(paid as f64);
        }
    }

    fn of(&mut self, signal: Signal) -> &mut Rate {
        match signal {
            Signal::Metrics => &mut self.samples,
            Signal::Logs => &mut self.log_bytes,
            Signal::Spans => &mut self.spans,
        }
    }
}
