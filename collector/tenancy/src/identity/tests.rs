//! Identity at its door, with real proofs. Whether a signature is right is for a real STS to say; these tests show
//! what is refused before one is asked, and what is made of an answer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use http::HeaderMap;
use tenantscope_model::{Claim, Decision, Region};
use tenantscope_wire::{Name, Peer, Proof, ProofOfAccount, Refused, RefusedKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::OrganizationsConfig;
use crate::registry::organization::tests::{account as member, organization};
use crate::{Exposure, Identity, IdentityConfig, Registry, RegistryConfig, Sender, Unknown};

const NOW_MS: i64 = 1_790_000_000_000;
const NONCE: &str = "0123456789abcdef";

fn peer() -> Peer {
    Peer::new("192.0.2.1:5000".parse().unwrap(), true)
}

fn proof(server: &str, region: &str, nonce: &str) -> ProofOfAccount {
    proof_at(server, region, nonce, NOW_MS)
}

fn proof_at(server: &str, region: &str, nonce: &str, now_ms: i64) -> ProofOfAccount {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some("session".to_owned()), None, "test");
    let signed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms as u64);
    let region = Region::try_new(region).unwrap();
    ProofOfAccount::Sts(Proof::sign(&credentials, &region, server, nonce, signed_at).unwrap())
}

struct Setup {
    identity: Identity,
    dir: tempfile::TempDir,
}

fn setup(sts_endpoint: &str, unknown: Unknown) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let tenants = r#"tenants: [{id: acme, accounts: ["123456789012"]}, {id: beta, accounts: ["222222222222"], regions: [eu-west-1]}]"#;
    std::fs::write(dir.path().join("tenants.yaml"), tenants).unwrap();
    std::fs::write(dir.path().join("one"), "one-account").unwrap();
    std::fs::write(dir.path().join("two"), "two-accounts").unwrap();
    std::fs::write(dir.path().join("key"), "access-key").unwrap();
    std::fs::write(dir.path().join("old-key"), "older-access-key").unwrap();
    let identity = set_up_in(&dir, sts_endpoint, unknown);
    Setup { identity, dir }
}

fn set_up_in(dir: &tempfile::TempDir, sts_endpoint: &str, unknown: Unknown) -> Identity {
    let registry = RegistryConfig { unknown, ..RegistryConfig::of_file("tenants.yaml") };
    let registry = Arc::new(Registry::open(&registry, dir.path()).unwrap());
    let config = format!(
        r#"
server_name: collector.example.com
sts: {{endpoints: {{eu-west-1: "{sts_endpoint}"}}, role: "arn:aws:sts::*:assumed-role/tenantscope-agent/*", timeout: 2s, max_outstanding: 4}}
tokens:
  - {{name: one, token_file: one, accounts: ["222222222222"]}}
  - {{name: two, token_file: two, accounts: ["222222222222", "123456789012", "999999999999"]}}
firehose:
  - {{name: streams, key_file: key, previous_key_file: old-key, accounts: ["222222222222"]}}
"#
    );
    let config: IdentityConfig = serde_saphyr::from_str(&config).unwrap();
    Identity::try_new(&config, registry, dir.path(), dir.path()).unwrap()
}

