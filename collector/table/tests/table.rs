//! Through the door: what is committed is there after opening again, what is not does not count.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use tenantscope_table::{Change, Partition, Table, TableError, TableSpec, WrittenFile};

fn spec() -> TableSpec {
    let columns = [("tenant", DataType::Utf8), ("n", DataType::Int64), ("retention", DataType::Utf8)];
    let mut fields: Vec<Field> = columns.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
    fields.push(Field::new("day", DataType::Date32, true));
    TableSpec {
        schema: Arc::new(Schema::new(fields)),
        partition_columns: vec!["retention".into(), "day".into()],
        stats_columns: vec!["tenant".into(), "n".into()],
        checkpoint_interval: 3,
    }
}

fn partition(day: &str) -> Partition {
    Partition::from([("retention".to_owned(), "default".to_owned()), ("day".to_owned(), day.to_owned())])
}

fn write(table: &Table, day: &str, rows: &[(&str, i64)]) -> WrittenFile {
    let schema = Schema::new(vec![Field::new("tenant", DataType::Utf8, true), Field::new("n", DataType::Int64, true)]);
    let tenants = StringArray::from_iter_values(rows.iter().map(|row| row.0));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(tenants), Arc::new(numbers)]).unwrap();
    table.write_file(&partition(day), &batch, WriterProperties::default()).unwrap()
}

fn add(table: &Table, file: WrittenFile, position: i64) {
    let transaction = Some(("journal".to_owned(), position));
    table.commit(&Change { add: vec![file], transaction, changes_rows: true, ..Change::default() }).unwrap();
}

fn open(dir: &Path) -> Table {
    Table::open(dir, &spec()).unwrap()
}

#[test]
fn a_commit_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    assert_eq!(table.app_version("journal").unwrap(), None);
    add(&table, write(&table, "2026-11-24", &[("a", 1), ("b", 7)]), 5);
    let live = table.files();
    drop(table);

    let table = open(dir.path());
    assert_eq!(table.version(), 1);
    assert_eq!(table.app_version("journal").unwrap(), Some(5));
    assert_eq!(*table.files(), *live);
    let file = &table.files()[0];
    assert_eq!(file.partition, partition("2026-11-24"));
    assert_eq!(file.rows, Some(2));
    assert!(file.may_have_between("n", 7, 9) && !file.may_have_between("n", 8, 9));
    assert!(file.may_have_text("tenant", "b") && !file.may_have_text("tenant", "c"));
}

#[test]
fn a_compaction_replaces_files_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    for n in 1..=4 {
        add(&table, write(&table, "2026-11-24", &[("a", n)]), n);
    }
    let remove: Vec<String> = table.files().iter().take(3).map(|file| file.path.clone()).collect();
    let merged = write(&table, "2026-11-24", &[("a", 1), ("a", 2), ("a", 3)]);
    table.commit(&Change { add: vec![merged], remove: remove.clone(), ..Change::default() }).unwrap();
    assert_eq!(table.files().len(), 2);
    let live = table.files();

    assert_eq!(table.expire(Duration::from_secs(600)).unwrap().files, 0, "a query may still read them");
    assert!(remove.iter().all(|path| dir.path().join(path).exists()));
    assert_eq!(table.expire(Duration::ZERO).unwrap().files, 3);
    assert!(!remove.iter().any(|path| dir.path().join(path).exists()));

    drop(table);
    let table = open(dir.path());
    let paths = |files: &[tenantscope_table::LiveFile]| {
        let mut paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(&table.files()), paths(&live));
    assert_eq!(table.app_version("journal").unwrap(), Some(4), "a compaction leaves the position alone");
    assert!(dir.path().join("_delta_log/_last_checkpoint").exists());
}

#[test]
fn a_file_without_a_commit_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    let orphan = write(&table, "2026-11-24", &[("a", 1)]);
    drop(table);

    let table = open(dir.path());
    assert!(table.files().is_empty());
    assert!(dir.path().join(&orphan.as_live().path).exists());
    assert_eq!(table.expire(Duration::ZERO).unwrap().files, 1);
}

#[test]
fn a_commit_without_files_moves_the_position() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    let transaction = Some(("journal".to_owned(), 9));
    table.commit(&Change { transaction, changes_rows: true, ..Change::default() }).unwrap();
    assert_eq!(open(dir.path()).app_version("journal").unwrap(), Some(9));
}

#[test]
fn what_a_checkpoint_covers_can_go_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    for n in 1..=7 {
        add(&table, write(&table, "2026-11-24", &[("a", n)]), n);
    }
    assert_eq!(table.trim_log(Duration::from_secs(600)).unwrap(), 0);
    assert!(table.trim_log(Duration::ZERO).unwrap() >= 6);
    add(&table, write(&table, "2026-11-24", &[("a", 8)]), 8);
    let table = open(dir.path());
    assert_eq!((table.files().len(), table.version()), (8, 8));
    assert_eq!(table.app_version("journal").unwrap(), Some(8));
}

