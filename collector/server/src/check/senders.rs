//! `identity`: who may send.

use std::collections::HashMap;

use tenantscope_tenancy::{
    AccountOf, FirehoseKeyConfig, Identity, IdentityConfig, Secret, SecretError, Secrets, StaticTokenConfig,
    TokenDigest,
};

use super::findings::Finder;
use super::known::Known;
use crate::config::At;

/// A key of 32 bytes or more signs our tokens.
const MIN_KEY_BYTES: u64 = 32;

impl Finder<'_> {
    pub(super) fn senders(&mut self, known: &Known) {
        let identity = &self.config.identity;
        let at = At::key_of("identity");
        self.without_registry(&at, identity);
        self.names_of_senders(&at, identity);
        let mut held = Held::default();
        for (n, token) in identity.tokens.iter().enumerate() {
            let StaticTokenConfig { secrets, accounts, .. } = token;
            let at = at.key("tokens").item(n);
            self.secrets(&at, "token", secrets, &mut held);
            self.accounts(&at.key("accounts"), accounts, known);
        }
        let mut held = Held::default();
        for (n, key) in identity.firehose.iter().enumerate() {
            let FirehoseKeyConfig { secrets, accounts, .. } = key;
            let at = at.key("firehose").item(n);
            self.secrets(&at, "key", secrets, &mut held);
            self.accounts(&at.key("accounts"), accounts, known);
        }
        for (n, certificate) in identity.certificates.iter().enumerate() {
            if let Some((_, accounts)) = certificate.relay() {
                self.accounts(&at.key("certificates").item(n).key("accounts"), accounts, known);
            }
        }
        if !identity.certificates.is_empty()
            && self.config.listen.tls_of_each().iter().flatten().all(|tls| tls.client_ca.is_none())
        {
            self.warn(
                &at.key("certificates"),
                "no listener asks for a client's certificate; give listen.tls.client_ca",
            );
        }
        for (n, jwt) in identity.jwt.iter().enumerate() {
            let at = at.key("jwt").item(n);
            if jwt.issuer.ca.as_ref().is_some_and(|ca| !self.readable(&at.key("ca"), ca)) {
                continue;
            }
            self.sender_part(&at, &IdentityConfig { jwt: vec![jwt.clone()], ..IdentityConfig::default() });
            if let AccountOf::Fixed(account) = &jwt.account {
                self.accounts(&at.key("account"), &[*account], known);
            }
        }
        let (server_name, sts) = (identity.server_name.clone(), identity.sts.clone());
        self.sender_part(&at.key("sts"), &IdentityConfig { server_name, sts, ..IdentityConfig::default() });
        self.key_file(&at, identity);
    }

    fn without_registry(&mut self, at: &At, identity: &IdentityConfig) {
        let IdentityConfig { sts, tokens, firehose, jwt, certificates, .. } = identity;
        let is_given = sts.is_some()
            || [tokens.is_empty(), firehose.is_empty(), jwt.is_empty(), certificates.is_empty()].contains(&false);
        if is_given && self.config.registry.is_none() {
            self.warn(at, "without a registry nobody needs a credential, so these do not count; give registry.file or registry.organizations");
        }
    }

    /// Two of one name would share lanes.
    fn names_of_senders(&mut self, at: &At, identity: &IdentityConfig) {
        let tokens = identity.tokens.iter().map(|token| ("tokens", Some(token.name.as_str())));
        let keys = identity.firehose.iter().map(|key| ("firehose", Some(key.name.as_str())));
        let relays = identity.certificates.iter().map(|one| ("certificates", one.relay().map(|(name, _)| name)));
        let (mut known, mut item): (HashMap<&str, &str>, _) = (HashMap::new(), HashMap::<&str, usize>::new());
        for (list, name) in tokens.chain(keys).chain(relays) {
            let n = item.entry(list).or_default();
            if let Some(before) = name.and_then(|name| known.insert(name, list)) {
                let name = name.unwrap_or_default();
                let message =
                    format_args!("{name:?} is the name of another entry too, in identity.{before}; give each its own");
                self.error(&at.key(list).item(*n).key("name"), message);
            }
            *n += 1;
        }
    }

    fn key_file(&mut self, at: &At, identity: &IdentityConfig) {
        let Some(file) = &identity.key_file else { return };
        if identity.key_rotation.is_some() {
            self.error(&at.key("key_rotation"), "it is for the key in the data folder; whoever writes identity.key_file exchanges it, so take one of the two out");
        }
        let path = self.config.folder.join(file);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() < MIN_KEY_BYTES) {
            let message = format_args!(
                "{} holds less than {MIN_KEY_BYTES} bytes; write more, such as by openssl rand -out {0} 32",
                path.display()
            );
            self.error(&at.key("key_file"), message);
        }
    }

    /// What only the room itself can say of one entry, at its place.
    fn sender_part(&mut self, at: &At, part: &IdentityConfig) {
        if let Err(error) = Identity::check(part, &self.config.folder) {
            let text = error.to_string();
            // The place is said once.
            let prefix = ["identity.jwt: ", "identity.sts: "].into_iter().find(|prefix| text.starts_with(prefix));
            self.error(at, text.strip_prefix(prefix.unwrap_or_default()).unwrap_or(&text));
        }
    }

    /// A secret and the one before it, of which nobody else may have either; `key` is what their keys end with.
    pub(super) fn secrets(&mut self, at: &At, key: &str, secrets: &Secrets, held: &mut Held) {
        let previous = secrets.previous.as_ref().map(|secret| (format!("previous_{key}"), secret));
        for (key, secret) in [(key.to_owned(), &secrets.current)].into_iter().chain(previous) {
            let (at, readable) = match secret {
                Secret::Sha256(_) => (at.key(format!("{key}_sha256")), true),
                Secret::Env(_) => (at.key(format!("{key}_env")), true),
                Secret::File(file) => {
                    let at = at.key(format!("{key}_file"));
                    let readable = self.readable(&at, file);
                    (at, readable)
                }
            };
            if !readable {
                continue;
            }
            match secret.digest(&self.config.folder) {
                Ok(digest) => match held.0.get(&digest) {
                    Some(other) => self.error(&at, format_args!("it is the secret of {other} too; give each its own")),
                    None => drop(held.0.insert(digest, at)),
                },
                Err(error @ SecretError::TooShort) => {
                    self.error(&at, format_args!("{error}; make another, such as by openssl rand -hex 32"));
                }
                Err(error @ SecretError::Env(_)) => {
                    self.error(&at, format_args!("{error}; set it for the collector, and for whoever checks"));
                }
                Err(error) => self.error(&at, error),
            }
        }
    }
}

/// Secrets, and whose they are.
#[derive(Default)]
pub(super) struct Held(HashMap<TokenDigest, At>);
