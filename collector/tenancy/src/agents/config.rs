//! `agents:` of `collector.yaml`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{self, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer, Serialize};
use tenantscope_model::TimeSpan;

/// The most entries of `documents` and of `waves`.
const MAX_ENTRIES: usize = 1_000;

/// What agents collect, and how a change of it reaches them.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Raw")]
pub struct AgentsConfig {
    /// The kill switch: `false`, and no agent that takes documents collects anything. It reaches all of them at once, whatever
    /// the waves.
    pub enabled: bool,
    /// The documents; the first that matches an agent's tenant counts.
    pub documents: Vec<DocumentConfig>,
    /// Who gets a change first; whoever is in none of them is in one more, the last.
    pub waves: Vec<WaveConfig>,
    /// How often agents ask; when their token is to be renewed (every 12 minutes) by default.
    pub ask_every: Option<TimeSpan>,
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self { enabled: true, documents: Vec::new(), waves: Vec::new(), ask_every: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    enabled: bool,
    documents: Vec<DocumentConfig>,
    waves: Vec<WaveConfig>,
    ask_every: Option<TimeSpan>,
}

impl Default for Raw {
    fn default() -> Self {
        Self { enabled: true, documents: Vec::new(), waves: Vec::new(), ask_every: None }
    }
}

impl TryFrom<Raw> for AgentsConfig {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { enabled, documents, waves, ask_every } = raw;
        if documents.len() > MAX_ENTRIES || waves.len() > MAX_ENTRIES {
            return Err(format!("agents has more than {MAX_ENTRIES} documents or waves"));
        }
        if waves.iter().any(|wave| wave.matching.is_everybody()) {
            return Err("agents: a wave needs a match; whoever is in no wave comes last by itself".to_owned());
        }
        let twice =
            |(at, wave): (usize, &WaveConfig)| waves.iter().take(at).any(|other| other.matching == wave.matching);
        if waves.iter().enumerate().any(twice) {
            return Err("agents: two waves have the same match".to_owned());
        }
        if ask_every.is_some_and(|every| every < TimeSpan::from_secs(1)) {
            return Err("agents: ask_every is less than 1s".to_owned());
        }
        Ok(Self { enabled, documents, waves, ask_every })
    }
}

/// One entry of `agents.documents`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentConfig {
    /// Whose agents it is for; everybody's, where it is absent.
    #[serde(default, rename = "match")]
    pub matching: Selector,
    /// The file with the document.
    pub file: PathBuf,
    /// The kill switch for those whom it is for.
    #[serde(default = "enabled")]
    pub enabled: bool,
}

fn enabled() -> bool {
    true
}

/// One entry of `agents.waves`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaveConfig {
    /// Who is in it; the first wave that matches counts.
    #[serde(rename = "match")]
    pub matching: Selector,
    /// How long the next wave waits after this one got a change.
    pub hold: TimeSpan,
}

/// Whom something is for: each name must have one of its values. Names are `tenant`, `account_id`, and the attributes of the
/// registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(BTreeMap<String, OneOf>);

impl Selector {
    /// Whether it matches everybody.
    pub(super) fn is_everybody(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with the values of which one is asked for.
    pub fn asked(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(name, one_of)| (name.as_str(), one_of.0.as_slice()))
    }

    /// Whether somebody of whom these values are known matches.
    pub(super) fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|(name, one_of)| value_of(name).is_some_and(|value| one_of.0.iter().any(|it| it == value)))
    }
}

/// `gold`, or `[gold, silver]`; numbers and truth values stand for their text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
struct OneOf(Vec<String>);

impl<'de> Deserialize<'de> for OneOf {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOfVisitor)
    }
}

struct OneOfVisitor;

impl<'de> de::Visitor<'de> for OneOfVisitor {
    type Value = OneOf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOf, E> {
        Ok(OneOf(vec![text.to_owned()]))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<OneOf, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<OneOf, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<OneOf, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOf, A::Error> {
        let mut values = Vec::new();
        while let Some(OneOf(more)) = list.next_element()? {
            values.extend(more);
        }
        Ok(OneOf(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<OneOf, A::Error> {
        Err(de::Error::custom("a match's value is a text or a list of texts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AgentsConfig, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_shape_of_the_design_is_read() {
        let text = "documents: [{match: {tier: gold}, file: agents/gold.yaml}]\nwaves: [{match: {wave: [canary, 1]}, hold: 1h}]\n";
        let config = parse(text).unwrap();
        let gold = |name: &str| (name == "tier").then_some("gold");
        assert!(config.enabled && config.documents[0].matching.matches(gold));
        assert!(config.waves[0].matching.matches(|_| Some("1")) && !config.waves[0].matching.matches(gold));
        assert_eq!(config.waves[0].hold, TimeSpan::from_secs(3600));
    }

    #[test]
    fn what_could_not_be_meant_is_an_error() {
        for (text, expected) in [
            ("waves: [{match: {}, hold: 1h}]", "needs a match"),
            ("waves: [{match: {wave: a}, hold: 1h}, {match: {wave: a}, hold: 2h}]", "same match"),
            ("waves: [{match: {wave: a}}]", "hold"),
            ("documents: [{file: a.yaml, fiel: b}]", "fiel"),
            ("ask_every: 10ms", "ask_every"),
            ("enabeld: true", "enabeld"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
