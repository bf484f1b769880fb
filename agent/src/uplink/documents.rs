use std::collections::BTreeMap;

use parking_lot::Mutex;
use tenantscope_wire::{DocumentReport, IdentityResponse, MAX_REASON_BYTES, RefusedDocument, VersionedDocument};
use tokio::sync::watch;

use crate::telemetry;

/// Rounds that fail one after another before a source counts as failing.
const FAILING_AFTER: u32 = 3;

/// What the collector wants this agent to go by, and what became of it: the exchange tells, whoever applies it answers.
#[derive(Debug)]
pub struct Documents {
    state: Mutex<State>,
    wanted: watch::Sender<Wanted>,
}

/// What the collector wants.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    /// The document to go by; none for the agent's own file.
    pub document: Option<VersionedDocument>,
    /// Whether to collect nothing.
    pub stopped: bool,
}

impl Wanted {
    /// The document's version.
    pub fn version(&self) -> Option<u64> {
        self.document.as_ref().map(|document| document.version)
    }
}

#[derive(Debug, Default)]
struct State {
    version: Option<u64>,
    collects_nothing: bool,
    refused: Option<RefusedDocument>,
    sources: BTreeMap<Place, Health>,
}

/// A source in a region; what all regions need has none.
pub type Place = (&'static str, String);

#[derive(Debug, Default)]
struct Health {
    /// The version that started it.
    version: Option<u64>,
    failed_rounds: u32,
    error: String,
}

impl Documents {
    /// With what was in force when the agent ended last.
    pub fn new(kept: Wanted) -> Self {
        Self { state: Mutex::default(), wanted: watch::Sender::new(kept) }
    }

    /// What the collector wants, now and whenever it changes.
    pub fn watch(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// The collector's answer to an exchange.
    pub fn told(&self, answer: &IdentityResponse) {
        self.wanted.send_if_modified(|wanted| {
            let document = match &answer.document {
                Some(document) => Some(document.clone()),
                None if answer.document_withdrawn => None,
                None => wanted.document.clone(),
            };
            let told = Wanted { document, stopped: answer.stopped };
            let is_news = *wanted != told;
            *wanted = told;
            is_news
        });
    }

    /// The version in force, and what else the collector is told with the next exchange.
    pub fn report(&self) -> (Option<u64>, DocumentReport) {
        let state = self.state.lock();
        let by_document = |health: &Health| health.version.is_some() && health.version == state.version;
        let told = |((kind, region), health): (&Place, &Health)| match region.as_str() {
            "" => shortened(&format!("{kind}: {}", health.error)),
            region => shortened(&format!("{kind} in {region}: {}", health.error)),
        };
        let mut failing = state.sources.iter().filter(|(_, health)| health.failed_rounds >= FAILING_AFTER);
        let source_failing = failing.clone().next().map(told);
        let failing = failing.find(|(_, health)| by_document(health)).map(told);
        let (refused, stopped) = (state.refused.clone(), state.collects_nothing);
        let report = DocumentReport { refused, failing, source_failing, stopped };
        (state.version, report)
    }

    /// This is in force now.
    pub fn applied(&self, version: Option<u64>, is_stopped: bool, collects_nothing: bool) {
        let mut state = self.state.lock();
        if state.version != version {
            telemetry::document(if version.is_some() { "applied" } else { "withdrawn" });
            state.refused = None;
        }
        state.version = version;
        state.collects_nothing = collects_nothing;
        telemetry::document_in_force(version.unwrap_or(0), is_stopped);
    }

    /// The document can't be applied; what was in force is.
    pub fn refused(&self, version: u64, reason: &str) {
        telemetry::document("refused");
        self.state.lock().refused = Some(RefusedDocument { version, reason: shortened(reason) });
    }

    /// Whether this one was refused.
    pub fn has_refused(&self, version: Option<u64>) -> bool {
        let state = self.state.lock();
        state.refused.as_ref().is_some_and(|refused| Some(refused.version) == version)
    }

    /// A source begins, with the document of this version.
    pub fn begins(&self, place: &Place, version: Option<u64>) {
        self.state.lock().sources.insert(place.clone(), Health { version, ..Health::default() });
    }

    /// A source ended.
    pub fn ended(&self, place: &Place) {
        self.state.lock().sources.remove(place);
    }

    /// How a source's round ended; whether the collector is to be told.
    pub fn round(&self, place: &Place, outcome: Result<(), String>) -> bool {
        let mut state = self.state.lock();
        let version = state.version;
        let Some(health) = state.sources.get_mut(place) else { return false };
        let was_failing = health.failed_rounds >= FAILING_AFTER;
        match outcome {
            Ok(()) => health.failed_rounds = 0,
            Err(error) => {
                health.failed_rounds = health.failed_rounds.saturating_add(1);
                health.error = error;
            }
        }
        let is_failing = health.failed_rounds >= FAILING_AFTER;
        // What no document is to blame for waits for the next exchange: where AWS itself fails, it fails for all agents at
        // once.
        is_failing != was_failing && version.is_some() && health.version == version
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.chars().take(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str) -> IdentityResponse {
        let head = r#"{"token": "t", "expires_at_ms": 1, "valid_for_ms": 1"#;
        serde_json::from_str(&format!("{head}{json}}}")).unwrap()
    }

    #[test]
    fn what_an_answer_leaves_out_stays_and_what_is_withdrawn_goes() {
        let documents = Documents::new(Wanted::default());
        let mut wanted = documents.watch();
        documents.told(&answer(r#", "document": {"version": 3, "content": {}}"#));
        assert_eq!(wanted.borrow_and_update().version(), Some(3));
        documents.told(&answer(""));
        assert!(!wanted.has_changed().unwrap(), "nothing new");
        documents.told(&answer(r#", "stopped": true"#));
        assert!(wanted.borrow_and_update().stopped);
        documents.told(&answer(r#", "document_withdrawn": true"#));
        assert_eq!(*wanted.borrow_and_update(), Wanted::default());
    }

    #[test]
    fn a_source_fails_the_document_that_started_it_after_three_rounds_and_no_other() {
        let documents = Documents::new(Wanted::default());
        let (logs, traces) = (("logs", "eu-west-1".to_owned()), ("xray", "eu-west-1".to_owned()));
        documents.applied(Some(4), false, false);
        documents.begins(&logs, Some(4));
        documents.begins(&traces, None);
        let mut is_news = false;
        for _ in 0..3 {
            assert!(!is_news);
            assert_eq!(documents.report().1.failing, None);
            is_news = documents.round(&logs, Err("denied".to_owned()));
            assert!(!documents.round(&traces, Err("denied".to_owned())));
        }
        assert!(is_news, "the collector is told at once");
        assert_eq!(
            documents.report(),
            (
                Some(4),
                DocumentReport {
                    failing: Some("logs in eu-west-1: denied".to_owned()),
                    source_failing: Some("logs in eu-west-1: denied".to_owned()),
                    ..DocumentReport::default()
                }
            )
        );
        assert!(documents.round(&logs, Ok(())));
        let report = documents.report().1;
        assert_eq!(report.failing, None, "xray was there before the document");
        assert_eq!(report.source_failing.as_deref(), Some("xray in eu-west-1: denied"), "and fails all the same");
    }

    #[test]
    fn a_refusal_is_told_until_another_document_is_in_force() {
        let documents = Documents::new(Wanted::default());
        documents.refused(5, "a port is taken");
        let (version, report) = documents.report();
        assert_eq!((version, report.refused.unwrap().version), (None, 5));
        documents.applied(None, true, true);
        assert!(
            documents.has_refused(Some(5)) && !documents.has_refused(None),
            "the kill switch changes nothing of it"
        );
        documents.applied(Some(6), false, false);
        assert_eq!(documents.report().1.refused, None);
    }
}
