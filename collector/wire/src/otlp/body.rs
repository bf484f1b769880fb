//! Reading a body within its limits.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::Refused;

/// How long a sender waits whose body came too slowly.
const SLOW_RETRY: Duration = Duration::from_secs(5);

/// What a body declares of its length; `None` where it declares nothing.
pub(super) fn declared_bytes<B: http_body::Body>(body: &B) -> Option<u64> {
    body.size_hint().exact()
}

fn too_slow() -> Refused {
    Refused::unavailable("body_timeout", "body did not come in time", SLOW_RETRY)
}

fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> Refused {
    Refused::invalid("body_broken", format!("body ended early: {}", error.into()))
}

/// Reads a whole body; nothing past the limit is kept.
pub(super) async fn read<B>(body: B, max_bytes: usize, timeout: Duration) -> Result<Bytes, Refused>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut chunks = Chunks { body: pin!(body) };
    let reading = async {
        let Some(first) = chunks.next().await? else { return Ok(Bytes::new()) };
        if first.len() > max_bytes {
            return Err(Refused::body_too_large(max_bytes));
        }
        // Most bodies come in one piece, which then needs no copy.
        let Some(second) = chunks.next().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        let mut next = Some(second);
        while let Some(chunk) = next {
            if whole.len() + chunk.len() > max_bytes {
                return Err(Refused::body_too_large(max_bytes));
            }
            whole.extend_from_slice(&chunk);
            next = chunks.next().await?;
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(too_slow()))
}

/// A body that nobody wants is read to its end, and forgotten, where it is that small: a connection that goes on costs
/// less than a new one.
const MAX_PASSED_OVER_BYTES: u64 = 256 << 10;
const PASS_OVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Forgets a small body as it comes; says whether it is over, so that its connection can go on.
pub async fn pass_over<B>(body: B) -> bool
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if declared_bytes(&body).is_none_or(|bytes| bytes > MAX_PASSED_OVER_BYTES) {
        return false;
    }
    let mut chunks = Chunks { body: pin!(body) };
    let passing = async {
        loop {
            match chunks.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(PASS_OVER_TIMEOUT, passing).await.unwrap_or(false)
}

/// The one message of a unary gRPC call.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) compressed: bool,
    pub(super) bytes: Bytes,
}

/// Reads a unary call's frame. `reserve` is called with the message's length before more than its first chunk is read, and
/// refuses one that is too large.
pub(super) async fn read_message<B, P>(
    body: B,
    timeout: Duration,
    reserve: impl FnOnce(usize) -> Result<P, Refused>,
) -> Result<(Message, P), Refused>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    const PREFIX_BYTES: usize = 5;
    let malformed = |message: &str| Refused::invalid("grpc_frame", message);
    let mut chunks = Chunks { body: pin!(body) };
    let reading = async {
        let mut buffer = BytesMut::new();
        while buffer.len() < PREFIX_BYTES {
            let chunk = chunks.next().await?.ok_or_else(|| malformed("call has no message"))?;
            buffer.extend_from_slice(&chunk);
        }
        let prefix = buffer.split_to(PREFIX_BYTES);
        let [flag, a, b, c, d] = <[u8; PREFIX_BYTES]>::try_from(&prefix[..]).map_err(|_| malformed("no prefix"))?;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let compressed = match flag {
            0 => false,
            1 => true,
            _ => return Err(malformed("message flag is neither 0 nor 1")),
        };
        let permit = reserve(length)?;
        buffer.reserve(length.saturating_sub(buffer.len()));
        while let Some(chunk) = if buffer.len() <= length { chunks.next().await? } else { None } {
            buffer.extend_from_slice(&chunk);
        }
        if buffer.len() != length {
            return Err(malformed("message is not as long as its prefix says"));
        }
        Ok((Message { compressed, bytes: buffer.freeze() }, permit))
    };
    tokio::time::timeout(timeout, reading).await.unwrap_or_else(|_| Err(too_slow()))
}

struct Chunks<'a, B> {
    body: std::pin::Pin<&'a mut B>,
}

impl<B> Chunks<'_, B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// The next data; trailers are passed over.
    async fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        while let Some(frame) = self.body.as_mut().frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
