//! Our own short-lived tokens: `ts1.<claims>.<mac>`, claims in JSON, HMAC-SHA256, both base64url.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ring::hmac;
use serde::{Deserialize, Serialize};
use tenantscope_model::AccountId;
use tenantscope_wire::Name;

/// How long a token holds.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// What every token of ours begins with.
pub(crate) const PREFIX: &str = "ts1.";

pub(crate) const KEY_BYTES: usize = 32;
/// How far our clock may have been set back since a token was given out.
const CLOCK_STEP_MS: i64 = 60_000;
/// Longer than any token that we make, so that nothing larger is decoded.
const MAX_TOKEN_BYTES: usize = 1024;

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClaims {
    /// The proved account; absent for a forwarder and in open mode.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The forwarder's name, where the credential holds for several accounts.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// The agent's name.
    #[serde(rename = "n")]
    pub agent: Name,
    /// The epoch that was given with it, if one was.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// When it ends, in milliseconds since the epoch.
    #[serde(rename = "x")]
    pub expires_at_ms: i64,
}

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// It is not one that this collector signed.
    #[error("the token is not ours")]
    NotOurs,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
}

/// Signs tokens, and verifies those that it or the key before it signed.
#[derive(Debug)]
pub struct TokenKeys {
    signing: hmac::Key,
    previous: Option<Previous>,
}

/// A key that signs no more; its tokens hold until they end.
#[derive(Debug)]
struct Previous {
    key: hmac::Key,
    until_ms: i64,
}

impl TokenKeys {
    /// A key for this start only.
    pub fn random() -> Self {
        Self::new(&rand::random::<[u8; KEY_BYTES]>(), None)
    }

    /// `previous` is the key before, and when it ceased to sign.
    pub(crate) fn new(signing: &[u8], previous: Option<(&[u8], i64)>) -> Self {
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let previous = previous
            .map(|(bytes, ceased_ms)| Previous { key: key(bytes), until_ms: ceased_ms.saturating_add(lifetime_ms()) });
        Self { signing: key(signing), previous }
    }

    /// The token for these claims.
    pub fn sign(&self, claims: &TokenClaims) -> String {
        // Names and numbers always serialize; an empty text would be refused by `verify`.
        let json = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{PREFIX}{}", BASE64URL.encode(json));
        let mac = hmac::sign(&self.signing, signed.as_bytes());
        format!("{signed}.{}", BASE64URL.encode(mac))
    }

    /// Checks signature (in constant time) and expiry.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<TokenClaims, TokenRefused> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenRefused::NotOurs);
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(TokenRefused::NotOurs)?;
        let encoded = signed.strip_prefix(PREFIX).ok_or(TokenRefused::NotOurs)?;
        let mac = BASE64URL.decode(mac).map_err(|_| TokenRefused::NotOurs)?;
        if !self.in_force(now_ms).any(|key| hmac::verify(key, signed.as_bytes(), &mac).is_ok()) {
            return Err(TokenRefused::NotOurs);
        }
        let json = BASE64URL.decode(encoded).map_err(|_| TokenRefused::NotOurs)?;
        let claims: TokenClaims = serde_json::from_slice(&json).map_err(|_| TokenRefused::NotOurs)?;
        if claims.expires_at_ms <= now_ms {
            return Err(TokenRefused::Expired);
        }
        // None is given for longer: whoever got hold of a key for a moment has no token for ever.
        if claims.expires_at_ms.saturating_sub(now_ms) > lifetime_ms() + CLOCK_STEP_MS {
            return Err(TokenRefused::NotOurs);
        }
        Ok(claims)
    }

    fn in_force(&self, now_ms: i64) -> impl Iterator<Item = &hmac::Key> {
        let previous = self.previous.iter().filter(move |previous| now_ms < previous.until_ms);
        std::iter::once(&self.signing).chain(previous.map(|previous| &previous.key))
    }
}

