//! Bodies that are written as fast as they are read: a large answer is never whole in memory as text.
//!
//! [`Pieces`] writes a frame when the connection has room for one. An answer that fits one frame is a plain body. Of a
//! larger one the pieces are dropped, and with them the memory that they hold, when the client goes away or takes fewer
//! than [`FRAMES_IN_TIME`] in [`TIME_FOR_FRAMES`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;

use super::telemetry::TELEMETRY;

/// A frame has about so many bytes.
const FRAME_BYTES: usize = 64 << 10;

/// A client that takes less than so much (four mebibytes a minute) loses its answer: one frame now and then would hold
/// the memory of all queries for hours.
const FRAMES_IN_TIME: u64 = 64;
const TIME_FOR_FRAMES: Duration = Duration::from_secs(60);

/// Text that is written a piece at a time.
pub(super) trait Pieces: Send + 'static {
    /// Appends the next piece, some kilobytes at most; false if nothing was left.
    fn next_piece(&mut self, out: &mut Vec<u8>) -> bool;
}

/// A body of these pieces. The first frame is written at once, on this thread; the rest needs a runtime around it.
pub(super) fn body(pieces: impl Pieces) -> Body {
    body_within(pieces, TIME_FOR_FRAMES)
}

fn body_within(mut pieces: impl Pieces, time: Duration) -> Body {
    let (first, more) = frame(&mut pieces);
    if !more {
        return Body::from(first);
    }
    let shared = Arc::new(Shared { rest: Mutex::new(Rest::Pieces(Box::new(pieces))), frames: AtomicU64::new(0) });
    tokio::spawn(watch(Arc::downgrade(&shared), time));
    TELEMETRY.streams.inc();
    Body::new(Streamed { first: Some(first), shared })
}

/// A frame, and whether there may be more.
fn frame(pieces: &mut (impl Pieces + ?Sized)) -> (Vec<u8>, bool) {
    let mut out = Vec::with_capacity(FRAME_BYTES + FRAME_BYTES / 4);
    while out.len() < FRAME_BYTES {
        if !pieces.next_piece(&mut out) {
            return (out, false);
        }
    }
    (out, true)
}

struct Shared {
    rest: Mutex<Rest>,
    /// Frames that were taken.
    frames: AtomicU64,
}

enum Rest {
    Pieces(Box<dyn Pieces>),
    Written,
    Stalled,
}

struct Streamed {
    first: Option<Vec<u8>>,
    shared: Arc<Shared>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        this.shared.frames.fetch_add(1, Ordering::Relaxed);
        let frame = match this.first.take() {
            Some(first) => first,
            None => {
                let mut rest = this.shared.rest.lock();
                match &mut *rest {
                    Rest::Written => return Poll::Ready(None),
                    Rest::Stalled => {
                        let problem = io::Error::new(io::ErrorKind::TimedOut, "the answer was not read in time");
                        return Poll::Ready(Some(Err(problem)));
                    }
                    Rest::Pieces(pieces) => {
                        let (frame, more) = frame(&mut **pieces);
                        if !more {
                            *rest = Rest::Written;
                        }
                        frame
                    }
                }
            }
        };
        let ended = frame.is_empty();
        Poll::Ready((!ended).then(|| Ok(Frame::data(frame.into()))))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        TELEMETRY.streams.dec();
    }
}

/// Drops the pieces when too few frames are taken; ends with the body.
async fn watch(shared: std::sync::Weak<Shared>, time: Duration) {
    let mut seen = 0;
    loop {
        tokio::time::sleep(time).await;
        let Some(shared) = shared.upgrade() else { return };
        let frames = shared.frames.load(Ordering::Relaxed);
        if frames < seen + FRAMES_IN_TIME {
            let mut rest = shared.rest.lock();
            if matches!(*rest, Rest::Pieces(_)) {
                *rest = Rest::Stalled;
                TELEMETRY.stalled.inc();
            }
            return;
        }
        seen = frames;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    /// So many pieces of a kilobyte, held by a token.
    struct Kilobytes(usize, #[expect(dead_code, reason = "it is counted by what holds it")] Arc<()>);

    impl Pieces for Kilobytes {
        fn next_piece(&mut self, out: &mut Vec<u8>) -> bool {
            if self.0 == 0 {
                return false;
            }
            self.0 -= 1;
            out.extend_from_slice(&[b'x'; 1024]);
            true
        }
    }

    #[tokio::test]
    async fn a_small_answer_has_a_length_and_a_large_one_frames() {
        let token = Arc::new(());
        let small = body(Kilobytes(3, Arc::clone(&token)));
        assert_eq!(small.size_hint().exact(), Some(3 << 10));
        let mut large = body(Kilobytes(1000, Arc::clone(&token)));
        assert_eq!(large.size_hint().exact(), None);
        let mut sizes = Vec::new();
        while let Some(frame) = large.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        assert!(sizes.iter().all(|size| *size <= 2 * FRAME_BYTES), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 1000 << 10);
        drop((small, large));
        assert_eq!(Arc::strong_count(&token), 1);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_dropped() {
        let token = Arc::new(());
        let mut large = body_within(Kilobytes(1000, Arc::clone(&token)), Duration::from_millis(5));
        assert!(large.frame().await.unwrap().is_ok());
        while Arc::strong_count(&token) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(large.frame().await.unwrap().is_err(), "and the connection ends");
    }

    #[tokio::test]
    async fn an_answer_that_is_read_a_frame_now_and_then_is_dropped() {
        let token = Arc::new(());
        let mut large = body_within(Kilobytes(100_000, Arc::clone(&token)), Duration::from_millis(20));
        while large.frame().await.expect("it is far from its end").is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(Arc::strong_count(&token), 1, "what it held is given back");
    }
}
