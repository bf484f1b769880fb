//! A batch's way through the intake: its turn, decoding and admission, the journal, the acknowledgement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tenantscope_codec::{Decoded, Delivery};
use tenantscope_model::Signal;
use tenantscope_tenancy::Sender;
use tenantscope_wire::{Accepted, BatchHeader, Peer, Receive, ReceivedBody, Refused, Reserved};

use crate::audit;
use crate::clock::now_ms;
use crate::deciding;
use crate::deliveries::DeliveryKey;
use crate::in_flight::Permit;
use crate::intake::Intake;
use crate::lanes::{Flight, LaneKey, Standing};
use crate::limits::Limits;
use crate::line::{Admitted, Line, Sending, Underway};
use crate::refusal;
use crate::telemetry;

impl Intake {
    /// Takes a delivery, which is known by its id.
    #[tracing::instrument(
        name = "delivery",
        skip_all,
        fields(signal = %body.signal, bytes = body.bytes.len(), rejected, outcome, otel.status_code)
    )]
    pub(crate) async fn receive_delivery(
        &self,
        sender: Sender,
        body: ReceivedBody,
        delivery: Delivery,
        permit: Permit,
    ) -> Result<Accepted, Refused> {
        self.take_counted(sender, body, KnownBy::Delivery(delivery), permit).await
    }

    /// Room for a body that may be so large by the bounds in force. The request goes by these from here on.
    ///
    /// A tenant that owes of a rate is refused before anybody reads or decompresses what it sends.
    pub(crate) fn reserve_of(
        &self,
        max_bytes_of: fn(&Limits) -> usize,
        sender: &Sender,
        signal: Signal,
        declared_bytes: Option<usize>,
    ) -> Result<Reserved<Permit>, Refused> {
        let limits = self.limits();
        let largest = max_bytes_of(&limits);
        // A body that declares nothing may be as large as any, which is room enough to take up in advance.
        let max_bytes = declared_bytes.unwrap_or(limits.body_bytes().min(largest));
        if max_bytes > largest {
            return Err(Refused::body_too_large(largest));
        }
        let (owner, tenant, now_ms) = (sender.lane_owner(), sender.tenant(), now_ms());
        self.usage.check_debt(tenant, signal, now_ms)?;
        self.doubt.check(&owner)?;
        let of_tenant = || self.usage.quota(tenant).max_concurrent_requests;
        let max_requests = match sender {
            Sender::Relay { name, .. } => self.relays.reserve(name, now_ms)?.or_else(of_tenant),
            Sender::Account { .. } | Sender::Open { .. } => of_tenant(),
        };
        let permit = self.in_flight.reserve(limits, owner, tenant, max_bytes as u64, max_requests)?;
        Ok(Reserved { permit, max_bytes })
    }

    async fn take_counted(
        &self,
        sender: Sender,
        body: ReceivedBody,
        known_by: KnownBy,
        permit: Permit,
    ) -> Result<Accepted, Refused> {
        let signal = body.signal;
        let (tenant, owner) = (sender.tenant().cloned(), sender.lane_owner());
        if let Sender::Relay { name, .. } = &sender {
            self.relays.received(name, body.bytes.len());
        }
        let taken = self.take(sender, body, known_by, permit).await;
        trace_outcome(&taken);
        if let Err(refused) = &taken {
            telemetry::refused(signal, refused.reason);
            self.counts.refused(tenant, Some(signal), refused.reason);
            self.pace.wait(&owner).await;
        }
        taken
    }

    async fn take(
        &self,
        sender: Sender,
        body: ReceivedBody,
        known_by: KnownBy,
        permit: Permit,
    ) -> Result<Accepted, Refused> {
        let line = Arc::clone(self.line(body.signal));
        deciding::check_room(self.registry.as_deref(), &sender, now_ms())?;
        let owner = sender.lane_owner();
        if let KnownBy::Lane(header) = &known_by {
            check_agent(&sender, header)?;
        }
        let flight = match take_off(&line, &owner, &known_by).await {
            Ok(flight) => flight,
            Err(answer) => return answer,
        };
        let place = self.doubt.place(&line.decoding, &owner).await?;
        let tenant = sender.tenant().cloned();
        // Runs to its end even if the sender goes away: queued is queued, and the lane must know.
        let (step, slot) = {
            let (line, tenant, registry) = (Arc::clone(&line), tenant.clone(), self.registry.clone());
            let doubt = Arc::clone(&self.doubt);
            blocking(move || {
                let (registry, at_ms, began) = (registry.as_deref(), now_ms(), Instant::now());
                let decide = |decoded: &Decoded, bytes| deciding::decide(&sender, registry, decoded, bytes, at_ms);
                let from = Sending { tenant, owner, from_agent: sender.may_claim_cadence(), decide: &decide };
                let admitted = line.admit(&from, body, known_by, at_ms, (permit, flight));
                match admitted.and_then(|admitted| Step::first(&line, admitted)) {
                    Ok(step) => Ok((step, place)),
                    Err(refused) => {
                        doubt.note(&from.owner, &refused, began.elapsed(), place);
                        Err(refused)
                    }
                }
            })
            .await?
        };
        let underway = match step {
            Step::Nothing => return Ok(Accepted::default()),
            Step::Underway(underway) => {
                drop(slot);
                underway
            }
            Step::Deltas(admitted) => {
                let room = line.delta_room(&admitted).await;
                drop(slot);
                let turn = line.delta_turn(&admitted).await;
                let line = Arc::clone(&line);
                blocking(move || {
                    let _room = room;
                    line.queue(*admitted, Some(turn))
                })
                .await?
            }
        };
        if let Some(append) = underway.append {
            append.await.map_err(|error| refusal::of_append(&error))?;
        }
        self.counts.taken(tenant, line.signal, underway.stored, &underway.rejected);
        Ok(Accepted {
            stored: underway.stored,
            rejected: underway.rejected.total(),
            message: underway.rejected.message(),
            written: underway.written,
        })
    }
}

