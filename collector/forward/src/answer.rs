//! What a target said to a batch, as far as it changes what comes next.

use std::time::Duration;

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The target has it, but for so many records.
    Taken {
        /// Records that it left out.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// The same batch may be taken later.
    Later {
        /// A fixed word for a counter.
        reason: &'static str,
        /// For people.
        message: String,
        /// When the target wants to see it again.
        after: Option<Duration>,
    },
    /// The credential was not taken: the batch waits, and the token is read anew, since the batch is not at fault.
    Unauthorized {
        /// For people.
        message: String,
    },
    /// The target will never take it.
    Never {
        /// A fixed word for a counter.
        reason: &'static str,
        /// For people.
        message: String,
    },
}
