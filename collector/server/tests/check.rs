//! What `check` says of what is wrong: a table of configurations, with the line that each is answered by.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

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

#[test]
fn thousands_of_warnings_take_no_minutes() {
    const ACCOUNTS: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("        - \"{:012}\"\n", n + 1)).collect();
    let token = "    - name: relay\n      token_file: token\n      accounts:\n";
    let config = format!("registry: {{file: tenants.yaml}}\nidentity:\n  tokens:\n{token}{}", accounts.concat());
    for (file, text) in [("collector.yaml", &*config), ("tenants.yaml", "tenants: []"), ("token", "a-token-of-a-relay")]
    {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let begun = Instant::now();
    let found = check(&folder.path().join("collector.yaml"));
    assert!(found.errors.is_empty() && found.warnings.len() == ACCOUNTS, "{:?}", found.errors);
    assert!(found.warnings[ACCOUNTS - 1].contains("collector.yaml:3006: identity.tokens[0].accounts[2999]: "));
    assert!(begun.elapsed() < Duration::from_secs(10), "a start and a reload wait for it: {:?}", begun.elapsed());
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