impl TokenClaims {
    /// When it was given out.
    pub fn given_at_ms(&self) -> i64 {
        self.expires_at_ms.saturating_sub(lifetime_ms())
    }
}

pub(crate) fn lifetime_ms() -> i64 {
    i64::try_from(TOKEN_LIFETIME.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> TokenClaims {
        TokenClaims {
            account: Some(AccountId::try_new("111122223333").unwrap()),
            relay: None,
            agent: Name::try_new("a1").unwrap(),
            epoch: Some(7),
            expires_at_ms: 1_000,
        }
    }

    #[test]
    fn a_token_ends_and_none_is_for_longer() {
        let keys = TokenKeys::random();
        let token = keys.sign(&claims());
        assert_eq!(keys.verify(&token, 999), Ok(claims()));
        assert_eq!(keys.verify(&token, 1_000), Err(TokenRefused::Expired));
        assert_eq!(TokenKeys::random().verify(&token, 0), Err(TokenRefused::NotOurs));
        let for_ever = keys.sign(&TokenClaims { expires_at_ms: i64::MAX, ..claims() });
        assert_eq!(keys.verify(&for_ever, 999), Err(TokenRefused::NotOurs));
    }

    #[test]
    fn the_key_before_verifies_until_its_tokens_have_ended() {
        let (old, new) = ([1; KEY_BYTES], [2; KEY_BYTES]);
        let token = TokenKeys::new(&old, None).sign(&TokenClaims { expires_at_ms: lifetime_ms() + 10, ..claims() });
        let rotated = TokenKeys::new(&new, Some((&old, 10)));
        assert!(rotated.verify(&token, lifetime_ms() + 9).is_ok());
        let forged = TokenKeys::new(&old, None).sign(&TokenClaims { expires_at_ms: lifetime_ms() + 99, ..claims() });
        assert_eq!(rotated.verify(&forged, lifetime_ms() + 10), Err(TokenRefused::NotOurs));
        assert!(TokenKeys::new(&old, None).verify(&rotated.sign(&claims()), 0).is_err(), "the new one signs");
    }

    #[test]
    fn a_changed_token_is_not_ours() {
        let key = TokenKeys::random();
        let token = key.sign(&claims());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last character of 32 bytes in base64 has spare bits, which a strict decoder refuses.
            assert_eq!(key.verify(&changed, 0), Err(TokenRefused::NotOurs), "at {at}");
        }
        for wrong in ["", "ts1.", "ts1..", "ts1.e30.AAAA", &"x".repeat(5_000)] {
            assert_eq!(key.verify(wrong, 0), Err(TokenRefused::NotOurs));
        }
    }

    /// Claims that are signed, or a token.
    #[test]
    fn own_token() {
        tenantscope_fuzz::fuzz!("own_token", |input| {
            const NOW_MS: i64 = 1_700_000_000_000;
            let keys = TokenKeys::new(&[1; KEY_BYTES], None);
            let Ok(text) = std::str::from_utf8(input) else { return };
            assert_eq!(keys.verify(text, NOW_MS), Err(TokenRefused::NotOurs), "nobody else signs");
            let Ok(claims) = serde_json::from_str::<TokenClaims>(text) else { return };
            let token = keys.sign(&claims);
            match keys.verify(&token, NOW_MS) {
                Ok(read) => {
                    assert_eq!(read, claims);
                    assert!((NOW_MS..=NOW_MS + lifetime_ms() + CLOCK_STEP_MS).contains(&claims.expires_at_ms));
                }
                Err(TokenRefused::Expired) => assert!(claims.expires_at_ms <= NOW_MS),
                Err(TokenRefused::NotOurs) => {
                    assert!(token.len() > MAX_TOKEN_BYTES || claims.expires_at_ms > NOW_MS + lifetime_ms());
                }
            }
            assert_eq!(TokenKeys::new(&[2; KEY_BYTES], None).verify(&token, NOW_MS), Err(TokenRefused::NotOurs));
        });
    }
}
