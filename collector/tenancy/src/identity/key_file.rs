//! The file of the key that signs our tokens, and of the one before it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::identity::token::{KEY_BYTES, TokenKeys};

/// Where the key is. The one before it has the same name with `.previous` behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    pub(crate) path: PathBuf,
    /// How long a key signs, where we make the next one.
    pub(crate) rotation: Option<Duration>,
}

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

impl KeyFile {
    /// The keys; the first is made (readable by its owner only) if it is not there, so that a restart keeps tokens in
    /// force. Blocks.
    pub(crate) fn open(&self, now: SystemTime) -> Result<TokenKeys, KeyError> {
        let signing = match self.read(&self.path)? {
            Some(bytes) => bytes,
            None => self.make()?,
        };
        let Some(previous) = self.read(&self.previous())? else { return Ok(TokenKeys::new(&signing, None)) };
        // It ceased to sign when the next key was written.
        let ceased = self.written(&self.path)?.min(now);
        let since_epoch = ceased.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ceased_ms = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        Ok(TokenKeys::new(&signing, Some((&previous, ceased_ms))))
    }

    /// Makes the next key if this one has signed for long enough; says whether it did. Blocks.
    pub(crate) fn rotate_if_due(&self, now: SystemTime) -> Result<bool, KeyError> {
        let Some(rotation) = self.rotation else { return Ok(false) };
        let age = now.duration_since(self.written(&self.path)?).unwrap_or_default();
        if age < rotation {
            return Ok(false);
        }
        let previous = self.previous();
        // Without a key meanwhile, the next start makes one.
        fs::rename(&self.path, &previous).map_err(|source| KeyError::Io { path: previous, source })?;
        self.make()?;
        Ok(true)
    }

    fn previous(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".previous");
        name.into()
    }

    fn written(&self, path: &Path) -> Result<SystemTime, KeyError> {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
        modified.map_err(|source| KeyError::Io { path: path.to_owned(), source })
    }

    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
        let at = |source| KeyError::Io { path: path.to_owned(), source };
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(error)),
        };
        if bytes.len() < KEY_BYTES {
            return Err(KeyError::TooShort { path: path.to_owned(), bytes: bytes.len() });
        }
        let mode = fs::metadata(path).map_err(at)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read the token key");
        }
        Ok(Some(bytes))
    }

    fn make(&self) -> Result<Vec<u8>, KeyError> {
        let bytes = rand::random::<[u8; KEY_BYTES]>();
        write_secret(&self.path, &bytes).map_err(|source| KeyError::Io { path: self.path.clone(), source })?;
        Ok(bytes.to_vec())
    }
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
    use crate::identity::token::{TokenClaims, TokenRefused, lifetime_ms};
    use tenantscope_wire::Name;

    fn now_ms() -> i64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
    }

    fn claims() -> TokenClaims {
        let expires_at_ms = now_ms() + lifetime_ms();
        TokenClaims { account: None, relay: None, agent: Name::try_new("a1").unwrap(), epoch: None, expires_at_ms }
    }

    #[test]
    fn a_restart_keeps_tokens_and_so_does_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile { path: dir.path().join("identity.key"), rotation: Some(Duration::from_secs(3600)) };
        let now = SystemTime::now();
        let token = file.open(now).unwrap().sign(&claims());
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(file.open(now).unwrap().verify(&token, now_ms()).is_ok());
        assert!(!file.rotate_if_due(now).unwrap());

        assert!(file.rotate_if_due(now + Duration::from_secs(3601)).unwrap());
        let rotated = file.open(SystemTime::now()).unwrap();
        assert!(rotated.verify(&token, now_ms()).is_ok());
        let later_ms = now_ms() + lifetime_ms() + 1_000;
        assert_eq!(rotated.verify(&token, later_ms), Err(TokenRefused::NotOurs), "nothing of the old key then");
        assert_eq!(fs::metadata(file.previous()).unwrap().permissions().mode() & 0o777, 0o600);
        // Removing it ends its tokens at once.
        fs::remove_file(file.previous()).unwrap();
        assert_eq!(file.open(now).unwrap().verify(&token, now_ms()), Err(TokenRefused::NotOurs));
    }

    #[test]
    fn a_short_key_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile { path: dir.path().join("k"), rotation: None };
        fs::write(&file.path, "short").unwrap();
        assert!(matches!(file.open(SystemTime::now()), Err(KeyError::TooShort { bytes: 5, .. })));
    }
}
