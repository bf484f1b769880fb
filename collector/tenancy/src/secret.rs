//! Secrets of which only the check is needed: kept as SHA-256 digests, compared in constant time.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where a configured token comes from. Never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// Its digest, in the configuration.
    Sha256(TokenDigest),
    /// A file that holds it, relative to the configuration file; white space at its end is cut off.
    File(PathBuf),
    /// An environment variable that holds it.
    Env(String),
}

/// Why a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// None or several of the three ways are given.
    #[error("exactly one of token_sha256, token_file and token_env is needed")]
    NotOne,
    /// The digest is not 64 hexadecimal digits.
    #[error("token_sha256 is not 64 hexadecimal digits")]
    NotADigest,
    /// The file can't be read.
    #[error("token_file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The environment variable is not set (or is no UTF-8).
    #[error("token_env {0:?} is not set")]
    Env(String),
    /// Too short to be a secret.
    #[error("the token is shorter than {min} characters", min = Secret::MIN_TOKEN_BYTES)]
    TooShort,
}

impl Secret {
    /// The shortest token that is taken from a file or the environment.
    pub const MIN_TOKEN_BYTES: usize = 8;

    /// Exactly one of the three must be given.
    pub fn try_new(sha256: Option<String>, file: Option<PathBuf>, env: Option<String>) -> Result<Self, SecretError> {
        match (sha256, file, env) {
            (Some(digits), None, None) => TokenDigest::from_hex(&digits).map(Self::Sha256),
            (None, Some(path), None) => Ok(Self::File(path)),
            (None, None, Some(name)) => Ok(Self::Env(name)),
            _ => Err(SecretError::NotOne),
        }
    }

    /// The token's digest; `base` is the folder of the configuration file.
    pub fn digest(&self, base: &Path) -> Result<TokenDigest, SecretError> {
        let token = match self {
            Self::Sha256(digest) => return Ok(*digest),
            Self::File(path) => {
                let path = base.join(path);
                std::fs::read_to_string(&path).map_err(|source| SecretError::File { path, source })?
            }
            Self::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
        };
        let token = token.trim_end();
        if token.len() < Self::MIN_TOKEN_BYTES {
            return Err(SecretError::TooShort);
        }
        Ok(TokenDigest::of(token))
    }
}

/// The SHA-256 of a token. Comparison takes the same time wherever two digests differ.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of a token as it was presented.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    fn from_hex(digits: &str) -> Result<Self, SecretError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| SecretError::NotADigest)?;
        Ok(Self(bytes))
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

impl Eq for TokenDigest {}

/// Nothing of the digest is shown.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
pub(crate) fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let difference = a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_digest_name_the_same_token() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("t"), "correct horse\n").unwrap();
        let from_file = Secret::File("t".into()).digest(dir.path()).unwrap();
        assert_eq!(from_file, TokenDigest::of("correct horse"));
        assert_ne!(from_file, TokenDigest::of("correct horse\n"));
        let digits = hex::encode(Sha256::digest(b"correct horse"));
        assert_eq!(Secret::try_new(Some(digits), None, None).unwrap(), Secret::Sha256(from_file));
    }

    #[test]
    fn a_missing_or_short_secret_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Secret::File("t".into()).digest(dir.path()), Err(SecretError::File { .. })));
        std::fs::write(dir.path().join("t"), "short\n").unwrap();
        assert!(matches!(Secret::File("t".into()).digest(dir.path()), Err(SecretError::TooShort)));
        assert!(matches!(Secret::try_new(Some("9f86".into()), None, None), Err(SecretError::NotADigest)));
    }
}