/// By what a batch is known when it comes again.
pub(crate) enum KnownBy {
    /// It is not.
    Nothing,
    /// Its place in its lane.
    Lane(BatchHeader),
    /// Its own id.
    Delivery(Delivery),
}

/// The right of a batch to be the only one of its lane, or of its id, that is under way.
// Held for what happens when it is dropped.
#[allow(dead_code)]
pub(crate) enum Turn {
    /// Others don't matter.
    Any,
    Lane(Flight<LaneKey>),
    Delivery(Flight<DeliveryKey>),
}

/// How far the first stretch on a blocking thread got.
enum Step {
    Nothing,
    Underway(Underway),
    /// Waits for its turn, on no thread.
    Deltas(Box<Admitted>),
}

impl Step {
    fn first(line: &Line, admitted: Option<Admitted>) -> Result<Self, Refused> {
        match admitted {
            None => Ok(Self::Nothing),
            Some(admitted) if admitted.has_deltas() => Ok(Self::Deltas(Box::new(admitted))),
            Some(admitted) => line.queue(admitted, None).map(Self::Underway),
        }
    }
}

/// The header's agent must be the one whose proof the token stands for.
fn check_agent(sender: &Sender, header: &BatchHeader) -> Result<(), Refused> {
    match sender {
        Sender::Account { agent: Some(agent), .. } if agent.name != header.agent => {
            let message = format!("the token is for agent {}, the batch is from {}", agent.name, header.agent);
            Err(Refused::forbidden("other_agent", message))
        }
        // An epoch that was given with the token is the one to use: none can be claimed that fences others.
        Sender::Account { agent: Some(agent), .. } if agent.epoch.is_some_and(|epoch| epoch != header.epoch) => {
            Err(Refused::forbidden("other_epoch", "the batch has another epoch than the one given with the token"))
        }
        _ => Ok(()),
    }
}

