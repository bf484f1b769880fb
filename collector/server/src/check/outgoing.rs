//! What goes out: `forward`, `incidents`, `traces`, and the address that people are given.

use tenantscope_incidents::{Config as Incidents, ConfigError, NotifierConfig, RouteConfig};
use url::Url;

use super::findings::Finder;
use crate::config::At;
use crate::telemetry;

impl Finder<'_> {
    pub(super) fn outgoing(&mut self) {
        self.forward();
        self.incidents();
        if let Some(endpoint) = &self.config.traces.otlp_grpc
            && let Err(error) = telemetry::check_endpoint(endpoint)
        {
            let text = error.to_string();
            // The key is said once.
            self.error(&At::key_of("traces.otlp_grpc"), text.strip_prefix("traces.otlp_grpc: ").unwrap_or(&text));
        }
        if let Some(address) = &self.config.external_url {
            let is_address =
                Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !is_address {
                let message = format_args!("{address:?} is no address such as https://tenantscope.example.com");
                self.error(&At::key_of("external_url"), message);
            }
        }
    }

    fn forward(&mut self) {
        let forward = At::key_of("forward");
        let targets = &self.config.forward;
        self.names_once(&forward, targets.iter().map(|target| target.name.as_str()));
        for (n, target) in targets.iter().enumerate() {
            let at = forward.item(n);
            let ca = target.ca_file.as_ref().map(|file| ("ca_file", file));
            let token = match &target.token {
                Some(tenantscope_forward::TokenSource::File(file)) => Some(("token_file", file)),
                _ => None,
            };
            let readable = [ca, token].map(|file| file.is_none_or(|(key, file)| self.readable(&at.key(key), file)));
            if readable.iter().all(|is_readable| *is_readable)
                && let Err(error) = tenantscope_forward::check(std::slice::from_ref(target), &self.config.folder)
            {
                self.error(&at, error);
            }
        }
    }

    fn incidents(&mut self) {
        let incidents = At::key_of("incidents");
        let Incidents { notifiers, routes, .. } = &self.config.incidents;
        let list = incidents.key("notifiers");
        self.names_once(&list, notifiers.iter().map(|notifier| notifier.name.as_str()));
        let mut right = Vec::new();
        for (n, notifier) in notifiers.iter().enumerate() {
            match (Incidents { notifiers: vec![notifier.clone()], ..Incidents::default() }).check() {
                Ok(()) if right.iter().any(|known: &NotifierConfig| known.name == notifier.name) => {}
                Ok(()) => right.push(notifier.clone()),
                // What is there may be a secret, as Slack's addresses are.
                Err(ConfigError::InvalidUrl { .. }) => {
                    self.error(&list.item(n).key("url"), "it is no address such as https://example.com/path");
                }
                Err(error) => self.error(&list.item(n), error),
            }
        }
        for (n, route) in routes.iter().enumerate() {
            let at = incidents.key("routes").item(n);
            if route.notify.is_empty() {
                self.error(
                    &at.key("notify"),
                    "it names no notifier, so nobody is told; name one, or take the route out",
                );
            }
            for (m, name) in route.notify.iter().enumerate() {
                if !notifiers.iter().any(|notifier| notifier.name == *name) {
                    let names: Vec<&str> = notifiers.iter().map(|notifier| notifier.name.as_str()).collect();
                    let there_are = if names.is_empty() {
                        "there is none".to_owned()
                    } else {
                        format!("there are {}", names.join(", "))
                    };
                    self.error(&at.key("notify").item(m), format_args!("no notifier is called {name:?}; {there_are}"));
                }
            }
            // Names were looked at above; what is right is left, so that the rest of the route is looked at.
            let is_right = |name: &&String| right.iter().any(|notifier| notifier.name == **name);
            let notify: Vec<String> = route.notify.iter().filter(is_right).cloned().collect();
            let route = RouteConfig { notify, ..route.clone() };
            // What else may be wrong was told above, or is by `whole`.
            let checked = Incidents { notifiers: right.clone(), routes: vec![route] }.check();
            if let Err(ConfigError::InvalidReach { value, .. }) = checked {
                let message = format_args!("{value:?} is none of single, several, cohort and fleet");
                self.error(&at.key("match").key("reach"), message);
            }
        }
    }
}
