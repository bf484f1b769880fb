//! `/tenantscope/v1/cost`: what each tenant used and what that cost, by day, as JSON and CSV.
//!
//! Nothing is kept for it: the collector writes the use of each tenant as counters into the store, and a day's use is their
//! anchored increase over the day, which counts from the last sample before it and guesses nothing. A restart is a counter's
//! reset; a kill loses what was counted since the last round of the counters (`limits.own_series_interval`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tenantscope_model::{Labels, Scope, TenantId};
use tenantscope_promql::{Evaluator, PointValue, QueryOptions, Value};
use tenantscope_slo::csv_field;
use tenantscope_tenancy::{CostConfig, CostKind, Prices};
use tokio::sync::Semaphore;

use crate::Scoped;
use crate::clock::now_ms;
use crate::tenantscope::{Asked, problem};

/// Days of one answer.
const MAX_DAYS: i64 = 92;
/// Answers that are made at the same time; more wait.
const CONCURRENT: usize = 2;
/// How long one query for one day may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Samples that it may load: 6,000 tenants with a day of minutes several times over.
const MAX_SAMPLES: u64 = 50_000_000;

/// What is read.
#[derive(Clone)]
pub struct Sources {
    evaluator: Evaluator,
    config: Arc<RwLock<CostConfig>>,
    permits: Arc<Semaphore>,
}

impl Sources {
    /// The counters in this evaluator's store, with the prices that are in force.
    pub fn new(evaluator: Evaluator, config: CostConfig) -> Self {
        Self { evaluator, config: Arc::new(RwLock::new(config)), permits: Arc::new(Semaphore::new(CONCURRENT)) }
    }

    /// Other prices from now on, for all clones.
    pub fn replace(&self, config: CostConfig) {
        *self.config.write() = config;
    }
}

/// The routes.
pub fn routes(sources: Sources) -> Router {
    Router::new().route("/tenantscope/v1/cost", get(show)).with_state(sources)
}

#[derive(Debug, Deserialize)]
struct Wanted {
    /// `2026-11-30`, in UTC; today without it.
    from: Option<String>,
    /// The last day; the first one without it.
    to: Option<String>,
    /// One tenant; all that the reader may see without it.
    tenant: Option<String>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
}

#[derive(Debug, Serialize)]
struct Costs {
    currency: String,
    /// Those in force; what was counted before a change was priced by the ones of its time.
    prices: Prices,
    days: Vec<Day>,
}

#[derive(Debug, Serialize)]
struct Day {
    day: String,
    tenants: Vec<TenantDay>,
}

/// What one tenant used on one day.
#[derive(Debug, Default, Serialize)]
struct TenantDay {
    tenant: String,
    received_bytes: f64,
    samples: f64,
    /// On average while the collector ran; 0 where they are not counted.
    active_series: f64,
    log_bytes: f64,
    spans: f64,
    queries: f64,
    /// What the day's data takes in files, by the stores' averages.
    storage_bytes: f64,
    /// By what it was for.
    costs: BTreeMap<String, f64>,
    cost: f64,
}

