//! What a peer says beside its batches, under a fuzzer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Frame;
use parking_lot::Mutex;
use tenantscope_fuzz::{Counting, fuzz, peak_bytes};
use tenantscope_model::Signal;
use tenantscope_wire::header::{AGENT, EPOCH, LANE, POSITIONS, SEQUENCE};
use tenantscope_wire::proof::{NONCE, SERVER};
use tenantscope_wire::{
    Accepted, AgentDocument, BatchHeader, Encoding, IdentityRequest, IdentityResponse, OtlpLimits, OtlpService, Peer,
    Proof, Receive, ReceivedBody, Refused, Reserved,
};
use tokio::runtime::{Builder, Runtime};
use tower::Service as _;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A value a line, in the order of the headers; one of six lines is given twice.
#[test]
fn batch_header() {
    fuzz!("batch_header", |input| {
        let mut headers = HeaderMap::new();
        let names: [HeaderName; 6] = [AGENT, LANE, EPOCH, SEQUENCE, POSITIONS, AGENT];
        for (name, value) in names.into_iter().zip(input.split(|byte| *byte == b'\n')) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name, value);
            }
        }
        let Ok(Some(header)) = BatchHeader::from_headers(&headers) else { return };
        assert!(header.positions.to_json().len() <= 8 * 1024, "as JSON, however it came");
        let mut written = HeaderMap::new();
        header.to_headers(&mut written);
        assert_eq!(BatchHeader::from_headers(&written), Ok(Some(header)));
    });
}

/// Whatever a proof says, the request that is made of it has one form.
#[test]
fn proof() {
    fuzz!("proof", |input| {
        let Ok(proof) = serde_json::from_slice::<Proof>(input) else { return };
        let again = serde_json::from_slice::<Proof>(&serde_json::to_vec(&proof).unwrap()).unwrap();
        assert_eq!(again, proof);
        assert!(!format!("{proof:?}").contains("Signature="), "what can be used is not shown");
        let Ok(request) = proof.to_request_parts() else { return };
        assert_eq!((request.method.as_str(), request.path), ("POST", "/"));
        assert_eq!(request.body, "Action=GetCallerIdentity&Version=2011-06-15");
        let one = |name: &str| {
            let mut values = request.headers.get_all(name).iter();
            let value = values.next().unwrap_or_else(|| panic!("{name} is sent")).to_str().unwrap().to_owned();
            assert!(values.next().is_none(), "{name} is sent once");
            value
        };
        assert_eq!(one(SERVER.as_str()), proof.server);
        assert_eq!(one(NONCE.as_str()), proof.nonce);
        assert_eq!(one("host"), proof.host);
        let authorization = one("authorization");
        let signed = authorization.split("SignedHeaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        let mut sent: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        sent.retain(|name| *name != "authorization");
        sent.sort_unstable();
        assert_eq!(signed, sent.join(";"), "all that is sent is signed, and all that is signed is sent");
    });
}

#[test]
fn identity_request() {
    fuzz!("identity_request", |input| {
        if let Ok(request) = serde_json::from_slice::<IdentityRequest>(input) {
            let written = serde_json::to_vec(&request).unwrap();
            assert_eq!(serde_json::from_slice::<IdentityRequest>(&written).unwrap(), request);
        }
        // What an agent reads of its collector.
        if let Ok(response) = serde_json::from_slice::<IdentityResponse>(input) {
            let written = serde_json::to_vec(&response).unwrap();
            assert_eq!(serde_json::from_slice::<IdentityResponse>(&written).unwrap(), response);
        }
    });
}

#[test]
fn agent_document() {
    fuzz!("agent_document", |input| {
        let Ok(document) = serde_json::from_slice::<AgentDocument>(input) else { return };
        let _ = document.check();
        let written = serde_json::to_vec(&document).unwrap();
        assert_eq!(serde_json::from_slice::<AgentDocument>(&written).unwrap(), document);
    });
}

const MAX_BODY_BYTES: usize = 4096;

/// Takes one message.
#[derive(Default)]
struct Desk(Mutex<Option<ReceivedBody>>);

impl Receive for Desk {
    type Sender = ();
    type Permit = ();

    async fn authorize(&self, _: &HeaderMap, _: Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn reserve(&self, (): &(), _: Signal, declared_bytes: Option<usize>) -> Result<Reserved<()>, Refused> {
        let max_bytes = declared_bytes.unwrap_or(MAX_BODY_BYTES);
        let fits = max_bytes <= MAX_BODY_BYTES;
        fits.then_some(Reserved { permit: (), max_bytes }).ok_or_else(|| Refused::body_too_large(MAX_BODY_BYTES))
    }

    async fn receive(&self, (): (), body: ReceivedBody, _: Option<BatchHeader>, (): ()) -> Result<Accepted, Refused> {
        assert!(self.0.lock().replace(body).is_none(), "a call is one message");
        Ok(Accepted::default())
    }
}

/// A body that comes in pieces, from the last to the first.
struct Pieces(Vec<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop().map(|piece| Ok(Frame::data(piece))))
    }
}

/// The message of a call that has exactly one, not too long, and compressed only as its header says.
fn only_message(call: &[u8], encoding: Encoding) -> Option<(&[u8], Encoding)> {
    let (flag, rest) = call.split_first()?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    let encoding = match flag {
        0 => Encoding::Identity,
        1 if encoding != Encoding::Identity => encoding,
        _ => return None,
    };
    let is_whole = u32::from_be_bytes(*length) as usize == message.len() && message.len() <= MAX_BODY_BYTES;
    is_whole.then_some((message, encoding))
}

/// An encoding, the bytes that come at once, and the body of a call: however it is cut, its one message is received, and
/// nothing of any other.
#[test]
fn grpc_call() {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());
    fuzz!("grpc_call", |input| {
        let Some(([encoding, at_once], call)) = input.split_first_chunk::<2>() else { return };
        let encodings = [("identity", Encoding::Identity), ("gzip", Encoding::Gzip), ("zstd", Encoding::Zstd)];
        let (name, encoding) = encodings[usize::from(*encoding) % encodings.len()];
        let pieces = call.chunks(usize::from(*at_once) + 1).rev().map(Bytes::copy_from_slice).collect();
        let request = Request::post("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            .header("content-type", "application/grpc")
            .header("grpc-encoding", name)
            .body(Pieces(pieces))
            .unwrap();
        let desk = Arc::new(Desk::default());
        let mut service = OtlpService::new(Arc::clone(&desk), OtlpLimits::default());
        let (answer, bytes) = peak_bytes(|| RUNTIME.block_on(service.call(request)).unwrap());
        assert!(bytes <= (64 << 10) + 4 * input.len(), "{bytes} bytes");
        let received = desk.0.lock().take();
        let received = received.as_ref().map(|body| (&body.bytes[..], body.encoding));
        assert_eq!(received, only_message(call, encoding));
        let refused = answer.headers().get("grpc-status");
        assert_eq!(refused.is_none(), received.is_some(), "{refused:?}");
        assert!(refused.is_none_or(|status| status != "0"));
    });
}
