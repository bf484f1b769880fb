//! The identity exchange: a proof for a token, and what an agent needs to go on where it stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tenantscope_tenancy::{Asking, Told};
use tenantscope_wire::{BoxFuture, Identify, IdentityRequest, IdentityResponse, Name, Peer, ProofOfAccount, Refused};

use crate::audit;
use crate::clock::now_ms;
use crate::intake::Intake;

impl Intake {
    async fn exchange(&self, request: IdentityRequest, peer: Peer) -> Result<IdentityResponse, Refused> {
        let proved = self.identity.prove(&request.proof, &peer, now_ms()).await;
        if let Err(refused) = &proved {
            audit::refused("exchange", refused, &peer);
            self.pace.wait(&peer.address.ip().to_string()).await;
        }
        let proved = proved?;
        if let (Some(registry), Some(account)) = (&self.registry, proved.account) {
            // An idle account's agent has nothing to send but shows itself here.
            registry.contacted(account, now_ms());
        }
        let owner = proved.lane_owner();
        let told = match &self.agents {
            Some(agents) => {
                let asking = Asking { owner: &owner, account: proved.account, tenant: proved.tenant.as_ref() };
                agents.answer(asking, &request, now_ms())
            }
            None => Told::default(),
        };
        let answer = IdentityResponse {
            token: String::new(),
            expires_at_ms: 0,
            valid_for_ms: 0,
            account: proved.account,
            tenant: proved.tenant.clone(),
            epoch: None,
            document: told.document,
            document_withdrawn: told.withdrawn,
            stopped: told.stopped,
            ask_again_ms: told.ask_again.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            positions: BTreeMap::new(),
        };
        // No token by a token, or one that was stolen would never end.
        if matches!(request.proof, ProofOfAccount::Held { .. }) {
            return Ok(answer);
        }
        let epoch = if request.wants_epoch { Some(self.new_epoch(&owner, &request.agent)?) } else { None };
        let issued = self.identity.issue(&proved, &request.agent, epoch, now_ms());
        audit::granted(&proved, &request.agent, &peer);
        tracing::debug!(agent = %request.agent, %owner, version = request.version, epoch, "agent identified");
        Ok(IdentityResponse {
            token: issued.token,
            expires_at_ms: issued.expires_at_ms,
            valid_for_ms: u64::try_from(issued.valid_for.as_millis()).unwrap_or(u64::MAX),
            epoch,
            // Whoever has its epoch has its spool, and knows how far its sources are.
            positions: epoch.map(|_| self.positions(&owner, &request.agent)).unwrap_or_default(),
            ..answer
        })
    }

    /// Above every epoch that was given, and above what the agent's spools used before.
    fn new_epoch(&self, owner: &str, agent: &Name) -> Result<u64, Refused> {
        let used = self.lines.iter().filter_map(|line| line.state.lock().lanes.epoch_of(owner, agent)).max();
        let now = u64::try_from(now_ms()).unwrap_or(0);
        // Blocks on an fsync, once for many epochs.
        self.epochs.next(now, used).map_err(|error| {
            tracing::error!(%error, "epoch could not be written");
            Refused::unavailable("epochs_io", "no epoch can be given now", Duration::from_secs(5))
        })
    }

    /// Over all signals, of each source the newest. Journal positions of two signals can't be compared, but a source
    /// feeds one signal.
    fn positions(&self, owner: &str, agent: &Name) -> BTreeMap<String, Value> {
        let mut positions = BTreeMap::new();
        for line in &self.lines {
            let sources = line.state.lock().sources_of(owner, agent);
            positions.extend(sources.into_iter().map(|(source, (_, value))| (source, value)));
        }
        positions
    }
}

/// Answers on the listeners' behalf.
impl Identify for Intake {
    fn identify(&self, request: IdentityRequest, peer: Peer) -> BoxFuture<'_, Result<IdentityResponse, Refused>> {
        Box::pin(self.exchange(request, peer))
    }
}
