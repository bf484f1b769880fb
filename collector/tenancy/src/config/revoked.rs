//! Accounts whose credentials no longer count.

use serde::Deserialize;
use tenantscope_model::AccountId;

/// One entry of `identity.revoked:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawRevoked")]
pub struct RevokedConfig {
    /// The account.
    pub account: AccountId,
    /// Tokens that were given before this time are refused, in milliseconds since the epoch; without it, everything of
    /// the account is.
    pub before_ms: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRevoked {
    account: AccountId,
    before: Option<String>,
}

impl TryFrom<RawRevoked> for RevokedConfig {
    type Error = String;
    fn try_from(raw: RawRevoked) -> Result<Self, String> {
        let time = |text: String| {
            let parsed = text.parse::<jiff::Timestamp>();
            parsed
                .map(jiff::Timestamp::as_millisecond)
                .map_err(|_| format!("revoked {}: {text:?} is no time such as 2026-11-30T12:00:00Z", raw.account))
        };
        Ok(Self { account: raw.account, before_ms: raw.before.map(time).transpose()? })
    }
}
