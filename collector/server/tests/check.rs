//! What `check` says of what is wrong: a table of configurations, with the line that each is answered by.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tenantscope_server::check::check;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// `collector.yaml`.
    config: String,
    /// Files beside it.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Every error, as a whole.
    #[serde(default)]
    errors: Vec<String>,
    /// Every warning, as a whole.
    #[serde(default)]
    warnings: Vec<String>,
}

#[test]
fn every_mistake_is_told_with_file_line_key_and_what_to_do() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let cases: BTreeMap<String, Case> = serde_saphyr::from_str(include_str!("check.yaml")).unwrap();
    let failed: Vec<String> = cases.iter().filter_map(|(name, case)| differs(name, case)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn differs(name: &str, case: &Case) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("collector.yaml", &case.config);
    case.files.iter().for_each(|(file, text)| write(file, text));
    let found = check(&folder.path().join("collector.yaml"));
    let shown = |lines: &[String]| lines.iter().map(|line| without(line, folder.path())).collect::<Vec<_>>();
    let (errors, warnings) = (shown(&found.errors), shown(&found.warnings));
    let is_as_expected = errors == case.errors && warnings == case.warnings;
    (!is_as_expected).then(|| format!("{name}:\n  errors: {errors:#?}\n  warnings: {warnings:#?}"))
}

fn without(line: &str, folder: &Path) -> String {
    line.replace(&format!("{}/", folder.display()), "")
}
