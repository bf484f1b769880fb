//! Which series there are: ListMetrics, statistics added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Metric, RecentlyActive};

use super::mapping::SeriesId;
use super::statistics;
use crate::aws::{self, CallError};
use crate::spool::Key;
use crate::{config, telemetry};

/// A listing is done anew after this. CloudWatch itself takes minutes until it lists a new metric.
const REFRESH_MS: i64 = 300_000;
/// For this long after the first listing every round lists anew: a new account's metrics appear one by one.
const SETTLING_MS: i64 = 300_000;
/// `RecentlyActive` covers this much.
const RECENTLY_ACTIVE_MS: i64 = 3 * 3_600_000;
/// The most pages of one listing; a page has 500 metrics.
const MAX_PAGES: usize = 400;

/// A metric as it is listed: namespace, name, dimensions.
type Listed = (String, String, Vec<(String, String)>);

/// A series that is asked for.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) id: Arc<SeriesId>,
    /// Hash of the id.
    pub(super) hash: u64,
}

impl Series {
    fn new(id: SeriesId) -> Self {
        let period = id.period_ms.to_string();
        let mut parts = vec![id.namespace.as_str(), id.metric.as_str(), id.statistic.as_str(), period.as_str()];
        parts.extend(id.dimensions.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        let hash = Key::of(0, &parts).hash;
        Self { id: Arc::new(id), hash }
    }

    #[cfg(test)]
    pub(super) fn example() -> Self {
        Self::new(SeriesId {
            namespace: "AWS/Lambda".into(),
            metric: "Errors".into(),
            dimensions: Vec::new(),
            statistic: "Sum".into(),
            period_ms: 60_000,
        })
    }
}

/// The series of one region by period.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    by_period: BTreeMap<i64, Vec<Series>>,
    first_ms: Option<i64>,
    refreshed_ms: Option<i64>,
}

impl Catalogue {
    /// Lists anew when it is time to. A gap longer than `RecentlyActive` covers needs the metrics of that time too.
    pub(super) async fn refresh(
        &mut self,
        client: &Client,
        config: &config::CloudWatch,
        now_ms: i64,
        position_ms: i64,
    ) -> Result<(), CallError> {
        let settling = self.first_ms.is_none_or(|first| now_ms - first < SETTLING_MS);
        let due = self.refreshed_ms.is_none_or(|at| now_ms - at >= REFRESH_MS);
        if !settling && !due && !self.by_period.is_empty() {
            return Ok(());
        }
        let recent = (now_ms - position_ms < RECENTLY_ACTIVE_MS).then_some(RecentlyActive::Pt3H);
        let listed = list(client, config, recent).await?;
        self.by_period = by_period(listed, config);
        self.first_ms.get_or_insert(now_ms);
        self.refreshed_ms = Some(now_ms);
        Ok(())
    }

    /// The series of up to a minute, which follow the stored position.
    pub(super) fn short_period(&self) -> Vec<Series> {
        self.by_period.range(..=60_000).flat_map(|(_, series)| series.iter().cloned()).collect()
    }

    /// The other series, by period.
    pub(super) fn long_periods(&self) -> Vec<(i64, Vec<Series>)> {
        self.by_period.range(60_001..).map(|(period_ms, series)| (*period_ms, series.clone())).collect()
    }

    pub(super) fn longest_period_ms(&self) -> i64 {
        self.by_period.last_key_value().map_or(0, |(period_ms, _)| *period_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.by_period.values().map(Vec::len).sum()
    }
}

/// Every metric that is wanted, once.
async fn list(
    client: &Client,
    config: &config::CloudWatch,
    recent: Option<RecentlyActive>,
) -> Result<BTreeSet<Listed>, CallError> {
    // Names without wildcards are asked for one by one; patterns need the whole list.
    let all_literal = !config.namespaces.is_empty() && config.namespaces.iter().all(config::Glob::is_literal);
    let asked: Vec<Option<String>> = if all_literal {
        config.namespaces.iter().map(|name| Some(name.as_str().to_owned())).collect()
    } else {
        vec![None]
    };
    let mut listed = BTreeSet::new();
    for namespace in asked {
        let mut next_token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let request = client
                .list_metrics()
                .set_namespace(namespace.clone())
                .set_recently_active(recent.clone())
                .set_next_token(next_token);
            let answer = aws::call("cloudwatch", "ListMetrics", request.send()).await?;
            let wanted = answer.metrics().iter().filter(|metric| is_wanted(config, metric));
            listed.extend(wanted.map(parts));
            next_token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next_token.is_none() {
                break;
            }
        }
    }
    Ok(listed)
}

fn is_wanted(config: &config::CloudWatch, metric: &Metric) -> bool {
    let namespace = metric.namespace().unwrap_or_default();
    config.namespaces.is_empty() || config.namespaces.iter().any(|pattern| pattern.matches(namespace))
}

fn parts(metric: &Metric) -> Listed {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let mut dimensions: Vec<(String, String)> =
        metric.dimensions().iter().map(|dimension| (text(dimension.name()), text(dimension.value()))).collect();
    dimensions.sort();
    (text(metric.namespace()), text(metric.metric_name()), dimensions)
}

fn by_period(listed: BTreeSet<Listed>, config: &config::CloudWatch) -> BTreeMap<i64, Vec<Series>> {
    let mut by_period: BTreeMap<i64, Vec<Series>> = BTreeMap::new();
    let mut count = 0;
    let mut skipped = 0;
    for (namespace, metric, dimensions) in listed {
        let (statistics, period) = statistics::choose(&config.statistics, &namespace, &metric);
        let period_ms = i64::try_from(period.as_millis()).unwrap_or(60_000);
        for statistic in statistics {
            if count >= config.max_metrics {
                skipped += 1;
                continue;
            }
            count += 1;
            let (namespace, metric, dimensions) = (namespace.clone(), metric.clone(), dimensions.clone());
            let id = SeriesId { namespace, metric, dimensions, statistic, period_ms };
            by_period.entry(period_ms).or_default().push(Series::new(id));
        }
    }
    if skipped > 0 {
        telemetry::skipped("cloudwatch", "max_metrics", skipped);
        tracing::warn!(skipped, max_metrics = config.max_metrics, "more metrics than sources.cloudwatch.max_metrics");
    }
    by_period
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_and_periods_make_the_series_and_their_number_is_bounded() {
        let listed = BTreeSet::from([
            ("AWS/Lambda".to_owned(), "Duration".to_owned(), vec![]),
            ("AWS/Lambda".to_owned(), "Errors".to_owned(), vec![("FunctionName".to_owned(), "a".to_owned())]),
            ("AWS/S3".to_owned(), "BucketSizeBytes".to_owned(), vec![]),
        ]);
        let mut config = config::CloudWatch {
            regions: Vec::new(),
            namespaces: Vec::new(),
            interval: config::TimeSpan::from_secs(60),
            lookback: config::TimeSpan::from_secs(60),
            overlap: config::TimeSpan::from_secs(60),
            max_metrics: 100,
            statistics: Vec::new(),
        };
        let all = by_period(listed.clone(), &config);
        assert_eq!(all[&60_000].len(), 4);
        assert_eq!(all[&86_400_000].len(), 1);
        config.max_metrics = 2;
        assert_eq!(by_period(listed, &config).values().map(Vec::len).sum::<usize>(), 2);
    }
}
