//! A trace by its id, whole.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{col, lit};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use tenantscope_model::Scope;

use super::parts::{events_from_json, links_from_json};
use crate::answer::TimeRange;
use crate::logs::query::within;
use crate::logs::row::{integers, text};
use crate::{Lake, QueryError, attributes};

/// Tenant, resource attributes, schema URL: what spans of one resource have in common.
type ResourceKey = (String, String, String);
/// Name, version, attributes, schema URL.
type ScopeKey = (String, String, String, String);
type Tree = BTreeMap<ResourceKey, BTreeMap<ScopeKey, Vec<Span>>>;

impl Lake {
    /// All spans of a trace, each once; `None` where the scope has none of it. Bytes: 16, or fewer with zeroes in front.
    pub async fn trace(
        &self,
        scope: &Scope,
        trace_id: &[u8],
        range: TimeRange,
    ) -> Result<Option<TracesData>, QueryError> {
        let padded = format!("{:0>32}", hex::encode(trace_id));
        let frame = self.queries.table(&self.spans, scope, range)?;
        let frame = frame.filter(col("trace_id").eq(lit(padded)))?;
        let frame = if range == TimeRange::ALL { frame } else { frame.filter(within(range))? };
        let limit = self.options.max_spans_per_trace;
        let reading = async {
            let mut tree = Tree::new();
            let mut seen = HashSet::new();
            self.queries
                .for_each(frame, |rows| {
                    let columns = Columns::new(rows)?;
                    for at in 0..rows.num_rows() {
                        if !seen.insert((columns.tenant.value(at).to_owned(), columns.span_id.value(at).to_owned())) {
                            continue;
                        }
                        if seen.len() > limit {
                            return Err(QueryError::Limit(format!(
                                "trace has more than {limit} spans (lake.max_spans_per_trace)"
                            )));
                        }
                        let scopes = tree.entry(columns.resource_key(at)).or_default();
                        scopes.entry(columns.scope_key(at)).or_default().push(columns.span(at));
                    }
                    Ok(())
                })
                .await?;
            Ok(tree)
        };
        let tree = self.queries.run("trace", reading).await?;
        Ok((!tree.is_empty()).then(|| traces_data(tree)))
    }
}

fn traces_data(tree: Tree) -> TracesData {
    let resource_spans = tree.into_iter().map(|((_, given, schema_url), scopes)| ResourceSpans {
        resource: Some(Resource { attributes: attributes::from_json(&given), ..Default::default() }),
        scope_spans: scopes.into_iter().map(scope_spans).collect(),
        schema_url,
    });
    TracesData { resource_spans: resource_spans.collect() }
}

fn scope_spans(((name, version, given, schema_url), mut spans): (ScopeKey, Vec<Span>)) -> ScopeSpans {
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let attributes = attributes::from_json(&given);
    let scope = InstrumentationScope { name, version, attributes, dropped_attributes_count: 0 };
    ScopeSpans { scope: Some(scope), spans, schema_url }
}

struct Columns<'a> {
    tenant: &'a StringArray,
    resource_attributes: &'a StringArray,
    resource_schema_url: &'a StringArray,
    scope_name: &'a StringArray,
    scope_version: &'a StringArray,
    scope_attributes: &'a StringArray,
    scope_schema_url: &'a StringArray,
    start_ns: &'a Int64Array,
    end_ns: &'a Int64Array,
    name: &'a StringArray,
    kind: &'a Int32Array,
    status_code: &'a Int32Array,
    status_message: &'a StringArray,
    trace_id: &'a StringArray,
    span_id: &'a StringArray,
    parent_span_id: &'a StringArray,
    trace_state: &'a StringArray,
    flags: &'a Int64Array,
    attributes: &'a StringArray,
    dropped_attributes: &'a Int64Array,
    events: &'a StringArray,
    dropped_events: &'a Int64Array,
    links: &'a StringArray,
    dropped_links: &'a Int64Array,
}

impl<'a> Columns<'a> {
    fn new(rows: &'a RecordBatch) -> Result<Self, QueryError> {
        let small = |column: &str| {
            let array = rows.column_by_name(column).and_then(|array| array.as_primitive_opt::<Int32Type>());
            array.ok_or_else(|| QueryError::Store(DataFusionError::Internal(format!("no column {column}"))))
        };
        Ok(Self {
            tenant: text(rows, "tenant")?,
            resource_attributes: text(rows, "resource_attributes")?,
            resource_schema_url: text(rows, "resource_schema_url")?,
            scope_name: text(rows, "scope_name")?,
            scope_version: text(rows, "scope_version")?,
            scope_attributes: text(rows, "scope_attributes")?,
            scope_schema_url: text(rows, "scope_schema_url")?,
            start_ns: integers(rows, "time_ns")?,
            end_ns: integers(rows, "end_ns")?,
            name: text(rows, "name")?,
            kind: small("kind")?,
            status_code: small("status_code")?,
            status_message: text(rows, "status_message")?,
            trace_id: text(rows, "trace_id")?,
            span_id: text(rows, "span_id")?,
            parent_span_id: text(rows, "parent_span_id")?,
            trace_state: text(rows, "trace_state")?,
            flags: integers(rows, "flags")?,
            attributes: text(rows, "attributes")?,
            dropped_attributes: integers(rows, "dropped_attributes")?,
            events: text(rows, "events")?,
            dropped_events: integers(rows, "dropped_events")?,
            links: text(rows, "links")?,
            dropped_links: integers(rows, "dropped_links")?,
        })
    }

    fn resource_key(&self, at: usize) -> ResourceKey {
        let own = |column: &StringArray| column.value(at).to_owned();
        (own(self.tenant), own(self.resource_attributes), own(self.resource_schema_url))
    }

    fn scope_key(&self, at: usize) -> ScopeKey {
        let own = |column: &StringArray| column.value(at).to_owned();
        (own(self.scope_name), own(self.scope_version), own(self.scope_attributes), own(self.scope_schema_url))
    }

    fn span(&self, at: usize) -> Span {
        let id = |column: &StringArray| hex::decode(column.value(at)).unwrap_or_default();
        let count = |column: &Int64Array| u32::try_from(column.value(at)).unwrap_or(0);
        let time = |column: &Int64Array| u64::try_from(column.value(at)).unwrap_or(0);
        let (code, message) = (self.status_code.value(at), self.status_message.value(at).to_owned());
        let has_status = code != 0 || !message.is_empty();
        Span {
            trace_id: id(self.trace_id),
            span_id: id(self.span_id),
            trace_state: self.trace_state.value(at).to_owned(),
            parent_span_id: id(self.parent_span_id),
            flags: count(self.flags),
            name: self.name.value(at).to_owned(),
            kind: self.kind.value(at),
            start_time_unix_nano: time(self.start_ns),
            end_time_unix_nano: time(self.end_ns),
            attributes: attributes::from_json(self.attributes.value(at)),
            dropped_attributes_count: count(self.dropped_attributes),
            events: events_from_json(self.events.value(at)),
            dropped_events_count: count(self.dropped_events),
            links: links_from_json(self.links.value(at)),
            dropped_links_count: count(self.dropped_links),
            status: has_status.then_some(Status { message, code }),
        }
    }
}
