//! Configuration in YAML: read strictly, and what is wrong told with its line, its key and a sentence.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{self, DeserializeOwned, MapAccess, SeqAccess};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, Spanned};

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The line, from 1; 0 where none is known.
    pub line: u64,
    /// The column, from 1; 0 where none is known.
    pub column: u64,
    /// The key and what was expected of it.
    pub message: String,
    /// A key at the top that nobody knows, so that whoever knows other programs' files can tell.
    pub unknown_key: Option<String>,
}

/// Reads a text; a key that is not known is a mistake.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    serde_saphyr::from_str(text).map_err(|error| mistake(text, &error))
}

/// The lines of a text's keys, for whoever asks for many.
#[derive(Debug, Default)]
pub struct Lines(HashMap<String, u64>);

impl Lines {
    /// Of this text; none of one that is no YAML.
    pub fn of(text: &str) -> Self {
        Self(places(text).into_iter().rev().map(|place| (place.key, place.key_line)).collect())
    }

    /// The line of a key such as `sources.logs.interval`, or of the nearest one around it that is there; 0 where there is
    /// none.
    pub fn of_key(&self, key: &str) -> u64 {
        let mut wanted = key;
        loop {
            if let Some(line) = self.0.get(wanted) {
                return *line;
            }
            let Some((around, _)) = wanted.rsplit_once('.') else { return 0 };
            wanted = around;
        }
    }
}

/// The line of one key, as [`Lines`] has it.
pub fn line_of(text: &str, key: &str) -> u64 {
    Lines::of(text).of_key(key)
}

/// A place in a file, as editors know it: `file:line`, or the file alone where no line is known (0).
pub fn place(file: &Path, line: u64) -> String {
    let file = file.display();
    if line == 0 { file.to_string() } else { format!("{file}:{line}") }
}

/// What is wrong with a text that the parser refused.
pub fn mistake(text: &str, error: &Error) -> Mistake {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let error = error.without_snippet();
    let places = places(text);
    let key = places.iter().find(|place| (place.line, place.column) == (line, column)).map(|place| place.key.clone());
    let (message, unknown_key) = match (error, key) {
        (Error::SerdeUnknownField { field, expected, .. }, _) => {
            let expected = expected.join(", ");
            // Of a key its own place is told, of a value the key's.
            let is_top = places.iter().any(|place| place.key == *field && place.key_line == line);
            (format!("there is no key {field:?} here; the keys are {expected}"), is_top.then(|| field.clone()))
        }
        (error, Some(key)) => (format!("{key}: {}", sentence(error, line, column)), None),
        (error, None) => (sentence(error, line, column), None),
    };
    Mistake { line, column, message, unknown_key }
}

/// What the parser says, by what people call it.
fn sentence(error: &Error, line: u64, column: u64) -> String {
    let expected = match error {
        Error::InvalidScalar { ty, .. } if ty.starts_with('u') => "a whole number from 0 on",
        Error::InvalidScalar { ty, .. } if ty.starts_with('i') => "a whole number",
        Error::InvalidScalar { ty, .. } if ty.starts_with("bool") => "true or false",
        Error::InvalidScalar { ty, .. } if ty.starts_with('f') => "a number",
        Error::InvalidBooleanStrict { .. } => "true or false",
        Error::NullIntoString { .. } => "a text",
        Error::Unexpected { expected, .. } => match *expected {
            "mapping start" => "keys with values (key: value)",
            "sequence start" => "a list, such as [a, b],",
            "string scalar" => "a text",
            other => other,
        },
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            return format!("{variant:?} is none of {}", expected.join(", "));
        }
        Error::SerdeMissingField { field, .. } => return format!("the key {field:?} is missing here"),
        Error::DuplicateMappingKey { key, .. } => {
            return format!("the key {:?} is given twice", key.as_deref().unwrap_or_default());
        }
        other => return rendered(other, line, column),
    };
    format!("{expected} is needed here")
}

