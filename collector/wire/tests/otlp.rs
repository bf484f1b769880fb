//! Server and client over loopback, at the doors.

#![allow(clippy::unwrap_used)] // the lint's exception for tests does not reach their shared functions

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use tenantscope_model::Signal;
use tenantscope_wire::client::{ClientOptions, OtlpClient, Protocol, SendErrorKind};
use tenantscope_wire::listener::{ListenOptions, Listener};
use tenantscope_wire::tls::ServerTls;
use tenantscope_wire::{
    Accepted, AgentMode, BatchHeader, BodyForm, BoxFuture, Encoding, Identify, IdentityRequest, IdentityResponse, Name,
    OtlpLimits, OtlpService, Peer, Positions, ProofOfAccount, Receive, ReceivedBody, Refused, Reserved, compress,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

const MAX_BODY_BYTES: usize = 4096;

/// Keeps what it receives; answers as the batch's text asks.
#[derive(Default)]
struct Desk {
    received: Mutex<Vec<(ReceivedBody, Option<BatchHeader>)>>,
    reserved_bytes: AtomicUsize,
}

impl Receive for Desk {
    type Sender = ();
    type Permit = ();

    async fn authorize(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Refused> {
        assert!(peer.address.ip().is_loopback());
        match headers.get(header::AUTHORIZATION) {
            Some(value) if value == "Bearer good" => Ok(()),
            _ => Err(Refused::unauthenticated("token", "no token that holds")),
        }
    }

    fn reserve(&self, (): &(), _: Signal, declared_bytes: Option<usize>) -> Result<Reserved<()>, Refused> {
        let max_bytes = declared_bytes.unwrap_or(MAX_BODY_BYTES);
        if max_bytes > MAX_BODY_BYTES {
            return Err(Refused::body_too_large(MAX_BODY_BYTES));
        }
        self.reserved_bytes.fetch_add(max_bytes, Ordering::Relaxed);
        Ok(Reserved { permit: (), max_bytes })
    }

    async fn receive(
        &self,
        (): (),
        body: ReceivedBody,
        header: Option<BatchHeader>,
        (): (),
    ) -> Result<Accepted, Refused> {
        let answer = match &body.bytes[..] {
            b"partial" => Ok(Accepted { rejected: 3, message: "too old".to_owned(), ..Accepted::default() }),
            b"slower" => Err(Refused::throttled("rate", "slower", Duration::from_millis(1500))),
            b"full" => Err(Refused::unavailable("journal_full", "full", Duration::from_secs(2))),
            b"wrong" => Err(Refused::invalid("malformed", "not OTLP")),
            b"slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(Accepted::default())
            }
            _ => Ok(Accepted::default()),
        };
        self.received.lock().push((body, header));
        answer
    }
}

impl Identify for Desk {
    fn identify(&self, request: IdentityRequest, _: Peer) -> BoxFuture<'_, Result<IdentityResponse, Refused>> {
        Box::pin(async move {
            match request.proof {
                ProofOfAccount::Token { token } if token == "secret" => Ok(IdentityResponse {
                    token: "good".to_owned(),
                    expires_at_ms: 1,
                    valid_for_ms: 900_000,
                    account: None,
                    tenant: None,
                    epoch: request.wants_epoch.then_some(7),
                    document: None,
                    document_withdrawn: false,
                    stopped: false,
                    ask_again_ms: None,
                    positions: [("logs".to_owned(), 5.into())].into(),
                }),
                _ => Err(Refused::forbidden("proof", "the proof does not hold")),
            }
        })
    }
}

struct Server {
    desk: Arc<Desk>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        Self::with_options(ListenOptions::default()).await
    }

    async fn with_options(options: ListenOptions) -> Self {
        let desk = Arc::new(Desk::default());
        let limits = OtlpLimits { body_read_timeout: Duration::from_millis(300) };
        let identify: Arc<dyn Identify> = Arc::clone(&desk) as _;
        let service = OtlpService::with_identity(Arc::clone(&desk), identify, limits);
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        let address = listener.local_address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let shutdown = async move { drop(stopped.await) };
            listener.serve(service, shutdown).await;
        });
        Self { desk, address, stop, served }
    }

    fn client(&self, protocol: Protocol) -> OtlpClient {
        OtlpClient::try_new(&ClientOptions::new(format!("http://{}", self.address), protocol)).unwrap()
    }

    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

#[tokio::test]
async fn a_body_arrives_as_it_was_sent_in_every_encoding_with_its_header() {
    let server = Server::start().await;
    for protocol in BOTH {
        let client = server.client(protocol);
        for (signal, encoding) in
            [(Signal::Metrics, Encoding::Identity), (Signal::Logs, Encoding::Gzip), (Signal::Spans, Encoding::Zstd)]
        {
            let bytes = Bytes::from(compress(encoding, b"some telemetry").unwrap());
            let batch = BatchHeader {
                agent: Name::try_new("agent-1").unwrap(),
                lane: Name::try_new("metrics").unwrap(),
                epoch: 7,
                sequence: 8,
                positions: Positions::try_new([("logs".to_owned(), "x".into())].into()).unwrap(),
            };
            let mut headers = bearer("good");
            batch.to_headers(&mut headers);
            let accepted = client.send(signal, encoding, bytes.clone(), &headers).await.unwrap();
            assert_eq!(accepted, Accepted::default());
            let body = ReceivedBody { signal, form: BodyForm::OtlpProtobuf, encoding, bytes };
            assert_eq!(server.desk.received.lock().pop(), Some((body, Some(batch))));
        }
    }
}

