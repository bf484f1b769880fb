//! `document` in the spool's folder: what the collector wanted last and could be applied, so that an agent that starts
//! while the collector is away goes on with it. A magic line, then JSON.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tenantscope_wire::VersionedDocument;

use crate::uplink::Wanted;

const NAME: &str = "document";
const MAGIC: &[u8] = b"tenantscope-agent document 1\n";

#[derive(Serialize, Deserialize)]
struct Content {
    document: Option<VersionedDocument>,
    stopped: bool,
}

/// What is kept; a file that is damaged is as good as none, since the collector hands the document out again. Blocks.
pub(super) fn load(dir: &Path) -> Wanted {
    let path = dir.join(NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(file = %path.display(), %error, "the collector's document can't be read");
            }
            return Wanted::default();
        }
    };
    let content = bytes.strip_prefix(MAGIC).and_then(|json| serde_json::from_slice::<Content>(json).ok());
    let Some(Content { document, stopped }) = content else {
        tracing::warn!(file = %path.display(), "not a document of the collector's, ignored");
        return Wanted::default();
    };
    Wanted { document, stopped }
}

/// Keeps it; durable when this returns. Blocks.
pub(super) fn store(dir: &Path, wanted: &Wanted) -> io::Result<()> {
    let Wanted { document, stopped } = wanted.clone();
    let json = serde_json::to_vec(&Content { document, stopped }).map_err(io::Error::other)?;
    let unfinished = dir.join(format!("{NAME}.tmp"));
    let mut file = File::create(&unfinished)?;
    file.write_all(MAGIC)?;
    file.write_all(&json)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(NAME))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_damage_counts_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Wanted::default());
        let document = VersionedDocument { version: 9, content: serde_json::json!({"enabled": true}) };
        let wanted = Wanted { document: Some(document), stopped: true };
        store(dir.path(), &wanted).unwrap();
        assert_eq!(load(dir.path()), wanted);
        fs::write(dir.path().join(NAME), b"tenantscope-agent document 2\n{}").unwrap();
        assert_eq!(load(dir.path()), Wanted::default());
    }
}
