//! The report of a period: what was promised, what was kept, and when it was not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tenantscope_model::{Evaluate, EvaluateError, Scope, TenantId};
use tenantscope_rules::format_duration;

use crate::budget::{by_tenant, window_name};
use crate::objective::{Objective, Objectives};

/// How many parts a period is looked at in.
const SLICES: i64 = 120;
/// The shortest part of numbers for each period, and of counters, which need two samples in it and better some more.
const MIN_SLICE_MS: i64 = 60_000;
const MIN_COUNTER_SLICE_MS: i64 = 300_000;
/// A closer look must find this share of the events, or it was too close.
const MIN_FOUND: f64 = 0.8;

/// A month that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a month such as 2026-10")]
pub struct InvalidMonth(String);

/// The time that a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its name, such as `2026-10`.
    pub name: String,
    /// Its start, in milliseconds since the epoch.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
}

impl Period {
    /// A calendar month in UTC, such as `2026-10`.
    pub fn month(text: &str) -> Result<Self, InvalidMonth> {
        let invalid = || InvalidMonth(text.chars().take(32).collect());
        let (year, month) = text.split_once('-').ok_or_else(invalid)?;
        let year: i16 = year.parse().map_err(|_| invalid())?;
        let month: i8 = month.parse().map_err(|_| invalid())?;
        let first = jiff::civil::Date::new(year, month, 1).map_err(|_| invalid())?;
        let next = first.checked_add(jiff::Span::new().months(1)).map_err(|_| invalid())?;
        let at =
            |day: jiff::civil::Date| day.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp().as_millisecond());
        let (from_ms, to_ms) = (at(first).map_err(|_| invalid())?, at(next).map_err(|_| invalid())?);
        Ok(Self { name: format!("{year:04}-{month:02}"), from_ms, to_ms })
    }

    /// The month of a time.
    pub fn month_of(at_ms: i64) -> Result<Self, InvalidMonth> {
        let at = jiff::Timestamp::from_millisecond(at_ms).map_err(|_| InvalidMonth(at_ms.to_string()))?;
        Self::month(&at.strftime("%Y-%m").to_string())
    }

    /// From one time to another.
    pub fn range(from_ms: i64, to_ms: i64) -> Self {
        Self { name: format!("{} to {}", time_text(from_ms), time_text(to_ms)), from_ms, to_ms }
    }
}

/// Whom a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// One tenant.
    Tenant(TenantId),
    /// All tenants that the scope allows, with a line for each.
    Fleet(Scope),
}

/// A report. Its fields' names are stable: other programs read it as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The tenant; absent in a report of the fleet.
    pub tenant: Option<TenantId>,
    /// The time that it is about.
    pub period: Period,
    /// The end of the data: the period's, or the time of the report if the period is not over.
    pub until_ms: i64,
    /// When it was made.
    pub generated_at_ms: i64,
    /// One part for each objective with events.
    pub objectives: Vec<ObjectiveReport>,
}

/// What a report says of one objective.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectiveReport {
    /// Its name.
    pub slo: String,
    /// Its name for people.
    pub display_name: String,
    /// What it promises.
    pub description: String,
    /// The service.
    pub service: String,
    /// The share of events that must be good.
    pub target: f64,
    /// The time over which its budget is counted outside of reports.
    pub window: String,
    /// Events in the period.
    pub total_events: f64,
    /// Bad ones among them.
    pub bad_events: f64,
    /// The share of good events.
    pub achieved: f64,
    /// Whether the share of good events reached the target.
    pub met: bool,
    /// What is left of the budget: 1 for everything, below 0 if more was spent than allowed.
    pub budget_remaining: f64,
    /// The time without any good event that would have cost as much, in seconds.
    pub downtime_equivalent_s: f64,
    /// The period in parts.
    pub points: Vec<Point>,
    /// When more was bad than allowed.
    pub bad_periods: Vec<BadPeriod>,
    /// One line for each tenant, the worst first; in a report of the fleet only.
    pub tenants: Vec<TenantLine>,
}

/// A part of the period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Its end.
    pub t_ms: i64,
    /// Events in it.
    pub total_events: f64,
    /// Bad ones among them.
    pub bad_events: f64,
    /// What was left of the period's budget at its end.
    pub budget_remaining: f64,
}

