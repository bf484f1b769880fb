//! Lines: from a selector to a plan, from rows to streams.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use datafusion::dataframe::DataFrame;
use datafusion::functions::expr_fn::contains;
use datafusion::logical_expr::{Expr as Plan, Operator, binary_expr, col, lit, not};
use tenantscope_model::{MatchOp, Matcher, Scope};

use super::row::{COLUMNS, Row, Rows, label_column};
use super::stream;
use crate::answer::{Direction, LogAnswer, LogEntry, LogRequest, LogStream, TimeRange};
use crate::logql::{self, Expr, LineOp, LogSelector, Pipeline, Stage};
use crate::{Lake, QueryError, level};

impl Lake {
    /// Answers a LogQL query.
    pub async fn log_query(&self, scope: &Scope, request: &LogRequest<'_>) -> Result<LogAnswer, QueryError> {
        let expr = logql::parse(request.query)?;
        match &expr {
            Expr::Logs(_) if request.step.is_none() && request.range.start_ns == request.range.end_ns => Err(
                QueryError::Invalid("log queries are not supported as an instant query type, please change your query to a range query type".to_owned()),
            ),
            Expr::Logs(selector) => {
                let streams = self.queries.run("log_lines", self.lines(scope, selector, request)).await?;
                Ok(LogAnswer::Streams(streams))
            }
            _ => self.queries.run("log_metric", self.log_metric(scope, &expr, request)).await,
        }
    }

    async fn lines(
        &self,
        scope: &Scope,
        selector: &LogSelector,
        request: &LogRequest<'_>,
    ) -> Result<Vec<LogStream>, QueryError> {
        let limit = request.limit.min(self.options.max_entries);
        let frame = self.log_rows(scope, selector, request.range)?;
        let pipeline = Pipeline::new(&selector.stages);
        let mut frame = frame.select_columns(&COLUMNS)?;
        if pipeline.is_only_line_filters() {
            let is_ascending = request.direction == Direction::Forward;
            frame = frame.sort(vec![col("time_ns").sort(is_ascending, false)])?.limit(0, Some(limit))?;
        }
        let mut kept = Kept { rows: Vec::new(), limit, direction: request.direction };
        let reading = self.queries.for_each(frame, |rows| {
            for mut row in Rows::new(rows)?.iter() {
                if pipeline.apply(&mut row) {
                    kept.push(row);
                }
            }
            Ok(())
        });
        reading.await?;
        Ok(kept.streams())
    }

    /// The records that a selector's matchers and line filters let through.
    pub(crate) fn log_rows(
        &self,
        scope: &Scope,
        selector: &LogSelector,
        range: TimeRange,
    ) -> Result<DataFrame, QueryError> {
        let mut frame = self.queries.table(&self.logs, scope, range)?.filter(within(range))?;
        for matcher in &selector.matchers {
            if let Some(filter) = may_match(matcher) {
                frame = frame.filter(filter)?;
            }
            frame = frame.filter(matcher_filter(matcher))?;
        }
        // A filter behind a parser sees the same line, so all of them may go into the plan.
        for stage in &selector.stages {
            if let Some(filter) = line_filter(stage) {
                frame = frame.filter(filter)?;
            }
        }
        Ok(frame)
    }
}

/// The first rows in a direction, of any number that may come in any order.
struct Kept {
    rows: Vec<Row>,
    limit: usize,
    direction: Direction,
}

impl Kept {
    fn push(&mut self, row: Row) {
        self.rows.push(row);
        if self.rows.len() > self.limit.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        match self.direction {
            Direction::Forward => self.rows.sort_by_key(|row| row.time_ns),
            Direction::Backward => self.rows.sort_by_key(|row| Reverse(row.time_ns)),
        }
        self.rows.truncate(self.limit);
    }

    fn streams(mut self) -> Vec<LogStream> {
        self.cut();
        let mut streams: BTreeMap<BTreeMap<String, String>, Vec<LogEntry>> = BTreeMap::new();
        for row in self.rows {
            let entry = LogEntry { time_ns: row.time_ns, line: row.line, metadata: row.metadata };
            streams.entry(row.labels).or_default().push(entry);
        }
        streams.into_iter().map(|(labels, entries)| LogStream { labels, entries }).collect()
    }
}

pub(crate) fn within(range: TimeRange) -> Plan {
    col("time_ns").gt_eq(lit(range.start_ns)).and(col("time_ns").lt(lit(range.end_ns)))
}

/// A condition that is cheaper than the matcher's own and lets through all that this does.
fn may_match(matcher: &Matcher) -> Option<Plan> {
    match matcher.op() {
        MatchOp::Equal => stream::may_have(matcher.name(), matcher.value()),
        _ => None,
    }
}

fn matcher_filter(matcher: &Matcher) -> Plan {
    let label = stream::label(matcher.name());
    let anchored = || lit(format!("^(?s:{})$", matcher.value()));
    // A level is asked for by the word with which it came, too.
    let is_level = label_column(matcher.name()) == Some("level");
    let value = level::named(matcher.value()).filter(|_| is_level).unwrap_or(matcher.value());
    match matcher.op() {
        MatchOp::Equal => label.eq(lit(value)),
        MatchOp::NotEqual => label.not_eq(lit(value)),
        MatchOp::Regex => binary_expr(label, Operator::RegexMatch, anchored()),
        MatchOp::NotRegex => binary_expr(label, Operator::RegexNotMatch, anchored()),
    }
}

fn line_filter(stage: &Stage) -> Option<Plan> {
    let Stage::Line { op, texts, .. } = stage else { return None };
    let one = |text: &String| match op {
        LineOp::Contains | LineOp::ContainsNot => contains(col("body"), lit(text.as_str())),
        LineOp::Matches | LineOp::MatchesNot => binary_expr(col("body"), Operator::RegexMatch, lit(text.as_str())),
    };
    let any = texts.iter().map(one).reduce(Plan::or)?;
    Some(match op {
        LineOp::Contains | LineOp::Matches => any,
        LineOp::ContainsNot | LineOp::MatchesNot => not(any),
    })
}
