//! Labels of streams through the door: those of a push, and those that Loki makes of OTLP's resource attributes.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::*;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tenantscope_lake::{Direction, LabelRequest, Lake, LogAnswer, LogRequest, TimeRange};
use tenantscope_model::{Scope, StampedBatch};

const ALL: LabelRequest<'_> = LabelRequest { selector: None, range: TimeRange::ALL };

fn with_resource(tenant: &str, line: &str, attributes: Vec<KeyValue>) -> StampedBatch {
    let StampedBatch::Logs(mut batch) = logs(tenant, "shop", &[(base_ns(), line)]) else { panic!("logs") };
    batch[0].records.resource = Some(Resource { attributes, ..Default::default() });
    StampedBatch::Logs(batch)
}

/// As a push with the labels `job`, `env` and `service_name` comes, and OTLP from a pod.
fn fill(lake: &Lake) {
    let pushed = |job: &str| {
        let hint = text("loki.resource.labels", "env,job");
        vec![text("env", "prod"), text("job", job), text("service.name", "shop"), hint]
    };
    put(&lake.logs(), 1, with_resource("a", "of cron", pushed("cron")));
    put(&lake.logs(), 2, with_resource("a", "of \"x\"", pushed("say \"x\"")));
    let of_pod = vec![text("k8s.pod.name", "pod-1"), text("host.name", "h1"), text("service.name", "shop")];
    put(&lake.logs(), 3, with_resource("a", "of pod", of_pod));
    put(&lake.logs(), 4, with_resource("b", "of b", vec![text("k8s.pod.name", "pod-b"), text("secret.b", "x")]));
}

#[tokio::test]
async fn labels_that_were_pushed_select_and_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    fill(&lake);
    for flushed in [false, true] {
        if flushed {
            lake.flush().unwrap();
        }
        for (query, wanted) in [
            (r#"{job="cron"}"#, vec!["of cron"]),
            (r#"{job="say \"x\""}"#, vec!["of \"x\""]),
            (r#"{job=~"cr.*|x", env="prod"}"#, vec!["of cron"]),
            (r#"{job!="cron", env="prod"}"#, vec!["of \"x\""]),
            (r#"{job="", tenant="a"}"#, vec!["of pod"]),
            (r#"{job!~".+", tenant="a"}"#, vec!["of pod"]),
            (r#"{k8s_pod_name="pod-1"}"#, vec!["of pod"]),
            (r#"{cloud_region="eu-west-1", k8s_pod_name=~"pod.*", tenant="a"}"#, vec!["of pod"]),
            (r#"{host_name="h1"}"#, vec![]),
            (r#"{tenant="a"} | host_name="h1""#, vec!["of pod"]),
            (r#"{tenant="a"} | job="cron""#, vec!["of cron"]),
        ] {
            let mut found = lines(&lake, &Scope::All, query).await;
            found.sort();
            assert_eq!(found, wanted, "{query}");
        }
        let stream = streams(&lake, &Scope::All, r#"{job="cron"}"#).await.remove(0);
        let shown = |name: &str| stream.labels.get(name).map(String::as_str);
        assert_eq!((shown("job"), shown("env"), shown("service_name")), (Some("cron"), Some("prod"), Some("shop")));
        assert!(stream.labels.keys().all(|name| !name.starts_with("loki")), "{stream:?}");
        let stream = streams(&lake, &Scope::All, r#"{k8s_pod_name="pod-1"}"#).await.remove(0);
        assert_eq!(stream.entries[0].metadata.get("host_name").map(String::as_str), Some("h1"));
        assert!(!stream.labels.contains_key("host_name"));

        let names = lake.log_label_names(&only("a"), &ALL).await.unwrap();
        assert_eq!(names, ["account_id", "env", "job", "k8s_pod_name", "region", "service_name", "tenant"]);
        let values = async |label: &str| lake.log_label_values(&only("a"), label, &ALL).await.unwrap();
        assert_eq!(values("job").await, ["cron", "say \"x\""]);
        assert_eq!(values("k8s_pod_name").await, ["pod-1"], "of no other tenant");
        assert!(values("host_name").await.is_empty());
        let series = lake.log_series(&only("a"), &[r#"{env="prod"}"#], TimeRange::ALL).await.unwrap();
        let jobs: Vec<Option<&str>> = series.iter().map(|labels| labels.get("job").map(String::as_str)).collect();
        assert_eq!(jobs, [Some("cron"), Some("say \"x\"")]);
        let selected = LabelRequest { selector: Some(r#"{job="cron"}"#), range: TimeRange::ALL };
        assert_eq!(lake.log_volume(&only("a"), &selected).await.unwrap()[0].lines, 1);
    }
}

#[tokio::test]
async fn series_of_metric_queries_have_the_labels_of_their_streams() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    fill(&lake);
    let at_ns = base_ns() + SECOND_NS;
    let counted = async |query: &str, label: &str| {
        let range = TimeRange { start_ns: at_ns, end_ns: at_ns };
        let request = LogRequest { query, range, step: None, limit: 100, direction: Direction::Forward };
        match lake.log_query(&only("a"), &request).await.unwrap() {
            LogAnswer::Vector(series) => series.iter().map(|one| one.labels.get(label).cloned()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    let by_job = r#"sum by (job) (count_over_time({env="prod"}[1d]))"#;
    assert_eq!(counted(by_job, "job").await, [Some("cron".to_owned()), Some("say \"x\"".to_owned())]);
    assert_eq!(counted(r#"count_over_time({job="cron"}[1d])"#, "env").await, [Some("prod".to_owned())]);
}

#[tokio::test]
async fn no_sender_makes_a_label_of_the_stamp() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let forged = vec![text("tenant", "b"), text("loki.resource.labels", "tenant,account_id,region,level")];
    put(&lake.logs(), 1, with_resource("a", "forged", forged));
    let stream = streams(&lake, &Scope::All, "{}").await.remove(0);
    assert_eq!(stream.labels.get("tenant").map(String::as_str), Some("a"));
    assert!(lines(&lake, &Scope::All, r#"{tenant="b"}"#).await.is_empty());
    assert!(lines(&lake, &only("b"), "{}").await.is_empty());
}

#[tokio::test]
async fn a_level_is_found_by_the_word_with_which_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    put(&lake.logs(), 1, logs("a", "shop", &[(base_ns(), "WARN of disk"), (base_ns() + 1, "INFO")]));
    for query in [r#"{level="warning"}"#, r#"{detected_level="warn"}"#, r#"{level!="information"}"#] {
        assert_eq!(lines(&lake, &Scope::All, query).await, ["WARN of disk"], "{query}");
    }
}
