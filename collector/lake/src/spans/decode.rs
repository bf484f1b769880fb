use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int32Type;

use crate::QueryError;
use crate::logs::row::{integers, text};

/// What searches look at in a span.
#[derive(Debug, Clone)]
pub(crate) struct SpanRow {
    pub(crate) tenant: String,
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) start_ns: i64,
    pub(crate) end_ns: i64,
    pub(crate) duration_ns: i64,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) status_code: i32,
    pub(crate) status_message: String,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_span_id: String,
    /// JSON.
    pub(crate) attributes: String,
    /// JSON.
    pub(crate) resource_attributes: String,
}

/// The columns of which [`SpanRow`] is made.
pub(crate) const COLUMNS: [&str; 16] = [
    "tenant",
    "account_id",
    "region",
    "service",
    "time_ns",
    "end_ns",
    "duration_ns",
    "name",
    "kind",
    "status_code",
    "status_message",
    "trace_id",
    "span_id",
    "parent_span_id",
    "attributes",
    "resource_attributes",
];

impl SpanRow {
    /// The rows of a batch that has [`COLUMNS`].
    pub(crate) fn all(rows: &RecordBatch) -> Result<impl Iterator<Item = Self> + '_, QueryError> {
        let text = |column| text(rows, column);
        let integers = |column| integers(rows, column);
        let small = |column: &str| rows.column_by_name(column).and_then(|c| c.as_primitive_opt::<Int32Type>());
        let (tenant, account, region, service) =
            (text("tenant")?, text("account_id")?, text("region")?, text("service")?);
        let (start, end, duration) = (integers("time_ns")?, integers("end_ns")?, integers("duration_ns")?);
        let (name, message) = (text("name")?, text("status_message")?);
        let (kind, status) = (small("kind"), small("status_code"));
        let (trace, span, parent) = (text("trace_id")?, text("span_id")?, text("parent_span_id")?);
        let (attributes, resource) = (text("attributes")?, text("resource_attributes")?);
        let rows = (0..start.len()).map(move |at| Self {
            tenant: tenant.value(at).to_owned(),
            account: account.value(at).to_owned(),
            region: region.value(at).to_owned(),
            service: service.value(at).to_owned(),
            start_ns: start.value(at),
            end_ns: end.value(at),
            duration_ns: duration.value(at),
            name: name.value(at).to_owned(),
            kind: kind.map_or(0, |kind| kind.value(at)),
            status_code: status.map_or(0, |status| status.value(at)),
            status_message: message.value(at).to_owned(),
            trace_id: trace.value(at).to_owned(),
            span_id: span.value(at).to_owned(),
            parent_span_id: parent.value(at).to_owned(),
            attributes: attributes.value(at).to_owned(),
            resource_attributes: resource.value(at).to_owned(),
        });
        Ok(rows)
    }

    /// The status as TraceQL names it.
    pub(crate) fn status(&self) -> &'static str {
        match self.status_code {
            1 => "ok",
            2 => "error",
            _ => "unset",
        }
    }
}
