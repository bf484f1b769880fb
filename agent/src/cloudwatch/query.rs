//! GetMetricData: up to 500 series at once, all pages.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, ScanBy};

use super::catalogue::Series;
use super::mapping::Point;
use crate::aws::{self, CallError};
use crate::telemetry;

/// The most queries that one call takes.
pub(super) const MAX_QUERIES: usize = 500;

/// The most pages of one answer: a bound, far above what 500 series of three hours need.
const MAX_PAGES: usize = 200;

/// Times from `start_ms` up to but without `end_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
}

/// The error codes that mean that a query is wrong, and asking again does not mend it.
const INVALID_CODES: [&str; 7] = [
    "ValidationError",
    "ValidationException",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "InvalidParameterCombination",
    "InvalidParameterCombinationException",
    "MissingParameter",
];

/// The datapoints of each series, in the order of `series`.
///
/// CloudWatch refuses a whole call for one wrong query. The wrong one is found by halves, left out and counted.
pub(super) async fn get_metric_data(
    client: &Client,
    series: &[Series],
    window: Window,
) -> Result<Vec<Vec<Point>>, CallError> {
    let mut found = Vec::with_capacity(series.len());
    let mut waiting = vec![series];
    while let Some(asked) = waiting.pop() {
        match get_at_once(client, asked, window).await {
            Ok(points) => found.extend(points),
            Err(error) if is_invalid(&error) && asked.len() > 1 => {
                let (first, second) = asked.split_at(asked.len() / 2);
                waiting.extend([second, first]);
            }
            Err(error) if is_invalid(&error) => {
                telemetry::skipped("cloudwatch", "query", 1);
                tracing::warn!(series = ?asked.first().map(|series| &series.id), %error, "cloudwatch refuses a query");
                found.push(Vec::new());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_invalid(error: &CallError) -> bool {
    error.code.as_deref().is_some_and(|code| INVALID_CODES.contains(&code))
}

async fn get_at_once(client: &Client, series: &[Series], window: Window) -> Result<Vec<Vec<Point>>, CallError> {
    let mut found = vec![Vec::new(); series.len()];
    let queries: Vec<MetricDataQuery> = series.iter().enumerate().map(|(i, series)| query(i, series)).collect();
    let mut next_token = None;
    for _ in 0..MAX_PAGES {
        telemetry::metrics_requested(queries.len());
        let request = client
            .get_metric_data()
            .set_metric_data_queries(Some(queries.clone()))
            .start_time(DateTime::from_millis(window.start_ms))
            .end_time(DateTime::from_millis(window.end_ms))
            .scan_by(ScanBy::TimestampAscending)
            .set_next_token(next_token);
        let answer = aws::call("cloudwatch", "GetMetricData", request.send()).await?;
        for result in answer.metric_data_results() {
            let place = result.id().and_then(|id| id.strip_prefix('m')).and_then(|number| number.parse::<usize>().ok());
            let Some(points) = place.and_then(|place| found.get_mut(place)) else { continue };
            let pairs = result.timestamps().iter().zip(result.values());
            points.extend(pairs.filter_map(|(at, value)| Some(Point { at_ms: at.to_millis().ok()?, value: *value })));
        }
        next_token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
        if next_token.is_none() {
            return Ok(found);
        }
    }
    let message = format!("more than {MAX_PAGES} pages");
    Err(CallError { service: "cloudwatch", operation: "GetMetricData", code: None, message })
}

fn query(place: usize, series: &Series) -> MetricDataQuery {
    let dimensions = series.id.dimensions.iter();
    let metric = Metric::builder()
        .namespace(&series.id.namespace)
        .metric_name(&series.id.metric)
        .set_dimensions(Some(
            dimensions.map(|(name, value)| Dimension::builder().name(name).value(value).build()).collect(),
        ))
        .build();
    let statistic = MetricStat::builder()
        .metric(metric)
        .period(i32::try_from(series.id.period_ms / 1_000).unwrap_or(60))
        .stat(&series.id.statistic)
        .build();
    MetricDataQuery::builder().id(format!("m{place}")).metric_stat(statistic).return_data(true).build()
}
