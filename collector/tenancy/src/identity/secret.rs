//! Secrets of which only the check is needed: kept as SHA-256 digests, compared in constant time.

use std::fmt;
use std::hash::{Hash, Hasher};
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
    #[error("exactly one of {0}_sha256, {0}_file and {0}_env is needed")]
    NotOne(&'static str),
    /// The digest is not 64 hexadecimal digits.
    #[error("{0}_sha256 is not 64 hexadecimal digits; make them by printf %s SECRET | sha256sum")]
    NotADigest(&'static str),
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The environment variable is not set (or is no UTF-8).
    #[error("the environment variable {0:?} is not set")]
    Env(String),
    /// Too short to be a secret.
    #[error("the secret is shorter than {min} characters", min = Secret::MIN_TOKEN_BYTES)]
    TooShort,
}

impl Secret {
    /// The shortest token that is taken from a file or the environment.
    pub const MIN_TOKEN_BYTES: usize = 8;

    /// Exactly one of the three must be given; `key` is what the configuration's keys begin with.
    pub fn try_new(
        key: &'static str,
        sha256: Option<String>,
        file: Option<PathBuf>,
        env: Option<String>,
    ) -> Result<Self, SecretError> {
        Self::try_optional(key, sha256, file, env)?.ok_or(SecretError::NotOne(key))
    }

    /// One of the three, or none.
    pub fn try_optional(
        key: &'static str,
        sha256: Option<String>,
        file: Option<PathBuf>,
        env: Option<String>,
    ) -> Result<Option<Self>, SecretError> {
        match (sha256, file, env) {
            (None, None, None) => Ok(None),
            (Some(digits), None, None) => {
                let digest = TokenDigest::from_hex(&digits).ok_or(SecretError::NotADigest(key))?;
                Ok(Some(Self::Sha256(digest)))
            }
            (None, Some(path), None) => Ok(Some(Self::File(path))),
            (None, None, Some(name)) => Ok(Some(Self::Env(name))),
            _ => Err(SecretError::NotOne(key)),
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

/// A secret that is being exchanged: both hold until everybody has the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The one to use.
    pub current: Secret,
    /// The one before it.
    pub previous: Option<Secret>,
}

/// The digest, the file and the variable that a configuration may name for a secret.
pub(crate) type SecretKeys = (Option<String>, Option<PathBuf>, Option<String>);

impl Secrets {
    /// Exactly one of the three for the secret to use, and one or none for the one before it; the names are what the
    /// configuration's keys begin with.
    pub(crate) fn try_new(
        [current_name, previous_name]: [&'static str; 2],
        (sha256, file, env): SecretKeys,
        previous: SecretKeys,
    ) -> Result<Self, SecretError> {
        let current = Secret::try_new(current_name, sha256, file, env)?;
        let (sha256, file, env) = previous;
        Ok(Self { current, previous: Secret::try_optional(previous_name, sha256, file, env)? })
    }

    /// The digests of both; `base` is the folder of the configuration file.
    pub fn digests(&self, base: &Path) -> Result<Vec<TokenDigest>, SecretError> {
        std::iter::once(&self.current).chain(&self.previous).map(|secret| secret.digest(base)).collect()
    }
}

impl From<Secret> for Secrets {
    fn from(current: Secret) -> Self {
        Self { current, previous: None }
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

    fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl PartialEq for TokenDigest {
    fn eq(&self, other: &Self) -> bool {
        same_bytes(&self.0, &other.0)
    }
}

impl Eq for TokenDigest {}

/// For maps, whose hash is keyed: what a stranger's token is compared with tells nothing of the known ones.
impl Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

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
        assert_eq!(Secret::try_new("token", Some(digits), None, None).unwrap(), Secret::Sha256(from_file));
    }

    #[test]
    fn a_missing_or_short_secret_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Secret::File("t".into()).digest(dir.path()), Err(SecretError::File { .. })));
        std::fs::write(dir.path().join("t"), "short\n").unwrap();
        assert!(matches!(Secret::File("t".into()).digest(dir.path()), Err(SecretError::TooShort)));
        assert!(matches!(
            Secret::try_new("token", Some("9f86".into()), None, None),
            Err(SecretError::NotADigest("token"))
        ));
    }
}
