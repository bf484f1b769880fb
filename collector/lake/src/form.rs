use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tenantscope_model::{Refusal, StampedBatch};
use tenantscope_table::TableSpec;

/// What the two tables have not in common.
pub(crate) struct Form {
    /// `logs` or `spans`; a folder's name and a label's value.
    pub(crate) signal: &'static str,
    /// The columns in the files; the table has `retention` and `day` besides.
    pub(crate) columns: SchemaRef,
    /// Turns a batch of this signal into rows; `now_ns` stands in for a time that the sender left out.
    pub(crate) encode: fn(&StampedBatch, now_ns: i64) -> Result<RecordBatch, Refusal>,
    /// Whether a row is dropped when one with the same tenant, trace and span id is there.
    pub(crate) unique_spans: bool,
}

/// Both tables have these first; `time` is `time_ns` for those who read the tables from outside.
fn common() -> [(&'static str, DataType); 6] {
    [
        ("time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("time_ns", DataType::Int64),
        ("tenant", DataType::Utf8),
        ("account_id", DataType::Utf8),
        ("region", DataType::Utf8),
        ("service", DataType::Utf8),
    ]
}

/// Rows in a file come in this order.
pub(crate) const SORT: [&str; 3] = ["tenant", "service", "time_ns"];

/// The common columns, then the given ones. All may be null for Delta; we write none.
pub(crate) fn columns(own: &[(&str, DataType)]) -> SchemaRef {
    let common = common().into_iter().map(|(name, kind)| Field::new(name, kind, true));
    let own = own.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
    Arc::new(Schema::new(common.chain(own).collect::<Vec<_>>()))
}

impl Form {
    /// The Delta table.
    pub(crate) fn table_spec(&self) -> TableSpec {
        let mut fields: Vec<_> = self.columns.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("retention", DataType::Utf8, true)));
        fields.push(Arc::new(Field::new("day", DataType::Date32, true)));
        TableSpec {
            schema: Arc::new(Schema::new(fields)),
            partition_columns: vec!["retention".to_owned(), "day".to_owned()],
            stats_columns: ["time", "time_ns", "tenant", "service"].map(str::to_owned).to_vec(),
            checkpoint_interval: 50,
        }
    }
}
