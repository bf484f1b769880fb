use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use delta_kernel::committer::{CommitMetadata, CommitResponse, Committer, PublishMetadata};
use delta_kernel::{Engine, FileMeta, FilteredEngineData, KernelError, KernelResult, KernelResultIterator};
use url::Url;

/// Commits to a local folder so that a power cut can't leave half a commit: the kernel's own committer does not fsync.
#[derive(Debug)]
pub(crate) struct LocalCommitter {
    root: PathBuf,
}

impl LocalCommitter {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

fn failed(path: &Path, error: &io::Error) -> KernelError {
    KernelError::generic(format!("{}: {error}", path.display()))
}

fn sync(path: &Path) -> KernelResult<()> {
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(|error| failed(path, &error))
}

impl Committer for LocalCommitter {
    fn commit(
        &self,
        engine: &dyn Engine,
        actions: KernelResultIterator<'_, FilteredEngineData>,
        metadata: CommitMetadata,
    ) -> KernelResult<CommitResponse> {
        let version = metadata.version();
        let published = metadata.published_commit_path()?;
        let log = self.root.join("_delta_log");
        let path = log.join(format!("{version:020}.json"));
        // A leading underscore hides the folder from every reader of Delta tables.
        let staged = self.root.join("_staged").join(format!("{version:020}.json"));
        let staged_url = Url::from_file_path(&staged).map_err(|()| KernelError::generic("table folder is relative"))?;

        let written = engine.json_handler().write_json_file(&staged_url, Box::new(actions), true)?;
        sync(&staged)?;
        fs::create_dir_all(&log).map_err(|error| failed(&log, &error))?;
        match fs::hard_link(&staged, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(CommitResponse::Conflict { version });
            }
            Err(error) => return Err(failed(&path, &error)),
        }
        sync(&log)?;
        sync(&self.root)?;
        // What is left of a staged file does no harm; it is overwritten or expires.
        let _ = fs::remove_file(&staged);
        let file_meta = FileMeta::new(published, metadata.in_commit_timestamp(), written);
        Ok(CommitResponse::Committed { file_meta })
    }

    fn is_catalog_committer(&self) -> bool {
        false
    }

    fn publish(&self, _engine: &dyn Engine, metadata: PublishMetadata) -> KernelResult<()> {
        if metadata.commits_to_publish().is_empty() {
            return Ok(());
        }
        Err(KernelError::generic("a local table has no catalog commits to publish"))
    }
}
