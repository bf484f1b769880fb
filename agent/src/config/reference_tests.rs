//! docs/agent-configuration.md against what the program takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{Args as _, Command};
use serde_json::{Value, json};

use super::options::{BY_KEY, variable};
use super::*;

const REFERENCE: &str = include_str!("../../../docs/agent-configuration.md");

/// The rows of tables whose first column is a key: the option and variable of each, where it has them.
fn documented() -> BTreeMap<String, Option<(String, String)>> {
    let keys = REFERENCE.lines().filter(|line| line.starts_with("| `") && !line.starts_with("| `--"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let code = |text: &str| text.trim_matches('`').to_owned();
        (code(cells[1]), cells[4].split_once(", ").map(|(option, variable)| (code(option), code(variable))))
    };
    keys.map(row).collect()
}

/// A value with an unknown key at a place such as `a.b[]`.
fn probe(place: &str) -> Value {
    place.rsplit('.').filter(|part| !part.is_empty()).fold(json!({"?": 1}), |inner, part| {
        match part.strip_suffix("[]") {
            Some(list) => json!({ list: [inner] }),
            None => json!({ part: inner }),
        }
    })
}

/// The keys at a place; none where it is no section. What the parser says of an unknown key names the others.
fn keys_at(place: &str) -> Vec<String> {
    let error = serde_json::from_value::<Document>(probe(place)).unwrap_err().to_string();
    let Some((_, known)) = error.split_once("unknown field `?`, expected ") else { return Vec::new() };
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn collect_keys(place: &str, found: &mut BTreeSet<String>) {
    for key in keys_at(place) {
        let key = if place.is_empty() { key } else { format!("{place}.{key}") };
        // A section may be written as a list too, which is no other key.
        let within = if keys_at(&key).is_empty() { format!("{key}[]") } else { key.clone() };
        collect_keys(&within, found);
        found.insert(key);
    }
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let mut known = BTreeSet::new();
    collect_keys("", &mut known);
    assert!(known.len() > 40 && known.contains("sources.cloudwatch.statistics[].period"), "{known:?}");
    assert_eq!(documented().into_keys().collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_reference_names_the_option_and_the_variable_of_each_key() {
    let by_key: BTreeMap<&str, String> = BY_KEY.iter().map(|(key, option, _)| (*key, format!("--{option}"))).collect();
    for (key, told) in documented() {
        let expected =
            by_key.get(key.as_str()).map(|option| (option.clone(), variable(option.trim_start_matches('-'))));
        assert_eq!(told, expected, "{key}");
    }
    let command = Options::augment_args(Command::new("agent"));
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "config") {
        let option = argument.get_long().unwrap();
        assert!(BY_KEY.iter().any(|(_, known, _)| *known == option), "--{option} has no key");
        assert_eq!(argument.get_env().unwrap().to_str().unwrap(), variable(option));
    }
    assert_eq!(command.get_arguments().count(), BY_KEY.len() + 1);
}

#[test]
fn the_examples_hold() {
    let example = REFERENCE.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let config =
        Config::resolve(Document::parse(example, Path::new("agent.yaml")).unwrap(), &Options::default()).unwrap();
    assert_eq!(config.collected.sources.cloudwatch.unwrap().statistics.len(), 2);
}
