use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// A request's body: with gRPC the frame's prefix, then the body as it is, without a copy.
#[derive(Debug)]
pub(super) struct SendBody {
    prefix: Bytes,
    data: Bytes,
}

impl SendBody {
    /// One gRPC message.
    pub(super) fn framed(compressed: bool, data: Bytes) -> Self {
        let mut prefix = BytesMut::with_capacity(5);
        prefix.put_u8(u8::from(compressed));
        prefix.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
        Self { prefix: prefix.freeze(), data }
    }
}

impl From<Bytes> for SendBody {
    fn from(data: Bytes) -> Self {
        Self { prefix: Bytes::new(), data }
    }
}

impl Body for SendBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let prefix = std::mem::take(&mut self.prefix);
        let next = if prefix.is_empty() { std::mem::take(&mut self.data) } else { prefix };
        Poll::Ready(Some(next).filter(|data| !data.is_empty()).map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_empty() && self.data.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact((self.prefix.len() + self.data.len()) as u64)
    }
}
