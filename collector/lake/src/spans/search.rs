//! Searches: first the spans that fulfil the conditions, newest first, then the whole of their traces.

use std::collections::{BTreeSet, HashMap};

use datafusion::functions::expr_fn::contains;
use datafusion::logical_expr::{Expr as Plan, Operator, binary_expr, col, lit};
use tenantscope_model::{MatchOp, Scope};

use super::decode::{COLUMNS, SpanRow};
use super::summary::{Found, Newest, Sum, TraceKey, key};
use crate::answer::{SearchRequest, TimeRange, TraceSummary};
use crate::logs::query::within;
use crate::traceql::{self, Compared, Condition, Field, Filter};
use crate::{Lake, QueryError};

/// A trace's other spans are looked for so long before and after the range that was asked for.
const TRACE_SLACK_NS: i64 = 3_600_000_000_000;
/// Where the trace's length decides, so many times more traces are looked at.
const CANDIDATES_PER_TRACE: usize = 20;

impl Lake {
    /// Traces with a span that fulfils the conditions, newest first.
    pub async fn search(&self, scope: &Scope, request: &SearchRequest<'_>) -> Result<Vec<TraceSummary>, QueryError> {
        let mut filter = request.query.map_or(Ok(Filter::All), traceql::parse)?;
        for (name, value) in &request.tags {
            filter = Filter::And(filter.into(), traceql::tag(name, value)?.into());
        }
        let (of_span, of_trace) = filter.split()?;
        self.queries.run("search", self.find(scope, request, &of_span, &of_trace)).await
    }

    async fn find(
        &self,
        scope: &Scope,
        request: &SearchRequest<'_>,
        of_span: &Filter,
        of_trace: &[Condition],
    ) -> Result<Vec<TraceSummary>, QueryError> {
        let limit = request.limit.min(self.options.max_entries);
        let length_decides = !of_trace.is_empty() || request.min_duration.is_some() || request.max_duration.is_some();
        let candidates = if length_decides { limit.saturating_mul(CANDIDATES_PER_TRACE) } else { limit };
        let candidates = candidates.min(self.options.max_entries);
        let found = self.matching(scope, request, of_span, candidates).await?;
        let mut sums = self.sums(scope, request.range, &found).await?;

        let min_ns = request.min_duration.map_or(0, nanoseconds);
        let max_ns = request.max_duration.map_or(i64::MAX, nanoseconds);
        let Found { order, mut matches } = found;
        let mut summaries = Vec::new();
        for key in order {
            let (Some(sum), Some(mut matched)) = (sums.remove(&key), matches.remove(&key)) else { continue };
            matched.sort();
            let summary = sum.finish(key, matched);
            let is_so_long = (min_ns..=max_ns).contains(&summary.duration_ns);
            if is_so_long && of_trace.iter().all(|condition| condition.holds_for_trace(&summary)) {
                summaries.push(summary);
            }
            if summaries.len() >= limit {
                break;
            }
        }
        Ok(summaries)
    }

    async fn matching(
        &self,
        scope: &Scope,
        request: &SearchRequest<'_>,
        filter: &Filter,
        candidates: usize,
    ) -> Result<Found, QueryError> {
        let mut frame = self.queries.table(&self.spans, scope, request.range)?.filter(within(request.range))?;
        for condition in filter.conjuncts() {
            if let Some(plan) = planned(condition) {
                frame = frame.filter(plan)?;
            }
        }
        // Not sorted: that would hold every span of the range. The newest traces are kept instead.
        let frame = frame.select_columns(&COLUMNS)?;
        let mut found = Newest::new(candidates, request.spans_per_trace);
        self.queries
            .for_each(frame, |rows| {
                for span in SpanRow::all(rows)? {
                    if filter.holds(&span) {
                        found.add(&span);
                    }
                }
                Ok(())
            })
            .await?;
        Ok(found.finish())
    }

    async fn sums(&self, scope: &Scope, range: TimeRange, found: &Found) -> Result<HashMap<TraceKey, Sum>, QueryError> {
        let mut sums: HashMap<TraceKey, Sum> = HashMap::new();
        let ids: BTreeSet<&str> = found.order.iter().map(|(_, trace_id)| trace_id.as_str()).collect();
        if ids.is_empty() {
            return Ok(sums);
        }
        let around = TimeRange {
            start_ns: range.start_ns.saturating_sub(TRACE_SLACK_NS),
            end_ns: range.end_ns.saturating_add(TRACE_SLACK_NS),
        };
        let ids = ids.into_iter().map(lit).collect();
        let frame = self.queries.table(&self.spans, scope, around)?.filter(within(around))?;
        let frame = frame.filter(col("trace_id").in_list(ids, false))?.select_columns(&COLUMNS)?;
        self.queries
            .for_each(frame, |rows| {
                for span in SpanRow::all(rows)? {
                    let key = key(&span);
                    if found.matches.contains_key(&key) {
                        sums.entry(key).or_default().add(&span);
                    }
                }
                Ok(())
            })
            .await?;
        Ok(sums)
    }
}

fn nanoseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What of a condition the scan can do: all of it or a part, never more. The rest is done row by row.
fn planned(condition: &Condition) -> Option<Plan> {
    let text_column = match &condition.field {
        Field::Name => "name",
        Field::Service => "service",
        Field::Tenant => "tenant",
        Field::Account => "account_id",
        Field::Region => "region",
        Field::TraceId => "trace_id",
        Field::Duration => return planned_number("duration_ns", condition),
        Field::Status => return planned_number("status_code", condition),
        Field::Kind => return planned_number("kind", condition),
        Field::Span(name) => return planned_attribute("attributes", name, condition),
        Field::Resource(name) => return planned_attribute("resource_attributes", name, condition),
        _ => return None,
    };
    let column = col(text_column);
    match &condition.compared {
        Compared::Text(matcher) => Some(match matcher.op() {
            MatchOp::Equal => column.eq(lit(matcher.value())),
            MatchOp::NotEqual => column.not_eq(lit(matcher.value())),
            MatchOp::Regex => binary_expr(column, Operator::RegexMatch, lit(format!("^(?s:{})$", matcher.value()))),
            MatchOp::NotRegex => {
                binary_expr(column, Operator::RegexNotMatch, lit(format!("^(?s:{})$", matcher.value())))
            }
        }),
        _ => None,
    }
}

fn planned_number(column: &str, condition: &Condition) -> Option<Plan> {
    let Compared::Number(op, number) = &condition.compared else { return None };
    // Whole numbers up to 2^53 are exact; anything else is left to the row by row check.
    if number.fract() != 0.0 || number.abs() > 9e15 {
        return None;
    }
    let (column, number) = (col(column), lit(*number as i64));
    Some(binary_expr(column, op.operator(), number))
}

/// Attributes are JSON without spaces, so a text's own JSON is found in it.
fn planned_attribute(column: &str, name: &str, condition: &Condition) -> Option<Plan> {
    let Compared::Text(matcher) = &condition.compared else { return None };
    if matcher.op() != MatchOp::Equal || matcher.value().is_empty() {
        return None;
    }
    let name = serde_json::to_string(name).ok()?;
    let value = serde_json::to_string(matcher.value()).ok()?;
    // A number or flag that is written as text matches too, so without quotes.
    let bare = value.trim_matches('"');
    let as_text = contains(col(column), lit(format!("{name}:{value}")));
    Some(as_text.or(contains(col(column), lit(format!("{name}:{bare}")))))
}
