//! `readers`: who may read what.

use tenantscope_tenancy::{Exposure, ReaderConfig, ReaderCredential, Readers, ScopeConfig};

use super::findings::Finder;
use super::known::Known;
use super::senders::Held;
use crate::config::At;

impl Finder<'_> {
    pub(super) fn readers(&mut self, known: &Known) {
        let readers = At::key_of("readers");
        let config = self.config;
        self.names_once(&readers, config.readers.iter().map(|reader| reader.name.as_str()));
        let mut held = Held::default();
        for (n, reader) in config.readers.iter().enumerate() {
            let at = readers.item(n);
            match &reader.credential {
                ReaderCredential::Token(secrets) => self.secrets(&at, "token", secrets, &mut held),
                ReaderCredential::Jwt(jwt) => {
                    let at = at.key("jwt");
                    if jwt.issuer.ca.as_ref().is_none_or(|ca| self.readable(&at.key("ca"), ca)) {
                        self.reader_part(&at, reader);
                    }
                }
                ReaderCredential::Certificate(..) => self.reader_part(&at.key("certificate"), reader),
            }
            self.scope(&at.key("scope"), &reader.scope, known);
        }
        if config.readers.is_empty() && !config.http().ip().is_loopback() {
            self.warn(
                &At::key_of("listen.http"),
                "there are no readers, so every read is refused beyond loopback; give readers",
            );
        }
    }

    fn reader_part(&mut self, at: &At, reader: &ReaderConfig) {
        let readers = Readers::try_new(std::slice::from_ref(reader), &self.config.folder, Exposure::Loopback);
        if let Err(error) = readers {
            self.error(at, error);
        }
    }

    fn scope(&mut self, at: &At, scope: &ScopeConfig, known: &Known) {
        match scope {
            ScopeConfig::Tenants(tenants) if tenants.is_empty() => {
                self.warn(&at.key("tenants"), "it names no tenant, so the reader sees nothing");
            }
            ScopeConfig::Tenants(tenants) => self.tenants(&at.key("tenants"), tenants, known),
            ScopeConfig::Attributes(attributes) => {
                for (name, value) in attributes {
                    self.attribute(&at.key("attributes").key(name), name, value, known);
                }
            }
            ScopeConfig::All | ScopeConfig::Claim(_) | ScopeConfig::Placed => {}
        }
    }
}
