//! The agents' configuration from the centre: documents by tenant, versioned, rolled out in waves.
//!
//! ```text
//! collector.yaml: agents ─ documents.rs (strict) ─→ Rollout: release n, waves ─→ answer() ─→ the identity exchange
//!                                                     ↑ step(): hold, halt        │
//!                                                     └── Reports: version in force, refused, failing ←┘
//! ```
//! # Invariants
//! - A document that an agent could not go by is refused with file and line, and changes nothing.
//! - A step of the rollout is on the disk before it is in force; a version is given to one content alone.
//! - The kill switch waits for no wave.

mod config;
mod documents;
mod reports;
mod rollout;
mod telemetry;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantscope_model::{AccountId, Scope, TenantId};
use tenantscope_wire::{AgentMode, IdentityRequest, VersionedDocument};

pub use config::{AgentsConfig, DocumentConfig, Selector, WaveConfig};
pub use documents::InvalidAgents;
pub use rollout::{Halt, NotResumed};
pub use view::{AgentState, AgentView, AgentsView, DocumentView, RolloutState, RolloutView, Summary, WaveView};

use crate::identity::token::lifetime_ms;
use crate::registry::Registry;
use crate::registry::kept::{self, KeptError};
use crate::registry::tenants::{Tenant, Tenants};
use documents::ReadDocument;
use reports::{Report, Reports};
use rollout::{Document, Errors, Rollout, Step};

/// What stands in front of the file; FORMAT.md describes it.
const MAGIC: &str = "TSAGENTS1";

/// What agents go by, and what they say of it.
#[derive(Debug)]
pub struct Agents {
    registry: Option<Arc<Registry>>,
    path: PathBuf,
    started_ms: i64,
    /// Locked while a step is written, so that steps come one after another.
    stepping: Mutex<()>,
    in_force: Mutex<InForce>,
    reports: Mutex<Reports>,
}

#[derive(Debug, Clone)]
struct InForce {
    rollout: Arc<Rollout>,
    settings: Arc<Settings>,
}

/// What holds at once, whatever the waves.
#[derive(Debug, Default)]
struct Settings {
    config: AgentsConfig,
}

/// A configuration that was read and found right; see [`Agents::prepare`].
#[derive(Debug)]
pub struct PreparedAgents {
    config: AgentsConfig,
    documents: Vec<ReadDocument>,
}

/// Why the rollout's file can't be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct NotKept {
    path: PathBuf,
    source: std::io::Error,
}

/// Why a rollout does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It is not as whoever asks thinks.
    #[error(transparent)]
    NotResumed(#[from] NotResumed),
    /// The file.
    #[error(transparent)]
    NotKept(#[from] NotKept),
}

/// Who asks for its configuration, as its proof showed.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The credential's part of its lanes' key.
    pub owner: &'a str,
    /// Its account.
    pub account: Option<AccountId>,
    /// Its tenant; absent where several share the account.
    pub tenant: Option<&'a TenantId>,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// The document to go by, where it has another one.
    pub document: Option<VersionedDocument>,
    /// Whether it is to go by its own file again.
    pub withdrawn: bool,
    /// Whether it is to collect nothing.
    pub stopped: bool,
    /// In which time it is to ask again.
    pub ask_again: Option<Duration>,
}

impl Agents {
    /// Checks the documents' files: for `check`.
    pub fn check(config: &AgentsConfig, base: &Path) -> Result<(), InvalidAgents> {
        documents::read(config, base).map(drop)
    }

    /// Reads the documents' files; `base` is the configuration file's folder. Changes nothing yet.
    pub fn prepare(config: &AgentsConfig, base: &Path) -> Result<PreparedAgents, InvalidAgents> {
        Ok(PreparedAgents { config: config.clone(), documents: documents::read(config, base)? })
    }

    /// Goes on where the file in `data_dir` says that the rollout stood, with what is configured now. Blocks.
    pub fn open(
        prepared: PreparedAgents,
        data_dir: &Path,
        registry: Option<Arc<Registry>>,
        now_ms: i64,
    ) -> Result<Self, NotKept> {
        let path = data_dir.join("agents");
        let rollout = kept::read(&path, MAGIC).map(Option::unwrap_or_default).unwrap_or_else(|error| {
            tracing::error!(%error, file = %path.display(), "the rollout of agents' documents can't be read, it begins anew");
            Rollout::after_loss(now_ms)
        });
        let in_force = Mutex::new(InForce { rollout: Arc::new(rollout), settings: Arc::default() });
        let (stepping, reports) = (Mutex::default(), Mutex::default());
        let agents = Self { registry, path, started_ms: now_ms, stepping, in_force, reports };
        agents.put_in_force(prepared, now_ms)?;
        Ok(agents)
    }