/// A time in which more was bad than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BadPeriod {
    /// Its start.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// Events in it.
    pub total_events: f64,
    /// Bad ones among them.
    pub bad_events: f64,
    /// Their share.
    pub error_ratio: f64,
    /// The share of the period's budget that it cost.
    pub budget_spent: f64,
}

/// One tenant in a report of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TenantLine {
    /// The tenant.
    pub tenant: TenantId,
    /// Events in the period.
    pub total_events: f64,
    /// Bad ones among them.
    pub bad_events: f64,
    /// The share of good events.
    pub achieved: f64,
    /// Whether it reached the target.
    pub met: bool,
    /// What is left of its budget.
    pub budget_remaining: f64,
}

impl Objectives {
    /// The report of a period. Blocks.
    pub fn report(
        &self,
        evaluate: &dyn Evaluate,
        audience: &Audience,
        period: &Period,
        now_ms: i64,
    ) -> Result<Report, EvaluateError> {
        let (tenant, scope) = match audience {
            Audience::Tenant(tenant) => (Some(tenant.clone()), Scope::only(tenant.clone())),
            Audience::Fleet(scope) => (None, scope.clone()),
        };
        let until_ms = period.to_ms.min(now_ms).max(period.from_ms);
        let mut objectives = Vec::new();
        for objective in self {
            let reading = Reading { objective, evaluate, scope: &scope };
            objectives.extend(reading.report(period.from_ms, until_ms, tenant.is_none())?);
        }
        Ok(Report { tenant, period: period.clone(), until_ms, generated_at_ms: now_ms, objectives })
    }
}

/// Events of all tenants in one part of the period.
struct Slice {
    from_ms: i64,
    to_ms: i64,
    total: BTreeMap<TenantId, f64>,
    bad: BTreeMap<TenantId, f64>,
}

impl Slice {
    fn total(&self) -> f64 {
        self.total.values().sum()
    }

    fn bad(&self) -> f64 {
        self.bad.values().sum()
    }
}

struct Reading<'a> {
    objective: &'a Objective,
    evaluate: &'a dyn Evaluate,
    scope: &'a Scope,
}

impl Reading<'_> {
    fn report(&self, from_ms: i64, to_ms: i64, per_tenant: bool) -> Result<Option<ObjectiveReport>, EvaluateError> {
        let slices = self.slices_of_data(from_ms, to_ms)?;
        let total_events: f64 = slices.iter().map(Slice::total).sum();
        if total_events <= 0.0 {
            return Ok(None);
        }
        let objective = self.objective;
        let bad_events: f64 = slices.iter().map(Slice::bad).sum();
        let allowed = total_events * objective.budget();
        let error_ratio = bad_events / total_events;
        let covered_ms: i64 = slices.iter().map(|slice| slice.to_ms - slice.from_ms).sum();
        #[expect(clippy::cast_precision_loss, reason = "a period's milliseconds are far below 2^53")]
        let covered_s = covered_ms as f64 / 1000.0;
        Ok(Some(ObjectiveReport {
            slo: objective.name.clone(),
            display_name: objective.display_name.clone(),
            description: objective.description.clone(),
            service: objective.service.clone(),
            target: objective.target,
            window: window_name(objective.window),
            total_events,
            bad_events,
            achieved: 1.0 - error_ratio,
            met: error_ratio <= objective.budget(),
            budget_remaining: 1.0 - bad_events / allowed,
            downtime_equivalent_s: error_ratio * covered_s,
            points: points(&slices, allowed),
            bad_periods: bad_periods(&slices, objective.budget(), allowed),
            tenants: if per_tenant { tenant_lines(&slices, objective) } else { Vec::new() },
        }))
    }

    /// The period in parts. If there is data in a small piece of it only, that piece is looked at closely.
    fn slices_of_data(&self, from_ms: i64, to_ms: i64) -> Result<Vec<Slice>, EvaluateError> {
        let slices = self.slices(from_ms, to_ms)?;
        let first = slices.iter().find(|slice| slice.total() > 0.0).map(|slice| slice.from_ms);
        let last = slices.iter().rfind(|slice| slice.total() > 0.0).map(|slice| slice.to_ms);
        let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
        let with_data = slices.into_iter().filter(|slice| slice.to_ms > first && slice.from_ms < last).collect();
        if last - first > (to_ms - from_ms) / 10 || last - first <= self.min_slice_ms() {
            return Ok(with_data);
        }
        let closer = self.slices_of_data(first, last)?;
        let events = |slices: &[Slice]| slices.iter().map(Slice::total).sum::<f64>();
        Ok(if events(&closer) >= MIN_FOUND * events(&with_data) { closer } else { with_data })
    }

    fn min_slice_ms(&self) -> i64 {
        if self.objective.is_counter { MIN_COUNTER_SLICE_MS } else { MIN_SLICE_MS }
    }

    fn slices(&self, from_ms: i64, to_ms: i64) -> Result<Vec<Slice>, EvaluateError> {
        let length_ms = ((to_ms - from_ms) / SLICES).max(self.min_slice_ms());
        let mut slices = Vec::new();
        let mut start_ms = from_ms;
        while start_ms < to_ms {
            let end_ms = (start_ms + length_ms).min(to_ms);
            let length = Duration::from_millis(u64::try_from(end_ms - start_ms).unwrap_or(1));
            let total = by_tenant(self.evaluate, self.scope, &self.objective.total_events(length), end_ms)?;
            let bad = if total.is_empty() {
                BTreeMap::new()
            } else {
                by_tenant(self.evaluate, self.scope, &self.objective.bad_events(length), end_ms)?
            };
            slices.push(Slice { from_ms: start_ms, to_ms: end_ms, total, bad });
            start_ms = end_ms;
        }
        Ok(slices)
    }
}

