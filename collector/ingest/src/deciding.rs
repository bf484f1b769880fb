//! Whose each resource of a batch is: what the sender's credential decides, within what quarantine may hold.

use std::collections::BTreeSet;
use std::time::Duration;

use tenantscope_codec::Decoded;
use tenantscope_model::{AccountId, Claim, Decision, Stamp, TenantId};
use tenantscope_tenancy::{Registry, Sender};
use tenantscope_wire::Refused;

/// Why data of an unknown account is not held.
const FULL: &str = "quarantine_full";
/// When an agent whose data is not held may ask again: its spool keeps it, and its account may have a tenant then.
const ASK_AGAIN: Duration = Duration::from_secs(300);

/// Refuses a whole batch of an unknown account for which there is no room in quarantine, before it is decoded.
pub(crate) fn check_room(registry: Option<&Registry>, sender: &Sender, now_ms: i64) -> Result<(), Refused> {
    let (Some(registry), Sender::Account { account, owner, .. }) = (registry, sender) else { return Ok(()) };
    let unassigned = owner.single().is_some_and(|tenant| *tenant == TenantId::unassigned());
    if unassigned && !registry.may_hold(*account, now_ms) {
        let message = format!("account {account} belongs to no tenant, and as much of it is held as may be");
        return Err(Refused::throttled(FULL, message, ASK_AGAIN));
    }
    Ok(())
}

/// One decision for each of the batch's claims, in their order. What goes into quarantine is counted there.
pub(crate) fn decide(
    sender: &Sender,
    registry: Option<&Registry>,
    decoded: &Decoded,
    body_bytes: usize,
    now_ms: i64,
) -> Vec<Decision> {
    let mut claims = decoded.claims();
    for (place, claim) in claims.iter_mut().enumerate() {
        if let Some(attribute) = sender.naming_attribute(claim) {
            claim.tenant = decoded.attribute(place, &attribute, claim.tenant.take());
        }
    }
    let decisions: Vec<Decision> = claims.iter().map(|claim: &Claim| sender.decide(claim)).collect();
    match registry {
        Some(registry) => hold(registry, decisions, decoded.records(), body_bytes as u64, now_ms),
        None => decisions,
    }
}

/// Lets unknown accounts in as far as there is room. A batch's records and bytes are shared out evenly over its resources.
fn hold(registry: &Registry, mut decisions: Vec<Decision>, records: u64, bytes: u64, now_ms: i64) -> Vec<Decision> {
    let unassigned: BTreeSet<AccountId> = decisions.iter().filter_map(held_account).collect();
    if unassigned.is_empty() {
        return decisions;
    }
    let resources = decisions.len() as u64;
    for account in unassigned {
        let of_account = |decision: &&mut Decision| held_account(decision) == Some(account);
        if registry.may_hold(account, now_ms) {
            let share = decisions.iter_mut().filter(of_account).count() as u64;
            let part = |whole: u64| whole.saturating_mul(share).div_ceil(resources);
            registry.hold(account, part(records), part(bytes), now_ms);
        } else {
            decisions.iter_mut().filter(of_account).for_each(|decision| *decision = Decision::Refuse { reason: FULL });
        }
    }
    decisions
}

fn held_account(decision: &Decision) -> Option<AccountId> {
    match decision {
        Decision::Stamp(Stamp { tenant, account, .. }) if *tenant == TenantId::unassigned() => *account,
        Decision::Stamp(_) | Decision::Refuse { .. } => None,
    }
}
