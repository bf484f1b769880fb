use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::{LiveFile, Table, TableError};

/// A file of a table, open for reading pieces. It stays readable after its removal until it expires.
#[derive(Debug)]
pub struct FileReader {
    path: PathBuf,
    size_bytes: u64,
    file: File,
}

impl FileReader {
    /// The file's size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Reads a piece. Blocks.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, TableError> {
        let mut piece = vec![0; length];
        self.file.read_exact_at(&mut piece, offset).map_err(TableError::io(&self.path))?;
        Ok(piece.into())
    }
}

impl Table {
    /// Opens a file of the table.
    pub fn open_file(&self, file: &LiveFile) -> Result<FileReader, TableError> {
        let path = self.root.join(&file.path);
        let opened = File::open(&path).map_err(TableError::io(&path))?;
        Ok(FileReader { path, size_bytes: file.size_bytes, file: opened })
    }
}
