//! A fleet that comes at once: 6,000 accounts prove themselves against a stand-in for STS on loopback, each once.
//! `--nocapture` shows how long it took.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panics and says what it measured"
)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use tenantscope_model::Region;
use tenantscope_tenancy::{Identity, IdentityConfig, Registry, RegistryConfig};
use tenantscope_wire::{Name, Peer, Proof, ProofOfAccount, RefusedKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const ACCOUNTS: u64 = 6_000;
/// Agents that ask at the same time.
const AT_ONCE: u64 = 100;

fn account(i: u64) -> String {
    format!("{:012}", 100_000_000_000 + i)
}

/// Takes the account from the access key's id, and answers as STS does; a connection serves many requests.
async fn stand_in() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream));
        }
    });
    url
}

async fn answer_all(mut stream: TcpStream) {
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    loop {
        while !request.ends_with(b"Version=2011-06-15") {
            match stream.read(&mut part).await {
                Ok(n) if n > 0 => request.extend_from_slice(&part[..n]),
                _ => return,
            }
        }
        let text = String::from_utf8(std::mem::take(&mut request)).unwrap();
        let (_, behind) = text.split_once("Credential=AKIA").unwrap();
        let account = &behind[..12];
        let body = format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>arn:aws:sts::{account}:assumed-role/tenantscope-agent/s1</Arn><UserId>x:s1</UserId>\
             <Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

fn identity(sts: &str, dir: &std::path::Path) -> Identity {
    let tenants: Vec<String> =
        (0..ACCOUNTS).map(|i| format!("  - {{id: tenant-{i}, accounts: [\"{}\"]}}\n", account(i))).collect();
    std::fs::write(dir.join("tenants.yaml"), format!("tenants:\n{}", tenants.concat())).unwrap();
    let registry = Arc::new(Registry::open(&RegistryConfig::of_file("tenants.yaml"), dir).unwrap());
    let config = format!(
        "{{server_name: c, sts: {{endpoints: {{eu-west-1: \"{sts}\"}}, \
         role: \"arn:aws:sts::*:assumed-role/tenantscope-agent/*\"}}}}"
    );
    let config: IdentityConfig = serde_saphyr::from_str(&config).unwrap();
    Identity::try_new(&config, registry, dir, dir).unwrap()
}

fn proof(i: u64) -> ProofOfAccount {
    let credentials = Credentials::new(format!("AKIA{}", account(i)), "secret", None, None, "test");
    let (region, nonce) = (Region::try_new("eu-west-1").unwrap(), format!("{i:032x}"));
    ProofOfAccount::Sts(Proof::sign(&credentials, &region, "c", &nonce, SystemTime::now()).unwrap())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// What an agent does: asks, and asks again where it is told to; the tenant of its token.
async fn onboard(identity: &Identity, i: u64) -> String {
    let (proof, agent) = (proof(i), Name::try_new("agent").unwrap());
    let peer = Peer::new("192.0.2.1:1".parse().unwrap(), true);
    let proved = loop {
        match identity.prove(&proof, &peer, now_ms()).await {
            Ok(proved) => break proved,
            Err(refused) if refused.kind == RefusedKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(refused) => panic!("account {i}: {}: {refused}", refused.reason),
        }
    };
    let token = identity.issue(&proved, &agent, None, now_ms()).token;
    let headers = http::HeaderMap::from_iter([(
        http::header::AUTHORIZATION,
        format!("Bearer {token}").parse::<http::HeaderValue>().unwrap(),
    )]);
    let sender = identity.sender(&headers, &peer, now_ms()).await.unwrap();
    sender.tenant().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_thousand_accounts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Arc::new(identity(&stand_in().await, dir.path()));
    let started = Instant::now();
    let agents: Vec<_> = (0..AT_ONCE)
        .map(|first| {
            let identity = Arc::clone(&identity);
            tokio::spawn(async move {
                for i in (first..ACCOUNTS).step_by(AT_ONCE as usize) {
                    assert_eq!(onboard(&identity, i).await, format!("tenant-{i}"));
                }
            })
        })
        .collect();
    for agent in agents {
        agent.await.unwrap();
    }
    eprintln!("{ACCOUNTS} accounts proved in {:.1} s", started.elapsed().as_secs_f64());
    // Each proof counted once, and is known over a restart.
    drop(identity);
    let lines = std::fs::read_to_string(dir.path().join("identity.nonces")).unwrap().lines().count();
    assert_eq!(lines as u64, ACCOUNTS + 1);
}
