//! `/traces/{trace}`: one trace's spans as a waterfall.

use std::collections::{BTreeSet, HashMap};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData, status::StatusCode as SpanStatus};
use tenantscope_lake::TimeRange;
use tenantscope_model::Scope;

use super::layout::{self, Place};
use super::{Shared, respond};
use crate::Scoped;
use crate::tempo::trace_id;

/// Spans that the page shows; the API has them all.
const SHOWN: usize = 1_000;

/// One line of the waterfall.
struct Row<'a> {
    span: &'a Span,
    service: String,
    depth: usize,
}

pub(super) async fn show(State(state): Shared, Scoped(scope): Scoped, Path(trace): Path<String>) -> Response {
    let id = trace_id(&trace).ok();
    let found = match &id {
        Some(id) => state.sources.lake.trace(&scope, id, TimeRange::ALL).await,
        None => Ok(None),
    };
    match found {
        Ok(Some(data)) => respond(StatusCode::OK, page(&scope, &trace, &content(&trace, &data))),
        Ok(None) => {
            let missing = html! { h1 { "No such trace" } p { a href="/" { "The fleet" } } };
            respond(StatusCode::NOT_FOUND, page(&scope, "No such trace", &missing))
        }
        Err(error) => {
            let failed = layout::unreadable("the trace", &error.to_string());
            respond(StatusCode::UNPROCESSABLE_ENTITY, page(&scope, &trace, &failed))
        }
    }
}

fn page(scope: &Scope, title: &str, content: &Markup) -> Markup {
    layout::page(title, Place::Tenant, scope, content)
}

fn content(trace: &str, data: &TracesData) -> Markup {
    let tenants: BTreeSet<String> = data.resource_spans.iter().filter_map(|r| attribute(r, "tenant.id")).collect();
    let rows = rows(data);
    let start = rows.iter().map(|row| row.span.start_time_unix_nano).min().unwrap_or(0);
    let end = rows.iter().map(|row| row.span.end_time_unix_nano).max().unwrap_or(start);
    let length = end.saturating_sub(start).max(1) as f64;
    html! {
        h1 { "Trace " (trace) }
        p.soft {
            @for tenant in &tenants { "tenant " a href={ "/tenants/" (tenant) } { (tenant) } " · " }
            (layout::moment(ms(start))) " UTC · " (milliseconds(length)) " · " (rows.len()) " spans · "
            a href={ "/tempo/api/traces/" (trace) } { "as OTLP" }
        }
        section.card {
            table.waterfall {
                thead { tr { th scope="col" { "Service" } th scope="col" { "Span" } th.n scope="col" { "Duration" } th scope="col" { "Time" } } }
                tbody { @for row in rows.iter().take(SHOWN) { (line(row, start, length)) } }
            }
            @if rows.len() > SHOWN { p.soft { "and " (rows.len() - SHOWN) " more spans" } }
        }
    }
}

fn line(row: &Row<'_>, start: u64, length: f64) -> Markup {
    let span = row.span;
    let taken = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64;
    let left = span.start_time_unix_nano.saturating_sub(start) as f64 / length * 100.0;
    let width = (taken / length * 100.0).max(0.3);
    let status = span.status.as_ref();
    let failed = status.is_some_and(|status| status.code == SpanStatus::Error as i32);
    let message = status.map(|status| status.message.as_str()).filter(|message| !message.is_empty());
    html! {
        tr {
            td { (row.service) }
            td style={ "padding-left:" (10 + row.depth.min(20) * 16) "px" } {
                span.(if failed { "bad" } else { "name" }) { (span.name) }
                @if let Some(message) = message { " " span.soft { (message) } }
            }
            td.n { (milliseconds(taken)) }
            td.track { i.(if failed { "bad" } else { "good" }) style={ "margin-left:" (format!("{left:.2}")) "%;width:" (format!("{width:.2}")) "%" } {} }
        }
    }
}

/// The spans as a tree, walked from the roots; siblings by their start. A span whose parent is missing is a root.
fn rows(data: &TracesData) -> Vec<Row<'_>> {
    let mut spans: Vec<(&Span, String)> = Vec::new();
    for resource in &data.resource_spans {
        let service = attribute(resource, "service.name").unwrap_or_default();
        let of_resource = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.extend(of_resource.map(|span| (span, service.clone())));
    }
    spans.sort_by_key(|(span, _)| std::cmp::Reverse(span.start_time_unix_nano));
    let known: BTreeSet<&[u8]> = spans.iter().map(|(span, _)| span.span_id.as_slice()).collect();
    let mut children: HashMap<&[u8], Vec<(&Span, String)>> = HashMap::new();
    let mut waiting: Vec<(usize, (&Span, String))> = Vec::new();
    for (span, service) in spans {
        let parent = span.parent_span_id.as_slice();
        match known.contains(parent) && parent != span.span_id {
            true => children.entry(parent).or_default().push((span, service)),
            false => waiting.push((0, (span, service))),
        }
    }
    let mut rows = Vec::new();
    // Taking a span's children away as they are walked, a cycle of parents can't be walked twice.
    while let Some((depth, (span, service))) = waiting.pop() {
        let below = children.remove(span.span_id.as_slice()).unwrap_or_default();
        waiting.extend(below.into_iter().map(|child| (depth + 1, child)));
        rows.push(Row { span, service, depth });
    }
    rows
}

fn attribute(resource: &opentelemetry_proto::tonic::trace::v1::ResourceSpans, name: &str) -> Option<String> {
    let attributes = &resource.resource.as_ref()?.attributes;
    let value = attributes.iter().find(|pair| pair.key == name)?.value.as_ref()?;
    match value {
        AnyValue { value: Some(any_value::Value::StringValue(text)) } => Some(text.clone()),
        _ => None,
    }
}

fn ms(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}

fn milliseconds(nanoseconds: f64) -> String {
    format!("{} ms", layout::short(nanoseconds / 1e6))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};

    use super::*;

    fn span(id: u8, parent: u8, start: u64) -> Span {
        let parent_span_id = if parent == 0 { Vec::new() } else { vec![parent; 8] };
        Span {
            span_id: vec![id; 8],
            parent_span_id,
            name: id.to_string(),
            start_time_unix_nano: start,
            end_time_unix_nano: start + 1,
            ..Span::default()
        }
    }

    fn walked(spans: Vec<Span>) -> Vec<(String, usize)> {
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let data = TracesData { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
        rows(&data).iter().map(|row| (row.span.name.clone(), row.depth)).collect()
    }

    #[test]
    fn children_stand_below_their_parent_in_order_of_time() {
        let rows = walked(vec![span(3, 1, 30), span(1, 0, 10), span(2, 1, 20), span(4, 2, 25), span(5, 9, 50)]);
        let expected = [("1", 0), ("2", 1), ("4", 2), ("3", 1), ("5", 0)];
        assert_eq!(rows, expected.map(|(name, depth)| (name.to_owned(), depth)));
    }

    #[test]
    fn a_circle_of_parents_ends() {
        assert!(walked(vec![span(1, 2, 1), span(2, 1, 2), span(3, 3, 3)]).len() <= 3);
    }
}
