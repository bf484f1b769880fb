//! `check`: the configuration and every file that it names, every mistake with its place. A start and a reload check the
//! same, so that nothing starts that `check` finds fault with.

mod bounds;
mod findings;
mod known;
mod outgoing;
mod readers;
mod senders;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tenantscope_rules::{GroupDefaults, Groups, LoadError};
use tenantscope_slo::Objectives;
use tenantscope_tenancy::{Agents, Exposure, Identity, Readers, Registry};
use tenantscope_wire::tls::ServerTls;

use crate::config::{At, Config};

use findings::Finder;
pub use findings::Findings;
use known::Known;

/// What is wrong with a file, and with what it names.
pub fn check(path: &Path) -> Findings {
    match Config::read_all(path) {
        Ok(config) => check_config(&config),
        Err(problems) => Findings { errors: problems.iter().map(ToString::to_string).collect(), ..Findings::default() },
    }
}

/// What is wrong with where it would listen, before it does.
pub(crate) fn check_listeners(config: &Config) -> Result<()> {
    let mut finder = Finder::of(config);
    finder.listeners();
    if finder.found.errors.is_empty() { Ok(()) } else { bail!(finder.found.errors.join("\n")) }
}

/// The same of a configuration that was read.
pub(crate) fn check_config(config: &Config) -> Findings {
    let mut finder = Finder::of(config);
    finder.listeners();
    let known = finder.registry();
    finder.senders(&known);
    finder.readers(&known);
    finder.bounds(&known);
    finder.outgoing();
    finder.agents(&known);
    finder.rules_and_objectives();
    finder.whole();
    finder.found
}

impl Finder<'_> {
    fn listeners(&mut self) {
        let listen = At::key_of("listen");
        let config = self.config;
        let addresses = [config.http(), config.otlp_grpc(), config.otlp_http()];
        if config.registry.is_none()
            && let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback())
        {
            self.error(
                &listen,
                format_args!("{OPEN_OFF_LOOPBACK}: {address}; give a registry, or an address such as 127.0.0.1:9099"),
            );
        }
        if let Some(address) = config.plain_over_a_network() {
            self.error(&listen, format_args!("{PLAIN_OFF_LOOPBACK}: {address}"));
        }
        let names = ["http", "otlp_grpc", "otlp_http"];
        for (n, address) in addresses.iter().enumerate().filter(|(_, address)| address.port() != 0) {
            if let Some(before) = addresses.iter().take(n).position(|other| other == address) {
                self.error(
                    &listen.key(names[n]),
                    format_args!("{address} is the address of {} too; give each listener its own", names[before]),
                );
            }
        }
        let tls = ["tls", "http_tls", "otlp_grpc_tls", "otlp_http_tls"];
        let given =
            [&config.listen.tls, &config.listen.http_tls, &config.listen.otlp_grpc_tls, &config.listen.otlp_http_tls];
        for (name, tls) in tls.iter().zip(given).filter_map(|(name, tls)| Some((name, tls.as_ref()?))) {
            let at = listen.key(name);
            let files = [("cert", Some(&tls.cert)), ("key", Some(&tls.key)), ("client_ca", tls.client_ca.as_ref())];
            let readable = files.map(|(key, file)| file.is_none_or(|file| self.readable(&at.key(key), file)));
            if readable.iter().all(|is_readable| *is_readable)
                && let Err(error) = ServerTls::open(tls.files(&config.folder))
            {
                self.error(&at, error);
            }
        }
    }

    fn registry(&mut self) -> Known {
        let Some(registry) = &self.config.registry else { return Known::none() };
        if let Some(file) = &registry.file {
            if !self.readable(&At::key_of("registry.file"), file) {
                return Known::none();
            }
            if let Err(error) = Registry::check(registry, &self.config.folder) {
                self.elsewhere(&error);
                return Known::none();
            }
        }
        Known::of(registry, &self.config.folder)
    }

    fn agents(&mut self, known: &Known) {
        let agents = At::key_of("agents");
        let config = &self.config.agents;
        let mut readable = true;
        for (n, document) in config.documents.iter().enumerate() {
            let at = agents.key("documents").item(n);
            readable &= self.readable(&at.key("file"), &document.file);
            self.selector(&at.key("match"), &document.matching, known);
        }
        for (n, wave) in config.waves.iter().enumerate() {
            self.selector(&agents.key("waves").item(n).key("match"), &wave.matching, known);
        }
        if readable && let Err(error) = Agents::check(config, &self.config.folder) {
            self.elsewhere(&error);
        }
    }

    fn rules_and_objectives(&mut self) {
        let rules = self.found_files("rules", &self.config.rules);
        let objectives = self.found_files("objectives", &self.config.objectives);
        match load(&rules, &objectives) {
            Ok(groups) => self.found.groups = Some(groups),
            Err(error) => self.elsewhere(&error),
        }
    }

    /// The files that patterns name and that can be read.
    fn found_files(&mut self, section: &str, patterns: &[String]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for (n, pattern) in patterns.iter().enumerate() {
            let at = At::key_of(section).item(n);
            match self.config.files(std::slice::from_ref(pattern)) {
                Err(problem) => {
                    let why = problem.message().to_lowercase();
                    let what = "make the folder, or take the pattern out";
                    self.error(&at, format_args!("{pattern:?} names no file ({why}); {what}"));
                }
                Ok(files) if files.is_empty() => {
                    self.error(&at, format_args!("no file fits {pattern:?}; write one, or take the pattern out"));
                }
                Ok(files) => found.extend(files.into_iter().filter(|file| self.readable(&at, file))),
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// What a start would look at and nothing above found, so that `check` is never milder than it.
    fn whole(&mut self) {
        if !self.found.errors.is_empty() {
            return;
        }
        let (config, folder) = (self.config, &self.config.folder);
        if let Err(error) = Identity::check(&config.identity, folder) {
            self.error(&At::key_of("identity"), error);
        }
        if let Err(error) = Readers::try_new(&config.readers, folder, Exposure::Loopback) {
            self.error(&At::key_of("readers"), error);
        }
        if let Err(error) = tenantscope_forward::check(&config.forward, folder) {
            self.error(&At::key_of("forward"), error);
        }
        if let Err(error) = config.incidents.check() {
            self.error(&At::key_of("incidents"), error);
        }
        if let Err(error) = config.cost.check() {
            self.error(&At::key_of("cost"), error);
        }
    }
}

/// Why a collector without a registry does not start.
const OPEN_OFF_LOOPBACK: &str =
    "without a registry the collector is open to everybody, so it listens on loopback addresses alone";

/// Why a collector does not start that would take credentials in plain text.
const PLAIN_OFF_LOOPBACK: &str =
    "credentials would go in plain text over a network; give listen.tls, or listen.plain_text: behind_a_proxy";

/// The rule groups of these files.
fn load(rule_files: &[PathBuf], objective_files: &[PathBuf]) -> Result<(Groups, Objectives), LoadError> {
    let (rules, objectives) = (Groups::load(rule_files, GroupDefaults::default()), Objectives::load(objective_files));
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
