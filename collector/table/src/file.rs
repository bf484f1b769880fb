use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::datatypes::Int64Type;
use serde_json::Value;

/// A file's partition: column to value, as text (`day` → `2026-11-24`).
pub type Partition = BTreeMap<String, String>;

/// Smallest and greatest value of a column in a file, as the Delta log has them: a string may be cut short, the greatest
/// one then upwards.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnRange {
    /// Not above any value.
    pub min: Value,
    /// Not below any value.
    pub max: Value,
}

/// A file that belongs to the table's newest version.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveFile {
    /// Relative to the table's folder.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, in milliseconds since the epoch.
    pub modified_ms: i64,
    /// Its partition.
    pub partition: Partition,
    /// How many rows it has, where known.
    pub rows: Option<u64>,
    /// Ranges of those columns for which the table collects them.
    pub ranges: BTreeMap<String, ColumnRange>,
}

impl LiveFile {
    /// Whether an integer column of the file may have a value between two bounds, inclusively; true where unknown.
    pub fn may_have_between(&self, column: &str, from: i64, to: i64) -> bool {
        let Some(range) = self.ranges.get(column) else { return true };
        match (range.min.as_i64(), range.max.as_i64()) {
            (Some(min), Some(max)) => min <= to && from <= max,
            _ => true,
        }
    }

    /// Whether a text column of the file may have this value; true where unknown.
    pub fn may_have_text(&self, column: &str, value: &str) -> bool {
        let Some(range) = self.ranges.get(column) else { return true };
        match (range.min.as_str(), range.max.as_str()) {
            (Some(min), Some(max)) => min <= value && value <= max,
            _ => true,
        }
    }

    pub(crate) fn with_stats(mut self, stats: &Value) -> Self {
        self.rows = stats.get("numRecords").and_then(Value::as_u64);
        let (Some(Value::Object(mins)), Some(Value::Object(maxs))) = (stats.get("minValues"), stats.get("maxValues"))
        else {
            return self;
        };
        for (column, min) in mins {
            if let Some(max) = maxs.get(column) {
                self.ranges.insert(column.clone(), ColumnRange { min: min.clone(), max: max.clone() });
            }
        }
        self
    }
}

/// A file that was written and fsynced, but belongs to no version yet.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    pub(crate) live: LiveFile,
    pub(crate) stats: StructArray,
}

impl WrittenFile {
    pub(crate) fn new(
        path: String,
        size_bytes: u64,
        modified_ms: i64,
        partition: Partition,
        stats: StructArray,
    ) -> Self {
        let live = LiveFile { path, size_bytes, modified_ms, partition, rows: None, ranges: BTreeMap::new() };
        let live = live.with_stats(&stats_as_json(&stats));
        Self { live, stats }
    }

    /// As it will be once it is committed.
    pub fn as_live(&self) -> &LiveFile {
        &self.live
    }
}

/// Of the statistics only what [`LiveFile`] keeps: row count, and ranges of integer and text columns.
fn stats_as_json(stats: &StructArray) -> Value {
    let mut json = serde_json::Map::new();
    if let Some(rows) = stats.column_by_name("numRecords").and_then(|c| c.as_primitive_opt::<Int64Type>()) {
        json.insert("numRecords".to_owned(), Value::from(rows.value(0)));
    }
    for side in ["minValues", "maxValues"] {
        let Some(values) = stats.column_by_name(side).and_then(|c| c.as_struct_opt()) else { continue };
        let columns = values.fields().iter().zip(values.columns());
        let ranges = columns.filter_map(|(field, array)| Some((field.name().clone(), first_value(array)?))).collect();
        json.insert(side.to_owned(), Value::Object(ranges));
    }
    Value::Object(json)
}

fn first_value(array: &Arc<dyn Array>) -> Option<Value> {
    if array.is_empty() || array.is_null(0) {
        return None;
    }
    if let Some(integers) = array.as_primitive_opt::<Int64Type>() {
        return Some(Value::from(integers.value(0)));
    }
    array.as_string_opt::<i32>().map(|texts| Value::from(texts.value(0)))
}

/// Reads the rows of a scan over the Delta log that the selection names.
pub(crate) fn live_files(rows: &RecordBatch, selection: &[bool]) -> Vec<LiveFile> {
    let text = |name: &str| rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
    let integer = |name: &str| rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
    let partitions = rows
        .column_by_name("fileConstantValues")
        .and_then(|c| c.as_struct_opt())
        .and_then(|constants| constants.column_by_name("partitionValues"))
        .and_then(|c| c.as_map_opt());
    let (Some(paths), Some(sizes), Some(times)) = (text("path"), integer("size"), integer("modificationTime")) else {
        return Vec::new();
    };
    let stats = text("stats");

    let mut files = Vec::new();
    for row in 0..rows.num_rows() {
        if !selection.get(row).copied().unwrap_or(true) || paths.is_null(row) {
            continue;
        }
        let partition = partitions.map(|maps| partition_of(&maps.value(row))).unwrap_or_default();
        let file = LiveFile {
            path: paths.value(row).to_owned(),
            size_bytes: u64::try_from(sizes.value(row)).unwrap_or(0),
            modified_ms: times.value(row),
            partition,
            rows: None,
            ranges: BTreeMap::new(),
        };
        let stats = stats.filter(|stats| stats.is_valid(row)).map(|stats| stats.value(row));
        files.push(match stats.and_then(|json| serde_json::from_str(json).ok()) {
            Some(stats) => file.with_stats(&stats),
            None => file,
        });
    }
    files
}

fn partition_of(entries: &StructArray) -> Partition {
    let (Some(keys), Some(values)) = (
        entries.columns().first().and_then(|c| c.as_string_opt::<i32>()),
        entries.columns().get(1).and_then(|c| c.as_string_opt::<i32>()),
    ) else {
        return Partition::new();
    };
    let pairs = keys.iter().zip(values.iter());
    pairs.filter_map(|(key, value)| Some((key?.to_owned(), value?.to_owned()))).collect()
}
