//! Runs Prometheus's test scripts (promql/promqltest/README.md in its repository) against our engine over our store.
//!
//! `cargo run -p tenantscope-promql --example promqltest -- FILE…` prints, for each file, the failed cases with what was
//! expected and what came, then `NAME: P of T passed`; it exits with 1 if any failed. `--quiet` leaves out the cases.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "runner/mod.rs"]
mod runner;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (options, files): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    if files.is_empty() || options.iter().any(|option| option != "--quiet") {
        eprintln!("usage: promqltest [--quiet] FILE…");
        return ExitCode::from(2);
    }
    let mut all_passed = true;
    for file in &files {
        match run(Path::new(file), !options.is_empty()) {
            Ok(passed) => all_passed &= passed,
            Err(message) => {
                println!("{file}: {message}");
                all_passed = false;
            }
        }
    }
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a file and prints what came of it; says whether all of it passed.
fn run(path: &Path, quiet: bool) -> Result<bool, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let outcome = runner::run(&text)?;
    for failure in outcome.failures.iter().filter(|_| !quiet) {
        println!("{name}:{}: {}\n{}", failure.line, failure.query, indented(&failure.message));
    }
    println!("{name}: {} of {} passed", outcome.cases - outcome.failures.len(), outcome.cases);
    Ok(outcome.failures.is_empty())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}
