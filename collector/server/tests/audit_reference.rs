//! docs/audit.md lists each event that the rooms tell the audit log, with its fields, and no other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// An event's fields and how often it is written.
type Event = (BTreeSet<String>, String);

const DOCUMENT: &str = include_str!("../../../docs/audit.md");

#[test]
fn every_event_is_documented_with_its_fields_and_no_other() {
    let rooms = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let mut told: BTreeMap<String, Event> = BTreeMap::new();
    for file in sources(&rooms) {
        let text = std::fs::read_to_string(&file).unwrap();
        for arguments in text.split("target: AUDIT,").skip(1) {
            let (name, event) = event(arguments);
            told.insert(name, event);
        }
    }
    assert!(told.len() > 10, "events are not found any more: {told:?}");
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<String, Event> = rows.map(documented).collect();
    assert_eq!(documented, told);
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_tests = path.file_name().is_some_and(|name| name == "tests" || name == "target");
        match path.extension() {
            None if path.is_dir() && !is_tests => found.extend(sources(&path)),
            Some(extension) if extension == "rs" => found.push(path),
            _ => {}
        }
    }
    found
}

/// Of a macro's arguments, from behind its target on.
fn event(arguments: &str) -> (String, Event) {
    let (mut depth, mut arguments_of_macro, mut argument) = (0, Vec::new(), String::new());
    for c in arguments.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments_of_macro.push(std::mem::take(&mut argument));
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    arguments_of_macro.push(argument);
    let arguments: Vec<&str> =
        arguments_of_macro.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    let (name, fields) = arguments.split_last().unwrap();
    let name_of = |field: &&str| field.split('=').next().unwrap().trim().trim_start_matches(['%', '?']).to_owned();
    let mut fields: BTreeSet<String> = fields.iter().map(name_of).collect();
    let how_often = match (fields.remove("per_minute"), fields.remove("once_a_day")) {
        (true, _) => "by the minute",
        (false, true) => "once a day",
        (false, false) => "at once",
    };
    let fields = fields.iter().map(|field| field.trim_end_matches("_json").to_owned()).collect();
    (name.trim_matches('"').to_owned(), (fields, how_often.to_owned()))
}

fn documented(row: &str) -> (String, Event) {
    let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
    let fields = cells[2].split(", ").map(|field| field.trim_matches('`').to_owned()).collect();
    (cells[0].trim_matches('`').to_owned(), (fields, cells[1].to_owned()))
}
