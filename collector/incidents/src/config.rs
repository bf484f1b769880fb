//! Notifiers and routes as the configuration has them.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

/// `incidents:` in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who can be told.
    #[serde(default)]
    pub notifiers: Vec<NotifierConfig>,
    /// Who is told of what. Every route that matches counts.
    #[serde(default)]
    pub routes: Vec<RouteConfig>,
}

/// Someone who can be told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifierConfig {
    /// Its name, for routes.
    pub name: String,
    /// What it understands.
    pub kind: NotifierKind,
    /// Where it is: of an Alertmanager its base, of a webhook the address itself.
    pub url: String,
}

/// What a notifier understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifierKind {
    /// Alertmanager's API v2: gets the alerts as they are, again and again.
    Alertmanager,
    /// Alertmanager's webhook payload, version 4: gets an incident when it opens, changes and ends.
    Webhook,
}

/// Who is told of alerts with these labels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Labels of the alert, attributes of its tenant, or `reach`; all must be equal. Empty matches everything.
    #[serde(default, rename = "match")]
    pub matches: BTreeMap<String, String>,
    /// Names of notifiers.
    pub notify: Vec<String>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Two notifiers of one name.
    #[error("notifier {0:?} is given twice")]
    DuplicateNotifier(String),
    /// A route to nobody that is known.
    #[error("route {route} names notifier {name:?}, which is not configured")]
    UnknownNotifier {
        /// The route's place in the list, from 1.
        route: usize,
        /// The name.
        name: String,
    },
    /// A route to nobody.
    #[error("route {0} notifies nobody")]
    EmptyRoute(usize),
    /// An address that is none.
    #[error("notifier {name:?}: {url:?} is not an http or https URL")]
    InvalidUrl {
        /// The notifier.
        name: String,
        /// What it has.
        url: String,
    },
    /// A reach that does not exist.
    #[error("route {route}: reach {value:?} is not one of single, several, cohort, fleet")]
    InvalidReach {
        /// The route's place in the list, from 1.
        route: usize,
        /// The value.
        value: String,
    },
}

impl Config {
    /// Checks names, addresses and routes.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        for notifier in &self.notifiers {
            let NotifierConfig { name, url, .. } = notifier;
            let invalid = || ConfigError::InvalidUrl { name: name.clone(), url: url.clone() };
            let parsed = reqwest::Url::parse(url).map_err(|_| invalid())?;
            if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
                return Err(invalid());
            }
            if !names.insert(name.as_str()) {
                return Err(ConfigError::DuplicateNotifier(name.clone()));
            }
        }
        for (route, config) in (1..).zip(&self.routes) {
            if config.notify.is_empty() {
                return Err(ConfigError::EmptyRoute(route));
            }
            if let Some(name) = config.notify.iter().find(|name| !names.contains(name.as_str())) {
                return Err(ConfigError::UnknownNotifier { route, name: name.clone() });
            }
            let reach = config.matches.get("reach");
            if let Some(value) = reach.filter(|v| !matches!(v.as_str(), "single" | "several" | "cohort" | "fleet")) {
                return Err(ConfigError::InvalidReach { route, value: value.clone() });
            }
        }
        Ok(())
    }
}
