//! OTLP from the account's own applications: into the spool as it came, acknowledged once it is durable.
//!
//! JSON becomes protobuf here, since the uplink speaks gRPC.

mod json;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tenantscope_model::Signal;
use tenantscope_wire::{Accepted, BatchHeader, BodyForm, Peer, Receive, ReceivedBody, Refused, Reserved};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::spool::{Batch, Spool};

/// The largest body as it comes.
const MAX_BODY_BYTES: usize = 16 << 20;
/// The most bytes of bodies that are being received at once.
const MAX_BYTES_IN_FLIGHT: usize = 32 << 20;
/// How long a sender is asked to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What applications send to.
pub struct Receiver {
    spool: Spool,
    room: Arc<Semaphore>,
}

impl Receiver {
    /// A receiver that puts everything into this spool.
    pub fn new(spool: Spool) -> Self {
        Self { spool, room: Arc::new(Semaphore::new(MAX_BYTES_IN_FLIGHT)) }
    }
}

impl Receive for Receiver {
    type Sender = ();
    type Permit = OwnedSemaphorePermit;

    /// Whoever reaches the agent's address is in the account; the collector stamps with the agent's proof.
    async fn authorize(&self, _headers: &HeaderMap, _peer: Peer) -> Result<(), Refused> {
        Ok(())
    }

    fn reserve(
        &self,
        _sender: &(),
        _signal: Signal,
        declared_bytes: Option<usize>,
    ) -> Result<Reserved<OwnedSemaphorePermit>, Refused> {
        let max_bytes = declared_bytes.unwrap_or(MAX_BODY_BYTES);
        if max_bytes > MAX_BODY_BYTES {
            return Err(Refused::body_too_large(MAX_BODY_BYTES));
        }
        let room = Arc::clone(&self.room).try_acquire_many_owned(u32::try_from(max_bytes).unwrap_or(u32::MAX));
        let permit =
            room.map_err(|_| Refused::unavailable("busy", "too many bytes are being received", RETRY_AFTER))?;
        Ok(Reserved { permit, max_bytes })
    }

    async fn receive(
        &self,
        _sender: (),
        body: ReceivedBody,
        _header: Option<BatchHeader>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Accepted, Refused> {
        let body = match body.form {
            BodyForm::OtlpProtobuf => body,
            BodyForm::OtlpJson => json::to_protobuf(&body)?,
            _ => return Err(Refused::unsupported("form", "only OTLP is taken here")),
        };
        let batch = Batch { signal: body.signal, form: body.form, encoding: body.encoding, items: 0, body: body.bytes };
        let stored = self.spool.append(&batch, &[]).await;
        drop(permit);
        stored.map_err(|error| {
            tracing::warn!(%error, "a batch could not be spooled");
            Refused::unavailable("spool", "the spool cannot take it now", RETRY_AFTER)
        })?;
        Ok(Accepted::default())
    }
}
