//! The journal's folder: its lock, its id, the segments in it, and what opening does about damage.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::OpenError;
use crate::segment::{Damage, HEADER_BYTES, HeaderVerdict, RECORD_HEADER_BYTES, judge_header, scan};
use crate::unreadable::read_around;

/// What is known of a segment without reading it.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    /// Durable bytes; nothing behind them counts.
    pub(crate) bytes: u64,
    pub(crate) last_written: SystemTime,
    /// How often a file of this name was replaced by another: an empty segment is, after a failure.
    pub(crate) generation: u64,
}

/// What [`open_segments`] found.
pub(crate) struct Opened {
    pub(crate) segments: BTreeMap<u64, SegmentFile>,
    /// The last position in the files; 0 when there is none.
    pub(crate) end: u64,
    /// Damage in the last segment.
    pub(crate) damage: Vec<Damage>,
    /// Whether the last segment can be written to.
    pub(crate) goes_on: bool,
}

pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.segment"))
}

/// Takes the folder for this process; the lock goes with the file.
pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// The journal's id, from its file; made where there is none.
pub(crate) fn read_or_make_id(dir: &Path) -> Result<u128, OpenError> {
    let path = dir.join("id");
    let io = |source| OpenError::Io { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => u128::from_str_radix(text.trim(), 16)
            .map_err(|_| OpenError::Format { path: path.clone(), reason: "is not 32 hexadecimal digits" }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id: u128 = rand::random();
            replace_file(&path, format!("{id:032x}\n").as_bytes()).map_err(io)?;
            Ok(id)
        }
        Err(error) => Err(io(error)),
    }
}

/// Opens a journal's segments: cuts a torn tail off the last one, and says where the journal ends.
///
/// Only the last segment is read: the others were closed after an fsync, and readers check what they read. Where the disk
/// does not give it back whole, it is left as it is and the journal goes on in a new one.
pub(crate) fn open_segments(dir: &Path, id: u128) -> Result<Opened, OpenError> {
    let mut opened = Opened { segments: BTreeMap::new(), end: 0, damage: Vec::new(), goes_on: true };
    for (first, path) in list(dir)? {
        let segment = open_segment(&path, id, first)?;
        opened.segments.insert(first, segment);
    }
    let Some((first, segment)) = opened.segments.iter_mut().next_back() else {
        return Ok(opened);
    };
    let io = |source| OpenError::Io { path: segment.path.clone(), source };
    let file = OpenOptions::new().read(true).write(true).open(&segment.path).map_err(io)?;
    let content = read_around(&file, 0, segment.bytes as usize).map_err(io)?;
    let found = scan(&content.bytes, *first, id);
    opened.end = found.last.unwrap_or_else(|| first.saturating_sub(1));
    opened.damage = found.damage;
    let torn_bytes = segment.bytes.saturating_sub(found.valid_bytes);
    opened.goes_on = content.unreadable.is_empty();
    if !opened.goes_on {
        let path = segment.path.display();
        tracing::error!(segment = %path, unreadable = ?content.unreadable, "a journal segment can't be read whole");
        // What can't be read may have been acknowledged: it is kept, and its positions are not given again.
        if torn_bytes > 0 {
            let (offset, bytes, after) = (found.valid_bytes, torn_bytes, opened.end);
            opened.damage.push(Damage { offset, bytes, after, before: None });
            opened.end += torn_bytes / RECORD_HEADER_BYTES as u64;
        }
        return Ok(opened);
    }
    if torn_bytes > 0 {
        let path = segment.path.display();
        tracing::warn!(segment = %path, offset = found.valid_bytes, bytes = torn_bytes, "cut a torn tail");
        file.set_len(found.valid_bytes).map_err(io)?;
    }
    // What a killed process wrote may be in the page cache only; from now on it counts as durable.
    file.sync_all().map_err(io)?;
    segment.bytes = found.valid_bytes;
    sync_folder(dir).map_err(|source| OpenError::Io { path: dir.to_path_buf(), source })?;
    Ok(opened)
}

fn open_segment(path: &Path, id: u128, first: u64) -> Result<SegmentFile, OpenError> {
    let io = |source| OpenError::Io { path: path.to_path_buf(), source };
    let metadata = fs::metadata(path).map_err(io)?;
    let header = File::open(path).and_then(|file| read_around(&file, 0, HEADER_BYTES)).map_err(io)?;
    let mut bytes = [0; HEADER_BYTES];
    bytes.iter_mut().zip(header.bytes).for_each(|(byte, read)| *byte = read);
    match judge_header(&bytes, id, first) {
        HeaderVerdict::Good => {}
        HeaderVerdict::Damaged => {
            tracing::error!(segment = %path.display(), "segment header is damaged, its records are read by themselves");
        }
        HeaderVerdict::Foreign(reason) => return Err(OpenError::Format { path: path.to_path_buf(), reason }),
    }
    let last_written = metadata.modified().map_err(io)?;
    Ok(SegmentFile { path: path.to_path_buf(), bytes: metadata.len(), last_written, generation: 0 })
}

fn list(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, OpenError> {
    let io = |source| OpenError::Io { path: dir.to_path_buf(), source };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let Some(first) = name.strip_suffix(".segment").and_then(|digits| digits.parse::<u64>().ok()) else {
            continue;
        };
        if fs::metadata(&path).map_err(io)?.len() >= HEADER_BYTES as u64 {
            found.insert(first, path);
        } else {
            // A crash between making a segment and writing its header leaves a short file that holds nothing.
            fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(found)
}

/// Replaces a small file so that after a crash it is either the old or the new one, whole.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes a folder and those on the way to it, durably: each new name is fsynced in the folder that has it. A new one is its
/// owner's alone, since what tenants send lies there; whoever lets others read says so by its mode, which stays.
pub fn make_folder(dir: impl AsRef<Path>) -> io::Result<()> {
    let dir = dir.as_ref();
    let new: Vec<&Path> =
        dir.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(dir)?;
    if !new.is_empty() {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    for parent in new.iter().rev().filter_map(|folder| folder.parent()) {
        sync_folder(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