/// Answers every request on a loopback port with this status and body, and counts them.
async fn answering(status: &'static str, body: String) -> (String, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.ends_with(b"Version=2011-06-15") {
                let n = stream.read(&mut part).await.unwrap();
                assert!(n > 0, "request ended early");
                request.extend_from_slice(&part[..n]);
            }
            let text = String::from_utf8(request).unwrap();
            assert!(text.starts_with("POST / HTTP/1.1\r\n"), "{text}");
            assert!(text.contains("host: sts.eu-west-1.amazonaws.com\r\n"), "{text}");
            let names =
                text.lines().skip(1).take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
            let mut names: Vec<&str> = names.map(|(name, _)| name).collect();
            names.sort_unstable();
            let allowed = "accept authorization content-length content-type host x-amz-date x-amz-security-token \
                           x-tenantscope-nonce x-tenantscope-server";
            assert_eq!(names.join(" "), allowed);
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(body.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn answer(account: &str, role: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>arn:aws:sts::{account}:assumed-role/{role}/s1</Arn><UserId>x:s1</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}

fn claim(account: Option<&str>, region: Option<&str>) -> Claim {
    Claim { tenant: Some("other".into()), account: account.map(str::to_owned), region: region.map(str::to_owned) }
}

fn stamped(decision: Decision) -> (String, Option<String>, Option<String>) {
    match decision {
        Decision::Stamp(stamp) => (
            stamp.tenant.to_string(),
            stamp.account.map(|account| account.to_string()),
            stamp.region.map(|region| region.to_string()),
        ),
        Decision::Refuse { reason } => panic!("refused: {reason}"),
    }
}

#[tokio::test]
async fn a_proof_becomes_a_token_once() {
    let (url, asked) = answering("200 OK", answer("123456789012", "tenantscope-agent")).await;
    let Setup { identity, .. } = setup(&url, Unknown::Refuse);
    let proof = proof("collector.example.com", "eu-west-1", NONCE);
    let proved = identity.prove(&proof, &peer(), NOW_MS).await.unwrap();
    assert_eq!(proved.tenant.as_ref().unwrap().as_str(), "acme");
    let token = identity.issue(&proved, &Name::try_new("a1").unwrap(), Some(3), NOW_MS).token;

    let sender = identity.sender(&bearer(&token), &peer(), NOW_MS + 1).await.unwrap();
    assert_eq!(sender.lane_owner(), proved.lane_owner());
    let decision = sender.decide(&claim(Some("222222222222"), Some("us-east-1")));
    assert_eq!(stamped(decision), ("acme".into(), Some("123456789012".into()), Some("us-east-1".into())));
    let late = identity.sender(&bearer(&token), &peer(), NOW_MS + 900_000).await.unwrap_err();
    assert_eq!((late.kind, late.reason), (RefusedKind::Unauthenticated, "expired_token"));

    assert_eq!(identity.prove(&proof, &peer(), NOW_MS).await.unwrap_err().reason, "replayed_proof");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_proof_counts_once_over_a_restart_and_a_false_one_is_asked_about_once() {
    let (url, asked) = answering("200 OK", answer("123456789012", "tenantscope-agent")).await;
    let Setup { identity, dir } = setup(&url, Unknown::Refuse);
    let now_ms = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let fresh = proof_at("collector.example.com", "eu-west-1", NONCE, now_ms);
    identity.prove(&fresh, &peer(), now_ms).await.unwrap();
    drop(identity);
    let identity = set_up_in(&dir, &url, Unknown::Refuse);
    assert_eq!(identity.prove(&fresh, &peer(), now_ms).await.unwrap_err().reason, "replayed_proof");
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);

    let (url, asked) = answering("403 Forbidden", String::new()).await;
    let identity = set_up_in(&dir, &url, Unknown::Refuse);
    let wrong = proof("collector.example.com", "eu-west-1", "fedcba9876543210");
    for _ in 0..5 {
        assert_eq!(identity.prove(&wrong, &peer(), NOW_MS).await.unwrap_err().reason, "signature_rejected");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_flood_from_one_address_leaves_room_for_others() {
    // Takes connections and answers nothing, so that each proof holds its place.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let Setup { identity, .. } = setup(&url, Unknown::Refuse);
    let identity = Arc::new(identity);
    let prove = |i: usize, address: &str| {
        let (identity, address) = (Arc::clone(&identity), address.parse().unwrap());
        let proof = proof("collector.example.com", "eu-west-1", &format!("{NONCE}{i}"));
        async move { identity.prove(&proof, &Peer::new(address, true), NOW_MS).await.unwrap_err().reason }
    };
    // Two of four places, by the configuration below.
    let flood: Vec<_> = (0..10).map(|i| tokio::spawn(prove(i, "198.51.100.1:1"))).collect();
    let other = prove(10, "198.51.100.2:1").await;
    assert_eq!(other, "sts_unreachable", "it was asked about");
    let mut refused = Vec::new();
    for task in flood {
        refused.push(task.await.unwrap());
    }
    refused.sort_unstable();
    assert_eq!(refused, [vec!["proofs_busy"; 8], vec!["sts_unreachable"; 2]].concat());
}

#[tokio::test]
async fn refused_before_sts_is_asked() {
    // Nothing listens there: asking would be `sts_unreachable`.
    let Setup { identity, .. } = setup("http://127.0.0.1:9", Unknown::Refuse);
    let server = "collector.example.com";
    for (proof, now_ms, reason) in [
        (proof("other.example.com", "eu-west-1", NONCE), NOW_MS, "other_server"),
        (proof(server, "us-east-1", NONCE), NOW_MS, "unknown_region"),
        (proof(server, "eu-west-1", NONCE), NOW_MS + 300_001, "stale_proof"),
        (proof(server, "eu-west-1", NONCE), NOW_MS - 300_001, "stale_proof"),
        (proof(server, "eu-west-1", "short"), NOW_MS, "invalid_proof"),
    ] {
        assert_eq!(identity.prove(&proof, &peer(), now_ms).await.unwrap_err().reason, reason);
    }
    let ProofOfAccount::Sts(mut elsewhere) = proof(server, "eu-west-1", NONCE) else { panic!() };
    elsewhere.host = "evil.example.com".into();
    let refused = identity.prove(&ProofOfAccount::Sts(elsewhere), &peer(), NOW_MS).await.unwrap_err();
    assert_eq!(refused.reason, "other_host");
    let unreachable = identity.prove(&proof(server, "eu-west-1", NONCE), &peer(), NOW_MS).await.unwrap_err();
    assert_eq!((unreachable.kind, unreachable.reason), (RefusedKind::Unavailable, "sts_unreachable"));
}

#[tokio::test]
async fn what_sts_says_counts() {
    let ask = async |status, body: String, unknown| -> Result<String, Refused> {
        let (url, _) = answering(status, body).await;
        let Setup { identity, .. } = setup(&url, unknown);
        let proved = identity.prove(&proof("collector.example.com", "eu-west-1", NONCE), &peer(), NOW_MS).await;
        proved.map(|proved| proved.tenant.unwrap().to_string())
    };
    let reason = |result: Result<String, Refused>| result.unwrap_err().reason;
    let role = "tenantscope-agent";
    assert_eq!(reason(ask("403 Forbidden", String::new(), Unknown::Refuse).await), "signature_rejected");
    assert_eq!(reason(ask("500 Oops", String::new(), Unknown::Refuse).await), "sts_unreachable");
    assert_eq!(reason(ask("200 OK", "<html></html>".into(), Unknown::Refuse).await), "sts_unreachable");
    assert_eq!(reason(ask("200 OK", "x".repeat(100_000), Unknown::Refuse).await), "sts_unreachable");
    assert_eq!(reason(ask("200 OK", answer("123456789012", "other"), Unknown::Refuse).await), "wrong_role");
    // Throttling is a 400 of STS, and no word about the signature.
    let throttled = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>".to_owned();
    assert_eq!(reason(ask("400 Bad Request", throttled, Unknown::Refuse).await), "sts_unreachable");
    assert_eq!(reason(ask("400 Bad Request", "<ErrorResponse/>".into(), Unknown::Refuse).await), "signature_rejected");
    assert_eq!(reason(ask("302 Found", String::new(), Unknown::Refuse).await), "sts_unreachable");
    assert_eq!(reason(ask("201 Created", answer("123456789012", role), Unknown::Refuse).await), "sts_unreachable");
    let json = r#"{"GetCallerIdentityResponse":{"GetCallerIdentityResult":{"Account":"123456789012"}}}"#.to_owned();
    assert_eq!(reason(ask("200 OK\r\ncontent-type: application/json", json, Unknown::Refuse).await), "sts_unreachable");
    let elsewhere = answer("123456789012", role).replace("arn:aws:", "arn:aws-cn:");
    assert_eq!(reason(ask("200 OK", elsewhere, Unknown::Refuse).await), "other_partition");
    assert_eq!(reason(ask("200 OK", answer("000000000000", role), Unknown::Refuse).await), "unknown_account");
    assert_eq!(ask("200 OK", answer("000000000000", role), Unknown::Quarantine).await.unwrap(), "unassigned");
}

/// Any account of AWS can make true proofs, so those of strangers must take no room among the nonces.
#[tokio::test]
async fn a_strangers_true_proof_leaves_nothing_behind() {
    let (url, asked) = answering("200 OK", answer("000000000000", "tenantscope-agent")).await;
    let Setup { identity, dir } = setup(&url, Unknown::Refuse);
    let proof = proof("collector.example.com", "eu-west-1", NONCE);
    for _ in 0..2 {
        assert_eq!(identity.prove(&proof, &peer(), NOW_MS).await.unwrap_err().reason, "unknown_account");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    let kept = std::fs::read_to_string(dir.path().join("identity.nonces")).unwrap();
    assert_eq!(kept.lines().count(), 1, "{kept}");
}

#[tokio::test]
async fn static_tokens_hold_for_their_accounts_only() {
    let Setup { identity, .. } = setup("http://127.0.0.1:9", Unknown::Refuse);
    let one = identity.sender(&bearer("one-account"), &peer(), NOW_MS).await.unwrap();
    let decision = one.decide(&claim(Some("123456789012"), Some("us-east-1")));
    assert_eq!(stamped(decision), ("beta".into(), Some("222222222222".into()), None), "the region is not listed");

    let two = identity.sender(&bearer("two-accounts"), &peer(), NOW_MS).await.unwrap();
    assert!(matches!(two, Sender::Relay { .. }));
    assert_eq!(stamped(two.decide(&claim(Some("123456789012"), None))).0, "acme");
    for (account, reason) in [
        (None, "no_account"),
        (Some("333333333333"), "foreign_account"),
        (Some("x"), "invalid_account"),
        (Some("999999999999"), "unknown_account"),
    ] {
        assert_eq!(two.decide(&claim(account, None)), Decision::Refuse { reason });
    }
    let proof = ProofOfAccount::Token { token: "two-accounts".into() };
    let proved = identity.prove(&proof, &peer(), NOW_MS).await.unwrap();
    let token = identity.issue(&proved, &Name::try_new("gw").unwrap(), None, NOW_MS).token;
    assert_eq!(identity.sender(&bearer(&token), &peer(), NOW_MS).await.unwrap().lane_owner(), "relay/two");

    assert_eq!(identity.sender(&bearer("guess-guess"), &peer(), NOW_MS).await.unwrap_err().reason, "unknown_token");
    assert_eq!(identity.sender(&HeaderMap::new(), &peer(), NOW_MS).await.unwrap_err().reason, "no_credential");
}

#[tokio::test]
async fn firehose_shows_its_access_key() {
    let Setup { identity, .. } = setup("http://127.0.0.1:9", Unknown::Refuse);
    let ask = |keys: &[&str]| {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append("x-amz-firehose-access-key", key.parse().unwrap());
        }
        identity.firehose_sender(&headers)
    };
    for key in ["access-key", "older-access-key"] {
        let decision = ask(&[key]).unwrap().decide(&claim(Some("123456789012"), Some("eu-west-1")));
        assert_eq!(stamped(decision), ("beta".into(), Some("222222222222".into()), Some("eu-west-1".into())));
    }
    let reason = |keys: &[&str]| ask(keys).unwrap_err().reason;
    assert_eq!(reason(&[]), "no_access_key");
    assert_eq!(reason(&[""]), "no_access_key");
    assert_eq!(reason(&["access-key", "access-key"]), "malformed_access_key");
    // A token opens no other door than its own, nor does an access key.
    assert_eq!(reason(&["one-account"]), "unknown_access_key");
    assert_eq!(identity.sender(&bearer("access-key"), &peer(), NOW_MS).await.unwrap_err().reason, "unknown_token");
    assert!(matches!(Identity::open().firehose_sender(&HeaderMap::new()).unwrap(), Sender::Open { .. }));
}

#[tokio::test]
async fn open_mode_takes_the_tenant_from_the_header() {
    let identity = Identity::open();
    assert!(identity.check_exposure(Exposure::Loopback).is_ok() && identity.check_exposure(Exposure::Network).is_err());
    let mut headers = HeaderMap::new();
    let anonymous = identity.sender(&headers, &peer(), NOW_MS).await.unwrap();
    let decision = anonymous.decide(&claim(Some("123456789012"), Some("eu-west-1")));
    assert_eq!(stamped(decision), ("anonymous".into(), None, Some("eu-west-1".into())));
    headers.insert("x-scope-orgid", "a|b".parse().unwrap());
    assert_eq!(identity.sender(&headers, &peer(), NOW_MS).await.unwrap_err().kind, RefusedKind::Invalid);
    headers.insert("x-scope-orgid", "acme".parse().unwrap());
    assert_eq!(stamped(identity.sender(&headers, &peer(), NOW_MS).await.unwrap().decide(&claim(None, None))).0, "acme");
}

#[tokio::test]
async fn a_restart_keeps_tokens_and_a_reload_moves_accounts() {
    let Setup { identity, dir } = setup("http://127.0.0.1:9", Unknown::Refuse);
    let proved = identity.prove(&ProofOfAccount::Token { token: "one-account".into() }, &peer(), NOW_MS).await.unwrap();
    let token = identity.issue(&proved, &Name::try_new("a1").unwrap(), None, NOW_MS).token;
    drop(identity);

    let of_file = RegistryConfig::of_file("tenants.yaml");
    let registry = Arc::new(Registry::open(&of_file, dir.path()).unwrap());
    let config = IdentityConfig::default();
    let identity = Identity::try_new(&config, Arc::clone(&registry), Path::new("."), dir.path()).unwrap();
    assert_eq!(
        stamped(identity.sender(&bearer(&token), &peer(), NOW_MS).await.unwrap().decide(&claim(None, None))).0,
        "beta"
    );
    std::fs::write(dir.path().join("tenants.yaml"), r#"tenants: [{id: new, accounts: ["222222222222"]}]"#).unwrap();
    registry.put_in_force(registry.prepare(&of_file, dir.path()).unwrap());
    assert_eq!(
        stamped(identity.sender(&bearer(&token), &peer(), NOW_MS).await.unwrap().decide(&claim(None, None))).0,
        "new"
    );
}

#[test]
fn only_https_or_loopback_is_an_sts_endpoint() {
    let check = |endpoint: &str| {
        let text = format!("{{server_name: c, sts: {{endpoints: {{eu-west-1: \"{endpoint}\"}}}}}}");
        Identity::check(&serde_saphyr::from_str(&text).unwrap(), Path::new("."))
    };
    assert!(check("https://sts.eu-west-1.amazonaws.com").is_ok());
    assert!(check("http://127.0.0.1:5000").is_ok() && check("http://[::1]:5000").is_ok());
    for wrong in
        ["http://sts.eu-west-1.amazonaws.com", "http://127.0.0.1.evil.com", "ftp://127.0.0.1", "x", "https://a/b"]
    {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    for wrong in ["https://iam.amazonaws.com", "https://sts.us-east-1.amazonaws.com", "https://u@sts.example.com"] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    let pattern = "{server_name: c, sts: {endpoints: {eu-west-1: \"https://x\"}, role: \"*agent*\"}}";
    assert!(Identity::check(&serde_saphyr::from_str(pattern).unwrap(), Path::new(".")).is_err());
    let unnamed = serde_saphyr::from_str("{sts: {endpoints: {eu-west-1: \"https://x\"}}}").unwrap();
    assert!(Identity::check(&unnamed, Path::new(".")).is_err());
}

/// Writes `identity:` and puts it in force as a reload does.
fn reload(setup: &Setup, text: &str) {
    let config: IdentityConfig = serde_saphyr::from_str(text).unwrap();
    let prepared = setup.identity.prepare(&config, setup.dir.path(), setup.dir.path()).unwrap();
    setup.identity.put_in_force(prepared);
}

#[tokio::test]
async fn a_revoked_account_loses_its_credentials_at_once() {
    let setup = setup("http://127.0.0.1:9", Unknown::Refuse);
    let tokens = "tokens: [{name: one, token_file: one, accounts: [\"222222222222\"]}, \
                  {name: two, token_file: two, accounts: [\"222222222222\", \"123456789012\"]}]";
    reload(&setup, &format!("{{{tokens}}}"));
    let identity = &setup.identity;
    let proof = ProofOfAccount::Token { token: "one-account".into() };
    let give = async |now_ms: i64| {
        let proved = identity.prove(&proof, &peer(), now_ms).await?;
        Ok::<_, Refused>(identity.issue(&proved, &Name::try_new("a1").unwrap(), None, now_ms).token)
    };
    let sent = async |token: &str, now_ms: i64| {
        identity.sender(&bearer(token), &peer(), now_ms).await.map(drop).map_err(|refused| refused.reason)
    };
    let now_ms: i64 = 1_764_500_400_000;
    let (before, after) = (give(now_ms - 1_000).await.unwrap(), give(now_ms + 1_000).await.unwrap());
    assert_eq!((sent(&before, now_ms).await, sent(&after, now_ms).await), (Ok(()), Ok(())));

    reload(
        &setup,
        &format!("{{{tokens}, revoked: [{{account: \"222222222222\", before: \"2025-11-30T11:00:00Z\"}}]}}"),
    );
    assert_eq!((sent(&before, now_ms).await, sent(&after, now_ms).await), (Err("revoked_token"), Ok(())));
    assert_eq!(sent("one-account", now_ms).await, Ok(()), "its proof gives new ones");

    reload(&setup, &format!("{{{tokens}, revoked: [{{account: \"222222222222\"}}]}}"));
    for token in [&*before, &*after, "one-account"] {
        assert_eq!(sent(token, now_ms).await, Err("revoked_account"));
    }
    assert_eq!(give(now_ms).await.unwrap_err().reason, "revoked_account");
    // A relay's token of then ends too, since it counts for this account; a new proof gives another.
    let proved =
        identity.prove(&ProofOfAccount::Token { token: "two-accounts".into() }, &peer(), now_ms).await.unwrap();
    let relays = |at_ms| identity.issue(&proved, &Name::try_new("r1").unwrap(), None, at_ms).token;
    let (relays_before, relays_after) = (relays(now_ms - 1_000), relays(now_ms + 1_000));
    let since = "revoked: [{account: \"222222222222\", before: \"2025-11-30T11:00:00Z\"}]";
    reload(&setup, &format!("{{{tokens}, {since}}}"));
    assert_eq!((sent(&relays_before, now_ms).await, sent(&relays_after, now_ms).await), (Err("revoked_token"), Ok(())));
    reload(&setup, &format!("{{{tokens}, revoked: [{{account: \"222222222222\"}}]}}"));
    assert_eq!(sent(&relays_before, now_ms).await, Ok(()));

    let relay = identity.sender(&bearer("two-accounts"), &peer(), now_ms).await.unwrap();
    let foreign = Decision::Refuse { reason: "foreign_account" };
    assert_eq!(relay.decide(&claim(Some("222222222222"), None)), foreign, "nor does a relay speak for it");
    assert!(matches!(relay.decide(&claim(Some("123456789012"), None)), Decision::Stamp(_)));
    reload(&setup, &format!("{{{tokens}}}"));
    assert_eq!(sent(&before, now_ms).await, Ok(()));
}

/// Its data would be left out for good while nobody knows yet whose it is.
#[tokio::test]
async fn a_relay_waits_until_the_organization_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("two"), "two-accounts").unwrap();
    std::fs::write(dir.path().join("tenants.yaml"), r#"tenants: [{id: acme, accounts: ["123456789012"]}]"#).unwrap();
    let organizations = Some(OrganizationsConfig::default());
    let registry = RegistryConfig { organizations, ..RegistryConfig::of_file("tenants.yaml") };
    let registry = Arc::new(Registry::open(&registry, dir.path()).unwrap());
    let config = "{tokens: [{name: two, token_file: two, accounts: [\"222222222222\", \"123456789012\"]}]}";
    let config: IdentityConfig = serde_saphyr::from_str(config).unwrap();
    let identity = Identity::try_new(&config, Arc::clone(&registry), dir.path(), dir.path()).unwrap();
    let refused = identity.sender(&bearer("two-accounts"), &peer(), NOW_MS).await.unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "registry_loading"));
    registry.replace_organization(organization(&[("222222222222", member("b", "/", &[("tenant", "beta")]))]));
    let relay = identity.sender(&bearer("two-accounts"), &peer(), NOW_MS).await.unwrap();
    assert_eq!(stamped(relay.decide(&claim(Some("222222222222"), None))).0, "beta");
}

#[tokio::test]
async fn a_newer_start_of_an_agent_ends_the_tokens_of_an_older_one() {
    let Setup { identity, .. } = setup("http://127.0.0.1:9", Unknown::Refuse);
    let proved = identity.prove(&ProofOfAccount::Token { token: "one-account".into() }, &peer(), NOW_MS).await.unwrap();
    let give = |agent: &str, epoch| identity.issue(&proved, &Name::try_new(agent).unwrap(), epoch, NOW_MS).token;
    let (older, other, spooled) = (give("a1", Some(5)), give("a2", Some(5)), give("a1", None));
    let newer = give("a1", Some(6));
    let reason = async |token: &str| identity.sender(&bearer(token), &peer(), NOW_MS).await.err().map(|r| r.reason);
    assert_eq!(reason(&older).await, Some("old_epoch"));
    for token in [&other, &spooled, &newer] {
        assert_eq!(reason(token).await, None);
    }
}

#[tokio::test]
async fn a_reload_keeps_nonces_and_what_is_wrong_changes_nothing() {
    let (url, _) = answering("200 OK", answer("123456789012", "tenantscope-agent")).await;
    let setup = setup(&url, Unknown::Refuse);
    let used = proof("collector.example.com", "eu-west-1", NONCE);
    setup.identity.prove(&used, &peer(), NOW_MS).await.unwrap();
    let sts = format!("server_name: collector.example.com, sts: {{endpoints: {{eu-west-1: \"{url}\"}}}}");
    reload(&setup, &format!("{{{sts}}}"));
    assert_eq!(setup.identity.prove(&used, &peer(), NOW_MS).await.unwrap_err().reason, "replayed_proof");
    let wrong = serde_saphyr::from_str("tokens: [{name: a, token_file: none, accounts: [\"111122223333\"]}]").unwrap();
    assert!(setup.identity.prepare(&wrong, setup.dir.path(), setup.dir.path()).is_err());
}
