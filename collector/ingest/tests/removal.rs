//! A tenant's removal at the way in's door: what a start brings back, what is forgotten, and when it is final.

// The lints' exception for tests does not reach helpers of a test crate.
#![allow(clippy::unwrap_used, clippy::panic)]

mod kept;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::HeaderMap;
use tenantscope_ingest::{Intake, TenantRemoval};
use tenantscope_model::{Labels, METRIC_NAME, Reporting as _, Sample, Scope, Signal, StampedSeries, TenantId};
use tenantscope_tenancy::RegistryConfig;
use tenantscope_wire::{Receive as _, RefusedKind};

use way::{bearer, delta, header, logs, open, peer, send_as, strict};

const PARTS: &[&str] = &["stores"];

fn of(tenant: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-scope-orgid", tenant.parse().unwrap());
    headers
}

fn tenant(id: &str) -> TenantId {
    TenantId::try_new(id).unwrap()
}

async fn remove(intake: &Intake, id: &str) -> TenantRemoval {
    let begun = intake.begin_removal(&tenant(id), "oncall", PARTS).await.unwrap();
    intake.entomb(begun.number).await.unwrap();
    intake.removal_in_force(begun.number).await.unwrap();
    intake.part_removed(begun.number, "stores", BTreeMap::new()).await.unwrap();
    intake.removal(begun.number).unwrap()
}

#[tokio::test]
async fn a_start_does_not_bring_back_what_stands_before_the_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    for name in ["acme", "beta"] {
        send_as(&first.intake, &of(name), logs(&[(None, &format!("{name} 1"))]), header(1, 1)).await.unwrap();
        send_as(&first.intake, &of(name), delta(10, 2.0), None).await.unwrap();
    }
    let removal = remove(&first.intake, "acme").await;
    let stones = BTreeMap::from([(Signal::Metrics, 3), (Signal::Logs, 3), (Signal::Spans, 1)]);
    assert_eq!((removal.tombstones, removal.deleted["state"]["lanes"]), (stones, 1));
    assert_eq!(removal.deleted["state"]["running_totals"], 1);
    // What comes behind it is another tenant of that name: no lane, no total, and no replay knows the one before.
    send_as(&first.intake, &of("acme"), logs(&[(None, "acme again")]), header(1, 1)).await.unwrap();
    send_as(&first.intake, &of("acme"), delta(20, 5.0), None).await.unwrap();
    assert_eq!(first.metrics.values("requests_total").last(), Some(&5.0));
    drop(first);

    for _ in 0..2 {
        let again = open(dir.path());
        assert_eq!(again.logs.lines(), ["beta 1", "acme again"]);
        assert_eq!(again.metrics.values("requests_total"), [2.0, 5.0]);
        assert_eq!(again.intake.removals().len(), 1);
        let seen: BTreeSet<String> =
            again.intake.seen(&Scope::All).iter().map(|seen| seen.tenant.to_string()).collect();
        assert_eq!(seen, BTreeSet::from(["acme".to_owned(), "beta".to_owned()]));
        again.intake.upkeep().await;
    }
}

#[tokio::test]
async fn nothing_of_the_tenant_is_taken_until_every_store_knows_of_its_removal() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    send_as(&first.intake, &of("acme"), logs(&[(None, "before")]), None).await.unwrap();
    let begun = first.intake.begin_removal(&tenant("acme"), "", PARTS).await.unwrap();
    drop(first);
    // The start after a crash knows.
    let again = open(dir.path());
    let refused = send_as(&again.intake, &of("acme"), logs(&[(None, "meanwhile")]), None).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "tenant_removal"));
    assert!(!refused.message.contains("acme"), "a relay may send for others, too");
    send_as(&again.intake, &of("beta"), logs(&[(None, "another's")]), None).await.unwrap();
    again.intake.entomb(begun.number).await.unwrap();
    assert!(send_as(&again.intake, &of("acme"), logs(&[(None, "meanwhile")]), None).await.is_err());
    again.intake.removal_in_force(begun.number).await.unwrap();
    send_as(&again.intake, &of("acme"), logs(&[(None, "after")]), None).await.unwrap();
    assert!(again.intake.removal(begun.number).unwrap().deleted_ms.is_none(), "a part is left");
    drop(again);
    assert_eq!(open(dir.path()).logs.lines(), ["another's", "after"]);
}

#[tokio::test]
async fn what_came_since_a_removal_that_is_held_up_is_removed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let begin = async || first.intake.begin_removal(&tenant("acme"), "", PARTS).await.unwrap().number;
    let send = async |line| send_as(&first.intake, &of("acme"), logs(&[(None, line)]), None).await;
    send("before").await.unwrap();
    let held_up = begin().await;
    first.intake.entomb(held_up).await.unwrap();
    first.intake.removal_in_force(held_up).await.unwrap();
    assert_eq!(begin().await, held_up, "nothing came");
    send("again").await.unwrap();
    let next = begin().await;
    assert!(next > held_up);
    assert!(send("meanwhile").await.is_err());
    first.intake.entomb(next).await.unwrap();
    first.intake.removal_in_force(next).await.unwrap();
    for number in [held_up, next] {
        first.intake.part_removed(number, "stores", BTreeMap::new()).await.unwrap();
    }
    assert!(first.intake.removals().iter().all(|removal| removal.deleted_ms.is_some()));
    send("a third").await.unwrap();
    drop(first);
    assert_eq!(open(dir.path()).logs.lines(), ["a third"]);
}

