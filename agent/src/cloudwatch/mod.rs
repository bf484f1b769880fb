//! CloudWatch metrics.
//!
//! ```text
//! ListMetrics → Catalogue (series by period) → GetMetricData, 500 at a time → Sent (only news) → OTLP gauges → spool
//! ```
//! Each round reads from the stored position, or from `overlap` ago if that is earlier, since CloudWatch revises its
//! datapoints for some minutes. A gap of any length is read in windows, oldest first, the position moving with each.
//!
//! # Invariants
//! - A datapoint keeps CloudWatch's own time.
//! - A position moves with, or after, the last batch of what lies before it.

mod catalogue;
mod mapping;
mod query;
mod revision;
mod statistics;

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use tenantscope_model::Signal;

use catalogue::{Catalogue, Series};
use mapping::{Point, SeriesId};
use query::Window;
use revision::Sent;

use crate::source::{Source, SourceError, Surroundings};
use crate::spool::Move;
use crate::{batch, config, telemetry};

/// The longest window that one pass reads: what bounds the memory while a long gap is filled.
const LONGEST_WINDOW_MS: i64 = 3 * 3_600_000;
/// The most datapoints in one batch.
const BATCH_POINTS: usize = 5_000;
/// CloudWatch keeps one-minute datapoints for 15 days.
const KEPT_MS: i64 = 15 * 86_400_000;
/// How often series of long periods are asked for.
const LONG_PERIOD_INTERVAL_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// The source for one region.
pub struct CloudWatchMetrics {
    client: Client,
    config: config::CloudWatch,
    surroundings: Surroundings,
    key: String,
    catalogue: Catalogue,
    sent: Sent,
    /// When series of a period longer than a minute were last asked for.
    asked_ms: HashMap<i64, i64>,
}

impl CloudWatchMetrics {
    /// A source that speaks to the region of `aws`.
    pub fn new(aws: &SdkConfig, config: config::CloudWatch, surroundings: Surroundings) -> Self {
        Self {
            client: Client::new(aws),
            key: format!("cloudwatch/{}", surroundings.origin.region),
            config,
            surroundings,
            catalogue: Catalogue::default(),
            sent: Sent::default(),
            asked_ms: HashMap::new(),
        }
    }

    /// Everything up to here was read before.
    fn position_ms(&self, now_ms: i64) -> i64 {
        let stored = self.surroundings.spool.position_ms(&self.key);
        let position = stored.unwrap_or(now_ms - self.config.lookback.as_ms());
        position.clamp(now_ms - KEPT_MS, now_ms)
    }

    /// The windows to read, oldest first; the last ends at the end of the minute that is under way.
    fn windows(&self, position_ms: i64, now_ms: i64) -> Vec<Window> {
        let end_ms = align_up(now_ms, MINUTE_MS);
        let mut start_ms = align_down(position_ms.min(now_ms - self.config.overlap.as_ms()), MINUTE_MS);
        let mut windows = Vec::new();
        while start_ms < end_ms {
            let window = Window { start_ms, end_ms: end_ms.min(start_ms + LONGEST_WINDOW_MS) };
            start_ms = window.end_ms;
            windows.push(window);
        }
        windows
    }

    /// Reads one window for the series of up to a minute, and hands over what is new in it.
    async fn read_window(&mut self, window: Window, position_ms: i64) -> Result<(), SourceError> {
        let series = self.catalogue.short_period();
        let step = Move { source: self.key.clone(), position_ms, ..Move::default() };
        self.read(&series, window, Some(step)).await
    }

    /// Series of longer periods have windows of their own, since their datapoints come late and seldom.
    async fn read_long_periods(&mut self, now_ms: i64) -> Result<(), SourceError> {
        for (period_ms, series) in self.catalogue.long_periods() {
            let every_ms = period_ms.min(LONG_PERIOD_INTERVAL_MS);
            if self.asked_ms.get(&period_ms).is_some_and(|asked| now_ms - asked < every_ms) {
                continue;
            }
            let start_ms = align_down(now_ms - 3 * period_ms - self.config.overlap.as_ms(), period_ms);
            let window = Window { start_ms, end_ms: align_up(now_ms, MINUTE_MS) };
            self.read(&series, window, None).await?;
            self.asked_ms.insert(period_ms, now_ms);
        }
        Ok(())
    }

