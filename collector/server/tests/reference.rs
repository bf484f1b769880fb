//! docs/collector-configuration.md says of every key what the program knows, and of nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod keys;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::CommandFactory as _;
use keys::{Kind, keys_of};
use tenantscope_server::cli::Cli;
use tenantscope_server::config::{Config, UNTIL_RESTART};
use tenantscope_tenancy::Tenants;

const REFERENCE: &str = include_str!("../../../docs/collector-configuration.md");

/// Keys that have the keys of others, which stand in the reference once.
const AS_OTHERS: [(&str, &str); 5] = [
    ("limits.tiers.*", "limits.default"),
    ("listen.http_tls", "listen.tls"),
    ("listen.otlp_grpc_tls", "listen.tls"),
    ("listen.otlp_http_tls", "listen.tls"),
    ("readers[].jwt", "identity.jwt[]"),
];

/// The cells of each row of the tables with this heading, by the first.
fn rows(heading: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut rows = BTreeMap::new();
    let mut is_in = false;
    for line in REFERENCE.lines() {
        if !line.starts_with('|') {
            is_in = false;
        } else if line.starts_with(heading) {
            is_in = true;
        } else if is_in && !line.starts_with("|-") {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let twice = rows.insert(cells[0].trim_matches('`'), cells);
            assert!(twice.is_none(), "twice: {line}");
        }
    }
    rows
}

/// What is to be in the reference: keys, and of those that are words or lists of words, which.
fn known() -> BTreeMap<String, Vec<&'static str>> {
    let keys = keys_of::<Config>();
    let mut known: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    for (key, kind) in &keys {
        let as_another = AS_OTHERS.iter().any(|(key_prefix, other)| {
            let rest = key.strip_prefix(key_prefix).filter(|rest| rest.starts_with('.'));
            rest.is_some_and(|rest| keys.contains_key(&format!("{other}{rest}")))
        });
        let of_list = key.trim_end_matches("[]").trim_end_matches(".*");
        let words = known.entry(of_list.to_owned()).or_default();
        if let Kind::Words(more) = kind {
            words.extend(more);
        }
        if as_another {
            known.remove(of_list);
        }
    }
    known
}

#[test]
fn every_key_is_in_the_reference_and_no_other() {
    let (known, documented) = (known(), rows("| key | type |"));
    let known_keys: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    let documented_keys: BTreeSet<&str> = documented.keys().copied().collect();
    let missing: Vec<_> = known_keys.difference(&documented_keys).collect();
    let unknown: Vec<_> = documented_keys.difference(&known_keys).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not in the reference: {missing:#?}\nnot a key: {unknown:#?}");
    assert!(known_keys.len() > 200 && known_keys.contains("metrics.retention.tenants"), "keys are not found any more");
    for (key, words) in &known {
        let row = documented[key.as_str()].join(" ");
        let missing: Vec<_> = words.iter().filter(|word| !row.contains(**word)).collect();
        assert!(missing.is_empty(), "{key} may also be {missing:?}");
    }
}

#[test]
fn every_key_says_what_puts_it_in_force() {
    for (key, cells) in rows("| key | type |") {
        let is_kept =
            |kept: &&str| key.strip_prefix(*kept).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let expected = if UNTIL_RESTART.iter().any(is_kept) { "start" } else { "reload" };
        assert_eq!(cells[3], expected, "{key}");
        assert_eq!(cells.len(), 5, "{cells:?}");
    }
}

#[test]
fn every_option_with_a_variable_is_in_the_reference() {
    let documented: BTreeSet<(String, String)> = rows("| option | variable |")
        .into_iter()
        .map(|(option, cells)| (option.to_owned(), cells[1].trim_matches('`').to_owned()))
        .collect();
    let mut known = BTreeSet::new();
    let mut commands = vec![Cli::command()];
    while let Some(command) = commands.pop() {
        let of_variables = command.get_arguments().filter_map(|option| {
            let variable = option.get_env()?.to_string_lossy().into_owned();
            Some((format!("--{}", option.get_long()?), variable))
        });
        known.extend(of_variables);
        commands.extend(command.get_subcommands().cloned());
    }
    assert_eq!(documented, known);
}

#[test]
fn every_example_is_read() {
    let examples: Vec<&str> =
        REFERENCE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 5);
    for example in examples {
        let read = if example.starts_with("# tenants.yaml") {
            Tenants::parse(Path::new("tenants.yaml"), example).map(drop).map_err(|error| error.to_string())
        } else {
            serde_saphyr::from_str::<Config>(example).map(drop).map_err(|error| error.to_string())
        };
        if let Err(error) = read {
            panic!("{error}\n{example}");
        }
    }
}
