//! `check`: the configuration and every file that it names, every mistake with its place.

use std::fmt::Display;
use std::path::Path;

use tenantscope_rules::{GroupDefaults, Groups, LoadError, Mistake};
use tenantscope_slo::Objectives;
use tenantscope_tenancy::{Agents, Exposure, Identity, Readers, Registry};

use crate::certificates::Certificates;
use crate::config::{Config, Problem};
use crate::telemetry;

/// What is wrong, a line each; empty if nothing is.
pub fn check(path: &Path) -> Vec<String> {
    let config = match Config::read(path) {
        Ok(config) => config,
        Err(problem) => return vec![problem.to_string()],
    };
    let mut wrong = Wrong(Vec::new());
    let in_file = |error: &dyn Display| Problem::file(path, &error).to_string();
    if config.registry.is_none() && !config.on_loopback() {
        wrong.0.push(in_file(&OPEN_OFF_LOOPBACK));
    }
    if let Some(registry) = &config.registry {
        wrong.note(Registry::check(registry, &config.folder), ToString::to_string);
    }
    wrong.note(Identity::check(&config.identity, &config.folder), |error| in_file(error));
    wrong.note(Readers::try_new(&config.readers, &config.folder, Exposure::Loopback), |error| in_file(error));
    wrong.note(tenantscope_forward::check(&config.forward, &config.folder), |error| in_file(error));
    if let Some(address) = config.plain_over_a_network() {
        wrong.0.push(in_file(&format_args!("{PLAIN_OFF_LOOPBACK}: {address}")));
    }
    wrong.note(Certificates::open(&config), ToString::to_string);
    if let Some(endpoint) = &config.traces.otlp_grpc {
        wrong.note(telemetry::check_endpoint(endpoint), |error| in_file(error));
    }
    wrong.note(config.incidents.check(), |error| in_file(error));
    wrong.note(Agents::check(&config.agents, &config.folder), ToString::to_string);
    wrong.note(config.cost.check(), |error| in_file(error));
    wrong.note(groups(&config), ToString::to_string);
    wrong.0
}

/// Why a collector without a registry does not start.
pub const OPEN_OFF_LOOPBACK: &str =
    "without a registry the collector is open to everybody, so it listens on loopback addresses alone";

/// Why a collector does not start that would take credentials in plain text.
pub const PLAIN_OFF_LOOPBACK: &str =
    "credentials would go in plain text over a network; give listen.tls, or listen.plain_text: behind_a_proxy";

/// The rule groups of all rule files and objectives.
pub fn groups(config: &Config) -> Result<(Groups, Objectives), LoadError> {
    let named = |key: &str, patterns: &[String]| {
        let mistake = |problem: Problem| Mistake { file: key.to_owned(), line: None, message: problem.to_string() };
        config.files(patterns).map_err(mistake)
    };
    let (rule_files, objective_files) = match (named("rules", &config.rules), named("objectives", &config.objectives)) {
        (Ok(rules), Ok(objectives)) => (rules, objectives),
        (rules, objectives) => {
            return Err(LoadError { mistakes: rules.err().into_iter().chain(objectives.err()).collect() });
        }
    };
    let (rules, objectives) = (Groups::load(&rule_files, GroupDefaults::default()), Objectives::load(&objective_files));
    match (rules, objectives) {
        (Ok(mut groups), Ok(objectives)) => {
            groups.add(objectives.rule_groups())?;
            Ok((groups, objectives))
        }
        (rules, objectives) => {
            let mistakes = rules.err().into_iter().chain(objectives.err()).flat_map(|error| error.mistakes).collect();
            Err(LoadError { mistakes })
        }
    }
}

struct Wrong(Vec<String>);

impl Wrong {
    fn note<T, E>(&mut self, result: Result<T, E>, text: impl FnOnce(&E) -> String) {
        if let Err(error) = result {
            self.0.push(text(&error));
        }
    }
}
