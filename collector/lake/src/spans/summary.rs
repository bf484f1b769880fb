use std::collections::{HashMap, HashSet};

use crate::answer::{SpanSummary, TraceSummary};
use crate::spans::SpanRow;

/// A trace is one tenant's: another tenant's spans with the same id are another trace.
pub(crate) type TraceKey = (String, String);

pub(crate) fn key(span: &SpanRow) -> TraceKey {
    (span.tenant.clone(), span.trace_id.clone())
}

/// A trace's spans as they are added up.
#[derive(Default)]
pub(crate) struct Sum {
    seen: HashSet<String>,
    start_ns: Option<i64>,
    end_ns: i64,
    errors: usize,
    /// The first span without a parent, else the first of all.
    root: Option<(bool, i64, String, String)>,
}

impl Sum {
    pub(crate) fn add(&mut self, span: &SpanRow) {
        if !self.seen.insert(span.span_id.clone()) {
            return;
        }
        self.start_ns = Some(self.start_ns.map_or(span.start_ns, |start| start.min(span.start_ns)));
        self.end_ns = self.end_ns.max(span.end_ns);
        self.errors += usize::from(span.status_code == 2);
        let has_parent = !span.parent_span_id.is_empty();
        let is_better = self.root.as_ref().is_none_or(|root| (has_parent, span.start_ns) < (root.0, root.1));
        if is_better {
            self.root = Some((has_parent, span.start_ns, span.service.clone(), span.name.clone()));
        }
    }

    pub(crate) fn finish(self, (tenant, trace_id): TraceKey, matches: Matches) -> TraceSummary {
        let start_ns = self.start_ns.unwrap_or_default();
        let (root_service, root_name) = match self.root {
            Some((false, _, service, name)) => (service, name),
            _ => (String::new(), String::new()),
        };
        TraceSummary {
            trace_id,
            tenant,
            root_service,
            root_name,
            start_ns,
            duration_ns: self.end_ns.saturating_sub(start_ns).max(0),
            spans: self.seen.len(),
            errors: self.errors,
            matched: matches.ids.len(),
            matched_spans: matches.spans,
        }
    }
}

/// The spans of a trace that fulfil a search's conditions.
#[derive(Default)]
pub(crate) struct Matches {
    ids: HashSet<String>,
    spans: Vec<SpanSummary>,
}

impl Matches {
    pub(crate) fn add(&mut self, span: &SpanRow, keep: usize) {
        if !self.ids.insert(span.span_id.clone()) || self.spans.len() >= keep {
            return;
        }
        self.spans.push(SpanSummary {
            span_id: span.span_id.clone(),
            name: span.name.clone(),
            service: span.service.clone(),
            start_ns: span.start_ns,
            duration_ns: span.duration_ns,
            status: span.status(),
        });
    }

    pub(crate) fn sort(&mut self) {
        self.spans.sort_by_key(|span| span.start_ns);
    }
}

/// Traces with matching spans, the newest first.
pub(crate) struct Found {
    pub(crate) order: Vec<TraceKey>,
    pub(crate) matches: HashMap<TraceKey, Matches>,
}

/// Keeps the traces whose matching spans began last; spans may come in any order.
pub(crate) struct Newest {
    limit: usize,
    spans_per_trace: usize,
    traces: HashMap<TraceKey, (i64, Matches)>,
    /// Older ones can't be among the newest any more.
    floor_ns: i64,
}

impl Newest {
    pub(crate) fn new(limit: usize, spans_per_trace: usize) -> Self {
        Self { limit, spans_per_trace, traces: HashMap::new(), floor_ns: i64::MIN }
    }

    pub(crate) fn add(&mut self, span: &SpanRow) {
        let key = key(span);
        if span.start_ns < self.floor_ns && !self.traces.contains_key(&key) {
            return;
        }
        let (newest_ns, matches) = self.traces.entry(key).or_insert_with(|| (i64::MIN, Matches::default()));
        *newest_ns = span.start_ns.max(*newest_ns);
        matches.add(span, self.spans_per_trace);
        if self.traces.len() > self.limit.saturating_mul(2) {
            self.prune();
        }
    }

    fn prune(&mut self) {
        let mut times: Vec<i64> = self.traces.values().map(|(newest_ns, _)| *newest_ns).collect();
        times.sort_unstable_by(|left, right| right.cmp(left));
        if let Some(floor_ns) = times.get(self.limit.saturating_sub(1)) {
            self.floor_ns = *floor_ns;
        }
        let floor_ns = self.floor_ns;
        self.traces.retain(|_, (newest_ns, _)| *newest_ns >= floor_ns);
    }

    pub(crate) fn finish(self) -> Found {
        let mut traces: Vec<(TraceKey, (i64, Matches))> = self.traces.into_iter().collect();
        traces.sort_by(|left, right| right.1.0.cmp(&left.1.0).then_with(|| left.0.cmp(&right.0)));
        traces.truncate(self.limit);
        let order = traces.iter().map(|(key, _)| key.clone()).collect();
        Found { order, matches: traces.into_iter().map(|(key, (_, matches))| (key, matches)).collect() }
    }
}