#[tokio::test]
async fn what_was_let_in_before_its_tenant_went_does_not_come_behind_the_removal() {
    let dir = tempfile::tempdir().unwrap();
    let setup = strict(dir.path());
    let registry = setup.registry.as_ref().unwrap();
    let list = |text: &str| {
        std::fs::write(dir.path().join("tenants.yaml"), text).unwrap();
        registry.put_in_force(registry.prepare(&RegistryConfig::of_file("tenants.yaml"), dir.path()).unwrap());
    };
    // Its body comes slowly.
    let sender = setup.intake.authorize(&bearer("acme-token"), peer()).await.unwrap();
    list("tenants: []");
    remove(&setup.intake, "acme").await;
    let body = logs(&[(None, "late")]);
    let reserved = setup.intake.reserve(&sender, body.signal, Some(body.bytes.len())).unwrap();
    let refused = setup.intake.receive(sender, body, None, reserved.permit).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "tenant_removal"));
    assert!(setup.logs.lines().is_empty());

    // One that only a shared account names is listed, too.
    list(r#"pooled: [{accounts: ["111122223333"], tenants: [acme, beta], others: quarantine}]"#);
    let series = |id: &str| {
        let labels = Labels::from_pairs([(METRIC_NAME, "ALERTS"), ("tenant", id)]);
        StampedSeries::of_samples(labels, vec![Sample { t_ms: 1, value: 1.0 }])
    };
    setup.intake.write_own(vec![series("acme")]).await.unwrap();
    assert_eq!(setup.metrics.values("ALERTS").len(), 1);
}

#[tokio::test]
async fn what_we_would_say_ourselves_of_an_unlisted_tenant_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let setup = strict(dir.path());
    send_as(&setup.intake, &bearer("acme-token"), logs(&[(None, "line")]), None).await.unwrap();
    let reload = || {
        let registry = setup.registry.as_ref().unwrap();
        registry.put_in_force(registry.prepare(&RegistryConfig::of_file("tenants.yaml"), dir.path()).unwrap());
    };
    let series = |id: &str| {
        let labels = Labels::from_pairs([(METRIC_NAME, "ALERTS"), ("tenant", id)]);
        StampedSeries::of_samples(labels, vec![Sample { t_ms: 1, value: 1.0 }])
    };
    std::fs::write(dir.path().join("tenants.yaml"), r#"tenants: [{id: beta, accounts: ["222233334444"]}]"#).unwrap();
    reload();
    remove(&setup.intake, "acme").await;
    setup.intake.write_own(vec![series("acme"), series("beta")]).await.unwrap();
    assert_eq!(setup.metrics.values("ALERTS").len(), 1);
    let both = r#"tenants: [{id: acme, accounts: ["111122223333"]}, {id: beta, accounts: ["222233334444"]}]"#;
    std::fs::write(dir.path().join("tenants.yaml"), both).unwrap();
    reload();
    setup.intake.write_own(vec![series("acme")]).await.unwrap();
    assert_eq!(setup.metrics.values("ALERTS").len(), 2, "the registry lists it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_final_once_every_cursor_has_passed_and_the_segments_are_gone_however_small_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    send_as(&first.intake, &of("acme"), logs(&[(None, "a canary")]), header(1, 1)).await.unwrap();
    let target = first.intake.journal(Signal::Logs).cursor("forward.away", 0).unwrap();
    let removal = remove(&first.intake, "acme").await;
    assert!(removal.deleted_ms.is_some());
    for (signal, store) in Signal::ALL.into_iter().zip([&first.metrics, &first.logs, &first.spans]) {
        *store.durable.lock() = removal.tombstones[&signal];
    }
    let finished = || async {
        first.intake.upkeep().await;
        first.intake.finish_removals().await.unwrap()
    };
    for _ in 0..20 {
        assert!(finished().await.is_empty());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let waits = serde_json::to_value(first.intake.removal_waits(&removal)).unwrap();
    assert_eq!(waits, serde_json::json!([{"journal": "logs", "cursor": "forward.away"}]));
    target.advance(2).unwrap();
    assert_eq!(finished().await[0].number, removal.number);
    assert!(first.intake.removal_waits(&removal).is_empty());
    let mut files = walk(dir.path());
    files.retain(|path| std::fs::read(path).unwrap().windows(8).any(|bytes| bytes == b"a canary"));
    assert!(files.is_empty(), "{files:?}");
    let named =
        walk(dir.path()).into_iter().filter(|path| std::fs::read(path).unwrap().windows(4).any(|b| b == b"acme"));
    let named: Vec<_> = named.map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(named, ["removals"]);
    drop((first, target));
    assert!(open(dir.path()).intake.removals()[0].final_ms.is_some());
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
