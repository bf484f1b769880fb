use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::{TryFromKernel, TryIntoKernel};
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::expressions::Scalar;
use delta_kernel::scan::StatsOptions;
use delta_kernel::schema::{PrimitiveType, StructType};
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::transaction::{BoundWriteContext, CommitResult, UpdateTableOperation, WriteState};
use delta_kernel::{EngineData, FileMeta, FilteredEngineData, KernelError, Snapshot, SnapshotRef};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use delta_kernel_default_engine::stats::FileStatsAccumulator;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use url::Url;
use uuid::Uuid;

use crate::checkpoint::{nothing_of, with_column, write_checkpoint};
use crate::engine::Engine;
use crate::file::live_files;
use crate::place::{Location, Place};
use crate::{LiveFile, Partition, TableError, WrittenFile};

const ENGINE_INFO: &str = concat!("tenantscope/", env!("CARGO_PKG_VERSION"));

/// What a table is made of.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// All columns, the partition columns included.
    pub schema: SchemaRef,
    /// Columns by which files are kept apart; they are in the log, not in the files.
    pub partition_columns: Vec<String>,
    /// Columns of which the log keeps smallest and greatest value per file.
    pub stats_columns: Vec<String>,
    /// A checkpoint is written every so many commits.
    pub checkpoint_interval: u64,
}

/// What one commit changes; all of it or nothing.
#[derive(Debug, Default)]
pub struct Change {
    /// Files to add.
    pub add: Vec<WrittenFile>,
    /// Paths of live files to remove.
    pub remove: Vec<String>,
    /// An application id and how far it has come, readable by [`Table::app_version`].
    pub transaction: Option<(String, i64)>,
    /// Whether rows come or go; a compaction changes none.
    pub changes_rows: bool,
}

/// A file that is being written for a partition of a table.
#[derive(Debug)]
pub struct Draft {
    path: String,
    full: PathBuf,
    partition: Partition,
}

impl Draft {
    /// Where its content goes.
    pub fn local_path(&self) -> &Path {
        &self.full
    }

    /// What it will be called in the table.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }
}

pub(crate) struct State {
    pub(crate) snapshot: SnapshotRef,
    pub(crate) live: Arc<Vec<LiveFile>>,
    /// Files that are not live any more, and since when: whoever began before still reads them.
    pub(crate) removed: HashMap<String, Instant>,
    /// Whether the log may have a version that is not known here: a commit failed and the log could not be asked since.
    is_doubtful: bool,
}

/// A Delta table in a folder or a bucket, and its only committer.
pub struct Table {
    pub(crate) place: Place,
    url: Url,
    engine: Arc<Engine>,
    checkpoint_interval: u64,
    /// Partition columns that hold dates; the others hold text.
    date_columns: Vec<String>,
    pub(crate) state: Mutex<State>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Table").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Table {
    /// Opens the table in a folder, or makes it.
    pub fn open(dir: &Path, spec: &TableSpec) -> Result<Self, TableError> {
        Self::open_at(&Location::Folder(dir.to_owned()), spec)
    }

    /// Opens the table at a location, or makes it.
    pub fn open_at(location: &Location, spec: &TableSpec) -> Result<Self, TableError> {
        let (place, url, engine) = Place::take(location)?;
        if !place.has_commits()? {
            create(&engine, &place, &url, spec)?;
        }
        let (snapshot, live) = read(&engine, &place, &url)?;
        check_schema(&snapshot, &spec.schema)?;
        let live = Arc::new(live);
        let state = State { snapshot, live, removed: HashMap::new(), is_doubtful: false };
        let is_date =
            |name: &&String| spec.schema.field_with_name(name).is_ok_and(|f| f.data_type() == &DataType::Date32);
        let date_columns = spec.partition_columns.iter().filter(is_date).cloned().collect();
        let checkpoint_interval = spec.checkpoint_interval.max(1);
        Ok(Self { place, url, engine, checkpoint_interval, date_columns, state: Mutex::new(state) })
    }

