use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::folder::{make_folder, replace_file, sync_folder};
use crate::{CursorError, OpenError, Shared, retention};

/// A named, durable position: everything up to it has been dealt with. Segments behind all cursors are deleted.
pub struct Cursor {
    shared: Arc<Shared>,
    name: String,
}

const FOLDER: &str = "cursors";

impl Cursor {
    pub(crate) fn open(shared: Arc<Shared>, name: &str, start: u64) -> Result<Self, CursorError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let right_length = (1..=100).contains(&name.len());
        if !right_length || !name.bytes().all(allowed) || name.starts_with('.') || name.ends_with(".tmp") {
            return Err(CursorError::Name(name.to_owned()));
        }
        let cursor = Self { shared, name: name.to_owned() };
        if !cursor.shared.cursors.lock().contains_key(name) {
            move_forward(&cursor.shared, name, start)?;
        }
        Ok(cursor)
    }

    /// The cursor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last position that has been dealt with.
    pub fn position(&self) -> u64 {
        self.shared.cursors.lock().get(&self.name).copied().unwrap_or(0)
    }

    /// Moves the cursor forward, durably, and frees what nobody needs any more. Moving back is ignored. Blocks.
    pub fn advance(&self, position: u64) -> Result<(), CursorError> {
        if position <= self.position() {
            return Ok(());
        }
        move_forward(&self.shared, &self.name, position)?;
        retention::free_passed(&self.shared);
        Ok(())
    }

    /// Deletes the cursor: it holds no segment any more. Blocks.
    pub fn remove(self) -> Result<(), CursorError> {
        let folder = self.shared.dir.join(FOLDER);
        let path = folder.join(&self.name);
        {
            let _writing = self.shared.cursor_writes.lock();
            let removed = fs::remove_file(&path).and_then(|()| sync_folder(&folder));
            removed.map_err(|source| CursorError::Io { path, source })?;
            self.shared.cursors.lock().remove(&self.name);
        }
        retention::free_passed(&self.shared);
        Ok(())
    }
}

/// Writes a cursor's file, then remembers it; never moves it back.
pub(crate) fn move_forward(shared: &Shared, name: &str, position: u64) -> Result<(), CursorError> {
    let folder = shared.dir.join(FOLDER);
    let path = folder.join(name);
    let _writing = shared.cursor_writes.lock();
    if shared.cursors.lock().get(name).is_some_and(|now| *now >= position) {
        return Ok(());
    }
    let text = format!("{position} {:08x}\n", crc32fast::hash(position.to_string().as_bytes()));
    let written = make_folder(&folder).and_then(|()| replace_file(&path, text.as_bytes()));
    written.map_err(|source| CursorError::Io { path, source })?;
    shared.cursors.lock().insert(name.to_owned(), position);
    Ok(())
}

/// Reads all cursors of a journal.
pub(crate) fn load(dir: &Path) -> Result<BTreeMap<String, u64>, OpenError> {
    let folder = dir.join(FOLDER);
    let io = |source| OpenError::Io { path: folder.clone(), source };
    let mut cursors = BTreeMap::new();
    if !folder.exists() {
        return Ok(cursors);
    }
    for entry in fs::read_dir(&folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            continue; // left by a crash between write and rename
        }
        let text = fs::read_to_string(&path).map_err(io)?;
        let position = parse(&text).ok_or(OpenError::Format { path: path.clone(), reason: "is no cursor" })?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        cursors.insert(name, position);
    }
    Ok(cursors)
}

fn parse(text: &str) -> Option<u64> {
    let (position, crc) = text.trim_end().split_once(' ')?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    (crc32fast::hash(position.as_bytes()) == crc).then(|| position.parse().ok())?
}
