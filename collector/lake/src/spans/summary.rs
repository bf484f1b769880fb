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

/// Traces in the order in which they were found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) order: Vec<TraceKey>,
    pub(crate) matches: HashMap<TraceKey, Matches>,
}

impl Found {
    /// Takes a matching span; a new trace only while there are fewer than `limit`.
    pub(crate) fn add(&mut self, span: &SpanRow, limit: usize, keep: usize) {
        let key = key(span);
        if !self.matches.contains_key(&key) {
            if self.order.len() >= limit {
                return;
            }
            self.order.push(key.clone());
        }
        self.matches.entry(key).or_default().add(span, keep);
    }
}