    /// The table's folder; `None` for one in a bucket.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(root) => Some(root),
            Place::Bucket(_) => None,
        }
    }

    /// The table's URL, as other programs open it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.state.lock().snapshot.version()
    }

    /// The files of the newest version.
    pub fn files(&self) -> Arc<Vec<LiveFile>> {
        Arc::clone(&self.state.lock().live)
    }

    /// How far an application had come at the newest version.
    pub fn app_version(&self, application: &str) -> Result<Option<i64>, TableError> {
        let mut state = self.state.lock();
        self.settle(&mut state)?;
        Ok(state.snapshot.get_app_id_version(application, self.engine.as_ref())?)
    }

    /// Writes one Parquet file and fsyncs it; it belongs to the table once it is committed.
    ///
    /// The batch has the table's columns in order, without the partition columns.
    pub fn write_file(
        &self,
        partition: &Partition,
        rows: &RecordBatch,
        properties: WriterProperties,
    ) -> Result<WrittenFile, TableError> {
        let draft = self.draft(partition)?;
        let file = File::create_new(draft.local_path()).map_err(TableError::io(draft.local_path()))?;
        let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties))?;
        writer.write(rows)?;
        writer.into_inner()?;
        self.seal(draft, rows, rows.num_rows() as u64)
    }

    /// A name for a new file in a partition, and the place where the caller writes it. Its folder is there.
    pub fn draft(&self, partition: &Partition) -> Result<Draft, TableError> {
        let folder = partition_folder(partition)?;
        let path = format!("{folder}{}.parquet", Uuid::new_v4());
        let full = self.place.draft_path(&path)?;
        Ok(Draft { path, full, partition: partition.clone() })
    }

    /// Makes a file durable that the caller wrote at [`Draft::local_path`]; it belongs to the table once it is committed.
    ///
    /// `bounds` are rows, in the table's columns without the partition columns, whose least and greatest values are those
    /// of the whole file, which has `row_count` rows.
    pub fn seal(&self, draft: Draft, bounds: &RecordBatch, row_count: u64) -> Result<WrittenFile, TableError> {
        let mut stats = self.stats_of(&draft.partition)?;
        stats.merge(bounds)?;
        self.seal_with(draft, stats, row_count)
    }

    /// What collects the statistics of a file of a partition.
    pub(crate) fn stats_of(&self, partition: &Partition) -> Result<FileStatsAccumulator, TableError> {
        let context = self.write_context(&self.write_state()?, partition)?;
        Ok(FileStatsAccumulator::new(context.stats_columns(), context.physical_data_schema()))
    }

    /// As [`Table::seal`], with the statistics of all of the file.
    pub(crate) fn seal_with(
        &self,
        draft: Draft,
        stats: FileStatsAccumulator,
        row_count: u64,
    ) -> Result<WrittenFile, TableError> {
        let size_bytes = self.place.finish(&draft.full, &draft.path)?;
        let stats = stats.finish()?.ok_or_else(|| KernelError::generic("no statistics of a written file"))?;
        let stats = with_row_count(&stats, row_count)?;
        Ok(WrittenFile::new(draft.path, size_bytes, now_ms(), draft.partition, stats))
    }

    /// Makes one new version. A commit that fails may have happened all the same: the log is asked, and it counts if it
    /// did. Where the log can't be asked either, the next commit, [`Table::expire`] or [`Table::app_version`] asks it
    /// first, and a transaction that is found to be there is not made again.
    pub fn commit(&self, change: &Change) -> Result<u64, TableError> {
        let mut state = self.state.lock();
        if state.is_doubtful {
            self.settle(&mut state)?;
            if change.transaction.is_some() && self.has(&state, change)? {
                return Ok(state.snapshot.version());
            }
        }
        let live: BTreeSet<&str> = state.live.iter().map(|file| file.path.as_str()).collect();
        if let Some(gone) = change.remove.iter().find(|path| !live.contains(path.as_str())) {
            // Whoever thinks that it lives would add its rows once more.
            return Err(TableError::NotLive(gone.clone()));
        }
        let failed = match self.try_commit(&mut state, change) {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        state.is_doubtful = true;
        if let Err(error) = self.settle(&mut state) {
            tracing::error!(table = %self.url, %error, "a commit failed, and whether it happened is not known yet");
            return Err(failed);
        }
        if self.has(&state, change)? { Ok(state.snapshot.version()) } else { Err(failed) }
    }

    /// Whether the table has a change, as far as the log is known here.
    fn has(&self, state: &State, change: &Change) -> Result<bool, TableError> {
        if let Some((application, version)) = &change.transaction {
            let done = state.snapshot.get_app_id_version(application, self.engine.as_ref())?;
            return Ok(done.is_some_and(|done| done >= *version));
        }
        // Names of files are never given twice.
        let live: BTreeSet<&str> = state.live.iter().map(|file| file.path.as_str()).collect();
        let added = change.add.iter().all(|file| live.contains(file.live.path.as_str()));
        Ok(added && !change.remove.iter().any(|path| live.contains(path.as_str())))
    }

    fn try_commit(&self, state: &mut State, change: &Change) -> Result<u64, TableError> {
        let operation = if change.changes_rows { UpdateTableOperation::Write } else { UpdateTableOperation::Optimize };
        let mut builder = Arc::clone(&state.snapshot).update_table(operation, ENGINE_INFO, change.changes_rows);
        if let Some((application, version)) = &change.transaction {
            builder = builder.with_transaction_id(application.clone(), *version);
        }
        let committer = self.place.committer();
        let mut transaction = builder.build(self.engine.as_ref(), committer)?;
        if !change.add.is_empty() {
            let write_state = transaction.write_state()?;
            for file in &change.add {
                let context = self.write_context(&write_state, &file.live.partition)?;
                transaction.add_files(build_add_file_metadata(self.file_metadata(file)?, &context)?);
            }
        }
        let removed: BTreeSet<&str> = change.remove.iter().map(String::as_str).collect();
        if !removed.is_empty() {
            for rows in removals(&self.engine, &state.snapshot, &removed)? {
                transaction.remove_files(rows);
            }
        }
        let committed = match transaction.commit(self.engine.as_ref())? {
            CommitResult::Committed(committed) => committed,
            CommitResult::Conflicted(conflict) => return Err(TableError::Conflict(conflict.conflict_version())),
            CommitResult::Retryable(retryable) => return Err(TableError::Doubtful(retryable.error)),
        };
        let snapshot = match committed.post_commit_snapshot() {
            Some(snapshot) => Arc::clone(snapshot),
            None => Snapshot::builder_for(self.url.as_str()).build(self.engine.as_ref())?,
        };

        let kept = state.live.iter().filter(|file| !removed.contains(file.path.as_str())).cloned();
        let live = kept.chain(change.add.iter().map(|file| file.live.clone())).collect();
        state.live = Arc::new(live);
        let now = Instant::now();
        state.removed.extend(change.remove.iter().map(|path| (path.clone(), now)));
        state.snapshot = snapshot;
        let version = committed.commit_version();
        // It only makes opening quicker, so a failure is told and no more.
        if version.is_multiple_of(self.checkpoint_interval)
            && let Err(error) = self.checkpoint(state)
        {
            tracing::warn!(table = %self.url, %error, "checkpoint failed");
        }
        Ok(version)
    }

    /// Reads the newest version from the log again.
    pub fn reload(&self) -> Result<(), TableError> {
        self.read_again(&mut self.state.lock())
    }

    /// Asks the log if it may have a version that is not known here.
    pub(crate) fn settle(&self, state: &mut State) -> Result<(), TableError> {
        if state.is_doubtful { self.read_again(state) } else { Ok(()) }
    }

    fn read_again(&self, state: &mut State) -> Result<(), TableError> {
        // What is read is relied on, so it must not go with a power cut.
        self.place.sync_log()?;
        let snapshot = Snapshot::builder_for(self.url.as_str()).build(self.engine.as_ref())?;
        let live = list(&self.engine, &snapshot)?;
        let now = Instant::now();
        let is_live: BTreeSet<&str> = live.iter().map(|file| file.path.as_str()).collect();
        let gone = state.live.iter().filter(|file| !is_live.contains(file.path.as_str()));
        let gone: Vec<(String, Instant)> = gone.map(|file| (file.path.clone(), now)).collect();
        state.removed.extend(gone);
        state.live = Arc::new(live);
        state.snapshot = snapshot;
        state.is_doubtful = false;
        Ok(())
    }

    /// Writes a checkpoint of the newest version.
    pub(crate) fn checkpoint(&self, state: &mut State) -> Result<(), TableError> {
        let snapshot = write_checkpoint(&self.engine, &self.url, &state.snapshot)?;
        self.place.finish_checkpoint(snapshot.version())?;
        state.snapshot = snapshot;
        Ok(())
    }

    fn write_state(&self) -> Result<Arc<WriteState>, TableError> {
        let snapshot = Arc::clone(&self.state.lock().snapshot);
        let committer = self.place.committer();
        let builder = snapshot.update_table(UpdateTableOperation::Write, ENGINE_INFO, true);
        Ok(builder.build(self.engine.as_ref(), committer)?.write_state()?)
    }

    fn write_context(&self, state: &Arc<WriteState>, partition: &Partition) -> Result<BoundWriteContext, TableError> {
        let builder = state.write_context_builder();
        let values: HashMap<String, Scalar> =
            partition.iter().map(|(column, value)| (column.clone(), self.partition_scalar(column, value))).collect();
        let builder = if values.is_empty() { builder } else { builder.with_partition_values(values) };
        Ok(builder.build()?)
    }

    /// The value in the type of its column.
    fn partition_scalar(&self, column: &str, value: &str) -> Scalar {
        let is_date = self.date_columns.iter().any(|name| name == column);
        match PrimitiveType::Date.parse_scalar(value) {
            Ok(scalar) if is_date => scalar,
            _ => Scalar::String(value.to_owned()),
        }
    }

    fn file_metadata(&self, file: &WrittenFile) -> Result<DataFileMetadata, TableError> {
        let location = self.url.join(&file.live.path).map_err(|error| TableError::Url(error.to_string()))?;
        let meta = FileMeta::new(location, file.live.modified_ms, file.live.size_bytes);
        Ok(DataFileMetadata::new(meta, file.stats.clone()))
    }
}

