//! What senders are told when a batch is not taken, in one place.

use std::io::ErrorKind;
use std::time::Duration;

use tenantscope_journal::AppendError;
use tenantscope_wire::Refused;

/// Why the journal did not take a batch. All but a record that can never fit may work later.
pub(crate) fn of_append(error: &AppendError) -> Refused {
    let message = error.to_string();
    match error {
        AppendError::Full { .. } => Refused::unavailable("journal_full", message, Duration::from_secs(10)),
        AppendError::Busy => Refused::unavailable("journal_busy", message, Duration::from_secs(1)),
        AppendError::TooLarge { .. } => Refused::too_large("record_too_large", message),
        AppendError::Io(cause) => {
            tracing::error!(%error, "journal could not be written");
            // The system's words are for the log; the sender need not learn our paths.
            let reason = match cause.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "disk_full",
                _ => "journal_io",
            };
            Refused::unavailable(reason, "the batch could not be written", Duration::from_secs(10))
        }
        AppendError::Closed => Refused::unavailable("shutting_down", message, Duration::from_secs(5)),
    }
}
