//! What `check` found, each with its place.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;

use anyhow::{Result, bail};
use tenantscope_rules::Groups;
use tenantscope_slo::Objectives;

use crate::config::{At, Config, without_number};

/// What is wrong with a configuration, and what may be meant otherwise.
#[derive(Debug, Default)]
pub struct Findings {
    /// With one of these nothing starts, and a reload changes nothing.
    pub errors: Vec<String>,
    /// With these it starts.
    pub warnings: Vec<String>,
    /// Rules and objectives, where nothing is wrong with them.
    pub(super) groups: Option<(Groups, Objectives)>,
}

/// The most warnings that a start or a reload logs.
const MAX_LOGGED: usize = 20;

impl Findings {
    /// Logs the warnings, and fails with the errors, a line each; else the rules and objectives, which are read once.
    pub(crate) fn into_groups(self) -> Result<(Groups, Objectives)> {
        for warning in self.warnings.iter().take(MAX_LOGGED) {
            tracing::warn!(what = warning, "the configuration may be meant otherwise");
        }
        if let Some(more @ 1..) = self.warnings.len().checked_sub(MAX_LOGGED) {
            tracing::warn!(more, "there are more warnings about the configuration; `check` tells all");
        }
        match self.groups {
            Some(groups) if self.errors.is_empty() => Ok(groups),
            _ => bail!(self.errors.join("\n")),
        }
    }
}

/// Collects findings about one configuration.
pub(super) struct Finder<'a> {
    pub(super) config: &'a Config,
    pub(super) found: Findings,
}

impl<'a> Finder<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        Self { config, found: Findings::default() }
    }

    /// Something at a place of the configuration is wrong.
    pub(super) fn error(&mut self, at: &At, message: impl Display) {
        self.found.errors.push(self.config.place(at, message));
    }

    /// Something at a place is unlikely to be meant so.
    pub(super) fn warn(&mut self, at: &At, message: impl Display) {
        self.found.warnings.push(self.config.place(at, message));
    }

    /// Something in a file that is named is wrong; the text has its place.
    pub(super) fn elsewhere(&mut self, text: &dyn Display) {
        // Two entries may name one file.
        let lines = text.to_string();
        for line in
            lines.lines().filter(|line| !self.found.errors.iter().any(|known| known == line)).collect::<Vec<_>>()
        {
            self.found.errors.push(line.to_owned());
        }
    }

    /// Whether a file that the configuration names can be read; tells it where it can't.
    pub(super) fn readable(&mut self, at: &At, file: &Path) -> bool {
        let path = self.config.folder.join(file);
        let says = |error: &std::io::Error| without_number(&error.to_string()).to_lowercase();
        let wrong = match std::fs::metadata(&path) {
            Err(error) => says(&error),
            Ok(found) if found.is_dir() => "it is a folder".to_owned(),
            // Only a file is opened: a pipe would wait for whoever writes it.
            Ok(found) if !found.is_file() => return true,
            Ok(_) => match File::open(&path) {
                Ok(_) => return true,
                Err(error) => says(&error),
            },
        };
        let what = "write the file, or give its path from this file's folder";
        self.error(at, format_args!("{} can't be read ({wrong}); {what}", path.display()));
        false
    }

    /// Tells of each name that an earlier entry of the list has too.
    pub(super) fn names_once<'n>(&mut self, list: &At, names: impl IntoIterator<Item = &'n str>) {
        let mut known: Vec<&str> = Vec::new();
        for (n, name) in names.into_iter().enumerate() {
            if known.contains(&name) {
                self.error(
                    &list.item(n).key("name"),
                    format_args!("{name:?} is the name of an entry before this one; give each its own"),
                );
            }
            known.push(name);
        }
    }
}
