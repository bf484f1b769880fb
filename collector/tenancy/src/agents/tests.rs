//! At the room's door: files on a disk, a registry, agents that ask, and a clock of their own.

use std::fs;

use serde_json::json;
use tenantscope_wire::{DocumentReport, Name, ProofOfAccount, RefusedDocument};

use super::*;
use crate::config::RegistryConfig;

const T0_MS: i64 = 1_790_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const CONFIG: &str = "documents: [{match: {tier: gold}, file: gold.yaml}, {file: all.yaml}]
waves: [{match: {wave: canary}, hold: 1h}]\n";

struct Fleet {
    dir: tempfile::TempDir,
    registry: Arc<Registry>,
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tenants = "tenants:
  - {id: acme, accounts: [\"111111111111\"], attributes: {tier: gold, wave: canary}}
  - {id: beta, accounts: [\"222222222222\"], attributes: {tier: gold}}
  - {id: gamma, accounts: [\"333333333333\"], attributes: {tier: iron}}\n";
        fs::write(dir.path().join("tenants.yaml"), tenants).unwrap();
        let registry = Registry::open(&RegistryConfig::of_file("tenants.yaml"), dir.path()).unwrap();
        let fleet = Self { dir, registry: Arc::new(registry) };
        fleet.write("gold.yaml", "budget_usd_per_month: 1");
        fleet.write("all.yaml", "budget_usd_per_month: 7");
        fleet
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn prepared(&self, config: &str) -> PreparedAgents {
        Agents::prepare(&serde_saphyr::from_str(config).unwrap(), self.dir.path()).unwrap()
    }

    fn open(&self, now_ms: i64) -> Agents {
        Agents::open(self.prepared(CONFIG), self.dir.path(), Some(Arc::clone(&self.registry)), now_ms).unwrap()
    }
}

fn request(version: Option<u64>, documents: Option<DocumentReport>) -> IdentityRequest {
    IdentityRequest {
        agent: Name::try_new("agent").unwrap(),
        mode: AgentMode::Run,
        version: "0.2.0".to_owned(),
        proof: ProofOfAccount::Certificate,
        wants_epoch: false,
        document_version: version,
        documents,
    }
}

fn ask(agents: &Agents, tenant: &str, version: Option<u64>, report: DocumentReport, now_ms: i64) -> Told {
    let account = match tenant {
        "acme" => "111111111111",
        "beta" => "222222222222",
        _ => "333333333333",
    };
    let tenant = TenantId::try_new(tenant).unwrap();
    let asking = Asking { owner: account, account: Some(AccountId::try_new(account).unwrap()), tenant: Some(&tenant) };
    agents.answer(asking, &request(version, Some(report)), now_ms)
}

fn handed(agents: &Agents, tenant: &str, version: Option<u64>, now_ms: i64) -> Option<u64> {
    ask(agents, tenant, version, DocumentReport::default(), now_ms).document.map(|document| document.version)
}

fn refusing(version: u64) -> DocumentReport {
    let refused = Some(RefusedDocument { version, reason: "port 4317 is taken".to_owned() });
    DocumentReport { refused, ..DocumentReport::default() }
}

/// All waves have the first release.
fn settled(fleet: &Fleet) -> Agents {
    let agents = fleet.open(T0_MS);
    agents.step(T0_MS + HOUR_MS);
    agents
}

#[test]
fn the_first_document_that_matches_is_handed_out_until_the_agent_has_it() {
    let fleet = Fleet::new();
    let agents = settled(&fleet);
    let told = ask(&agents, "acme", None, DocumentReport::default(), T0_MS);
    let document = told.document.unwrap();
    assert_eq!((document.version, &document.content), (1, &json!({"enabled": true, "budget_usd_per_month": 1.0})));
    assert_eq!(handed(&agents, "gamma", None, T0_MS), Some(2));
    assert_eq!(handed(&agents, "gamma", Some(2), T0_MS), None, "it has it");
    assert_eq!(ask(&agents, "acme", None, refusing(1), T0_MS).document, None, "it does not want it");
    let (tenant, previous) = (TenantId::try_new("beta").unwrap(), request(None, None));
    let asking = Asking { owner: "222222222222", account: None, tenant: Some(&tenant) };
    assert_eq!(agents.answer(asking, &previous, T0_MS), Told::default(), "an agent of the previous release takes none");
}

#[test]
fn a_change_reaches_the_second_wave_after_the_hold_and_errors_halt_it_over_restarts() {
    let fleet = Fleet::new();
    let agents = settled(&fleet);
    fleet.write("gold.yaml", "budget_usd_per_month: 2");
    let changed_ms = T0_MS + 2 * HOUR_MS;
    agents.put_in_force(fleet.prepared(CONFIG), changed_ms).unwrap();
    agents.step(changed_ms);
    assert_eq!(handed(&agents, "acme", Some(1), changed_ms), Some(3));
    assert_eq!(handed(&agents, "beta", Some(1), changed_ms), None);
    assert_eq!(handed(&agents, "gamma", Some(2), changed_ms), None, "its document did not change");

    ask(&agents, "acme", Some(1), refusing(3), changed_ms + 1);
    agents.step(changed_ms + 1);
    let halted = agents.view(&Scope::All, None).rollout.unwrap();
    assert_eq!(
        (halted.state, halted.halt.unwrap().reasons),
        (RolloutState::Halted, vec!["port 4317 is taken".to_owned()])
    );
    drop(agents);

    let again = fleet.open(changed_ms + HOUR_MS);
    again.step(changed_ms + 9 * HOUR_MS);
    assert_eq!(handed(&again, "beta", Some(1), changed_ms), None, "still halted");
    fleet.write("gold.yaml", "budget_usd_per_month: 3");
    again.put_in_force(fleet.prepared(CONFIG), changed_ms + 9 * HOUR_MS).unwrap();
    assert_eq!(handed(&again, "acme", Some(1), changed_ms), Some(4), "versions rise over restarts");
    again.step(changed_ms + 10 * HOUR_MS);
    assert_eq!(handed(&again, "beta", Some(1), changed_ms), Some(4));
}

#[test]
fn what_fails_under_the_new_document_halts_it_and_an_admin_lets_it_go_on() {
    let fleet = Fleet::new();
    let agents = settled(&fleet);
    fleet.write("gold.yaml", "budget_usd_per_month: 2");
    agents.put_in_force(fleet.prepared(CONFIG), T0_MS).unwrap();
    let failing = |what: &str| DocumentReport { failing: Some(what.to_owned()), ..DocumentReport::default() };
    ask(&agents, "gamma", Some(2), failing("logs: access denied"), T0_MS);
    agents.step(T0_MS);
    assert!(agents.view(&Scope::All, None).rollout.unwrap().halt.is_none(), "its document is not what is rolled out");
    ask(&agents, "acme", Some(3), failing("logs: access denied"), T0_MS);
    agents.step(T0_MS);
    assert!(agents.view(&Scope::All, None).rollout.unwrap().halt.is_some());

    assert!(matches!(agents.resume(1), Err(ResumeError::NotResumed(NotResumed::OtherRelease(2)))));
    agents.resume(2).unwrap();
    assert!(matches!(agents.resume(2), Err(ResumeError::NotResumed(NotResumed::NotHalted))));
    agents.step(T0_MS + HOUR_MS);
    assert_eq!(handed(&agents, "beta", Some(1), T0_MS), Some(3));
}

#[test]
fn the_kill_switch_waits_for_no_wave_and_is_no_change_of_a_document() {
    let fleet = Fleet::new();
    let agents = settled(&fleet);
    let stopped = |tenant| ask(&agents, tenant, Some(1), DocumentReport::default(), T0_MS).stopped;
    assert!(!stopped("acme") && !stopped("beta"));
    let gold_off = CONFIG.replace("file: gold.yaml", "file: gold.yaml, enabled: false");
    agents.put_in_force(fleet.prepared(&gold_off), T0_MS).unwrap();
    assert!(stopped("acme") && stopped("beta") && !stopped("gamma"));
    agents.put_in_force(fleet.prepared(&format!("enabled: false\n{CONFIG}")), T0_MS).unwrap();
    assert!(stopped("acme") && stopped("gamma"));
    assert_eq!(agents.view(&Scope::All, None).rollout.unwrap().release, 1);
}

#[test]
fn without_a_document_an_agent_goes_by_its_own_file_again() {
    let fleet = Fleet::new();
    let agents = settled(&fleet);
    agents.put_in_force(fleet.prepared("ask_every: 1m"), T0_MS).unwrap();
    let told = ask(&agents, "acme", Some(1), DocumentReport::default(), T0_MS);
    assert!(told.withdrawn && told.document.is_none());
    assert_eq!(told.ask_again, Some(Duration::from_secs(60)));
    assert!(!ask(&agents, "acme", None, DocumentReport::default(), T0_MS).withdrawn);
}

#[test]
fn a_reader_sees_the_agents_of_its_scope_and_of_the_rollout_nothing() {
    let fleet = Fleet::new();
    let agents = settled(&fleet);
    ask(&agents, "acme", Some(1), DocumentReport::default(), T0_MS);
    ask(&agents, "beta", None, refusing(1), T0_MS);
    ask(&agents, "gamma", Some(1), DocumentReport::default(), T0_MS);
    let all = agents.view(&Scope::All, None);
    let expected = [(AgentState::Current, 1), (AgentState::Pending, 1), (AgentState::Refused, 1)];
    assert_eq!(all.summary, Summary::from(expected));
    assert_eq!(all.rollout.unwrap().waves[0].agents, Summary::from([(AgentState::Current, 1)]));
    assert_eq!(agents.view(&Scope::All, Some(AgentState::Refused)).agents.len(), 1);

    let beta = Scope::Tenants(Arc::new([TenantId::try_new("beta").unwrap()].into()));
    let seen = serde_json::to_string(&agents.view(&beta, None)).unwrap();
    assert!(seen.contains("port 4317") && !seen.contains("acme") && !seen.contains("rollout"), "{seen}");
}

#[test]
fn a_damaged_file_is_told_and_no_version_is_given_twice() {
    let fleet = Fleet::new();
    drop(settled(&fleet));
    fs::write(fleet.dir.path().join("agents"), "damaged").unwrap();
    let agents = fleet.open(T0_MS);
    let version = handed(&agents, "acme", Some(1), T0_MS).unwrap();
    assert!(version > 1_000_000, "{version}");
}

#[test]
fn where_nothing_is_configured_nothing_is_written() {
    let fleet = Fleet::new();
    let agents = Agents::open(fleet.prepared("{}"), fleet.dir.path(), None, T0_MS).unwrap();
    agents.step(T0_MS);
    assert!(!fleet.dir.path().join("agents").exists());
    assert_eq!(agents.view(&Scope::All, None).rollout.unwrap().state, RolloutState::Complete);
}
