//! From events to JSON, and what comes often to one line a minute.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::mpsc::SyncSender;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tenantscope_tenancy::AUDIT;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::file;

/// Different things of one minute that are told apart; the others are told together.
const MAX_KEYS: usize = 1000;
/// The longest text of a field, in characters: what a sender chose is among them.
const MAX_TEXT: usize = 4096;
/// The longest text of a field that is JSON, in bytes; a longer one becomes a text of which the end is missing.
const MAX_JSON_BYTES: usize = 256 << 10;
/// What a field's name ends with whose text is JSON.
const IS_JSON: &str = "_json";

/// What the thread is told.
pub(super) enum Told {
    Event(Audited),
    End,
}

/// One thing that happened.
pub(super) struct Audited {
    at_ms: i64,
    fields: Map<String, Value>,
    pub(super) how_often: HowOften,
}

/// How often what is alike is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HowOften {
    AtOnce,
    PerMinute,
    OnceADay,
}

impl Audited {
    fn key(&self) -> String {
        let told_apart = self.fields.iter().filter(|(name, _)| !name.starts_with("last_"));
        Value::Object(told_apart.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
    }

    /// A line; with how often it came, where it was added up.
    pub(super) fn to_json(&self, added_up: Option<(u64, i64)>) -> String {
        let mut line = Map::new();
        line.insert("time".to_owned(), time(self.at_ms).into());
        line.extend(self.fields.clone());
        if let Some((times, last_ms)) = added_up {
            line.insert("times".to_owned(), times.into());
            line.insert("last".to_owned(), time(last_ms).into());
        }
        Value::Object(line).to_string()
    }
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| at.to_string()).unwrap_or_default()
}

/// A layer that takes the audit's events, and no others, to its thread.
pub struct AuditLayer(SyncSender<Told>);

impl AuditLayer {
    pub(super) fn new(to_thread: SyncSender<Told>) -> Self {
        Self(to_thread)
    }
}

impl<S: Subscriber> Layer<S> for AuditLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != AUDIT {
            return;
        }
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let how_often = fields.how_often();
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        // Nobody waits for the audit's disk; what is lost is counted.
        if self.0.try_send(Told::Event(Audited { at_ms, fields: fields.0, how_often })).is_err() {
            file::lost(1);
        }
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn how_often(&mut self) -> HowOften {
        let mut is_so = |name| self.0.remove(name) == Some(Value::Bool(true));
        match (is_so("per_minute"), is_so("once_a_day")) {
            (true, _) => HowOften::PerMinute,
            (false, true) => HowOften::OnceADay,
            (false, false) => HowOften::AtOnce,
        }
    }

    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        // The message of an event is what happened.
        let name = if field.name() == "message" { "event" } else { field.name().trim_end_matches(IS_JSON) };
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let json = field.name().strip_suffix(IS_JSON).filter(|_| value.len() <= MAX_JSON_BYTES);
        match json.and_then(|name| Some((name, serde_json::from_str(value).ok()?))) {
            Some((name, json)) => drop(self.0.insert(name.to_owned(), json)),
            None => self.set(field, value.chars().take(MAX_TEXT).collect::<String>()),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        self.set(field, text.chars().take(MAX_TEXT).collect::<String>());
    }
}

/// When what is written once a day was written, by a hash of what it is.
#[derive(Default)]
pub(super) struct OnceADay {
    hasher: RandomState,
    written: HashMap<u64, i64>,
}

const DAY_MS: i64 = 86_400_000;
/// Past that it is forgotten, and written again.
const MAX_WRITTEN: usize = 100_000;

impl OnceADay {
    /// Whether the event is to be written now.
    pub(super) fn is_due(&mut self, event: &Audited) -> bool {
        if event.how_often != HowOften::OnceADay {
            return true;
        }
        let key = self.hasher.hash_one(event.key());
        let is_due = self.written.get(&key).is_none_or(|at_ms| event.at_ms.saturating_sub(*at_ms) >= DAY_MS);
        if is_due {
            if self.written.len() >= MAX_WRITTEN {
                self.written.clear();
            }
            self.written.insert(key, event.at_ms);
        }
        is_due
    }
}

/// What came often in this minute.
#[derive(Default)]
pub(super) struct PerMinute(BTreeMap<String, (Audited, u64, i64)>);

impl PerMinute {
    /// Fields whose names begin with `last_` do not tell things apart; the last one is written.
    pub(super) fn add(&mut self, mut event: Audited) {
        let mut key = event.key();
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&key) {
            let what = event.fields.remove("event").unwrap_or_default();
            event.fields = Map::from_iter([("event".to_owned(), what), ("others".to_owned(), true.into())]);
            key = event.key();
        }
        let at_ms = event.at_ms;
        match self.0.get_mut(&key) {
            Some((known, times, last_ms)) => {
                known.fields = event.fields;
                *times += 1;
                *last_ms = at_ms;
            }
            None => drop(self.0.insert(key, (event, 1, at_ms))),
        }
    }

    pub(super) fn take(&mut self) -> Vec<String> {
        let taken = std::mem::take(&mut self.0);
        taken.into_values().map(|(event, times, last_ms)| event.to_json(Some((times, last_ms)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_for_each_kind_and_bounded() {
        let mut per_minute = PerMinute::default();
        let event = |reason: &str, at_ms: i64| {
            let fields =
                [("event", "refused".into()), ("reason", reason.into()), ("last_peer", at_ms.to_string().into())];
            let fields = Map::from_iter(fields.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
            Audited { at_ms, fields, how_often: HowOften::PerMinute }
        };
        for at_ms in 0..5_000 {
            per_minute.add(event("no_credential", at_ms));
        }
        let lines = per_minute.take();
        assert_eq!(lines.len(), 1);
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((&line["times"], &line["time"]), (&5_000.into(), &"1970-01-01T00:00:00Z".into()));
        assert_eq!((&line["last"], &line["last_peer"]), (&"1970-01-01T00:00:04.999Z".into(), &"4999".into()));
        for n in 0..5_000 {
            per_minute.add(event(&n.to_string(), 0));
        }
        assert_eq!(per_minute.take().len(), MAX_KEYS + 1);
        assert!(per_minute.take().is_empty());
    }

    #[test]
    fn an_agent_that_comes_again_is_written_once_a_day() {
        let mut once_a_day = OnceADay::default();
        let event = |agent: &str, at_ms: i64| {
            let fields = [("agent", agent.into()), ("last_peer", at_ms.to_string().into())];
            let fields = Map::from_iter(fields.map(|(name, value): (&str, Value)| (name.to_owned(), value)));
            Audited { at_ms, fields, how_often: HowOften::OnceADay }
        };
        let due = [("a", 0), ("a", 1), ("b", 1), ("a", DAY_MS - 1), ("a", DAY_MS), ("a", DAY_MS + 1)]
            .map(|(agent, at_ms)| once_a_day.is_due(&event(agent, at_ms)));
        assert_eq!(due, [true, false, true, false, true, false]);
    }
}