async fn show(State(sources): State<Sources>, Scoped(scope): Scoped, Asked(wanted): Asked<Wanted>) -> Response {
    let now_ms = now_ms();
    let days = match days_of(&wanted, now_ms) {
        Ok(days) => days,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why),
    };
    // A tenant that is outside the scope and one that used nothing look alike.
    let scope = match &wanted.tenant {
        None => scope,
        Some(tenant) => TenantId::try_new(tenant).map_or(Scope::none(), |tenant| scope.intersect(&Scope::only(tenant))),
    };
    let config = sources.config.read().clone();
    let Ok(permit) = Arc::clone(&sources.permits).acquire_owned().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, &"shutting down");
    };
    let made = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let day = |day: &Date| used_on(&sources.evaluator, &scope, *day, now_ms, &config.currency);
        let days = days.iter().map(day).collect::<Result<Vec<_>, String>>()?;
        Ok::<Costs, String>(Costs { currency: config.currency, prices: config.prices, days })
    });
    match made.await {
        Ok(Ok(costs)) if wanted.format == Format::Csv => {
            ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], costs.to_csv()).into_response()
        }
        Ok(Ok(costs)) => Json(costs).into_response(),
        Ok(Err(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn days_of(wanted: &Wanted, now_ms: i64) -> Result<Vec<Date>, String> {
    let today = Timestamp::from_millisecond(now_ms).map_err(|error| error.to_string())?.to_zoned(TimeZone::UTC).date();
    let date = |text: &Option<String>| text.as_deref().map(day_of).transpose();
    let from = date(&wanted.from)?.unwrap_or(today);
    let to = date(&wanted.to)?.unwrap_or(from);
    if to < from {
        return Err(format!("to {to} is before from {from}"));
    }
    let span = from.until(to).map_err(|error| error.to_string())?;
    if i64::from(span.get_days()) >= MAX_DAYS {
        return Err(format!("over {MAX_DAYS} days"));
    }
    Ok(from.series(1.day()).take_while(|day| *day <= to).collect())
}

fn day_of(text: &str) -> Result<Date, String> {
    text.parse().map_err(|_| format!("{text:.32?} is no day such as 2026-11-30"))
}

/// A field of a tenant's day, and the query over the day's range for it.
type Used = (&'static str, fn(&mut TenantDay) -> &mut f64);

const COUNTERS: [Used; 6] = [
    ("tenantscope_tenant_received_bytes_total", |day| &mut day.received_bytes),
    ("tenantscope_tenant_samples_total", |day| &mut day.samples),
    ("tenantscope_tenant_log_bytes_total", |day| &mut day.log_bytes),
    ("tenantscope_tenant_spans_total", |day| &mut day.spans),
    ("tenantscope_tenant_queries_total", |day| &mut day.queries),
    ("tenantscope_tenant_stored_bytes_total", |day| &mut day.storage_bytes),
];

fn used_on(evaluator: &Evaluator, scope: &Scope, day: Date, now_ms: i64, currency: &str) -> Result<Day, String> {
    let start = day.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let end = start.checked_add(1.day()).map_err(|error| error.to_string())?;
    let (start_ms, end_ms) = (start.timestamp().as_millisecond(), end.timestamp().as_millisecond().min(now_ms));
    let mut tenants: BTreeMap<String, TenantDay> = BTreeMap::new();
    if end_ms <= start_ms {
        return Ok(Day { day: day.to_string(), tenants: Vec::new() });
    }
    let range_ms = end_ms - start_ms;
    let ask = |query: &str| ask(evaluator, scope, query, end_ms);
    for (counter, field) in COUNTERS {
        let increase = format!("sum by (tenant) (increase({counter}[{range_ms}ms] anchored)) > 0");
        for (labels, value) in ask(&increase)? {
            *field(of(&mut tenants, &labels)) = value.round();
        }
    }
    let average = format!("sum by (tenant) (avg_over_time(tenantscope_tenant_active_series[{range_ms}ms])) > 0");
    for (labels, value) in ask(&average)? {
        of(&mut tenants, &labels).active_series = value;
    }
    let costs = format!(
        "sum by (tenant, kind) (increase(tenantscope_tenant_cost_total{{currency={currency:?}}}[{range_ms}ms] anchored)) > 0"
    );
    for (labels, value) in ask(&costs)? {
        let kind = labels.get("kind").unwrap_or("").to_owned();
        let day = of(&mut tenants, &labels);
        day.cost += value;
        *day.costs.entry(kind).or_default() += value;
    }
    Ok(Day { day: day.to_string(), tenants: tenants.into_values().collect() })
}

fn of<'a>(tenants: &'a mut BTreeMap<String, TenantDay>, labels: &Labels) -> &'a mut TenantDay {
    let tenant = labels.get("tenant").unwrap_or("");
    tenants.entry(tenant.to_owned()).or_insert_with(|| TenantDay { tenant: tenant.to_owned(), ..TenantDay::default() })
}

fn ask(evaluator: &Evaluator, scope: &Scope, query: &str, at_ms: i64) -> Result<Vec<(Labels, f64)>, String> {
    let expr = tenantscope_promql::parse(query).map_err(|error| error.to_string())?;
    let budget = evaluator.budget(TIMEOUT, MAX_SAMPLES);
    let options = QueryOptions { budget: &budget, lookback_ms: None, text: "" };
    let answer = evaluator.engine().instant(&**evaluator.select(), scope, &expr, at_ms, options);
    let Value::Vector(elements) = answer.map_err(|error| error.to_string())?.value else { return Ok(Vec::new()) };
    let float = |value| match value {
        PointValue::Float(value) => Some(value),
        PointValue::Histogram(_) => None,
    };
    Ok(elements.into_iter().filter_map(|element| Some((element.labels, float(element.value)?))).collect())
}

impl Costs {
    fn to_csv(&self) -> String {
        let mut text = String::from(
            "day,tenant,received_bytes,samples,active_series,log_bytes,spans,queries,storage_bytes,currency",
        );
        for kind in CostKind::ALL.map(CostKind::as_str) {
            // Writing to a string does not fail.
            let _ = write!(text, ",cost_{kind}");
        }
        text.push_str(",cost\r\n");
        for Day { day, tenants } in &self.days {
            for used in tenants {
                let _ = write!(
                    text,
                    "{day},{},{},{},{:.1},{},{},{},{},{}",
                    csv_field(&used.tenant),
                    used.received_bytes,
                    used.samples,
                    used.active_series,
                    used.log_bytes,
                    used.spans,
                    used.queries,
                    used.storage_bytes,
                    csv_field(&self.currency)
                );
                for kind in CostKind::ALL.map(CostKind::as_str) {
                    let _ = write!(text, ",{}", used.costs.get(kind).copied().unwrap_or(0.0));
                }
                let _ = write!(text, ",{}\r\n", used.cost);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(from: &str, to: Option<&str>) -> Wanted {
        Wanted { from: Some(from.to_owned()), to: to.map(str::to_owned), tenant: None, format: Format::Json }
    }

    #[test]
    fn days_are_listed_in_order_and_bounded() {
        let days = days_of(&wanted("2026-02-27", Some("2026-03-01")), 0).unwrap();
        assert_eq!(
            days.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["2026-02-27", "2026-02-28", "2026-03-01"]
        );
        assert_eq!(days_of(&wanted("2026-02-27", None), 0).unwrap().len(), 1);
        assert!(days_of(&wanted("2026-02-27", Some("2026-02-26")), 0).is_err());
        assert!(days_of(&wanted("2026-02-30", None), 0).is_err());
        assert_eq!(days_of(&wanted("2026-01-01", Some("2026-04-02")), 0).unwrap().len(), 92);
        assert!(days_of(&wanted("2026-01-01", Some("2026-04-03")), 0).is_err());
    }

    #[test]
    fn a_tenant_is_quoted_where_it_must_be() {
        let used = TenantDay { tenant: "a,\"b".into(), samples: 3.0, cost: 0.5, ..TenantDay::default() };
        let days = vec![Day { day: "2026-11-30".to_owned(), tenants: vec![used] }];
        let csv = Costs { currency: "USD".into(), prices: Prices::default(), days }.to_csv();
        let line = csv.lines().nth(1).unwrap();
        assert_eq!(line, "2026-11-30,\"a,\"\"b\",0,3,0.0,0,0,0,0,USD,0,0,0,0,0,0,0,0.5");
        assert_eq!(csv.lines().next().unwrap().split(',').count(), 18);
    }
}
