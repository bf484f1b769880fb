//! Incidents at the crate's door, with receivers on loopback ports.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::Value;
use tenantscope_incidents::{Config, ConfigError, Incidents, NotifierConfig, NotifierKind, RouteConfig};
use tenantscope_model::{Alert, AlertState, Labels, Reporting, Scope, Seen, Signal, TenantId};
use tokio::sync::watch;

struct Data;

impl Reporting for Data {
    fn seen(&self, _: &Scope) -> Vec<Seen> {
        let tenant = |i| TenantId::try_new(&format!("t{i}")).unwrap();
        (0..10).map(|i| Seen { tenant: tenant(i), account: None, signal: Signal::Metrics, last_ms: NOW }).collect()
    }
}

const NOW: i64 = 1_800_000_000_000;

#[derive(Default)]
struct Received {
    away: AtomicBool,
    requests: Mutex<Vec<(String, Value)>>,
}

async fn receive(State(received): State<Arc<Received>>, uri: Uri, Json(body): Json<Value>) -> StatusCode {
    if received.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    received.requests.lock().push((uri.path().to_owned(), body));
    StatusCode::OK
}

impl Received {
    async fn wait(&self, count: usize) -> Vec<(String, Value)> {
        for _ in 0..2_000 {
            if self.requests.lock().len() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let requests = std::mem::take(&mut *self.requests.lock());
        assert!(requests.len() >= count, "{requests:?}");
        requests
    }
}

async fn receiver() -> (Arc<Received>, String) {
    let received = Arc::new(Received::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(axum::routing::post(receive)).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (received, url)
}

fn config(url: &str, routes: &[(&[(&str, &str)], &str)]) -> Config {
    let pairs = |matches: &[(&str, &str)]| matches.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Config {
        notifiers: vec![
            NotifierConfig { name: "am".into(), kind: NotifierKind::Alertmanager, url: url.to_owned() },
            NotifierConfig { name: "hook".into(), kind: NotifierKind::Webhook, url: format!("{url}/hook") },
        ],
        routes: routes
            .iter()
            .map(|(matches, notify)| RouteConfig { matches: pairs(matches), notify: vec![(*notify).to_owned()] })
            .collect(),
    }
}

fn open(path: &Path, config: Config) -> Incidents {
    Incidents::open(path, config, Arc::new(Data), None, "http://scope").unwrap()
}

fn alerts(tenants: std::ops::Range<usize>, state: AlertState, at_ms: i64) -> Vec<Alert> {
    let alert = |i| Alert {
        labels: Labels::from_pairs([("alertname", "Errors"), ("severity", "page"), ("tenant", &*format!("t{i}"))]),
        annotations: BTreeMap::from([("summary".to_owned(), format!("t{i} has errors"))]),
        state,
        value: 1.0,
        active_at_ms: NOW,
        fired_at_ms: Some(NOW),
        resolved_at_ms: (state == AlertState::Resolved).then_some(at_ms),
        valid_until_ms: Some(at_ms + 240_000),
        generator_url: "http://scope/explore".to_owned(),
    };
    tenants.map(alert).collect()
}

struct Running(watch::Sender<bool>, tokio::task::JoinHandle<()>);

fn run(incidents: &Incidents) -> Running {
    let (stop, stopped) = watch::channel(false);
    let incidents = incidents.clone();
    Running(stop, tokio::spawn(async move { incidents.run(stopped).await }))
}

impl Running {
    async fn stop(self) {
        self.0.send(true).unwrap();
        self.1.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanager_gets_alerts_as_they_are_and_a_webhook_gets_incidents() {
    let folder = tempfile::tempdir().unwrap();
    let (received, url) = receiver().await;
    let incidents =
        open(&folder.path().join("i.redb"), config(&url, &[(&[("severity", "page")], "am"), (&[], "hook")]));
    let running = run(&incidents);
    incidents.take("g/Errors", &alerts(0..1, AlertState::Firing, NOW), NOW).unwrap();
    let requests = received.wait(2).await;
    let of = |path: &str| requests.iter().find(|(p, _)| p == path).map(|(_, body)| body.clone()).unwrap();
    let alert = &of("/api/v2/alerts")[0];
    assert_eq!(alert["labels"]["tenant"], "t0");
    assert_eq!(alert["startsAt"], "2027-01-15T08:00:00Z");
    assert_eq!(alert["endsAt"], "2027-01-15T08:04:00Z");
    let hook = of("/hook");
    assert_eq!((hook["version"].as_str(), hook["status"].as_str()), (Some("4"), Some("firing")));
    assert_eq!(hook["groupKey"], "g/Errors|single:t0");
    assert_eq!(hook["groupLabels"]["reach"], "single");
    assert_eq!(hook["commonAnnotations"]["summary"], "t0 has errors");

    incidents.take("g/Errors", &alerts(0..1, AlertState::Resolved, NOW + 60_000), NOW + 60_000).unwrap();
    let requests = received.wait(2).await;
    let hook = requests.iter().find(|(path, _)| path == "/hook").unwrap();
    assert_eq!(hook.1["status"], "resolved");
    let alert = requests.iter().find(|(path, _)| path == "/api/v2/alerts").unwrap();
    assert_eq!(alert.1[0]["endsAt"], "2027-01-15T08:01:00Z");
    running.stop().await;
    assert_eq!(incidents.waiting().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_delivered_is_delivered_after_a_restart_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.redb");
    let (received, url) = receiver().await;
    received.away.store(true, Ordering::Relaxed);
    let routes = config(&url, &[(&[], "hook")]);
    let incidents = open(&path, routes.clone());
    let running = run(&incidents);
    incidents.take("r", &alerts(0..1, AlertState::Firing, NOW), NOW).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop().await;
    assert_eq!(incidents.waiting().unwrap(), 1);
    drop(incidents);

    received.away.store(false, Ordering::Relaxed);
    let incidents = open(&path, routes);
    let open_now = incidents.list(&Scope::All, 10).unwrap();
    assert_eq!((open_now.len(), open_now[0].status), (1, "open"));
    let running = run(&incidents);
    assert_eq!(received.wait(1).await[0].1["status"], "firing");
    // The same alert again is no news for a webhook.
    incidents.take("r", &alerts(0..1, AlertState::Firing, NOW + 60_000), NOW + 60_000).unwrap();
    incidents.take("r", &alerts(0..1, AlertState::Resolved, NOW + 90_000), NOW + 90_000).unwrap();
    let requests = received.wait(1).await;
    assert_eq!(requests[0].1["status"], "resolved");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_match_the_reach_and_tell_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (received, url) = receiver().await;
    let routes: &[(&[(&str, &str)], &str)] = &[(&[("reach", "fleet"), ("tenant", "t3")], "hook")];
    let incidents = open(&folder.path().join("i.redb"), config(&url, routes));
    let running = run(&incidents);
    incidents.take("r", &alerts(3..4, AlertState::Firing, NOW), NOW).unwrap();
    assert_eq!(incidents.waiting().unwrap(), 0, "single is not routed");
    incidents.take("r", &alerts(0..10, AlertState::Firing, NOW + 60_000), NOW + 60_000).unwrap();
    let requests = received.wait(1).await;
    assert_eq!(requests[0].1["groupKey"], "r|fleet");
    let told = requests[0].1["alerts"].as_array().unwrap();
    assert!(told.len() == 1 && told[0]["labels"]["tenant"] == "t3", "other tenants' alerts stay away");
    running.stop().await;
}

/// A tenant's own webhook learns nothing of whoever comes next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_that_moves_to_another_tenant_does_not_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let (received, url) = receiver().await;
    let incidents = open(&folder.path().join("i.redb"), config(&url, &[(&[("tenant", "t0")], "hook")]));
    let running = run(&incidents);
    incidents.take("r", &alerts(0..1, AlertState::Firing, NOW), NOW).unwrap();
    assert_eq!(received.wait(1).await[0].1["groupKey"], "r|single:t0");
    let later = NOW + 60_000;
    let moved = [alerts(0..1, AlertState::Resolved, later), alerts(1..2, AlertState::Firing, later)].concat();
    incidents.take("r", &moved, later).unwrap();
    let (_, body) = received.wait(1).await.remove(0);
    assert_eq!((&body["status"], &body["groupKey"]), (&"resolved".into(), &"r|single:t0".into()));
    assert_eq!(body["commonAnnotations"]["superseded_by"], "r|single");
    assert!(!body.to_string().contains("t1"), "{body}");
    running.stop().await;
}

#[tokio::test]
async fn a_reader_sees_incidents_of_the_scope_only() {
    let folder = tempfile::tempdir().unwrap();
    let incidents = open(&folder.path().join("i.redb"), Config::default());
    incidents.take("r", &alerts(0..3, AlertState::Firing, NOW), NOW).unwrap();
    assert_eq!(incidents.list(&Scope::All, 10).unwrap()[0].tenants.len(), 3);
    let mine = incidents.list(&Scope::only("t1".parse().unwrap()), 10).unwrap();
    assert_eq!((mine.len(), mine[0].tenants.len(), mine[0].alerts.len()), (1, 1, 1));
    let text = serde_json::to_string(&mine).unwrap();
    assert!(!text.contains("t0") && !text.contains("t2"), "{text}");
    assert!(incidents.list(&Scope::only("t9".parse().unwrap()), 10).unwrap().is_empty());
    assert!(incidents.list(&Scope::none(), 10).unwrap().is_empty());
}

#[test]
fn a_wrong_configuration_is_refused() {
    let good = config("http://127.0.0.1:1", &[(&[], "am")]);
    assert_eq!(good.check(), Ok(()));
    let mut unknown = good.clone();
    unknown.routes[0].notify = vec!["nobody".into()];
    assert_eq!(unknown.check(), Err(ConfigError::UnknownNotifier { route: 1, name: "nobody".into() }));
    let mut twice = good.clone();
    twice.notifiers[1].name = "am".into();
    assert_eq!(twice.check(), Err(ConfigError::DuplicateNotifier("am".into())));
    let mut address = good.clone();
    address.notifiers[0].url = "ftp://x".into();
    assert!(matches!(address.check(), Err(ConfigError::InvalidUrl { .. })));
    let reach = config("http://127.0.0.1:1", &[(&[("reach", "everyone")], "am")]);
    assert!(matches!(reach.check(), Err(ConfigError::InvalidReach { route: 1, .. })));
    let text = r#"{"notifiers": [{"name": "a", "kind": "webhook", "url": "http://x", "colour": "red"}]}"#;
    assert!(serde_json::from_str::<Config>(text).is_err(), "unknown keys are mistakes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_tenant_leaves_no_trace_and_nobody_is_told_of_it_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("incidents.redb");
    let (received, url) = receiver().await;
    received.away.store(true, Ordering::Relaxed);
    let config = || config(&url, &[(&[], "am"), (&[], "hook")]);
    let incidents = open(&path, config());
    // One incident of the tenant alone, which ended; one of it alone and one of two, which are open.
    incidents.take("alone", &alerts(1..2, AlertState::Firing, NOW), NOW).unwrap();
    incidents.take("alone", &alerts(1..2, AlertState::Resolved, NOW), NOW).unwrap();
    incidents.take("again", &alerts(1..2, AlertState::Firing, NOW), NOW).unwrap();
    incidents.take("both", &alerts(1..3, AlertState::Firing, NOW), NOW).unwrap();
    incidents.take("over", &alerts(1..3, AlertState::Firing, NOW), NOW).unwrap();
    incidents.take("over", &alerts(2..3, AlertState::Resolved, NOW), NOW).unwrap();
    let removed = incidents.remove_tenant(&TenantId::try_new("t1").unwrap()).unwrap();
    assert_eq!((removed.alerts, removed.incidents), (3, 4));
    assert!(removed.notifications >= 5, "{removed:?}");

    let check = |incidents: &Incidents| {
        let listed = incidents.list(&Scope::All, 10).unwrap();
        assert!(!serde_json::to_string(&listed).unwrap().contains("t1"), "{listed:?}");
        assert_eq!(listed.iter().map(|view| view.rule.as_str()).collect::<Vec<_>>(), ["both", "over"]);
        let file = std::fs::read(&path).unwrap();
        assert!(!file.windows(13).any(|bytes| bytes == b"t1 has errors"), "nor in what the file does not use");
        assert!(file.windows(13).any(|bytes| bytes == b"t2 has errors"));
    };
    check(&incidents);
    drop(incidents);
    let incidents = open(&path, config());
    check(&incidents);
    received.away.store(false, Ordering::Relaxed);
    let running = run(&incidents);
    let requests = received.wait(2).await;
    running.stop().await;
    assert!(!requests.iter().any(|(_, body)| body.to_string().contains("t1")), "{requests:?}");
    assert!(requests.iter().any(|(_, body)| body.to_string().contains("t2 has errors")));
}