fn points(slices: &[Slice], allowed: f64) -> Vec<Point> {
    let mut spent = 0.0;
    let point = |slice: &Slice| {
        spent += slice.bad();
        Point {
            t_ms: slice.to_ms,
            total_events: slice.total(),
            bad_events: slice.bad(),
            budget_remaining: 1.0 - spent / allowed,
        }
    };
    slices.iter().map(point).collect()
}

/// Neighbouring parts in which more was bad than allowed are one bad period.
fn bad_periods(slices: &[Slice], budget: f64, allowed: f64) -> Vec<BadPeriod> {
    let mut periods: Vec<BadPeriod> = Vec::new();
    for slice in slices {
        let (total, bad) = (slice.total(), slice.bad());
        if total <= 0.0 || bad / total <= budget {
            continue;
        }
        match periods.last_mut().filter(|period| period.to_ms == slice.from_ms) {
            Some(period) => {
                period.to_ms = slice.to_ms;
                period.total_events += total;
                period.bad_events += bad;
                period.error_ratio = period.bad_events / period.total_events;
                period.budget_spent = period.bad_events / allowed;
            }
            None => periods.push(BadPeriod {
                from_ms: slice.from_ms,
                to_ms: slice.to_ms,
                total_events: total,
                bad_events: bad,
                error_ratio: bad / total,
                budget_spent: bad / allowed,
            }),
        }
    }
    periods
}

fn tenant_lines(slices: &[Slice], objective: &Objective) -> Vec<TenantLine> {
    let mut sums: BTreeMap<&TenantId, (f64, f64)> = BTreeMap::new();
    for slice in slices {
        for (tenant, total) in &slice.total {
            sums.entry(tenant).or_default().0 += total;
        }
        for (tenant, bad) in &slice.bad {
            sums.entry(tenant).or_default().1 += bad;
        }
    }
    let with_events = sums.into_iter().filter(|(_, (total, _))| *total > 0.0);
    let mut lines: Vec<TenantLine> = with_events
        .map(|(tenant, (total_events, bad_events))| {
            let error_ratio = bad_events / total_events;
            TenantLine {
                tenant: tenant.clone(),
                total_events,
                bad_events,
                achieved: 1.0 - error_ratio,
                met: error_ratio <= objective.budget(),
                budget_remaining: 1.0 - error_ratio / objective.budget(),
            }
        })
        .collect();
    lines.sort_by(|a, b| a.budget_remaining.total_cmp(&b.budget_remaining).then_with(|| a.tenant.cmp(&b.tenant)));
    lines
}

/// A time for people, in UTC.
pub(crate) fn time_text(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| at_ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
}

/// A length of time for people: whole minutes, or seconds below a minute.
pub(crate) fn length_text(seconds: f64) -> String {
    let step = if seconds >= 60.0 { 60.0 } else { 1.0 };
    let rounded = (seconds / step).round() * step;
    format_duration(Duration::try_from_secs_f64(rounded.max(0.0)).unwrap_or_default())
}
