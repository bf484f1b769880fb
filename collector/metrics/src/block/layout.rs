//! What the table's columns are, and how they are written (`FORMAT.md` has the whole).

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Repetition, Type as Physical, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use tenantscope_table::TableSpec;

/// Under this key the file's metadata says where the series index lies.
pub(super) const INDEX_KEY: &str = "tenantscope.series_index";
/// Version of the series index.
pub(super) const INDEX_VERSION: u32 = 1;
/// A row group is closed before it has more rows than this, unless one series alone has more.
pub(super) const MAX_ROWS_IN_GROUP: usize = 1 << 20;
/// A page is closed at so many rows: what a reader decodes at least.
const MAX_ROWS_IN_PAGE: usize = 16 << 10;
const MAX_PAGE_BYTES: usize = 1 << 20;
/// Of one row group's label sets, so that none is written twice.
const MAX_DICTIONARY_BYTES: usize = 256 << 20;
const ZSTD_LEVEL: i32 = 3;

/// The columns of a file, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Metric,
    Tenant,
    Labels,
    TimeMs,
    Mantissa,
    Scale,
    FloatValue,
    Histogram,
    StartMs,
}

impl Column {
    pub(super) const ALL: [Self; 9] = [
        Self::Metric,
        Self::Tenant,
        Self::Labels,
        Self::TimeMs,
        Self::Mantissa,
        Self::Scale,
        Self::FloatValue,
        Self::Histogram,
        Self::StartMs,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Tenant => "tenant",
            Self::Labels => "labels",
            Self::TimeMs => "time_ms",
            Self::Mantissa => "mantissa",
            Self::Scale => "scale",
            Self::FloatValue => "float_value",
            Self::Histogram => "histogram",
            Self::StartMs => "start_ms",
        }
    }

    fn physical(self) -> (Physical, Repetition) {
        match self {
            Self::Metric | Self::Tenant | Self::Histogram => (Physical::BYTE_ARRAY, Repetition::OPTIONAL),
            Self::Labels => (Physical::BYTE_ARRAY, Repetition::REQUIRED),
            Self::TimeMs | Self::Mantissa => (Physical::INT64, Repetition::REQUIRED),
            Self::Scale => (Physical::INT32, Repetition::OPTIONAL),
            Self::FloatValue => (Physical::DOUBLE, Repetition::OPTIONAL),
            Self::StartMs => (Physical::INT64, Repetition::OPTIONAL),
        }
    }

    fn arrow(self) -> DataType {
        match self.physical().0 {
            Physical::INT64 => DataType::Int64,
            Physical::INT32 => DataType::Int32,
            Physical::DOUBLE => DataType::Float64,
            _ => DataType::Utf8,
        }
    }
}

/// The columns of a file as Arrow names them. All may be null for Delta; `labels`, `time_ms` and `mantissa` never are.
pub(super) static FILE_COLUMNS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = Column::ALL.map(|column| Field::new(column.name(), column.arrow(), true));
    Arc::new(Schema::new(fields.to_vec()))
});

/// The Delta table. Of the columns only the time's bounds are in the log: it outlives a tenant's removal.
pub(super) fn table_spec() -> TableSpec {
    let mut fields: Vec<_> = FILE_COLUMNS.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("retention", DataType::Utf8, true)));
    fields.push(Arc::new(Field::new("day", DataType::Date32, true)));
    TableSpec {
        schema: Arc::new(Schema::new(fields)),
        partition_columns: vec!["retention".to_owned(), "day".to_owned()],
        stats_columns: vec![Column::TimeMs.name().to_owned()],
        checkpoint_interval: 50,
    }
}

pub(super) fn schema() -> Result<TypePtr, ParquetError> {
    let columns = Column::ALL.iter().map(|column| {
        let (physical, repetition) = column.physical();
        let builder = Type::primitive_type_builder(column.name(), physical).with_repetition(repetition);
        let builder = match physical {
            Physical::BYTE_ARRAY => {
                builder.with_converted_type(ConvertedType::UTF8).with_logical_type(Some(LogicalType::String))
            }
            _ => builder,
        };
        builder.build().map(Arc::new)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("samples").with_fields(columns).build().map(Arc::new)
}

pub(super) fn properties() -> Result<WriterPropertiesPtr, ParquetError> {
    let path = |column: Column| ColumnPath::from(column.name());
    let sorted = |at: i32| SortingColumn { column_idx: at, descending: false, nulls_first: true };
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tenantscope ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_dictionary_page_size_limit(MAX_DICTIONARY_BYTES)
        .set_data_page_size_limit(MAX_PAGE_BYTES)
        .set_data_page_row_count_limit(MAX_ROWS_IN_PAGE)
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_sorting_columns(Some(vec![sorted(0), sorted(1)]));
    for column in [Column::Metric, Column::Tenant, Column::TimeMs] {
        builder = builder.set_column_statistics_enabled(path(column), EnabledStatistics::Chunk);
    }
    for column in [Column::TimeMs, Column::Mantissa] {
        builder = builder
            .set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED);
    }
    for column in [Column::FloatValue, Column::Histogram] {
        builder = builder.set_column_dictionary_enabled(path(column), false);
    }
    builder = builder.set_column_encoding(path(Column::FloatValue), Encoding::BYTE_STREAM_SPLIT);
    Ok(Arc::new(builder.build()))
}
