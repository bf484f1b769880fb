use std::fmt;
use std::path::{Path, PathBuf};

use tenantscope_wire::document::yaml;

/// What is wrong with a file: `file:line: message`.
#[derive(Debug)]
pub struct Problem {
    file: PathBuf,
    line: u64,
    message: String,
    is_another_file: bool,
}

/// Keys by which another file is known.
const OF_THE_AGENT: [&str; 4] = ["collector", "proof", "spool", "sources"];
const OF_THE_REGISTRY: [&str; 2] = ["tenants", "pooled"];

impl Problem {
    /// The file as a whole is wrong, or can't be read.
    pub fn file(file: &Path, message: &impl ToString) -> Self {
        let message = without_number(&message.to_string());
        Self { file: file.to_path_buf(), line: 0, message, is_another_file: false }
    }

    /// The file's YAML is not what was expected.
    pub fn yaml(file: &Path, mistake: yaml::Mistake) -> Self {
        let another = match mistake.unknown_key.as_deref() {
            Some(key) if OF_THE_AGENT.contains(&key) => Some(format!(
                "this looks like the agent's configuration, of which {key:?} is a key; the collector's keys are in docs/collector-configuration.md"
            )),
            Some(key) if OF_THE_REGISTRY.contains(&key) => Some(format!(
                "this looks like a registry, of which {key:?} is a key; name that file in the collector's configuration as registry.file"
            )),
            _ => None,
        };
        let is_another_file = another.is_some();
        let message = another.unwrap_or(mistake.message);
        Self { file: file.to_path_buf(), line: mistake.line, message, is_another_file }
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// What is wrong with each section, read by itself; `first` is what was wrong with the whole.
pub(super) fn of_sections(file: &Path, text: &str, first: Problem) -> Vec<Problem> {
    if first.is_another_file {
        return vec![first];
    }
    let begins: Vec<usize> = (0..).zip(text.lines()).filter(|(_, line)| begins_section(line)).map(|(n, _)| n).collect();
    let ends = begins.iter().copied().skip(1).chain([usize::MAX]);
    let of_section = |(begin, end): (usize, usize)| {
        // Lines stay where they are.
        let lines = text.lines().enumerate().map(|(n, line)| if (begin..end).contains(&n) { line } else { "" });
        let alone = lines.collect::<Vec<&str>>().join("\n");
        let mistake = yaml::read::<super::Config>(&alone).err()?;
        // An alias's anchor may be in another section.
        (mistake.message != UNKNOWN_ANCHOR).then(|| Problem::yaml(file, mistake))
    };
    let mut problems: Vec<Problem> = begins.iter().copied().zip(ends).filter_map(of_section).collect();
    if !problems.iter().any(|problem| problem.line == first.line) {
        problems.insert(0, first);
    }
    problems
}

/// What the parser says of an alias that it can't follow.
const UNKNOWN_ANCHOR: &str = "reference to unknown value";

fn begins_section(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '"' | '\'')) && line.contains(':')
}

/// What the system says, without the number that it has for it.
pub(crate) fn without_number(text: &str) -> String {
    text.split(" (os error").next().unwrap_or(text).to_owned()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", yaml::place(&self.file, self.line), self.message)
    }
}

impl std::error::Error for Problem {}
