//! Where a table lies: a local folder, or a bucket.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use delta_kernel::committer::{Committer, FileSystemCommitter};
use url::Url;

use crate::TableError;
use crate::bucket::Bucket;
use crate::checkpoint::{HINT, checkpoint_name, discard_newest, hinted_version, sync_checkpoint};
use crate::committer::LocalCommitter;
use crate::engine::{Engine, local_engine, sync_file, sync_folder};

/// Where a table is to be opened.
#[derive(Debug, Clone)]
pub enum Location {
    /// In this folder.
    Folder(PathBuf),
    /// In a bucket.
    S3(S3Location),
}

/// A table in a bucket. Credentials come from the standard `AWS_…` variables, or from the machine's role.
#[derive(Debug, Clone)]
pub struct S3Location {
    /// `s3://bucket/prefix`.
    pub url: Url,
    /// Another endpoint than AWS's own, `AWS_ENDPOINT_URL` otherwise.
    pub endpoint: Option<String>,
    /// `AWS_REGION` otherwise, and `us-east-1` without it.
    pub region: Option<String>,
    /// Whether the bucket is named in the path rather than in the host's name.
    pub path_style: bool,
    /// Whether the endpoint may be plain HTTP.
    pub allow_http: bool,
    /// A local folder for files on their way and for pieces that were read; it is emptied when the table opens.
    pub local_dir: PathBuf,
    /// Bytes of pieces that were read, kept in that folder.
    pub cache_max_bytes: u64,
}

/// A file that was found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Relative to the table.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) age: Duration,
}

/// A place that is in use.
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket(Arc<Bucket>),
}

impl Place {
    /// Takes a place into use: its URL and the engine for it.
    pub(crate) fn take(location: &Location) -> Result<(Self, Url, Arc<Engine>), TableError> {
        match location {
            Location::Folder(dir) => {
                fs::create_dir_all(dir.join("_staged")).map_err(TableError::io(dir))?;
                let root = dir.canonicalize().map_err(TableError::io(dir))?;
                // The folder may be new.
                root.parent().map_or(Ok(()), sync_folder)?;
                let url = Url::from_directory_path(&root).map_err(|()| TableError::Folder(root.clone()))?;
                Ok((Self::Folder(root), url, local_engine()?))
            }
            Location::S3(location) => {
                let (bucket, url, engine) = Bucket::open(location)?;
                Ok((Self::Bucket(Arc::new(bucket)), url, engine))
            }
        }
    }

    pub(crate) fn has_commits(&self) -> Result<bool, TableError> {
        let entries = self.log_entries()?;
        Ok(entries.iter().any(|entry| entry.path.ends_with(".json")))
    }

    pub(crate) fn committer(&self) -> Box<dyn Committer> {
        match self {
            Self::Folder(root) => Box::new(LocalCommitter::new(root)),
            // Puts the commit only where there is none of its version.
            Self::Bucket(_) => Box::new(FileSystemCommitter::new()),
        }
    }

