//! Runs Prometheus's test scripts (promql/promqltest/README.md in its repository) against our engine over our store.
//!
//! `cargo run -p tenantscope-promql --example promqltest -- FILE…` prints, for each file, the failed cases with what was
//! expected and what came, then `NAME: P of T passed`; it exits with 1 if any failed.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod case;
mod check;
mod custom_buckets;
mod expectation;
mod loading;
mod script;
mod series;
mod storage;
mod variants;

use std::path::Path;
use std::process::ExitCode;

use script::Command;
use storage::Storage;

fn main() -> ExitCode {
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--quiet").collect();
    let quiet = std::env::args().any(|argument| argument == "--quiet");
    if files.is_empty() {
        eprintln!("usage: promqltest [--quiet] FILE…");
        return ExitCode::from(2);
    }
    let mut all_passed = true;
    for file in &files {
        match run(Path::new(file), quiet) {
            Ok((passed, total)) => all_passed &= passed == total,
            Err(message) => {
                println!("{file}: {message}");
                all_passed = false;
            }
        }
    }
    if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(path: &Path, quiet: bool) -> Result<(usize, usize), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut storage = Storage::new()?;
    let (mut passed, mut total) = (0usize, 0usize);
    for (line, command) in script::parse(&text)? {
        match command {
            Command::Clear => storage = Storage::new()?,
            Command::Load(load) => {
                if let Err(message) = load.and_then(|load| storage.load(&load)) {
                    println!("{name}:{line}: load: {message}");
                    total += 1;
                }
            }
            Command::Eval(case) => {
                total += 1;
                let query = case.query.clone();
                match case.run(&storage) {
                    Ok(()) => passed += 1,
                    Err(failure) if !quiet => println!("{name}:{line}: {query}\n{}", indented(&failure)),
                    Err(_) => {}
                }
            }
        }
    }
    println!("{name}: {passed} of {total} passed");
    Ok((passed, total))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect::<String>().trim_end().to_owned()
}
