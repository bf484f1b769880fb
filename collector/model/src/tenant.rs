use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A customer's id: 1 to 128 characters of `[A-Za-z0-9_.-]`, not `.` or `..`; it never changes. Cloning is cheap.
///
/// The rule leaves out `|`, which separates tenants in `X-Scope-OrgID`, and `/`, so that an id can be a path segment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(Arc<str>);

/// Why a text is no tenant id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant id {0:?} is not 1 to 128 characters of letters, digits, '_', '.' or '-'")]
pub struct InvalidTenantId(String);

impl TenantId {
    /// The longest id, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// Checks the rule above.
    pub fn try_new(text: &str) -> Result<Self, InvalidTenantId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let right_length = (1..=Self::MAX_BYTES).contains(&text.len());
        if right_length && text.bytes().all(allowed) && text != "." && text != ".." {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTenantId(text.chars().take(64).collect()))
        }
    }

    /// The tenant of open mode when a sender names none.
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// The tenant under which data of unknown accounts is quarantined.
    pub fn unassigned() -> Self {
        Self("unassigned".into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id's text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl FromStr for TenantId {
    type Err = InvalidTenantId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidTenantId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::try_new(&text)
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.as_str().to_owned()
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_or_a_path_is_no_tenant() {
        assert!(TenantId::try_new("acme-1.eu_x").is_ok());
        for wrong in ["", "a|b", "a/b", "..", ".", "a b", "ä", &"x".repeat(129)] {
            assert!(TenantId::try_new(wrong).is_err(), "{wrong:?}");
        }
    }
}
