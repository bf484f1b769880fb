//! Checkpoints: a power cut may leave half of one, and the commits that it covers are still there then.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray, new_null_array};
use arrow::error::ArrowError;
use delta_kernel::checkpoint::LastCheckpointHintStats;
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::{Engine as _, EngineData, FilteredEngineData, KernelError, KernelResult, Snapshot, SnapshotRef};
use url::Url;

use crate::TableError;
use crate::engine::{Engine, sync_file, sync_folder};

/// Names the newest checkpoint.
pub(crate) const HINT: &str = "_last_checkpoint";

pub(crate) fn checkpoint_name(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

fn checkpoint_path(log: &Path, version: u64) -> PathBuf {
    log.join(checkpoint_name(version))
}

/// The version that the content of `_last_checkpoint` names.
pub(crate) fn hinted_version(hint: &[u8]) -> Option<u64> {
    let hint: serde_json::Value = serde_json::from_slice(hint).ok()?;
    hint.get("version")?.as_u64()
}

/// The version with which the name of an entry of the log begins.
pub(crate) fn version_of(path: &Path) -> Option<u64> {
    const DIGITS: usize = 20;
    let name = path.file_name()?.to_str()?;
    let (digits, rest) = name.split_at_checked(DIGITS)?;
    rest.starts_with('.').then(|| digits.parse().ok())?
}

/// Writes a checkpoint of a version that has none, and reads the version through it. What it says about removed files is
/// their names: the ranges of what they held are nobody's business any more.
pub(crate) fn write_checkpoint(engine: &Engine, url: &Url, snapshot: &SnapshotRef) -> Result<SnapshotRef, TableError> {
    let writer = Arc::clone(snapshot).create_checkpoint_writer(engine)?;
    let data = writer.checkpoint_data(engine)?;
    let state = data.state();
    let rows = data.map(|actions| actions.and_then(without_stats_of_removed));
    let path = writer.checkpoint_path()?;
    let size_bytes = engine.parquet_handler().write_parquet_file(path, Box::new(rows))?;
    let state = Arc::into_inner(state).ok_or_else(|| KernelError::generic("a checkpoint is still being written"))?;
    writer.finalize(engine, &LastCheckpointHintStats::from_reconciliation_state(state, size_bytes, 0)?)?;
    Ok(Snapshot::builder_for(url.as_str()).at_version(snapshot.version()).build(engine)?)
}

fn without_stats_of_removed(actions: FilteredEngineData) -> KernelResult<Box<dyn EngineData>> {
    let rows = actions.apply_selection_vector()?.try_into_record_batch()?;
    Ok(Box::new(ArrowEngineData::new(without_removed_stats(&rows)?)))
}

fn without_removed_stats(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let Some(removed) = rows.column_by_name("remove").and_then(|column| column.as_struct_opt()) else {
        return Ok(rows.clone());
    };
    let columns = removed.fields().iter().zip(removed.columns());
    let columns =
        columns.map(|(field, column)| if field.name() == "stats" { nothing_of(column) } else { column.clone() });
    let removed = StructArray::try_new(removed.fields().clone(), columns.collect(), removed.nulls().cloned())?;
    let removed: ArrayRef = Arc::new(removed);
    with_column(rows, "remove", &removed)
}

/// As many nulls as a column has values.
pub(crate) fn nothing_of(column: &ArrayRef) -> ArrayRef {
    new_null_array(column.data_type(), column.len())
}

/// The same rows, with another content of one column.
pub(crate) fn with_column(rows: &RecordBatch, name: &str, content: &ArrayRef) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let columns =
        columns.map(|(field, column)| if field.name() == name { Arc::clone(content) } else { column.clone() });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}

/// Makes a checkpoint durable; until then it may be half there after a power cut.
pub(crate) fn sync_checkpoint(log: &Path, version: u64) -> Result<(), TableError> {
    sync_file(&checkpoint_path(log, version))?;
    sync_file(&log.join(HINT))?;
    sync_folder(log)
}

/// Takes the newest checkpoint away, so that the log is read without it. False where there is none, or where the log could
/// not be read without it: then whatever is wrong must not be made worse.
pub(crate) fn discard_newest(log: &Path) -> Result<bool, TableError> {
    let (mut commits, mut checkpoints) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(log).map_err(TableError::io(log))? {
        let path = entry.map_err(TableError::io(log))?.path();
        let Some(version) = version_of(&path) else { continue };
        let name = path.to_string_lossy();
        if name.ends_with(".checkpoint.parquet") {
            checkpoints.insert(version);
        } else if name.ends_with(".json") {
            commits.insert(version);
        }
    }
    let Some(newest) = checkpoints.pop_last() else { return Ok(false) };
    let first = checkpoints.last().map_or(0, |before| before + 1);
    if !(first..=newest).all(|version| commits.contains(&version)) {
        return Ok(false);
    }
    let checkpoint = checkpoint_path(log, newest);
    fs::rename(&checkpoint, checkpoint.with_extension("unreadable")).map_err(TableError::io(checkpoint))?;
    let hint = log.join(HINT);
    match fs::remove_file(&hint) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(TableError::io(hint)(error)),
        _ => {}
    }
    sync_folder(log)?;
    Ok(true)
}
