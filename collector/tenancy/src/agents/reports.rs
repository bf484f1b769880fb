//! What agents said of themselves when they asked last. Not kept over a restart: each says it again within minutes.

use std::collections::BTreeMap;

use serde::Serialize;
use tenantscope_model::{AccountId, TenantId};
use tenantscope_wire::{AgentMode, IdentityRequest, MAX_REASON_BYTES, Name, RefusedDocument};

/// The most agents that are remembered.
const MAX_AGENTS: usize = 50_000;
/// How many are forgotten at once where there are more: those that were not heard of for longest.
const FORGOTTEN_AT_ONCE: usize = MAX_AGENTS / 10;
/// Who was not heard of for so long is gone.
const REMEMBERED_MS: i64 = 24 * 3_600_000;

/// One agent, as it was when it asked last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account: Option<AccountId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<TenantId>,
    pub(super) agent: Name,
    pub(super) mode: AgentMode,
    /// The program's version.
    pub(super) program: String,
    /// Whether it takes documents.
    #[serde(skip)]
    pub(super) takes_documents: bool,
    /// The version of the document in force; absent where its own file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<RefusedDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failing: Option<String>,
    /// A source that fails, whoever configured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_failing: Option<String>,
    pub(super) stopped: bool,
    /// When it asked last, in milliseconds since the epoch.
    pub(super) last_ms: i64,
}

impl Report {
    pub(super) fn of(
        account: Option<AccountId>,
        tenant: Option<&TenantId>,
        request: &IdentityRequest,
        now_ms: i64,
    ) -> Self {
        let said = request.documents.clone().unwrap_or_default();
        let refused = said.refused.map(|refused| RefusedDocument { reason: shortened(&refused.reason), ..refused });
        Self {
            account,
            tenant: tenant.cloned(),
            agent: request.agent.clone(),
            mode: request.mode,
            program: request.version.chars().take(64).collect(),
            takes_documents: request.documents.is_some(),
            version: request.document_version,
            refused,
            failing: said.failing.as_deref().map(shortened),
            source_failing: said.source_failing.as_deref().map(shortened),
            stopped: said.stopped,
            last_ms: now_ms,
        }
    }

    /// Why it is in error with one of these versions.
    pub(super) fn error_with(&self, is_new: impl Fn(u64) -> bool) -> Option<&str> {
        if let Some(refused) = self.refused.as_ref().filter(|refused| is_new(refused.version)) {
            return Some(&refused.reason);
        }
        self.version.filter(|version| is_new(*version)).and(self.failing.as_deref())
    }
}

/// What comes from outside is cut, and keeps no characters that could forge a line of a log.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.chars().take(end).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// All agents, by the credential's part of their lanes' keys and their names.
#[derive(Debug, Default)]
pub(super) struct Reports(BTreeMap<(String, Name), Report>);

impl Reports {
    /// Keeps it; what was said before, where something was.
    pub(super) fn note(&mut self, owner: &str, report: Report) -> Option<Report> {
        let key = (owner.to_owned(), report.agent.clone());
        if self.0.len() >= MAX_AGENTS && !self.0.contains_key(&key) {
            self.make_room();
        }
        self.0.insert(key, report)
    }

    fn make_room(&mut self) {
        let mut last: Vec<i64> = self.0.values().map(|report| report.last_ms).collect();
        let (_, oldest_kept_ms, _) = last.select_nth_unstable(FORGOTTEN_AT_ONCE - 1);
        let oldest_kept_ms = *oldest_kept_ms;
        let mut ties = FORGOTTEN_AT_ONCE;
        self.0.retain(|_, report| {
            let goes = ties > 0 && report.last_ms <= oldest_kept_ms;
            ties -= usize::from(goes);
            !goes
        });
    }

    pub(super) fn forget_gone(&mut self, now_ms: i64) {
        self.0.retain(|_, report| report.last_ms > now_ms.saturating_sub(REMEMBERED_MS));
    }

    pub(super) fn forget(&mut self, tenant: &TenantId) {
        self.0.retain(|_, report| report.tenant.as_ref() != Some(tenant));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Report> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use tenantscope_wire::ProofOfAccount;

    use super::*;

    fn report(agent: &str, now_ms: i64) -> Report {
        let request = IdentityRequest {
            agent: Name::try_new(agent).unwrap(),
            mode: AgentMode::Run,
            version: "1".to_owned(),
            proof: ProofOfAccount::Certificate,
            wants_epoch: false,
            document_version: None,
            documents: None,
        };
        Report::of(None, None, &request, now_ms)
    }

    #[test]
    fn agents_are_bounded_and_the_longest_silent_go_first() {
        let mut reports = Reports::default();
        for number in 0..=MAX_AGENTS {
            reports.note("a", report(&format!("agent-{number}"), i64::try_from(number).unwrap()));
        }
        assert_eq!(reports.0.len(), MAX_AGENTS - FORGOTTEN_AT_ONCE + 1);
        assert!(reports.iter().all(|report| report.last_ms >= i64::try_from(FORGOTTEN_AT_ONCE).unwrap()));
        reports.forget_gone(REMEMBERED_MS + i64::try_from(MAX_AGENTS).unwrap() - 1);
        assert_eq!(reports.0.len(), 1);
    }

    #[test]
    fn a_reason_is_cut_and_cannot_forge_a_line() {
        let reason = shortened(&format!("bad\nlevel=info {}", "ü".repeat(MAX_REASON_BYTES)));
        assert!(reason.starts_with("bad level") && reason.len() <= 2 * MAX_REASON_BYTES && !reason.contains('\n'));
    }
}
