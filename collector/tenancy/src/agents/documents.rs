//! The documents' files: read, and refused with file and line where an agent could not go by them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tenantscope_wire::AgentDocument;
use tenantscope_wire::document::{MAX_DOCUMENT_BYTES, yaml};

use super::{AgentsConfig, Selector};

/// What is wrong with the documents, a line each: `file:line:column: message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAgents(Vec<String>);

impl fmt::Display for InvalidAgents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for InvalidAgents {}

/// A document that an agent can go by, and whom it is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ReadDocument {
    pub(super) matching: Selector,
    /// As it is written in the configuration.
    pub(super) file: String,
    pub(super) content: Value,
}

/// Reads all files; `base` is the configuration file's folder.
pub(super) fn read(config: &AgentsConfig, base: &Path) -> Result<Vec<ReadDocument>, InvalidAgents> {
    let (mut documents, mut mistakes) = (Vec::new(), Vec::new());
    for entry in &config.documents {
        match read_file(&base.join(&entry.file)) {
            Ok(content) => documents.push(ReadDocument {
                matching: entry.matching.clone(),
                file: entry.file.display().to_string(),
                content,
            }),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes.dedup();
    if mistakes.is_empty() { Ok(documents) } else { Err(InvalidAgents(mistakes)) }
}

fn read_file(path: &PathBuf) -> Result<Value, String> {
    let shown = path.display();
    let size_bytes = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if size_bytes > MAX_DOCUMENT_BYTES as u64 {
        return Err(format!(
            "{shown}: has {size_bytes} bytes, more than the {MAX_DOCUMENT_BYTES} of an agent's document"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let document: AgentDocument = yaml::read(&text).map_err(|mistake| {
        let yaml::Mistake { line, column, message, .. } = mistake;
        format!("{shown}:{line}:{column}: {message}")
    })?;
    document.check().map_err(|error| format!("{}: {error}", yaml::place(path, yaml::line_of(&text, error.key()))))?;
    // Written anew, so that neither comments nor the order of keys make another version.
    let content = serde_json::to_value(&document).map_err(|error| format!("{shown}: {error}"))?;
    let json_bytes = content.to_string().len();
    if json_bytes > MAX_DOCUMENT_BYTES {
        return Err(format!("{shown}: makes {json_bytes} bytes of JSON, more than {MAX_DOCUMENT_BYTES}"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(files: &[(&str, &str)]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = files.iter().map(|(name, _)| format!("{{file: {name}}}")).collect();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config = serde_saphyr::from_str(&format!("documents: [{}]", names.join(", "))).unwrap();
        match read(&config, dir.path()) {
            Ok(_) => String::new(),
            Err(error) => error.to_string().replace(&dir.path().display().to_string(), "DIR"),
        }
    }

    #[test]
    fn every_file_is_told_with_its_line() {
        let told = mistakes(&[
            ("good.yaml", "sources: {xray: {}}\n"),
            ("key.yaml", "sources:\n  logs:\n    gruops: [a]\n"),
            ("bound.yaml", "sources:\n  logs:\n    interval: 10ms\n"),
            ("secret.yaml", "budget_usd_per_month: 1\naws: {access_key_id: AKIA}\n"),
            ("none.yaml", "sources: {}\n"),
        ]);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 4, "{told}");
        assert!(lines[0].starts_with("DIR/key.yaml:3:") && lines[0].contains("gruops"), "{told}");
        assert!(lines[1].starts_with("DIR/bound.yaml:3:") && lines[1].contains("less than 1s"), "{told}");
        assert!(lines[2].starts_with("DIR/secret.yaml:2:") && lines[2].contains("aws"), "{told}");
        assert!(lines[3].starts_with("DIR/none.yaml:1: ") && lines[3].contains("no source"), "{told}");
    }

    #[test]
    fn a_file_that_is_not_there_or_too_large() {
        let config = serde_saphyr::from_str("documents: [{file: none.yaml}]").unwrap();
        assert!(read(&config, Path::new("/nowhere")).unwrap_err().to_string().starts_with("/nowhere/none.yaml: "));
        assert!(mistakes(&[("large.yaml", &"#".repeat(MAX_DOCUMENT_BYTES + 1))]).contains("more than the 65536"));
    }
}
