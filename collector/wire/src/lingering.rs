//! Connections that end without losing their last answer.
//!
//! Who answers before a body was read, as a refusal does, and closes the connection then, makes the kernel throw the
//! answer away at the sender's side: data that nobody read is answered by a reset. So the writing half is closed first,
//! and what still comes is read and forgotten for a moment, until the sender has read its answer and closes too.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long it is waited for what a sender may still be sending; a connection that was idle ends after that.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a sender that does send may take to read its answer.
const LINGER: Duration = Duration::from_secs(3);
/// What is read and forgotten at most: the largest bodies, and some more.
const MAX_FORGOTTEN_BYTES: usize = 64 << 20;

/// A stream whose shutdown waits, for a bounded time, until the other side closes too.
pub(crate) struct Lingering<T> {
    stream: T,
    closing: Option<Closing>,
}

struct Closing {
    is_shut: bool,
    forgotten: usize,
    until: Pin<Box<Sleep>>,
}

impl<T> Lingering<T> {
    pub(crate) fn new(stream: T) -> Self {
        Self { stream, closing: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, closing } = self.get_mut();
        let closing = closing.get_or_insert_with(|| Closing {
            is_shut: false,
            forgotten: 0,
            until: Box::pin(tokio::time::sleep(PAUSE)),
        });
        if !closing.is_shut {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            closing.is_shut = true;
        }
        let mut space = [0; 8192];
        while closing.until.as_mut().poll(cx).is_pending() && closing.forgotten < MAX_FORGOTTEN_BYTES {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            if closing.forgotten == 0 {
                closing.until.as_mut().reset(Instant::now() + LINGER);
            }
            closing.forgotten += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_sender_of_a_large_body_reads_the_answer_that_came_before_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut stream = Lingering::new(listener.accept().await.unwrap().0);
            stream.read_exact(&mut [0; 10]).await.unwrap();
            stream.write_all(b"refused").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut sender = TcpStream::connect(address).await.unwrap();
        sender.write_all(&vec![0; 8 << 20]).await.unwrap();
        sender.shutdown().await.unwrap();
        let mut answer = Vec::new();
        sender.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"refused");
        answering.await.unwrap();
    }
}
