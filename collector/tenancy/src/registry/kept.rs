//! Small files that are replaced whole: a line with a magic word and the content's SHA-256, then JSON.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// The largest file that is read.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    /// The system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its first line, checksum or content is wrong.
    #[error("it is damaged, or none of ours: {0}")]
    Damaged(String),
}

/// Writes it whole or not at all; durable when it returns.
pub(crate) fn write(path: &Path, magic: &str, content: &impl Serialize) -> Result<(), KeptError> {
    let json = serde_json::to_vec(content).map_err(io::Error::other)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    writeln!(file, "{magic} {}", hex::encode(Sha256::digest(&json)))?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()?;
    Ok(())
}

/// Reads what was written; `None` where there is no such file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, magic: &str) -> Result<Option<T>, KeptError> {
    let damaged = |what: &str| KeptError::Damaged(what.to_owned());
    let size_bytes = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if size_bytes > MAX_BYTES {
        return Err(damaged("it is too large"));
    }
    let bytes = fs::read(path)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("it has no first line"))?;
    let (first, json) = (&bytes[..end], &bytes[end + 1..]);
    let first = std::str::from_utf8(first).map_err(|_| damaged("its first line is no text"))?;
    let sum = first.strip_prefix(magic).and_then(|rest| rest.strip_prefix(' '));
    let sum = sum.ok_or_else(|| damaged("its first line is another"))?;
    if sum != hex::encode(Sha256::digest(json)) {
        return Err(damaged("its checksum is wrong"));
    }
    serde_json::from_slice(json).map(Some).map_err(|error| KeptError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry").join("x");
        assert!(read::<Vec<u32>>(&path, "TSX1").unwrap().is_none());
        write(&path, "TSX1", &vec![1, 2, 3]).unwrap();
        assert_eq!(read::<Vec<u32>>(&path, "TSX1").unwrap().unwrap(), [1, 2, 3]);
        assert!(read::<Vec<u32>>(&path, "TSX2").is_err());
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(read::<Vec<u32>>(&path, "TSX1").is_err(), "at {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(read::<Vec<u32>>(&path, "TSX1").is_err(), "cut at {at}");
        }
    }
}