/// The same statistics, but of so many rows.
fn with_row_count(stats: &StructArray, row_count: u64) -> Result<StructArray, TableError> {
    let count: ArrayRef = Arc::new(Int64Array::from(vec![i64::try_from(row_count).unwrap_or(i64::MAX)]));
    let columns = stats.fields().iter().zip(stats.columns());
    let columns = columns.map(
        |(field, column)| {
            if field.name() == "numRecords" { Arc::clone(&count) } else { Arc::clone(column) }
        },
    );
    Ok(StructArray::try_new(stats.fields().clone(), columns.collect(), stats.nulls().cloned())?)
}

fn create(engine: &Engine, place: &Place, url: &Url, spec: &TableSpec) -> Result<(), TableError> {
    let schema: StructType = spec.schema.as_ref().try_into_kernel()?;
    let builder = create_table(url.as_str(), Arc::new(schema), ENGINE_INFO, true)
        .with_data_layout(DataLayout::partitioned(&spec.partition_columns))
        .with_table_properties([("delta.dataSkippingStatsColumns", spec.stats_columns.join(","))]);
    match builder.build(engine, place.committer())?.commit(engine)? {
        CommitResult::Committed(_) => Ok(()),
        CommitResult::Conflicted(conflict) => Err(TableError::Conflict(conflict.conflict_version())),
        CommitResult::Retryable(retryable) => Err(TableError::Doubtful(retryable.error)),
    }
}

