use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::bucket::Bucket;
use crate::place::Place;
use crate::{LiveFile, Table, TableError};

/// A file of a table, open for reading pieces. In a folder it stays readable for whoever has it open.
pub struct FileReader {
    size_bytes: u64,
    source: Source,
}

enum Source {
    File(PathBuf, File),
    Object(String, Arc<Bucket>),
}

impl std::fmt::Debug for FileReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = match &self.source {
            Source::File(path, _) => path.display().to_string(),
            Source::Object(path, _) => path.clone(),
        };
        formatter.debug_struct("FileReader").field("path", &path).finish_non_exhaustive()
    }
}

impl FileReader {
    /// The file's size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads a piece, which must lie within the file: whatever a damaged file says, no more is allocated. Blocks.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, TableError> {
        let end = offset.checked_add(length as u64);
        match &self.source {
            Source::File(path, _) if end.is_none_or(|end| end > self.size_bytes) => {
                Err(TableError::Short { path: path.display().to_string() })
            }
            Source::File(path, file) => {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, offset).map_err(TableError::io(path))?;
                Ok(piece.into())
            }
            Source::Object(path, bucket) => bucket.read_at(path, self.size_bytes, offset, length),
        }
    }
}

impl Table {
    /// Opens a file of the table.
    pub fn open_file(&self, file: &LiveFile) -> Result<FileReader, TableError> {
        let source = match &self.place {
            Place::Folder(root) => {
                let path = root.join(&file.path);
                let opened = File::open(&path).map_err(TableError::io(&path))?;
                Source::File(path, opened)
            }
            Place::Bucket(bucket) => Source::Object(file.path.clone(), Arc::clone(bucket)),
        };
        Ok(FileReader { size_bytes: file.size_bytes, source })
    }
}
