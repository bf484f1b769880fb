//! Prometheus's test scripts (promql/promqltest/README.md in its repository), run against our engine over our store.

mod case;
mod check;
mod custom_buckets;
mod expectation;
mod loading;
mod script;
mod series;
mod storage;
mod variants;

use script::Command;
use storage::Storage;

/// A case whose answer was not the expected one, or a load that could not be read.
pub(crate) struct Failure {
    /// The line of the command, from one.
    pub(crate) line: usize,
    /// The query; empty for a load.
    pub(crate) query: String,
    /// What was expected and what came.
    pub(crate) message: String,
}

/// What came of a script.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) cases: usize,
    pub(crate) failures: Vec<Failure>,
}

/// Runs a script.
pub(crate) fn run(text: &str) -> Result<Outcome, String> {
    let mut storage = Storage::new()?;
    let mut outcome = Outcome::default();
    for (line, command) in script::parse(text)? {
        let (query, result) = match command {
            Command::Clear => {
                storage = Storage::new()?;
                continue;
            }
            Command::Load(load) => match load.and_then(|load| storage.load(&load)) {
                Ok(()) => continue,
                Err(message) => (String::new(), Err(format!("load: {message}"))),
            },
            Command::Eval(case) => (case.query.clone(), case.run(&storage)),
        };
        outcome.cases += 1;
        if let Err(message) = result {
            outcome.failures.push(Failure { line, query, message });
        }
    }
    Ok(outcome)
}