fn check_schema(snapshot: &Snapshot, wanted: &Schema) -> Result<(), TableError> {
    let found = Schema::try_from_kernel(snapshot.schema().as_ref())?;
    let names = |schema: &Schema| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    if names(&found) == names(wanted) {
        return Ok(());
    }
    Err(TableError::Schema(names(&found).join(", ")))
}

/// The newest version and its files. A checkpoint that can't be read is taken away, once, if its commits are still there.
fn read(engine: &Engine, place: &Place, url: &Url) -> Result<(SnapshotRef, Vec<LiveFile>), TableError> {
    let attempt = || {
        let snapshot = Snapshot::builder_for(url.as_str()).build(engine)?;
        let live = list(engine, &snapshot)?;
        Ok((snapshot, live))
    };
    attempt().or_else(|error: TableError| {
        tracing::error!(table = %url, %error, "the log can't be read, trying without its newest checkpoint");
        if place.discard_checkpoint()? { attempt() } else { Err(error) }
    })
}

/// One batch of the log's file actions at a time, with the rows that are live.
fn scan(engine: &Engine, snapshot: &SnapshotRef) -> Result<Vec<(RecordBatch, Vec<bool>)>, TableError> {
    let scan = Arc::clone(snapshot).scan_builder().with_stats(StatsOptions::json_only()).build()?;
    let mut batches = Vec::new();
    for metadata in scan.scan_metadata(engine)? {
        let (data, selection) = metadata?.scan_files.into_parts();
        let rows = data.into_any().downcast::<ArrowEngineData>();
        let rows = rows.map_err(|_| KernelError::generic("scan rows are not arrow"))?;
        batches.push((rows.record_batch().clone(), selection));
    }
    Ok(batches)
}