    /// Puts another configuration in force: a change of documents begins with the first wave, all else holds at once.
    /// Blocks.
    pub fn put_in_force(&self, prepared: PreparedAgents, now_ms: i64) -> Result<(), NotKept> {
        let PreparedAgents { config, documents } = prepared;
        let _stepping = self.stepping.lock();
        let before = self.in_force().rollout;
        let after = before.with(&config.waves, &documents, now_ms);
        self.keep(&before, &after)?;
        let (release, _) = after.newest();
        if release != before.newest().0 {
            let waves = after.waves().len();
            tracing::info!(
                release,
                documents = documents.len(),
                waves,
                "agents' documents changed, the first wave gets them"
            );
        }
        *self.in_force.lock() = InForce { rollout: Arc::new(after), settings: Arc::new(Settings { config }) };
        Ok(())
    }

    /// Takes what an agent says of itself, and tells it what to go by.
    pub fn answer(&self, asking: Asking<'_>, request: &IdentityRequest, now_ms: i64) -> Told {
        if request.mode == AgentMode::Forward {
            return Told::default();
        }
        let report = Report::of(asking.account, asking.tenant, request, now_ms);
        if let (Some(registry), Some(account)) = (&self.registry, asking.account) {
            registry.source_failing(account, &request.agent, report.source_failing.clone(), now_ms);
        }
        let InForce { rollout, settings } = self.in_force();
        let told = self.told(&report, &rollout, &settings);
        let refused = report.refused.clone();
        let before = self.reports.lock().note(asking.owner, report);
        if let Some(refused) = refused.filter(|refused| before.and_then(|it| it.refused).as_ref() != Some(refused)) {
            telemetry::document("refused");
            let agent = &request.agent;
            tracing::warn!(%agent, owner = asking.owner, version = refused.version, reason = refused.reason, "agent refused its document");
        }
        told
    }

    fn told(&self, report: &Report, rollout: &Rollout, settings: &Settings) -> Told {
        if !report.takes_documents {
            return Told::default();
        }
        let tenants = self.tenants();
        let whose = Whose::of(report, tenants.as_deref());
        let wanted = rollout.document_of(rollout.wave_of(|name| whose.value(name)), |name| whose.value(name));
        let refuses = |document: &&Document| report.refused.as_ref().is_some_and(|it| it.version == document.version);
        let has = |document: &&Document| report.version == Some(document.version);
        let handed_out = wanted.filter(|document| !has(document) && !refuses(document));
        let withdrawn = wanted.is_none() && report.version.is_some();
        if handed_out.is_some() {
            telemetry::document("handed_out");
        } else if withdrawn {
            telemetry::document("withdrawn");
        }
        Told {
            document: handed_out.map(|it| VersionedDocument { version: it.version, content: it.content.clone() }),
            withdrawn,
            stopped: settings.stops(&whose),
            ask_again: settings.config.ask_every.map(|every| every.0),
        }
    }

    /// Takes the step of the rollout that is due, if one is; to be called every second or so. Blocks on a file then.
    pub fn step(&self, now_ms: i64) {
        let _stepping = self.stepping.lock();
        self.reports.lock().forget_gone(now_ms);
        loop {
            let before = self.in_force().rollout;
            let errors = self.errors(&before);
            let Some((after, step)) = before.step(&errors, self.started_ms, lifetime_ms(), now_ms) else { break };
            if let Err(error) = self.keep(&before, &after) {
                tracing::error!(%error, "the rollout of agents' documents does not go on, trying again");
                break;
            }
            let (release, _) = after.newest();
            match step {
                Step::Reached(wave) => tracing::info!(release, wave, "the next wave gets the agents' documents"),
                Step::Halted(Halt { wave, errors, reasons, .. }) => {
                    let reason = reasons.first().map_or("", String::as_str);
                    tracing::error!(release, wave, errors, reason, "the rollout of agents' documents is halted");
                }
            }
            self.in_force.lock().rollout = Arc::new(after);
        }
        self.tell_metrics();
    }

    /// An admin lets the rollout go on though agents report errors; `release` is the one that is meant. Blocks.
    pub fn resume(&self, release: u64) -> Result<(), ResumeError> {
        let _stepping = self.stepping.lock();
        let before = self.in_force().rollout;
        let after = before.resumed(release, self.errors(&before).count)?;
        self.keep(&before, &after)?;
        self.in_force.lock().rollout = Arc::new(after);
        tracing::warn!(release, "the rollout of agents' documents goes on by an admin's word");
        Ok(())
    }

    /// Forgets what agents of a tenant said that was removed.
    pub fn forget(&self, tenant: &TenantId) {
        self.reports.lock().forget(tenant);
    }

    /// What a reader may see; with `state`, of agents only those that stand so. Takes a moment where there are many.
    pub fn view(&self, scope: &Scope, state: Option<AgentState>) -> AgentsView {
        let InForce { rollout, settings } = self.in_force();
        let mut agents = self.agents(&rollout, scope);
        let mut of_waves: Vec<Summary> = rollout.waves().iter().map(|_| Summary::new()).collect();
        let mut summary = Summary::new();
        for agent in &agents {
            *summary.entry(agent.state).or_default() += 1;
            if let Some(of_wave) = of_waves.get_mut(agent.wave) {
                *of_wave.entry(agent.state).or_default() += 1;
            }
        }
        agents.retain(|agent| state.is_none_or(|wanted| agent.state == wanted));
        // Matches and reasons name tenants, of which a reader may be allowed one.
        let all = *scope == Scope::All;
        let rollout = all.then(|| rollout_view(&rollout, of_waves, self.started_ms));
        AgentsView { enabled: settings.config.enabled, rollout, summary, agents }
    }

