//! Segment files: their form, and what opening does about damage. `FORMAT.md` describes the bytes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{MAX_RECORD_BYTES, OpenError};

pub(crate) const MAGIC: [u8; 4] = *b"TSJL";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 36;
pub(crate) const RECORD_HEADER_BYTES: usize = 16;

/// What is known of a segment without reading it.
#[derive(Debug, Clone)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) last_written: SystemTime,
}

/// What [`open_all`] found.
pub(crate) struct Opened {
    pub(crate) segments: BTreeMap<u64, SegmentFile>,
    pub(crate) end: u64,
    pub(crate) damaged_bytes: u64,
}

pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.segment"))
}

/// The header of a segment that begins at position `first`.
pub(crate) fn header(id: u128, first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (body, crc) = bytes.split_at_mut(32);
    let fields = [&MAGIC[..], &VERSION.to_le_bytes(), &id.to_le_bytes(), &first.to_le_bytes()].concat();
    body.copy_from_slice(&fields);
    crc.copy_from_slice(&crc32fast::hash(&fields).to_le_bytes());
    bytes
}

/// Appends a record's bytes to `buffer`.
pub(crate) fn encode_record(buffer: &mut Vec<u8>, position: u64, payload: &[u8]) {
    let length = payload.len() as u32; // bounded by MAX_RECORD_BYTES when it was queued
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&record_crc(position, payload).to_le_bytes());
    buffer.extend_from_slice(&position.to_le_bytes());
    buffer.extend_from_slice(payload);
}

/// A record's header, as read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordHeader {
    pub(crate) length: usize,
    pub(crate) crc: u32,
    pub(crate) position: u64,
}

impl RecordHeader {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (position, _) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let position = u64::from_le_bytes(*position);
        let plausible = length <= MAX_RECORD_BYTES && position > 0;
        plausible.then_some(Self { length, crc: u32::from_le_bytes(*crc), position })
    }

    pub(crate) fn verifies(&self, payload: &[u8]) -> bool {
        payload.len() == self.length && record_crc(self.position, payload) == self.crc
    }
}

fn record_crc(position: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(payload.len() as u64).to_le_bytes());
    hasher.update(&position.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The offset of the next valid record at or behind `from` whose position is above `after`.
pub(crate) fn find_record(bytes: &[u8], from: usize, after: u64) -> Option<(usize, RecordHeader)> {
    (from..bytes.len().saturating_sub(RECORD_HEADER_BYTES - 1)).find_map(|offset| {
        let header = RecordHeader::parse(bytes.get(offset..)?)?;
        let payload = offset + RECORD_HEADER_BYTES;
        let valid = header.position > after && header.verifies(bytes.get(payload..payload + header.length)?);
        valid.then_some((offset, header))
    })
}

/// Opens a journal's segments: cuts a torn tail off the last one, and says where the journal ends.
pub(crate) fn open_all(dir: &Path, id: u128) -> Result<Opened, OpenError> {
    let mut opened = Opened { segments: BTreeMap::new(), end: 0, damaged_bytes: 0 };
    for (first, path) in list(dir)? {
        let io = |source| OpenError::Io { path: path.clone(), source };
        let metadata = fs::metadata(&path).map_err(io)?;
        let last_written = metadata.modified().map_err(io)?;
        check_header(&path, id, first)?;
        opened.segments.insert(first, SegmentFile { path: path.clone(), bytes: metadata.len(), last_written });
    }
    if let Some((first, segment)) = opened.segments.last_key_value().map(|(f, s)| (*f, s.clone())) {
        let io = |source| OpenError::Io { path: segment.path.clone(), source };
        let scan = scan(&fs::read(&segment.path).map_err(io)?, first);
        opened.damaged_bytes += scan.damaged_bytes;
        if scan.damaged_bytes > 0 {
            tracing::error!(segment = %segment.path.display(), bytes = scan.damaged_bytes, "journal segment is damaged");
        }
        if scan.valid_bytes < segment.bytes {
            tracing::warn!(segment = %segment.path.display(), bytes = segment.bytes - scan.valid_bytes, "cut a torn tail");
            let file = OpenOptions::new().write(true).open(&segment.path).map_err(io)?;
            file.set_len(scan.valid_bytes).and_then(|()| file.sync_all()).map_err(io)?;
            if let Some(segment) = opened.segments.get_mut(&first) {
                segment.bytes = scan.valid_bytes;
            }
        }
        opened.end = scan.last.unwrap_or(first - 1);
    }
    Ok(opened)
}

/// What a segment's bytes hold.
struct Scan {
    last: Option<u64>,
    valid_bytes: u64,
    damaged_bytes: u64,
}

fn scan(bytes: &[u8], first: u64) -> Scan {
    let mut scan = Scan { last: None, valid_bytes: HEADER_BYTES as u64, damaged_bytes: 0 };
    let mut offset = HEADER_BYTES;
    let mut after = first - 1;
    while let Some((found, header)) = find_record(bytes, offset, after) {
        scan.damaged_bytes += (found - offset) as u64;
        offset = found + RECORD_HEADER_BYTES + header.length;
        after = header.position;
        scan.last = Some(after);
        scan.valid_bytes = offset as u64;
    }
    scan
}

fn list(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, OpenError> {
    let io = |source| OpenError::Io { path: dir.to_path_buf(), source };
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let first = name.strip_suffix(".segment").and_then(|digits| digits.parse::<u64>().ok());
        match first {
            // A crash between creating a segment and writing its header leaves a short file that holds nothing.
            Some(_) if fs::metadata(&path).map_err(io)?.len() < HEADER_BYTES as u64 => {
                fs::remove_file(&path).map_err(io)?;
            }
            Some(first) => drop(found.insert(first, path)),
            None => {}
        }
    }
    Ok(found)
}

fn check_header(path: &Path, id: u128, first: u64) -> Result<(), OpenError> {
    let mut bytes = [0; HEADER_BYTES];
    let io = |source| OpenError::Io { path: path.to_path_buf(), source };
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(io)?;
    if bytes == header(id, first) {
        return Ok(());
    }
    let version = bytes.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let reason = match () {
        () if !bytes.starts_with(&MAGIC) => "is no journal segment",
        () if version != Some(VERSION) => "has a version that this release does not read",
        () => "belongs to another journal, or its header is damaged",
    };
    Err(OpenError::Format { path: path.to_path_buf(), reason })
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

/// Replaces a small file so that after a crash it is either the old or the new one, whole.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
