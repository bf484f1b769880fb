use std::time::Duration;

use http::StatusCode;
use tenantscope_model::Refusal;

/// Which status a refusal has; says at once whether the sender may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusedKind {
    /// The body or a header is wrong: 400, `INVALID_ARGUMENT`.
    Invalid,
    /// No credential, or one that does not hold (any more): 401, `UNAUTHENTICATED`. Take a new token.
    Unauthenticated,
    /// The credential holds but does not allow this: 403, `PERMISSION_DENIED`.
    Forbidden,
    /// Larger than the limits: 413, `INVALID_ARGUMENT` (some senders resend on `RESOURCE_EXHAUSTED` whatever it says).
    TooLarge,
    /// A form or compression that we do not take: 415, `UNIMPLEMENTED`.
    Unsupported,
    /// Over the sender's own limit for now: 429, `RESOURCE_EXHAUSTED` with a delay.
    Throttled,
    /// We cannot take it for now, whoever sends it: 503, `UNAVAILABLE` with a delay.
    Unavailable,
}

impl RefusedKind {
    /// Whether the same batch may be taken later.
    pub fn retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }

    /// The HTTP status.
    pub fn http_status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The gRPC code.
    pub fn grpc_code(self) -> tonic::Code {
        match self {
            Self::Invalid | Self::TooLarge => tonic::Code::InvalidArgument,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
            Self::Forbidden => tonic::Code::PermissionDenied,
            Self::Unsupported => tonic::Code::Unimplemented,
            Self::Throttled => tonic::Code::ResourceExhausted,
            Self::Unavailable => tonic::Code::Unavailable,
        }
    }
}

/// Why a request was not taken, as the sender is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Which status it has.
    pub kind: RefusedKind,
    /// A fixed word for the counter's `reason` label.
    pub reason: &'static str,
    /// What is wrong, for the sender; never tells of another tenant.
    pub message: String,
    /// When to try again; only where that may help.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// A refusal for good.
    pub fn new(kind: RefusedKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into(), retry_after: None }
    }

    /// 400.
    pub fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusedKind::Invalid, reason, message)
    }

    /// 401.
    pub fn unauthenticated(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusedKind::Unauthenticated, reason, message)
    }

    /// 403.
    pub fn forbidden(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusedKind::Forbidden, reason, message)
    }

    /// 413.
    pub fn too_large(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusedKind::TooLarge, reason, message)
    }

    /// 413, for a body as it comes.
    pub fn body_too_large(max_bytes: usize) -> Self {
        Self::too_large("body_too_large", format!("body is over {max_bytes} bytes"))
    }

    /// 415.
    pub fn unsupported(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(RefusedKind::Unsupported, reason, message)
    }

    /// 429 with a delay.
    pub fn throttled(reason: &'static str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(RefusedKind::Throttled, reason, message) }
    }

    /// 503 with a delay.
    pub fn unavailable(reason: &'static str, message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(RefusedKind::Unavailable, reason, message) }
    }

    /// Whether the same batch may be taken later.
    pub fn retryable(&self) -> bool {
        self.kind.retryable()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unavailable { reason, retry_after } => Self::unavailable(reason, reason, retry_after),
            Refusal::Invalid { reason, message } => Self::invalid(reason, message),
        }
    }
}
