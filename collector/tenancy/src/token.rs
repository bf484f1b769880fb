//! Our own short-lived tokens: `ts1.<claims>.<mac>`, claims in JSON, HMAC-SHA256, both base64url.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
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

const KEY_BYTES: usize = 32;
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

/// Signs and verifies tokens.
#[derive(Debug)]
pub struct TokenKey(hmac::Key);

/// Why the key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It can't be read or made.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is too short to be a key.
    #[error("{path}: {bytes} bytes are no key; {KEY_BYTES} or more are needed", path = path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
        /// What it holds.
        bytes: usize,
    },
}

impl TokenKey {
    /// A key for this start only.
    pub fn random() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random_bytes()))
    }

    /// The key in a file, which is made (readable by its owner only) if it is not there, so that a restart keeps
    /// tokens in force. Blocks.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let at = |source| KeyError::Io { path: path.to_owned(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes = random_bytes();
                write_secret(path, &bytes).map_err(at)?;
                bytes.to_vec()
            }
            Err(error) => return Err(at(error)),
        };
        if bytes.len() < KEY_BYTES {
            return Err(KeyError::TooShort { path: path.to_owned(), bytes: bytes.len() });
        }
        let mode = fs::metadata(path).map_err(at)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read the token key");
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The token for these claims.
    pub fn sign(&self, claims: &TokenClaims) -> String {
        // Names and numbers always serialize; an empty text would be refused by `verify`.
        let json = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{PREFIX}{}", BASE64URL.encode(json));
        let mac = hmac::sign(&self.0, signed.as_bytes());
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
        hmac::verify(&self.0, signed.as_bytes(), &mac).map_err(|_| TokenRefused::NotOurs)?;
        let json = BASE64URL.decode(encoded).map_err(|_| TokenRefused::NotOurs)?;
        let claims: TokenClaims = serde_json::from_slice(&json).map_err(|_| TokenRefused::NotOurs)?;
        if claims.expires_at_ms <= now_ms {
            return Err(TokenRefused::Expired);
        }
        Ok(claims)
    }
}

fn random_bytes() -> [u8; KEY_BYTES] {
    rand::random()
}

/// Whole or not at all, under its name only when it is on the disk.
fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
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
    fn a_restart_keeps_tokens_and_another_key_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.key");
        let token = TokenKey::open(&path).unwrap().sign(&claims());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let reopened = TokenKey::open(&path).unwrap();
        assert_eq!(reopened.verify(&token, 999), Ok(claims()));
        assert_eq!(reopened.verify(&token, 1_000), Err(TokenRefused::Expired));
        assert_eq!(TokenKey::random().verify(&token, 0), Err(TokenRefused::NotOurs));
    }

    #[test]
    fn a_changed_token_is_not_ours() {
        let key = TokenKey::random();
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

    #[test]
    fn a_short_key_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("k"), "short").unwrap();
        assert!(matches!(TokenKey::open(&dir.path().join("k")), Err(KeyError::TooShort { bytes: 5, .. })));
    }
}
