//! Who holds a static secret (a token, a Firehose access key), and for which accounts it may send.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use tenantscope_model::AccountId;

use crate::config::{FirehoseKeyConfig, StaticTokenConfig};
use crate::identity::secret::{SecretError, Secrets, TokenDigest};

/// Somebody who may send for some accounts.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    /// Its name in the configuration, part of its lanes' keys.
    pub(crate) name: Arc<str>,
    /// Never empty.
    pub(crate) accounts: Arc<BTreeSet<AccountId>>,
}

impl Holder {
    /// The account, where there is one alone: then it need not be named by the data.
    pub(crate) fn single_account(&self) -> Option<AccountId> {
        let mut accounts = self.accounts.iter();
        accounts.next().copied().filter(|_| accounts.next().is_none())
    }
}

/// All holders of one kind of secret.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    by_digest: HashMap<TokenDigest, Holder>,
}

/// Why holders can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHolder {
    /// Its secret.
    #[error("{name:?}: {source}")]
    Secret {
        /// Which.
        name: String,
        /// What is wrong.
        source: SecretError,
    },
    /// Two have one name, so they would share lanes.
    #[error("the name {0:?} is given twice")]
    NameTwice(String),
    /// Two have one secret, so nobody could tell them apart.
    #[error("{0:?} has a secret that another one has too")]
    SecretTwice(String),
}

impl Holders {
    /// Of `identity.tokens`; `base` is the configuration file's folder.
    pub(crate) fn of_tokens(configs: &[StaticTokenConfig], base: &Path) -> Result<Self, InvalidHolder> {
        Self::try_new(configs.iter().map(|config| (config.name.as_str(), &config.secrets, &config.accounts)), base)
    }

    /// Of `identity.firehose`.
    pub(crate) fn of_firehose(configs: &[FirehoseKeyConfig], base: &Path) -> Result<Self, InvalidHolder> {
        Self::try_new(configs.iter().map(|config| (config.name.as_str(), &config.secrets, &config.accounts)), base)
    }

    fn try_new<'a>(
        configs: impl Iterator<Item = (&'a str, &'a Secrets, &'a Vec<AccountId>)>,
        base: &Path,
    ) -> Result<Self, InvalidHolder> {
        let mut names = BTreeSet::new();
        let mut by_digest = HashMap::new();
        for (name, secrets, accounts) in configs {
            if !names.insert(name) {
                return Err(InvalidHolder::NameTwice(name.to_owned()));
            }
            let holder = Holder { name: name.into(), accounts: Arc::new(accounts.iter().copied().collect()) };
            let wrong = |source| InvalidHolder::Secret { name: name.to_owned(), source };
            for digest in secrets.digests(base).map_err(wrong)? {
                if by_digest.insert(digest, holder.clone()).is_some() {
                    return Err(InvalidHolder::SecretTwice(name.to_owned()));
                }
            }
        }
        Ok(Self { by_digest })
    }

    /// Whose secret it is.
    pub(crate) fn holder(&self, secret: &str) -> Option<&Holder> {
        self.by_digest.get(&TokenDigest::of(secret))
    }

    /// By its name.
    pub(crate) fn named(&self, name: &str) -> Option<&Holder> {
        self.by_digest.values().find(|holder| *holder.name == *name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_digest.values().map(|holder| &holder.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::secret::Secret;

    fn config(name: &str, current: &str, previous: Option<&str>) -> StaticTokenConfig {
        let digest = |token: &str| Secret::Sha256(TokenDigest::of(token));
        let secrets = Secrets { current: digest(current), previous: previous.map(digest) };
        StaticTokenConfig { name: name.into(), secrets, accounts: vec![AccountId::try_new("111122223333").unwrap()] }
    }

    #[test]
    fn two_secrets_hold_at_a_time() {
        let holders =
            Holders::of_tokens(&[config("a", "new", Some("old")), config("b", "b", None)], Path::new(".")).unwrap();
        let name = |secret: &str| holders.holder(secret).map(|holder| holder.name.to_string());
        assert_eq!((name("new"), name("old"), name("b")), (Some("a".into()), Some("a".into()), Some("b".into())));
        assert_eq!(name("older"), None);
    }

    #[test]
    fn names_and_secrets_are_one_holders() {
        let wrong =
            |configs: &[StaticTokenConfig]| Holders::of_tokens(configs, Path::new(".")).unwrap_err().to_string();
        assert!(wrong(&[config("a", "x", None), config("a", "y", None)]).contains("given twice"));
        assert!(wrong(&[config("a", "x", None), config("b", "y", Some("x"))]).contains("another one has too"));
    }
}