fn list(engine: &Engine, snapshot: &SnapshotRef) -> Result<Vec<LiveFile>, TableError> {
    let batches = scan(engine, snapshot)?;
    Ok(batches.iter().flat_map(|(rows, selection)| live_files(rows, selection)).collect())
}

/// The log's rows for the files to remove, in the form in which the kernel takes them.
fn removals(
    engine: &Engine,
    snapshot: &SnapshotRef,
    paths: &BTreeSet<&str>,
) -> Result<Vec<FilteredEngineData>, TableError> {
    let mut removals = Vec::new();
    for (rows, selection) in scan(engine, snapshot)? {
        let Some(names) = rows.column_by_name("path").and_then(|c| c.as_string_opt::<i32>()) else { continue };
        let chosen: Vec<bool> = names
            .iter()
            .enumerate()
            .map(|(row, name)| {
                selection.get(row).copied().unwrap_or(true) && name.is_some_and(|name| paths.contains(name))
            })
            .collect();
        if chosen.contains(&true) {
            // What a file held is nobody's business any more.
            let rows = match rows.column_by_name("stats").map(nothing_of) {
                Some(nothing) => with_column(&rows, "stats", &nothing)?,
                None => rows,
            };
            let data: Box<dyn EngineData> = Box::new(ArrowEngineData::new(rows));
            removals.push(FilteredEngineData::try_new(data, chosen)?);
        }
    }
    Ok(removals)
}

/// `a=1/b=2/`; values are so restricted that no escaping is needed.
fn partition_folder(partition: &Partition) -> Result<String, TableError> {
    let mut folder = String::new();
    for (column, value) in partition {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if value.is_empty() || value.starts_with('.') || !value.bytes().all(allowed) {
            return Err(TableError::PartitionValue { column: column.clone(), value: value.clone() });
        }
        folder.push_str(&format!("{column}={value}/"));
    }
    Ok(folder)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
