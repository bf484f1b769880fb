//! Clients' certificates that stand for accounts.

use serde::Deserialize;
use tenantscope_model::AccountId;

use crate::identity::certificate::SanPattern;

/// One entry of `identity.certificates:`, either for one account each, or for a relay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawCertificate")]
pub struct CertificateConfig {
    pub(crate) san: SanPattern,
    pub(crate) whose: CertificateOf,
}

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertificateOf {
    /// Of the account in the placeholder's place.
    Placed,
    /// Of a relay.
    Relay { name: String, accounts: Vec<AccountId> },
}

impl CertificateConfig {
    /// Name and accounts, where it stands for a relay.
    pub fn relay(&self) -> Option<(&str, &[AccountId])> {
        match &self.whose {
            CertificateOf::Placed => None,
            CertificateOf::Relay { name, accounts } => Some((name, accounts)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertificate {
    san: String,
    name: Option<String>,
    accounts: Option<Vec<AccountId>>,
}

impl TryFrom<RawCertificate> for CertificateConfig {
    type Error = String;
    fn try_from(raw: RawCertificate) -> Result<Self, String> {
        let wrong = |what: &str| format!("certificate {:?}: {what}", raw.san);
        let san = SanPattern::try_new(&raw.san, "{account}")
            .ok_or_else(|| wrong("it is no URI or DNS name with at most one {account}"))?;
        let whose = match (san.has_placeholder(), raw.name, raw.accounts) {
            (true, None, None) => CertificateOf::Placed,
            (false, Some(name), Some(accounts)) if !accounts.is_empty() => CertificateOf::Relay { name, accounts },
            _ => return Err(wrong("it has either {account}, or a name and accounts")),
        };
        Ok(Self { san, whose })
    }
}
