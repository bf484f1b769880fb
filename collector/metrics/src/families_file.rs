//! The metadata file: all families, written anew when they changed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::chunk::varint::Bytes;
use crate::error::OpenError;
use crate::families::Families;

const MAGIC: [u8; 8] = *b"TSMFAML\n";
const VERSION: u32 = 1;

/// Writes the file and makes it durable (its folder is the caller's).
pub(crate) fn write(path: &Path, families: &[u8]) -> io::Result<()> {
    let compressed = zstd::bulk::compress(families, 1)?;
    let mut file = File::create(path)?;
    file.write_all(&MAGIC)?;
    file.write_all(&VERSION.to_le_bytes())?;
    file.write_all(&crc32fast::hash(&compressed).to_le_bytes())?;
    file.write_all(&(families.len() as u64).to_le_bytes())?;
    file.write_all(&compressed)?;
    file.sync_all()
}

pub(crate) fn read(path: &Path) -> Result<Families, OpenError> {
    let all = fs::read(path).map_err(OpenError::io(path))?;
    let damaged = |what: &str| OpenError::damaged(path, what);
    let mut bytes = Bytes(&all);
    if bytes.take(8).ok() != Some(&MAGIC[..]) {
        return Err(damaged("not a metadata file (magic number)"));
    }
    let version = bytes.fixed32().map_err(|error| OpenError::damaged(path, error.to_string()))?;
    if version > VERSION {
        return Err(OpenError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    let crc = bytes.fixed32().map_err(|error| OpenError::damaged(path, error.to_string()))?;
    let raw_bytes = bytes.fixed64().map_err(|error| OpenError::damaged(path, error.to_string()))?;
    if crc32fast::hash(bytes.0) != crc {
        return Err(damaged("checksum"));
    }
    // The checksum does not cover the length: nothing is allocated by it.
    let raw = zstd::decode_all(bytes.0).map_err(|error| OpenError::damaged(path, error.to_string()))?;
    if raw.len() as u64 != raw_bytes {
        return Err(damaged("length"));
    }
    Families::from_bytes(&raw).map_err(|error| OpenError::damaged(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("families");
        write(&path, &Families::default().to_bytes()).unwrap();
        read(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                fs::write(&path, &damaged).unwrap();
                // An older version number is one that is still read.
                assert!(read(&path).is_err() || (8..12).contains(&at), "bit {bit} of byte {at}");
            }
        }
    }
}