#[test]
fn half_a_checkpoint_does_not_keep_the_table_shut() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    for n in 1..=4 {
        add(&table, write(&table, "2026-11-24", &[("a", n)]), n);
    }
    drop(table);
    let checkpoint = dir.path().join("_delta_log/00000000000000000003.checkpoint.parquet");
    std::fs::OpenOptions::new().write(true).open(&checkpoint).unwrap().set_len(10).unwrap();
    let table = open(dir.path());
    assert_eq!((table.files().len(), table.version()), (4, 4));
    assert_eq!(table.app_version("journal").unwrap(), Some(4));

    // Where the commits are gone nothing is touched.
    for n in 5..=6 {
        add(&table, write(&table, "2026-11-24", &[("a", n)]), n);
    }
    table.trim_log(Duration::ZERO).unwrap();
    drop(table);
    let checkpoint = dir.path().join("_delta_log/00000000000000000006.checkpoint.parquet");
    std::fs::OpenOptions::new().write(true).open(&checkpoint).unwrap().set_len(10).unwrap();
    assert!(Table::open(dir.path(), &spec()).is_err());
    assert!(checkpoint.exists());
}

#[test]
fn a_change_made_for_an_older_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    add(&table, write(&table, "2026-11-24", &[("a", 1)]), 1);
    let remove = vec![table.files()[0].path.clone()];
    let rewritten = || write(&table, "2026-11-24", &[("a", 1)]);
    let change = |file| Change { add: vec![file], remove: remove.clone(), ..Change::default() };
    table.commit(&change(rewritten())).unwrap();
    let refused = table.commit(&change(rewritten())).unwrap_err();
    assert!(matches!(&refused, TableError::NotLive(path) if *path == remove[0]), "{refused}");
    assert_eq!(table.files().iter().map(|file| file.rows.unwrap()).sum::<u64>(), 1, "no row is there twice");
}

/// Another table on the same folder stands in for a commit that happened although it failed.
#[test]
fn after_a_failed_commit_the_log_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (table, other) = (open(dir.path()), open(dir.path()));
    add(&table, write(&table, "2026-11-24", &[("a", 1)]), 1);
    let before = table.files()[0].path.clone();
    other.reload().unwrap();
    let rewritten = write(&other, "2026-11-24", &[("a", 2)]);
    let path = rewritten.as_live().path.clone();
    let change = Change { add: vec![rewritten], remove: vec![before.clone()], ..Change::default() };
    other.commit(&change).unwrap();

    let late = write(&table, "2026-11-25", &[("a", 3)]);
    let failed = table.commit(&Change { add: vec![late], changes_rows: true, ..Change::default() }).unwrap_err();
    assert!(matches!(failed, TableError::Conflict(_)), "{failed}");
    assert_eq!(table.files().iter().map(|file| &file.path).collect::<Vec<_>>(), [&path]);
    assert_eq!(table.expire(Duration::from_secs(600)).unwrap().files, 0, "a query may still read what went");
    assert!(dir.path().join(&before).exists() && dir.path().join(&path).exists());
    let refused = table.commit(&change).unwrap_err();
    assert!(matches!(refused, TableError::NotLive(_)), "{refused}");
}

/// A text anywhere in the log, also in a compressed checkpoint.
fn is_in_log(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir.join("_delta_log")).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            return content.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap().build().unwrap();
        reader.into_iter().any(|rows| format!("{:?}", rows.unwrap()).contains(text))
    })
}

#[test]
fn a_forgotten_history_says_nothing_of_files_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let table = open(dir.path());
    add(&table, write(&table, "2026-11-24", &[("goner", 1)]), 1);
    add(&table, write(&table, "2026-11-24", &[("goner", 2), ("stayer", 3)]), 2);
    let paths: Vec<String> = table.files().iter().map(|file| file.path.clone()).collect();
    drop(table);
    // As the release before this one removed a file: with the statistics of what it held.
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let stats = r#"{\"numRecords\":1,\"minValues\":{\"tenant\":\"goner\"}}"#;
    let commit = format!(
        r#"{{"remove":{{"path":"{}","deletionTimestamp":{now_ms},"dataChange":true,"stats":"{stats}"}}}}"#,
        paths[0]
    );
    std::fs::write(dir.path().join("_delta_log/00000000000000000003.json"), commit).unwrap();
    // As a kill between a commit's content and its name leaves it.
    std::fs::write(dir.path().join("_staged/00000000000000000004.json"), "goner").unwrap();

    let table = open(dir.path());
    let live = table.files();
    assert_eq!(live.len(), 1);
    let rest = table.without_rows(&live[0], "tenant", "goner", |_| Ok(WriterProperties::default())).unwrap().unwrap();
    assert_eq!(rest.left_out, 1);
    let stayed = rest.file.unwrap();
    assert_eq!((stayed.as_live().rows, stayed.as_live().may_have_text("tenant", "goner")), (Some(1), false));
    let remove = vec![live[0].path.clone()];
    table.commit(&Change { add: vec![stayed], remove, changes_rows: true, ..Change::default() }).unwrap();
    assert!(is_in_log(dir.path(), "goner"));
    table.expire(Duration::ZERO).unwrap();
    table.forget_history().unwrap();
    assert!(!is_in_log(dir.path(), "goner"));
    assert!(!dir.path().join("_staged/00000000000000000004.json").exists());
    add(&table, write(&table, "2026-11-24", &[("later", 4)]), 3);
    drop(table);
    let table = open(dir.path());
    assert_eq!((table.files().len(), table.app_version("journal").unwrap()), (2, Some(3)));
    let others =
        |tenant: &str| table.without_rows(&table.files()[0], "tenant", tenant, |_| Ok(WriterProperties::default()));
    assert!(others("nobody").unwrap().is_none());
    let all = ["stayer", "later"].map(|tenant| others(tenant).unwrap());
    assert!(all.into_iter().flatten().all(|rest| rest.file.is_none()), "a file of this tenant alone leaves nothing");
}
