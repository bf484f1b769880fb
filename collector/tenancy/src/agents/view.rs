//! What readers are shown of agents and rollout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Selector;
use super::reports::Report;
use super::rollout::Halt;

/// How an agent stands to the document that it is to go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It goes by it.
    Current,
    /// It was not heard of since it is to go by it.
    Pending,
    /// It was handed it and goes by another one, or by its own file.
    Refused,
    /// It goes by it, and something that it changed fails.
    Failing,
    /// There is none for it: it goes by its own file.
    OwnFile,
    /// It takes none: an agent of release 0.1.0, or another program.
    Unmanaged,
}

impl AgentState {
    pub(super) const ALL: [Self; 6] =
        [Self::Current, Self::Pending, Self::Refused, Self::Failing, Self::OwnFile, Self::Unmanaged];

    /// Its name in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::OwnFile => "own_file",
            Self::Unmanaged => "unmanaged",
        }
    }

    /// How somebody who said this stands to the document of this version.
    pub(super) fn of(report: &Report, wanted: Option<u64>) -> Self {
        let refuses = |version| report.refused.as_ref().is_some_and(|refused| refused.version == version);
        match wanted {
            _ if !report.takes_documents => Self::Unmanaged,
            None if report.version.is_none() => Self::OwnFile,
            None => Self::Pending,
            Some(wanted) if refuses(wanted) => Self::Refused,
            Some(wanted) if report.version != Some(wanted) => Self::Pending,
            Some(_) if report.failing.is_some() => Self::Failing,
            Some(_) => Self::Current,
        }
    }
}

/// Agents by state.
pub type Summary = BTreeMap<AgentState, usize>;

/// All that a reader may see.
#[derive(Debug, Serialize)]
pub struct AgentsView {
    /// False: the kill switch is on, and no agent that takes documents collects anything.
    pub enabled: bool,
    /// The rollout; for readers of all tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// The reader's agents by state.
    pub summary: Summary,
    /// The reader's agents.
    pub agents: Vec<AgentView>,
}

/// Where the rollout stands.
#[derive(Debug, Serialize)]
pub struct RolloutView {
    /// The newest release of the documents.
    pub release: u64,
    /// When it came, in milliseconds since the epoch.
    pub since_ms: i64,
    /// Whether all waves have it.
    pub state: RolloutState,
    /// Why it does not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halt: Option<Halt>,
    /// When the next wave gets it, where it is not halted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_wave_ms: Option<i64>,
    /// The waves in their order; the last one is the rest.
    pub waves: Vec<WaveView>,
    /// The documents of the newest release.
    pub documents: Vec<DocumentView>,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// All waves have the newest release.
    Complete,
    /// Some wait for their turn.
    Underway,
    /// Some wait, and get it neither by waiting.
    Halted,
}

/// One wave.
#[derive(Debug, Serialize)]
pub struct WaveView {
    /// Who is in it; absent for the rest.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<Selector>,
    /// How long the next one waits.
    pub hold_ms: i64,
    /// Which release it has.
    pub release: u64,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    /// Its agents by state.
    pub agents: Summary,
}

/// One document.
#[derive(Debug, Serialize)]
pub struct DocumentView {
    /// Whose agents it is for.
    #[serde(rename = "match")]
    pub matching: Selector,
    /// Its file.
    pub file: String,
    /// Its version.
    pub version: u64,
}

/// One agent.
#[derive(Debug, Serialize)]
pub struct AgentView {
    #[serde(flatten)]
    pub(super) report: Report,
    /// How it stands.
    pub state: AgentState,
    /// Its wave, from 0.
    pub wave: usize,
    /// The version that it is to go by; absent where there is none for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<u64>,
}