    fn agents(&self, rollout: &Rollout, scope: &Scope) -> Vec<AgentView> {
        let tenants = self.tenants();
        let reports = self.reports.lock();
        let allowed = reports.iter().filter(|report| scope.allows(report.tenant.as_ref()));
        let view = |report: &Report| {
            let whose = Whose::of(report, tenants.as_deref());
            let wave = rollout.wave_of(|name| whose.value(name));
            let wanted = rollout.document_of(wave, |name| whose.value(name)).map(|document| document.version);
            AgentView { state: AgentState::of(report, wanted), wave, wanted, report: report.clone() }
        };
        allowed.map(view).collect()
    }

    /// Agents that report errors with what only the newest release has.
    fn errors(&self, rollout: &Rollout) -> Errors {
        let mut errors = Errors::default();
        let new = rollout.new_versions();
        if rollout.next_wave().is_none() || new.is_empty() {
            return errors;
        }
        let tenants = self.tenants();
        for report in self.reports.lock().iter() {
            if let Some(reason) = report.error_with(|version| new.contains(&version)) {
                let whose = Whose::of(report, tenants.as_deref());
                errors.add(rollout.wave_of(|name| whose.value(name)), reason);
            }
        }
        errors
    }

    fn tell_metrics(&self) {
        let rollout = self.in_force().rollout;
        let mut summary = Summary::new();
        for agent in self.agents(&rollout, &Scope::All) {
            *summary.entry(agent.state).or_default() += 1;
        }
        for state in AgentState::ALL {
            telemetry::agents(state, summary.get(&state).copied().unwrap_or_default());
        }
        let newest = rollout.newest().0;
        let waiting = rollout.waves().iter().filter(|wave| wave.release != newest).count();
        telemetry::rollout(newest, waiting, rollout.halt().is_some());
    }

    /// Nothing is written where nothing was ever configured.
    fn keep(&self, before: &Rollout, after: &Rollout) -> Result<(), NotKept> {
        if after == before || after.newest().0 == 0 {
            return Ok(());
        }
        kept::write(&self.path, MAGIC, after).map_err(|error| {
            let source = match error {
                KeptError::Io(source) => source,
                KeptError::Damaged(what) => std::io::Error::other(what),
            };
            NotKept { path: self.path.clone(), source }
        })
    }

    fn in_force(&self) -> InForce {
        self.in_force.lock().clone()
    }

    fn tenants(&self) -> Option<Arc<Tenants>> {
        self.registry.as_ref().map(|registry| registry.tenants())
    }
}

impl Settings {
    /// Whether the kill switch is on, for all or for whom the first matching document is.
    fn stops(&self, whose: &Whose<'_>) -> bool {
        let matching = self.config.documents.iter().find(|entry| entry.matching.matches(|name| whose.value(name)));
        !self.config.enabled || matching.is_some_and(|entry| !entry.enabled)
    }
}

/// Whom a selector may match.
struct Whose<'a> {
    account: Option<AccountId>,
    tenant: Option<&'a TenantId>,
    known: Option<&'a Tenant>,
}

impl<'a> Whose<'a> {
    fn of(report: &'a Report, tenants: Option<&'a Tenants>) -> Self {
        let tenant = report.tenant.as_ref();
        let known = tenant.zip(tenants).and_then(|(tenant, tenants)| tenants.get(tenant)).map(Arc::as_ref);
        Self { account: report.account, tenant, known }
    }

    fn value(&self, name: &str) -> Option<&str> {
        match name {
            "tenant" => self.tenant.map(TenantId::as_str),
            "account_id" => self.account.as_ref().map(AccountId::as_str),
            _ => self.known?.attributes.get(name).map(String::as_str),
        }
    }
}

fn rollout_view(rollout: &Rollout, of_waves: Vec<Summary>, started_ms: i64) -> RolloutView {
    let (release, since_ms) = rollout.newest();
    let halt = rollout.halt().cloned();
    let is_waiting = rollout.next_wave().is_some();
    let state = match &halt {
        Some(_) => RolloutState::Halted,
        None if is_waiting => RolloutState::Underway,
        None => RolloutState::Complete,
    };
    let next_wave_ms = if halt.is_none() { rollout.due_ms(started_ms, lifetime_ms()) } else { None };
    let waves = rollout.waves().iter().zip(of_waves).map(|(wave, agents)| WaveView {
        matching: wave.matching.clone(),
        hold_ms: wave.hold_ms,
        release: wave.release,
        since_ms: wave.since_ms,
        agents,
    });
    let documents = rollout.newest_release().documents.iter().map(|document| DocumentView {
        matching: document.matching.clone(),
        file: document.file.clone(),
        version: document.version,
    });
    let (waves, documents) = (waves.collect(), documents.collect());
    RolloutView { release, since_ms, state, halt, next_wave_ms, waves, documents }
}

#[cfg(test)]
mod tests;
