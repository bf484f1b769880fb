use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use crate::tls::TlsError;

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("address {0:?} is not http://host:port or https://host:port")]
    Url(String),
    /// The authorities' file is wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// The target will never take this.
    Refused,
    /// The token does not hold (any more): take a new one, then send again.
    Unauthenticated,
    /// The credential holds, but whom it stands for may not send now, such as an account that is not registered (any
    /// more). Nothing is wrong with the batch: it waits until somebody mends that.
    Forbidden,
    /// The target asks for a slower pace.
    Throttled,
    /// The target cannot take anything for now.
    Unavailable,
    /// No connection, or it broke: the target may or may not have taken it.
    Unreachable,
    /// No answer in time: the target may or may not have taken it.
    TimedOut,
}

/// Why a batch was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// The kind.
    pub kind: SendErrorKind,
    /// What the target or the connection said.
    pub message: String,
    /// When the target wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl SendError {
    pub(super) fn new(kind: SendErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// Something on our own side that no retry mends.
    pub(super) fn local(error: impl Display) -> Self {
        Self::new(SendErrorKind::Refused, format!("request cannot be made: {error}"))
    }

    /// An answer that says success but cannot be read.
    pub(super) fn answer(message: impl Display) -> Self {
        Self::new(SendErrorKind::Unavailable, format!("answer cannot be read: {message}"))
    }

    pub(super) fn timed_out(timeout: Duration) -> Self {
        Self::new(SendErrorKind::TimedOut, format!("no answer within {} s", timeout.as_secs_f64()))
    }

    pub(super) fn unreachable(error: &(dyn Error + 'static)) -> Self {
        Self::new(SendErrorKind::Unreachable, chain(error))
    }

    pub(super) fn broken(error: &(dyn Error + 'static)) -> Self {
        Self::new(SendErrorKind::Unreachable, format!("answer broke off: {}", chain(error)))
    }

    /// Whether sending the same batch again may help, with the same credential.
    pub fn retryable(&self) -> bool {
        !matches!(self.kind, SendErrorKind::Refused | SendErrorKind::Unauthenticated | SendErrorKind::Forbidden)
    }

    /// Whether a new token may help.
    pub fn unauthenticated(&self) -> bool {
        self.kind == SendErrorKind::Unauthenticated
    }
}

/// An error with its causes: hyper's own text names none.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