/// Waits for the turn of the batch's lane, or for the end of the same delivery. The error is the answer where there is
/// nothing left to do.
async fn take_off(line: &Line, owner: &str, known_by: &KnownBy) -> Result<Turn, Result<Accepted, Refused>> {
    match known_by {
        KnownBy::Nothing => Ok(Turn::Any),
        KnownBy::Lane(header) => take_off_in_lane(line, owner, header).await.map(Turn::Lane),
        KnownBy::Delivery(delivery) => {
            let key = DeliveryKey::new(owner, &delivery.id);
            let check = || {
                if line.state.lock().deliveries.has(&key) {
                    telemetry::repeat(line.signal);
                    return Err(Ok(Accepted::default()));
                }
                Ok(())
            };
            line.delivery_flights.take_off(&key, check).await.map(Turn::Delivery)
        }
    }
}

async fn take_off_in_lane(
    line: &Line,
    owner: &str,
    header: &BatchHeader,
) -> Result<Flight<LaneKey>, Result<Accepted, Refused>> {
    let key = LaneKey::new(owner, header);
    let check = || match line.standing(&key, header) {
        Standing::New => Ok(()),
        Standing::Stored => {
            telemetry::repeat(line.signal);
            Err(Ok(Accepted::default()))
        }
        Standing::OldEpoch { newest } => {
            let message = format!("epoch {} of lane {} was replaced by {newest}", header.epoch, header.lane);
            Err(Err(Refused::invalid("old_epoch", message)))
        }
    };
    line.flights.take_off(&key, check).await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "taking a batch ended early");
        // A batch that brings us down must not come again and again, and hold up its lane for ever.
        Err(if error.is_panic() {
            Refused::invalid("internal", "the batch could not be taken")
        } else {
            Refused::unavailable("shutting_down", "shutting down", Duration::from_secs(5))
        })
    })
}

impl Receive for Intake {
    type Sender = Sender;
    type Permit = Permit;

    async fn authorize(&self, headers: &HeaderMap, peer: Peer) -> Result<Sender, Refused> {
        let sender = self.identity.sender(headers, &peer, now_ms()).await;
        if let Err(refused) = &sender {
            audit::refused("batch", refused, &peer);
            self.pace.wait(&peer.address.ip().to_string()).await;
        }
        sender
    }

    fn reserve(
        &self,
        sender: &Sender,
        signal: Signal,
        declared_bytes: Option<usize>,
    ) -> Result<Reserved<Permit>, Refused> {
        self.reserve_of(Limits::body_bytes, sender, signal, declared_bytes)
    }

    async fn refused(&self, sender: &Sender, signal: Signal, refused: &Refused) {
        telemetry::unreserved(refused.reason);
        telemetry::refused(signal, refused.reason);
        self.counts.refused(sender.tenant().cloned(), Some(signal), refused.reason);
        self.pace.wait(&sender.lane_owner()).await;
    }

    #[tracing::instrument(
        name = "batch",
        skip_all,
        fields(signal = %body.signal, bytes = body.bytes.len(), rejected, outcome, otel.status_code)
    )]
    async fn receive(
        &self,
        sender: Sender,
        body: ReceivedBody,
        header: Option<BatchHeader>,
        permit: Permit,
    ) -> Result<Accepted, Refused> {
        let known_by = header.map_or(KnownBy::Nothing, KnownBy::Lane);
        self.take_counted(sender, body, known_by, permit).await
    }
}

/// Tells the batch's span how it ended. Nothing of the payload, and no tenant.
fn trace_outcome(taken: &Result<Accepted, Refused>) {
    let span = tracing::Span::current();
    match taken {
        Ok(accepted) => {
            span.record("rejected", accepted.rejected);
            span.record("outcome", "stored");
        }
        Err(refused) => {
            span.record("outcome", refused.reason);
            span.record("otel.status_code", "error");
        }
    }
}
