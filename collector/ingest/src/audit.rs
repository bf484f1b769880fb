//! What the audit log is told of senders.

use tenantscope_tenancy::{AUDIT, Proved};
use tenantscope_wire::{Name, Peer, Refused, RefusedKind};

/// An agent proved itself and got a token.
pub(crate) fn granted(proved: &Proved, agent: &Name, peer: &Peer) {
    let text = |value: Option<String>| value.unwrap_or_default();
    let (account, tenant) = (proved.account.map(|id| id.to_string()), proved.tenant.as_ref().map(ToString::to_string));
    let owner = proved.lane_owner();
    let last_peer = peer.address.ip();
    // An agent comes again every few minutes.
    tracing::info!(
        target: AUDIT, once_a_day = true,
        account = text(account), tenant = text(tenant), owner, %agent, %last_peer,
        "identity_granted"
    );
}

/// A sender was not let in, by one of the ways in. What is wrong with us, or comes too often, says nothing of the sender.
pub(crate) fn refused(way: &'static str, refused: &Refused, peer: &Peer) {
    if matches!(refused.kind, RefusedKind::Unauthenticated | RefusedKind::Forbidden) {
        let last_peer = peer.address.ip();
        tracing::info!(target: AUDIT, per_minute = true, way, reason = refused.reason, %last_peer, "identity_refused");
    }
}
