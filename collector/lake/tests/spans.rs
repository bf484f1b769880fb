//! Spans through the door: whole traces, searches, each span once.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::*;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use tenantscope_lake::{TagScope, TimeRange};
use tenantscope_model::Scope;

#[tokio::test]
async fn a_trace_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let base = base_ns();
    let mut root = failed(span(7, 1, 0, "GET /", base, 500));
    root.trace_state = "k=v".to_owned();
    root.flags = 257;
    root.dropped_events_count = 3;
    root.events = vec![Event {
        time_unix_nano: base as u64 + 5,
        name: "exception".to_owned(),
        attributes: vec![text("exception.type", "Boom")],
        dropped_attributes_count: 1,
    }];
    root.links = vec![Link { trace_id: vec![9; 16], span_id: vec![9; 8], flags: 1, ..Default::default() }];
    let child = span(7, 2, 1, "query", base + 10, 100);
    put(&lake.spans(), 1, spans("a", "shop", vec![root.clone()]));
    lake.flush().unwrap();
    // The second one is sent twice.
    put(&lake.spans(), 2, spans("a", "shop", vec![child.clone(), root.clone()]));

    for _ in 0..2 {
        let trace = lake.trace(&only("a"), &[7; 16], TimeRange::ALL).await.unwrap().unwrap();
        assert_eq!(trace.resource_spans.len(), 1);
        let resource = &trace.resource_spans[0];
        assert_eq!(resource.schema_url, "https://schema");
        let mut given = resource.resource.clone().unwrap().attributes;
        given.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(given, [text("aws.log.group.names", "/aws/lambda/x"), text("service.name", "shop")]);
        assert_eq!(resource.scope_spans[0].scope.as_ref().unwrap().name, "lib");
        assert_eq!(resource.scope_spans[0].spans, [root.clone(), child.clone()]);
        lake.flush().unwrap();
    }
    assert!(lake.trace(&only("b"), &[7; 16], TimeRange::ALL).await.unwrap().is_none());
    assert!(lake.trace(&Scope::none(), &[7; 16], TimeRange::ALL).await.unwrap().is_none());
    assert!(lake.trace(&Scope::All, &[8; 16], TimeRange::ALL).await.unwrap().is_none());
}

#[tokio::test]
async fn searches_find_traces_by_their_spans() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    let base = base_ns();
    let ms = 1_000_000;
    let store = lake.spans();
    put(
        &store,
        1,
        spans("a", "shop", vec![span(1, 1, 0, "GET /", base, 300 * ms), span(1, 2, 1, "pay", base + ms, 200 * ms)]),
    );
    put(&store, 2, spans("a", "bank", vec![failed(span(1, 3, 2, "charge", base + 2 * ms, 150 * ms))]));
    lake.flush().unwrap();
    put(&store, 3, spans("b", "shop", vec![span(2, 1, 0, "GET /", base + 10 * ms, 20 * ms)]));

    let found = async |scope: &Scope, query: &str| {
        let traces = lake.search(scope, &search(query)).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        traces.into_iter().map(|trace| trace.trace_id.get(..2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (query, wanted) in [
        ("{}", vec!["02", "01"]),
        (r#"{ resource.service.name = "bank" && name = "charge" && status = error && duration > 100ms }"#, vec!["01"]),
        (r#"{ status = ok }"#, vec![]),
        (r#"{ duration < 100ms }"#, vec!["02"]),
        (r#"{ resource.tenant.id = "b" }"#, vec!["02"]),
        (r#"{ traceDuration > 250ms && rootName =~ "GET.*" }"#, vec!["01"]),
        (r#"{ span.http.route = "/pay" && !(name = "GET /") }"#, vec!["01"]),
        (r#"{ .http.route = "/other" || kind = client }"#, vec![]),
        (r#"{ kind = server }"#, vec!["02", "01"]),
        (r#"{ statusMessage =~ "bo.m" }"#, vec!["01"]),
    ] {
        assert_eq!(found(&Scope::All, query).await, wanted, "{query}");
        assert!(!found(&only("a"), query).await.contains(&"02".to_owned()), "{query}");
        assert!(found(&Scope::none(), query).await.is_empty(), "{query}");
    }

    let trace = lake.search(&only("a"), &search(r#"{ name = "charge" }"#)).await.unwrap().remove(0);
    assert_eq!((trace.root_service.as_str(), trace.root_name.as_str()), ("shop", "GET /"));
    assert_eq!((trace.start_ns, trace.duration_ns), (base, 300 * ms));
    assert_eq!((trace.spans, trace.errors, trace.matched), (3, 1, 1));
    assert_eq!(trace.matched_spans[0].service, "bank");

    let mut by_tags = search("{}");
    by_tags.query = None;
    by_tags.tags = vec![("service.name".to_owned(), "shop".to_owned())];
    by_tags.min_duration = Some(Duration::from_millis(100));
    assert_eq!(lake.search(&Scope::All, &by_tags).await.unwrap().len(), 1);
    by_tags.tags = vec![("status".to_owned(), "error".to_owned()), ("tenant".to_owned(), "a".to_owned())];
    assert_eq!(lake.search(&Scope::All, &by_tags).await.unwrap().len(), 1);
}

#[tokio::test]
async fn tags_are_those_of_the_scope() {
    let dir = tempfile::tempdir().unwrap();
    let lake = open(dir.path());
    put(&lake.spans(), 1, spans("a", "shop", vec![span(1, 1, 0, "x", base_ns(), 5)]));
    put(&lake.spans(), 2, spans("b", "bank", vec![span(2, 1, 0, "y", base_ns(), 5)]));
    lake.flush().unwrap();
    let tags = lake.tags(&only("a"), around()).await.unwrap();
    assert!(tags[&TagScope::Resource].contains("service.name"));
    assert!(tags[&TagScope::Span].contains("http.route"));
    let values =
        async |tag: &str| lake.tag_values(&only("a"), tag, around()).await.unwrap().into_iter().collect::<Vec<_>>();
    assert_eq!(values("resource.service.name").await, ["shop"]);
    assert_eq!(values("service.name").await, ["shop"]);
    assert_eq!(values("name").await, ["x"]);
    assert_eq!(values("span.http.route").await, ["/pay"]);
    assert_eq!(values("status").await, ["error", "ok", "unset"]);
    assert!(!lake.tags(&Scope::none(), around()).await.unwrap().contains_key(&TagScope::Span));
}