    /// Where a new file is written before it is finished.
    pub(crate) fn draft_path(&self, path: &str) -> Result<PathBuf, TableError> {
        let full = match self {
            Self::Folder(root) => root.join(path),
            Self::Bucket(bucket) => bucket.staging_dir().join(path.replace('/', "_")),
        };
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent).map_err(TableError::io(parent))?;
        }
        Ok(full)
    }

    /// Makes a written file durable under its path, and says how large it is.
    pub(crate) fn finish(&self, written: &Path, path: &str) -> Result<u64, TableError> {
        match self {
            Self::Folder(root) => {
                sync_file(written)?;
                // The folders on the way may be new, too.
                for folder in written.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
                    sync_folder(folder)?;
                }
                Ok(fs::metadata(written).map_err(TableError::io(written))?.len())
            }
            Self::Bucket(bucket) => bucket.upload(written, path),
        }
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), TableError> {
        match self {
            Self::Folder(root) => {
                let full = root.join(path);
                fs::remove_file(&full).map_err(TableError::io(&full))
            }
            Self::Bucket(bucket) => bucket.delete(path),
        }
    }

    /// Makes it durable that files are gone. In a bucket it always is.
    pub(crate) fn sync_deleted(&self, paths: &[String]) -> Result<(), TableError> {
        let Self::Folder(root) = self else { return Ok(()) };
        let folders: BTreeSet<PathBuf> =
            paths.iter().filter_map(|path| Some(root.join(path).parent()?.to_owned())).collect();
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// Deletes commits that were written but have no name of their own. Nobody may commit meanwhile.
    pub(crate) fn clear_staged(&self) -> Result<(), TableError> {
        // In a bucket a commit is put under its name.
        let Self::Folder(root) = self else { return Ok(()) };
        let mut staged = Vec::new();
        files_in(root, &root.join("_staged"), &mut staged)?;
        let staged: Vec<String> = staged.into_iter().map(|file| file.path).collect();
        staged.iter().try_for_each(|path| self.delete(path))?;
        self.sync_deleted(&staged)
    }

    /// The Parquet files; folders that begin with an underscore are not data.
    pub(crate) fn parquet_files(&self) -> Result<Vec<Found>, TableError> {
        let mut found = Vec::new();
        match self {
            Self::Folder(root) => walk(root, root, &mut found)?,
            Self::Bucket(bucket) => found = bucket.list(None)?,
        }
        found.retain(|file| file.path.ends_with(".parquet") && !file.path.split('/').any(|part| part.starts_with('_')));
        Ok(found)
    }

    /// The entries of the log.
    pub(crate) fn log_entries(&self) -> Result<Vec<Found>, TableError> {
        match self {
            Self::Folder(root) => {
                let log = root.join("_delta_log");
                let mut found = Vec::new();
                if log.exists() {
                    files_in(root, &log, &mut found)?;
                }
                Ok(found)
            }
            Self::Bucket(bucket) => bucket.list(Some("_delta_log")),
        }
    }

    /// The version that `_last_checkpoint` names, if that checkpoint is there.
    pub(crate) fn newest_checkpoint(&self) -> Result<Option<u64>, TableError> {
        let hint = match self {
            Self::Folder(root) => {
                let path = root.join("_delta_log").join(HINT);
                let mut text = Vec::new();
                match File::open(&path).and_then(|mut file| file.read_to_end(&mut text)) {
                    Ok(_) => Some(text),
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(error) => return Err(TableError::io(path)(error)),
                }
            }
            Self::Bucket(bucket) => bucket.get(&format!("_delta_log/{HINT}"))?,
        };
        let Some(version) = hint.as_deref().and_then(hinted_version) else { return Ok(None) };
        let name = format!("_delta_log/{}", checkpoint_name(version));
        Ok(self.log_entries()?.iter().any(|entry| entry.path == name).then_some(version))
    }

    /// Makes a checkpoint durable.
    pub(crate) fn finish_checkpoint(&self, version: u64) -> Result<(), TableError> {
        match self {
            Self::Folder(root) => sync_checkpoint(&root.join("_delta_log"), version),
            Self::Bucket(_) => Ok(()),
        }
    }

    /// Makes every commit durable that can be seen. In a bucket it always is.
    pub(crate) fn sync_log(&self) -> Result<(), TableError> {
        let Self::Folder(root) = self else { return Ok(()) };
        sync_folder(&root.join("_delta_log"))?;
        sync_folder(root)
    }

    /// Takes a checkpoint away that can't be read. In a bucket there is never half of one.
    pub(crate) fn discard_checkpoint(&self) -> Result<bool, TableError> {
        match self {
            Self::Folder(root) => discard_newest(&root.join("_delta_log")),
            Self::Bucket(_) => Ok(false),
        }
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Found>) -> Result<(), TableError> {
    files_in(root, folder, found)?;
    for entry in fs::read_dir(folder).map_err(TableError::io(folder))? {
        let entry = entry.map_err(TableError::io(folder))?;
        if entry.path().is_dir() && !entry.file_name().to_string_lossy().starts_with('_') {
            walk(root, &entry.path(), found)?;
        }
    }
    Ok(())
}

fn files_in(root: &Path, folder: &Path, found: &mut Vec<Found>) -> Result<(), TableError> {
    for entry in fs::read_dir(folder).map_err(TableError::io(folder))? {
        let path = entry.map_err(TableError::io(folder))?.path();
        let Some(relative) = path.strip_prefix(root).ok().and_then(Path::to_str) else { continue };
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            // It went since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(TableError::io(path)(error)),
        };
        if meta.is_file() {
            let modified = meta.modified().map_err(TableError::io(&path))?;
            found.push(Found { path: relative.to_owned(), size_bytes: meta.len(), age: age(modified) });
        }
    }
    Ok(())
}

/// A clock that was set back makes a file look young, which only keeps it longer.
pub(crate) fn age(modified: SystemTime) -> Duration {
    SystemTime::now().duration_since(modified).unwrap_or_default()
}
