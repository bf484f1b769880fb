use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An AWS account: twelve ASCII digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId([u8; 12]);

/// Why a text is no account id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("account id {0:?} is not 12 digits")]
pub struct InvalidAccountId(String);

impl AccountId {
    /// Takes exactly twelve ASCII digits.
    pub fn try_new(text: &str) -> Result<Self, InvalidAccountId> {
        match <[u8; 12]>::try_from(text.as_bytes()) {
            Ok(digits) if digits.iter().all(u8::is_ascii_digit) => Ok(Self(digits)),
            _ => Err(InvalidAccountId(text.chars().take(64).collect())),
        }
    }

    /// The twelve digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits get past `try_new`, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for AccountId {
    type Err = InvalidAccountId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_new(text)
    }
}

impl TryFrom<String> for AccountId {
    type Error = InvalidAccountId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::try_new(&text)
    }
}

impl From<AccountId> for String {
    fn from(account: AccountId) -> Self {
        account.as_str().to_owned()
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_digits_and_nothing_else() {
        assert_eq!(AccountId::try_new("111122223333").unwrap().to_string(), "111122223333");
        for wrong in ["", "11112222333", "1111222233334", "11112222333a", "１11122223333"] {
            assert!(AccountId::try_new(wrong).is_err(), "{wrong:?}");
        }
    }
}