fn rendered(error: &Error, line: u64, column: u64) -> String {
    let rendered = error.render_with_options(serde_saphyr::render_options! {
        formatter: &serde_saphyr::UserMessageFormatter,
        snippets: serde_saphyr::SnippetMode::Off,
    });
    // The place goes in front, once.
    let message = rendered.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(&rendered);
    match message {
        "invalid socket address syntax" => "an address with its port is needed here, such as 127.0.0.1:4317".to_owned(),
        message => message.to_owned(),
    }
}

/// Where a key and its value stand.
struct Place {
    key: String,
    key_line: u64,
    line: u64,
    column: u64,
}

/// Of all keys of a text; none of one that is no YAML.
fn places(text: &str) -> Vec<Place> {
    let mut found = Vec::new();
    // Whatever a value is, it has a place.
    let options = serde_saphyr::options! { non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough };
    if let Ok(root) = serde_saphyr::from_str_with_options::<Node>(text, options) {
        root.collect("", &mut found);
    }
    found
}

/// A value without its content.
enum Node {
    Plain,
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
}

impl Node {
    fn collect(&self, at: &str, found: &mut Vec<Place>) {
        let mut note = |key: String, key_line: u64, value: &Spanned<Self>| {
            let (line, column) = (value.referenced.line(), value.referenced.column());
            found.push(Place { key: key.clone(), key_line, line, column });
            value.value.collect(&key, found);
        };
        match self {
            Self::Plain => {}
            Self::Map(entries) => {
                for (name, value) in entries {
                    let key = if at.is_empty() { name.value.clone() } else { format!("{at}.{}", name.value) };
                    note(key, name.referenced.line(), value);
                }
            }
            Self::List(items) => {
                for (number, value) in items.iter().enumerate() {
                    note(format!("{at}[{number}]"), value.referenced.line(), value);
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> de::Visitor<'de> for AnyValue {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Plain)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::super::AgentDocument;
    use super::*;

    #[test]
    fn a_mistake_names_its_line_its_key_and_what_is_needed() {
        for (text, line, expected) in [
            (
                "sources:\n  cloudwatch: {max_metrics: many}",
                2,
                "sources.cloudwatch.max_metrics: a whole number from 0 on is needed here",
            ),
            (
                "sources:\n  cloudwatch:\n    regions: eu-west-1",
                3,
                "sources.cloudwatch.regions: a list, such as [a, b], is needed here",
            ),
            (
                "sources: {otlp: {grpc: nowhere}}",
                1,
                "sources.otlp.grpc: an address with its port is needed here, such as 127.0.0.1:4317",
            ),
            ("sources:\n  cloudwatch:\n    statistics: [{namespace: X}]", 3, "the key \"statistics\" is missing here"),
            ("enabled: true\nenabled: false", 2, "the key \"enabled\" is given twice"),
            ("sources: 3", 1, "sources: keys with values (key: value) is needed here"),
            ("budget_usd_per_month: lots", 1, "budget_usd_per_month: a number is needed here"),
            ("enabled: perhaps", 1, "enabled: true or false is needed here"),
            (
                "sources:\n  logs: {interval: 3parsecs}",
                2,
                "sources.logs.interval: \"3parsecs\" is not a duration such as 15s, 5m or 1h30m",
            ),
            (
                "sources:\n  xray:\n    fitler: x",
                3,
                "there is no key \"fitler\" here; the keys are regions, interval, lookback, overlap, filter",
            ),
        ] {
            let mistake = read::<AgentDocument>(text).unwrap_err();
            assert_eq!((mistake.line, mistake.message.as_str()), (line, expected));
            assert_eq!(mistake.unknown_key, None);
        }
        let foreign = read::<AgentDocument>("enabled: true\ndata_dir: x\n").unwrap_err();
        assert_eq!((foreign.line, foreign.unknown_key.as_deref()), (2, Some("data_dir")));
    }

    #[test]
    fn a_key_has_a_line_or_what_is_around_it_has() {
        let text = "sources:\n  logs:\n    groups:\n      - a\n      - b\n";
        let lines =
            ["sources.logs.groups[1]", "sources.logs.interval", "sources.xray", "spool"].map(|key| line_of(text, key));
        assert_eq!(lines, [5, 2, 1, 0]);
        assert_eq!(line_of("a: [", "a"), 0);
    }
}