#[tokio::test]
async fn an_empty_body_is_a_batch_too() {
    let server = Server::start().await;
    for protocol in BOTH {
        let client = server.client(protocol);
        let sent = client.send(Signal::Logs, Encoding::Identity, Bytes::new(), &bearer("good")).await;
        assert_eq!(sent, Ok(Accepted::default()), "{protocol:?}");
    }
}

#[tokio::test]
async fn partial_success_and_refusals_keep_their_meaning() {
    let server = Server::start().await;
    for protocol in BOTH {
        let client = server.client(protocol);
        let headers = bearer("good");
        let send = |text: &'static str| client.send(Signal::Logs, Encoding::Identity, text.into(), &headers);
        let partial = send("partial").await.unwrap();
        assert_eq!((partial.rejected, partial.message.as_str()), (3, "too old"));
        let slower = send("slower").await.unwrap_err();
        assert_eq!(slower.kind, SendErrorKind::Throttled);
        // HTTP has whole seconds only.
        let expected = if protocol == Protocol::Grpc { 1500 } else { 2000 };
        assert_eq!(slower.retry_after, Some(Duration::from_millis(expected)));
        let full = send("full").await.unwrap_err();
        assert_eq!((full.kind, full.retry_after), (SendErrorKind::Unavailable, Some(Duration::from_secs(2))));
        assert!(full.retryable());
        let wrong = send("wrong").await.unwrap_err();
        assert!(!wrong.retryable() && wrong.message.contains("not OTLP"), "{wrong}");
    }
}

#[tokio::test]
async fn an_unauthorized_sender_is_refused_before_its_body_is_read() {
    let server = Server::start().await;
    for protocol in BOTH {
        let client = server.client(protocol);
        let sent = client.send(Signal::Logs, Encoding::Identity, "x".into(), &bearer("bad")).await;
        assert!(sent.unwrap_err().unauthenticated());
    }
    // The body never comes, and the answer does not wait for it.
    let head =
        b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\n\r\n";
    let answer = server.raw(head).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("connection: close"), "nobody is to reuse a connection that ends: {answer}");
    assert_eq!(server.desk.reserved_bytes.load(Ordering::Relaxed), 0);
    assert!(server.desk.received.lock().is_empty());
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_harms_nobody() {
    let server = Server::start().await;
    for protocol in BOTH {
        let client = server.client(protocol);
        let body = Bytes::from(vec![0; MAX_BODY_BYTES + 1]);
        let error = client.send(Signal::Logs, Encoding::Identity, body, &bearer("good")).await.unwrap_err();
        assert!(!error.retryable(), "{protocol:?}: {error}");
        client.send(Signal::Logs, Encoding::Identity, "x".into(), &bearer("good")).await.unwrap();
    }
    let chunked = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer good\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1800\r\n{}\r\n0\r\n\r\n",
        "x".repeat(0x1800)
    );
    let answer = server.raw(chunked.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains(r#""code":3"#), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = Server::start().await;
    let head = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n\
        content-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    let answer = server.raw(head).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 5"), "{answer}");
}

#[tokio::test]
async fn wrong_methods_paths_types_and_encodings_have_their_status() {
    let server = Server::start().await;
    let json = "content-type: application/json\r\n";
    for (line, headers, status) in [
        ("GET /v1/logs", json, "405"),
        ("POST /v1/profiles", json, "404"),
        ("POST /v1/logs", "content-type: text/plain\r\n", "415"),
        ("POST /v1/logs", "", "415"),
        ("POST /v1/logs", "content-type: application/json\r\ncontent-encoding: br\r\n", "415"),
        ("POST /v1/logs", "content-type: application/json\r\ntenantscope-agent: a\r\n", "400"),
        ("POST /v1/logs", "content-type: application/json; charset=utf-8\r\n", "200"),
    ] {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer good\r\n\
             {headers}content-length: 2\r\n\r\n{{}}"
        );
        let answer = server.raw(request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line} {headers:?}: {answer}");
    }
    assert_eq!(server.desk.received.lock().len(), 1);
}