    async fn read(&mut self, series: &[Series], window: Window, step: Option<Move>) -> Result<(), SourceError> {
        // Held back, so that the window's position goes with its last batch.
        let mut last = None;
        for queried in series.chunks(query::MAX_QUERIES) {
            let found = query::get_metric_data(&self.client, queried, window).await?;
            let news: Vec<(&Series, Vec<Point>)> = queried
                .iter()
                .zip(found)
                .map(|(series, points)| (series, self.sent.news(series.hash, &points)))
                .filter(|(_, points)| !points.is_empty())
                .collect();
            for portion in portions(news) {
                if let Some(before) = last.replace(portion) {
                    self.hand_over(&before, None).await?;
                }
            }
        }
        match (last, step) {
            (Some(last), step) => self.hand_over(&last, step).await,
            (None, Some(step)) => {
                self.surroundings.spool.advance(&step);
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    async fn hand_over(&mut self, portion: &[(&Series, Vec<Point>)], step: Option<Move>) -> Result<(), SourceError> {
        let with_ids: Vec<(&SeriesId, Vec<Point>)> =
            portion.iter().map(|(series, points)| (&*series.id, points.clone())).collect();
        let items = portion.iter().map(|(_, points)| points.len()).sum();
        let request = mapping::request(&self.surroundings.origin, self.config.interval.as_ms(), &with_ids);
        let batch = batch::pack(Signal::Metrics, &request, items, self.surroundings.compression)?;
        self.surroundings.spool.append_repeatable(&batch, step.as_slice()).await?;
        for (series, points) in portion {
            self.sent.remember(series.hash, points);
        }
        Ok(())
    }
}

impl Source for CloudWatchMetrics {
    fn kind(&self) -> &'static str {
        "cloudwatch"
    }

    fn region(&self) -> &str {
        self.surroundings.origin.region.as_str()
    }

    fn interval(&self) -> Duration {
        self.config.interval.0
    }

    async fn round(&mut self, now_ms: i64) -> Result<(), SourceError> {
        let position_ms = self.position_ms(now_ms);
        self.catalogue.refresh(&self.client, &self.config, now_ms, position_ms).await?;
        for window in self.windows(position_ms, now_ms) {
            // A window that ends in the future was read up to now.
            self.read_window(window, window.end_ms.min(now_ms)).await?;
        }
        self.read_long_periods(now_ms).await?;
        let oldest_ms = self.catalogue.longest_period_ms().saturating_mul(4).max(MINUTE_MS);
        self.sent.forget_before(now_ms - self.config.overlap.as_ms() - oldest_ms);
        tracing::debug!(region = %self.region(), series = self.catalogue.len(), "cloudwatch round");
        telemetry::round("cloudwatch", true);
        Ok(())
    }
}

fn align_down(at_ms: i64, to_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(to_ms.max(1))
}

fn align_up(at_ms: i64, to_ms: i64) -> i64 {
    align_down(at_ms + to_ms - 1, to_ms)
}

/// Cuts what was found into portions of bounded size; a series with many points may be cut too.
fn portions(found: Vec<(&Series, Vec<Point>)>) -> Vec<Vec<(&Series, Vec<Point>)>> {
    let mut portions = Vec::new();
    let mut current = Vec::new();
    let mut room = BATCH_POINTS;
    for (series, mut points) in found {
        while points.len() > room {
            let rest = points.split_off(room);
            current.push((series, points));
            portions.push(std::mem::take(&mut current));
            points = rest;
            room = BATCH_POINTS;
        }
        room -= points.len();
        current.push((series, points));
    }
    if !current.is_empty() {
        portions.push(current);
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_hold_everything_in_order_and_no_more_than_a_batch() {
        let series = Series::example();
        let points: Vec<Point> = (0..12_000).map(|at_ms| Point { at_ms, value: 0.0 }).collect();
        let portions = portions(vec![(&series, points.clone()), (&series, points[..10].to_vec())]);
        let sizes: Vec<usize> = portions.iter().map(|p| p.iter().map(|(_, points)| points.len()).sum()).collect();
        assert_eq!(sizes, [5_000, 5_000, 2_010]);
        let all: Vec<Point> = portions.into_iter().flatten().flat_map(|(_, points)| points).collect();
        assert_eq!(all[..12_000], points[..]);
    }

    #[test]
    fn aligned_times() {
        assert_eq!(
            (align_down(119_999, 60_000), align_up(60_001, 60_000), align_up(60_000, 60_000)),
            (60_000, 120_000, 60_000)
        );
    }
}
