//! What a query used, as `stats` asks. The peak is what it held, in samples: nothing here counts values as
//! Prometheus's engine does.

use std::time::Duration;

use tenantscope_model::{QueryBudget, Sample};
use tenantscope_promql::Times;

use super::numbers;

/// What a request wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing.
    Nothing,
    /// Sums.
    Sums,
    /// Sums, and samples by time.
    Steps,
}

impl Wanted {
    /// The parameter `stats`; with a warning for a value that Prometheus will not take for ever.
    pub(super) fn of(text: Option<&str>) -> (Self, Option<String>) {
        match text {
            None => (Self::Nothing, None),
            Some("true") => (Self::Sums, None),
            Some("all") => (Self::Steps, None),
            Some(other) => {
                let warning = format!(
                    "value {other:?} for parameter \"stats\" is deprecated and will be rejected in the next major \
                     release, use \"true\" or \"all\""
                );
                (Self::Sums, Some(warning))
            }
        }
    }
}

/// Where a query's time went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timings {
    /// In the queue.
    pub(super) queued: Duration,
    /// Reading the expression.
    pub(super) preparing: Duration,
    /// Evaluating it.
    pub(super) evaluating: Duration,
}

/// What a query used.
#[derive(Debug)]
pub(super) struct Stats {
    timings: Timings,
    /// Samples that the times looked at, a sample once for each time.
    looked_at: Vec<u64>,
    /// Samples that the times read, each at the first time that looked at it.
    read: Vec<u64>,
    /// The most that was held at once, in bytes.
    peak_bytes: u64,
    /// The times, if the request wants the samples of each.
    times: Option<Times>,
}

impl Stats {
    /// What a budget counted at these times.
    pub(super) fn new(timings: Timings, budget: &QueryBudget, wanted: Wanted, times: Times) -> Self {
        let (looked_at, read) =
            budget.steps().map(|steps| (steps.counts().collect(), steps.reads().collect())).unwrap_or_default();
        let times = (wanted == Wanted::Steps).then_some(times);
        Self { timings, looked_at, read, peak_bytes: budget.peak_bytes(), times }
    }

    /// Writes them as an object.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let Timings { queued, preparing, evaluating } = self.timings;
        let timings = [
            ("evalTotalTime", preparing + evaluating),
            ("resultSortTime", Duration::ZERO),
            ("queryPreparationTime", preparing),
            ("innerEvalTime", evaluating),
            ("execQueueTime", queued),
            ("execTotalTime", queued + preparing + evaluating),
        ];
        out.extend_from_slice(b"{\"timings\":{");
        for (at, (name, time)) in timings.into_iter().enumerate() {
            field(out, at == 0, name);
            numbers::scalar(out, time.as_secs_f64());
        }
        out.extend_from_slice(b"},\"samples\":{");
        let lists = [
            ("totalQueryableSamplesPerStep", "totalQueryableSamples", &self.looked_at),
            ("samplesReadPerStep", "samplesRead", &self.read),
        ];
        for (at, (by_step, sum, counts)) in lists.into_iter().enumerate() {
            if let Some(times) = self.times {
                field(out, at == 0, by_step);
                pairs(out, times, counts);
            }
            field(out, at == 0 && self.times.is_none(), sum);
            count(out, counts.iter().sum());
        }
        field(out, false, "peakSamples");
        count(out, self.peak_bytes / size_of::<Sample>() as u64);
        out.extend_from_slice(b"}}");
    }
}

fn field(out: &mut Vec<u8>, first: bool, name: &str) {
    if !first {
        out.push(b',');
    }
    out.extend_from_slice(format!("\"{name}\":").as_bytes());
}

fn count(out: &mut Vec<u8>, count: u64) {
    numbers::integer(out, i64::try_from(count).unwrap_or(i64::MAX));
}

fn pairs(out: &mut Vec<u8>, times: Times, counts: &[u64]) {
    out.push(b'[');
    for (at, samples) in counts.iter().enumerate() {
        let step = i64::try_from(at).unwrap_or(i64::MAX);
        out.extend_from_slice(if at == 0 { b"[" } else { b",[" });
        numbers::scalar_time(out, times.start_ms.saturating_add(step.saturating_mul(times.step_ms)));
        out.push(b',');
        count(out, *samples);
        out.push(b']');
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn samples_are_told_by_time_if_asked_for() {
        let budget = QueryBudget::new(Instant::now() + Duration::from_secs(60), 100).with_steps(2);
        budget.take_bytes(5 * size_of::<Sample>()).unwrap();
        let steps = budget.steps().unwrap();
        steps.add(0, 3);
        steps.add(1, 4);
        steps.add_read(0, 3);
        steps.add_read(1, 1);
        let times = Times { start_ms: 1500, end_ms: 3000, step_ms: 1000 };
        let written = |wanted| {
            let mut out = Vec::new();
            Stats::new(Timings::default(), &budget, wanted, times).write(&mut out);
            serde_json::from_slice::<serde_json::Value>(&out).unwrap()["samples"].clone()
        };
        let sums = serde_json::json!({"totalQueryableSamples": 7, "samplesRead": 4, "peakSamples": 5});
        assert_eq!(written(Wanted::Sums), sums);
        assert_eq!(written(Wanted::Steps)["totalQueryableSamplesPerStep"], serde_json::json!([[1.5, 3], [2.5, 4]]));
        assert_eq!(written(Wanted::Steps)["samplesReadPerStep"], serde_json::json!([[1.5, 3], [2.5, 1]]));
        assert_eq!(Wanted::of(Some("all")), (Wanted::Steps, None));
        assert!(Wanted::of(Some("1")).1.unwrap().contains("deprecated"));
    }
}