#[tokio::test]
async fn an_unknown_grpc_encoding_is_unimplemented() {
    let server = Server::start().await;
    let http = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http::<http_body_util::Full<Bytes>>();
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    for (encoding, frame, code) in [
        ("snappy", &[0u8, 0, 0, 0, 0][..], "12"),
        ("identity", &[1, 0, 0, 0, 0], "3"),
        ("gzip", &[0, 0, 0, 0, 9, 1], "3"),
        ("gzip", &[0, 0], "3"),
        ("gzip", &[0, 0, 0, 0, 1, b'x'], "0"),
    ] {
        let request = http::Request::post(format!("http://{}{path}", server.address))
            .header("content-type", "application/grpc")
            .header("authorization", "Bearer good")
            .header("grpc-encoding", encoding)
            .body(Bytes::copy_from_slice(frame).into())
            .unwrap();
        let (head, body) = http.request(request).await.unwrap().into_parts();
        let collected = body.collect().await.unwrap();
        let trailer = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        let status = trailer.or_else(|| head.headers.get("grpc-status").cloned()).unwrap();
        assert_eq!(status, code, "{encoding} {frame:?}");
    }
}

#[tokio::test]
async fn identity_is_exchanged_on_the_same_port() {
    let server = Server::start().await;
    let request = |token: &str| IdentityRequest {
        agent: Name::try_new("agent-1").unwrap(),
        mode: AgentMode::Once,
        version: "0.1.0".to_owned(),
        proof: ProofOfAccount::Token { token: token.to_owned() },
        wants_epoch: true,
        document_version: None,
        documents: None,
    };
    for protocol in BOTH {
        let client = server.client(protocol);
        let response = client.identify(&request("secret")).await.unwrap();
        assert_eq!((response.token.as_str(), response.epoch), ("good", Some(7)));
        assert_eq!(response.positions["logs"], 5);
        let refused = client.identify(&request("guess")).await.unwrap_err();
        assert!(refused.kind == SendErrorKind::Forbidden && refused.message.contains("does not hold"), "{refused}");
    }
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_in_time() {
    let options = ListenOptions { header_read_timeout: Duration::from_millis(200), ..ListenOptions::default() };
    let server = Server::with_options(options).await;
    for start in [&b""[..], b"PRI * HT", b"POST /v1/logs HTTP/1.1\r\nhost:"] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{start:?}");
    }
}

#[tokio::test]
async fn a_client_reconnects_and_a_stopped_server_is_unreachable() {
    let server = Server::start().await;
    let client = server.client(Protocol::Grpc);
    let headers = bearer("good");
    client.send(Signal::Logs, Encoding::Identity, "x".into(), &headers).await.unwrap();
    server.stop.send(()).unwrap();
    server.served.await.unwrap();
    let error = client.send(Signal::Logs, Encoding::Identity, "x".into(), &headers).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Unreachable);
    assert!(error.retryable());
}

#[tokio::test]
async fn a_request_that_is_under_way_ends_before_the_server_does() {
    let server = Server::start().await;
    let mut sending = Vec::new();
    for protocol in BOTH {
        let client = server.client(protocol);
        sending.push(tokio::spawn(async move {
            client.send(Signal::Logs, Encoding::Identity, "slow".into(), &bearer("good")).await
        }));
    }
    while server.desk.reserved_bytes.load(Ordering::Relaxed) < 2 * "slow".len() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.stop.send(()).unwrap();
    server.served.await.unwrap();
    for sent in sending {
        assert_eq!(sent.await.unwrap(), Ok(Accepted::default()));
    }
}

#[tokio::test]
async fn connections_past_the_limit_wait_for_their_turn() {
    let server = Server::with_options(ListenOptions { max_connections: 1, ..ListenOptions::default() }).await;
    let first = server.client(Protocol::Http);
    first.send(Signal::Logs, Encoding::Identity, "x".into(), &bearer("good")).await.unwrap();
    let second = server.client(Protocol::Http);
    let headers = bearer("good");
    let mut waiting = Box::pin(second.send(Signal::Logs, Encoding::Identity, "x".into(), &headers));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    drop(first);
    assert_eq!(waiting.await, Ok(Accepted::default()));
}

#[test]
fn addresses_are_checked() {
    for wrong in ["collector:4317", "ftp://x", "", "http://"] {
        assert!(OtlpClient::try_new(&ClientOptions::new(wrong, Protocol::Grpc)).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn tls_carries_both_protocols_for_those_who_trust_the_authority() {
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls");
    let tls = ServerTls::load(&files.join("server.crt"), &files.join("server.key")).unwrap();
    tls.reload().unwrap();
    let server = Server::with_options(ListenOptions { tls: Some(tls), ..ListenOptions::default() }).await;
    for protocol in BOTH {
        let mut options = ClientOptions::new(format!("https://{}", server.address), protocol);
        let stranger = OtlpClient::try_new(&options).unwrap();
        let error = stranger.send(Signal::Logs, Encoding::Identity, "x".into(), &bearer("good")).await.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Unreachable);
        options.ca_file = Some(files.join("ca.crt"));
        let client = OtlpClient::try_new(&options).unwrap();
        client.send(Signal::Logs, Encoding::Identity, "x".into(), &bearer("good")).await.unwrap();
    }
    assert!(ServerTls::load(&files.join("ca.crt"), &files.join("none.key")).is_err());
}
