//! Log records through the door: found before the flush and after it, by their tenant's readers and nobody else.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::*;
use tenantscope_lake::{Direction, LabelRequest, Lake, LogAnswer, LogRequest, Options, QueryError, TimeRange};
use tenantscope_model::{Position, Refusal, Scope, Sink};

#[tokio::test]
async fn a_record_is_found_before_the_flush_and_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let base = base_ns();
    put(&lake.logs(), 1, logs("a", "shop", &[(base + 1, "first"), (base + 2, "second ERROR")]));
    assert_eq!(lines(&lake, &Scope::All, r#"{tenant="a"}"#).await, ["first", "second ERROR"]);

    lake.flush().unwrap();
    put(&lake.logs(), 2, logs("a", "shop", &[(base + 3, "third")]));
    assert_eq!(lines(&lake, &Scope::All, r#"{tenant="a"}"#).await, ["first", "second ERROR", "third"]);
    assert_eq!(lake.logs().durable(), Position(1));

    let stream = streams(&lake, &Scope::All, r#"{service_name=~"sh.*", level="error"}"#).await.remove(0);
    let label = |name: &str| stream.labels.get(name).map(String::as_str);
    assert_eq!(label("tenant"), Some("a"));
    assert_eq!(label("account_id"), Some("111122223333"));
    assert_eq!(label("region"), Some("eu-west-1"));
    assert_eq!(label("log_group"), Some("/aws/lambda/x"));
    assert_eq!(stream.entries[0].time_ns, base + 2);
    assert_eq!(stream.entries[0].metadata.get("http_route").map(String::as_str), Some("/pay"));
}

#[tokio::test]
async fn a_restart_replays_from_the_tables_position_and_writes_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let base = base_ns();
    let batch = |n: i64| logs("a", "shop", &[(base + n, &format!("line {n}"))]);
    let lake = open(dir.path());
    put(&lake.logs(), 1, batch(1));
    lake.flush().unwrap();
    put(&lake.logs(), 2, batch(2));
    // As kill -9 leaves it: no last flush.
    std::mem::forget(lake);

    let lake = open(dir.path());
    assert_eq!(lake.logs().durable(), Position(1));
    assert_eq!(lines(&lake, &Scope::All, "{}").await, ["line 1"]);
    for position in 1..=3 {
        let prepared = lake.logs().prepare_replay(batch(position));
        lake.logs().apply(prepared, Position(position as u64));
    }
    assert_eq!(lines(&lake, &Scope::All, "{}").await, ["line 1", "line 2", "line 3"]);
    lake.close();
    drop(lake);

    let lake = open(dir.path());
    assert_eq!(lake.logs().durable(), Position(3), "closing flushes");
    assert_eq!(lines(&lake, &Scope::All, "{}").await, ["line 1", "line 2", "line 3"]);
}

#[tokio::test]
async fn a_scope_never_leaks() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let base = base_ns();
    put(&lake.logs(), 1, logs("a", "shop", &[(base, "of a")]));
    put(&lake.logs(), 2, logs("b", "bank", &[(base, "of b")]));
    for flushed in [false, true] {
        if flushed {
            lake.flush().unwrap();
        }
        for query in ["{}", r#"{tenant=~".+"}"#, r#"{tenant="b"}"#, r#"{tenant!="a"}"#, r#"{service_name="bank"}"#] {
            let found = lines(&lake, &only("a"), query).await;
            assert!(found.iter().all(|line| line == "of a"), "{query}: {found:?}");
            assert!(lines(&lake, &Scope::none(), query).await.is_empty(), "{query}");
        }
        let request = LabelRequest { selector: None, range: TimeRange::ALL };
        assert_eq!(lake.log_label_values(&only("a"), "tenant", &request).await.unwrap(), ["a"]);
        assert_eq!(lake.log_label_values(&only("a"), "service_name", &request).await.unwrap(), ["shop"]);
        assert_eq!(lake.log_label_values(&Scope::All, "tenant", &request).await.unwrap(), ["a", "b"]);
        assert!(lake.log_label_names(&Scope::none(), &request).await.unwrap().is_empty());
        assert_eq!(lake.log_series(&only("a"), &["{}"], TimeRange::ALL).await.unwrap().len(), 1);
        let counted = r#"sum by (tenant) (count_over_time({tenant=~".+"}[1d]))"#;
        let at = TimeRange { start_ns: base + SECOND_NS, end_ns: base + SECOND_NS };
        let request = LogRequest { query: counted, range: at, step: None, limit: 100, direction: Direction::Backward };
        match lake.log_query(&only("a"), &request).await.unwrap() {
            LogAnswer::Vector(series) => {
                assert_eq!(series.len(), 1);
                assert_eq!(series[0].labels.get("tenant").map(String::as_str), Some("a"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn line_filters_stages_and_limits() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let base = base_ns();
    put(&lake.logs(), 1, logs("a", "shop", &[(base, r#"{"code":500,"took":"120ms"}"#), (base + 1, "plain [x]")]));
    lake.flush().unwrap();
    put(&lake.logs(), 2, logs("a", "shop", &[(base + 2, r#"{"code":200,"took":"9ms"}"#)]));
    for (query, wanted) in [
        (r#"{} |= "[x]""#, vec!["plain [x]"]),
        (r#"{} != "code""#, vec!["plain [x]"]),
        (r#"{} |~ "code.:[25]00" != "500""#, vec![r#"{"code":200,"took":"9ms"}"#]),
        (r#"{} !~ "^\\{""#, vec!["plain [x]"]),
        (r#"{} | json | code >= 500"#, vec![r#"{"code":500,"took":"120ms"}"#]),
        (r#"{} | json | took < 10ms and code = 200"#, vec![r#"{"code":200,"took":"9ms"}"#]),
        (r#"{} | http_route = "/pay" | json | __error__ != """#, vec!["plain [x]"]),
        (r#"{job="x"}"#, vec![]),
        (r#"{job=""} |= "plain""#, vec!["plain [x]"]),
    ] {
        assert_eq!(lines(&lake, &Scope::All, query).await, wanted, "{query}");
    }
    let request = |direction| LogRequest { query: "{}", range: around(), step: None, limit: 1, direction };
    for (direction, time_ns) in [(Direction::Forward, base), (Direction::Backward, base + 2)] {
        match lake.log_query(&Scope::All, &request(direction)).await.unwrap() {
            LogAnswer::Streams(streams) => assert_eq!(streams[0].entries[0].time_ns, time_ns),
            other => panic!("{other:?}"),
        }
    }
    let wrong = LogRequest { query: r#"{a="b"} |= 7"#, ..request(Direction::Forward) };
    assert!(matches!(lake.log_query(&Scope::All, &wrong).await, Err(QueryError::Syntax { column: 12, .. })));
}

#[tokio::test]
async fn metric_queries_count_at_steps() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let base = base_ns() / (60 * SECOND_NS) * 60 * SECOND_NS;
    let at = |second: i64| base + second * SECOND_NS;
    put(&lake.logs(), 1, logs("a", "shop", &[(at(10), "x"), (at(50), "x"), (at(70), "y")]));
    put(&lake.logs(), 2, logs("a", "bank", &[(at(60), "x")]));
    let points = async |query: &str| {
        let range = TimeRange { start_ns: at(60), end_ns: at(120) };
        let step = Some(Duration::from_secs(60));
        let request = LogRequest { query, range, step, limit: 0, direction: Direction::Forward };
        match lake.log_query(&Scope::All, &request).await.unwrap() {
            LogAnswer::Matrix(series) => {
                let row = |s: tenantscope_lake::LogSeries| {
                    (s.labels.get("service_name").cloned(), s.points.iter().map(|p| p.value).collect::<Vec<_>>())
                };
                series.into_iter().map(row).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    let of = |service: &str| Some(service.to_owned());
    assert_eq!(points("sum(count_over_time({}[1m]))").await, [(None, vec![3.0, 1.0])]);
    assert_eq!(
        points(r#"sum by (service_name) (count_over_time({} |= "x" [1m]))"#).await,
        [(of("bank"), vec![1.0]), (of("shop"), vec![2.0])]
    );
    assert_eq!(points(r#"rate({service_name="shop"}[1m]) * 60"#).await, [(of("shop"), vec![2.0, 1.0])]);
    assert_eq!(points("vector(1)+vector(1)").await, [(None, vec![2.0, 2.0])]);
    assert_eq!(points("topk(1, sum by (service_name) (count_over_time({}[1m] offset 0s)))").await.len(), 1);
}

#[tokio::test]
async fn a_full_buffer_refuses_until_it_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { buffer_max_bytes: 64 * 1024, ..options() };
    let lake = Lake::open(dir.path(), JOURNALS, options).unwrap();
    let store = lake.logs();
    let base = base_ns();
    let mut position = 0;
    let refusal = loop {
        match store.prepare(logs("a", "shop", &[(base + position as i64, "x")])) {
            Ok(prepared) => {
                position += 1;
                store.apply(prepared, Position(position));
            }
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, Refusal::Unavailable { reason: "lake_buffer", .. }));
    lake.flush().unwrap();
    let dropped = store.prepare(logs("a", "shop", &[(base, "dropped")])).unwrap();
    drop(dropped);
    put(&store, position + 1, logs("a", "shop", &[(base, "y")]));
    assert_eq!(lines(&lake, &Scope::All, r#"{} |= "y""#).await, ["y"]);
}

#[tokio::test]
async fn compaction_and_retention_keep_the_table_small() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { compact_files: 3, removed_grace: Duration::ZERO, ..options() };
    let lake = Lake::open(dir.path(), JOURNALS, options).unwrap();
    let base = base_ns();
    for n in 1..=5 {
        put(&lake.logs(), n, logs("a", "shop", &[(base + n as i64, &format!("line {n}"))]));
        lake.flush().unwrap();
    }
    let files = || {
        let mut found = 0;
        let mut folders = vec![dir.path().join("logs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let is_log = path.ends_with("_delta_log");
                match path.is_dir() {
                    true if !is_log => folders.push(path),
                    _ => found += usize::from(path.extension().is_some_and(|e| e == "parquet")),
                }
            }
        }
        found
    };
    assert_eq!(files(), 5);
    lake.maintain();
    assert_eq!(files(), 1);
    assert_eq!(lines(&lake, &Scope::All, "{}").await.len(), 5);
    drop(lake);

    let short = Options { retention: Duration::ZERO, removed_grace: Duration::ZERO, ..common::options() };
    let lake = Lake::open(dir.path(), JOURNALS, short).unwrap();
    assert_eq!(lines(&lake, &Scope::All, "{}").await.len(), 5, "today is not past");
    assert_eq!(lake.logs().durable(), Position(5));
}
