//! A table in a bucket: uploads, reads through a local cache, listing.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path as ObjectPath;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, WriteMultipart};
use url::Url;

use crate::TableError;
use crate::engine::{Engine, Executor, engine_over, executor};
use crate::piece_cache::PieceCache;
use crate::place::{Found, S3Location, age};
use delta_kernel_default_engine::executor::TaskExecutor;

/// A file is uploaded in parts of this size, so that it need not be in memory.
const PART_BYTES: usize = 8 << 20;
/// Parts that are on their way at a time.
const PARTS_AT_ONCE: usize = 4;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request is given up after so long, its repetitions included; what asked for it is tried again later.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_RETRIES: usize = 5;

/// The objects below a prefix.
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    executor: Arc<Executor>,
    staging: PathBuf,
    cache: PieceCache,
}

impl Bucket {
    pub(crate) fn open(location: &S3Location) -> Result<(Self, Url, Arc<Engine>), TableError> {
        let mut url = location.url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let store: Arc<dyn ObjectStore> = Arc::new(client(location)?);
        let staging = location.local_dir.join("staged");
        // What a crash left on its way was never committed.
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(TableError::io(staging)(error)),
            _ => {}
        }
        fs::create_dir_all(&staging).map_err(TableError::io(&staging))?;
        let cache = PieceCache::open(&location.local_dir.join("cache"), location.cache_max_bytes)?;
        let executor = executor()?;
        let engine = engine_over(Arc::clone(&store), Arc::clone(&executor));
        let prefix = ObjectPath::from_url_path(url.path()).map_err(|error| TableError::Url(error.to_string()))?;
        Ok((Self { store, prefix, executor, staging, cache }, url, engine))
    }

    pub(crate) fn staging_dir(&self) -> &Path {
        &self.staging
    }

    fn object(&self, path: &str) -> ObjectPath {
        path.split('/').fold(self.prefix.clone(), ObjectPath::join)
    }

    fn relative(&self, object: &ObjectPath) -> Option<String> {
        let parts: Vec<_> = object.prefix_match(&self.prefix)?.collect();
        Some(parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/"))
    }

    /// Uploads a local file, and removes it then.
    pub(crate) fn upload(&self, written: &Path, path: &str) -> Result<u64, TableError> {
        let (store, object, local) = (Arc::clone(&self.store), self.object(path), written.to_owned());
        let size = self.executor.block_on(async move { upload(&*store, &object, &local).await })?;
        fs::remove_file(written).map_err(TableError::io(written))?;
        Ok(size)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), TableError> {
        let (store, object) = (Arc::clone(&self.store), self.object(path));
        match self.executor.block_on(async move { store.delete(&object).await }) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// An object's content; `None` where there is none.
    pub(crate) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, TableError> {
        let (store, object) = (Arc::clone(&self.store), self.object(path));
        match self.executor.block_on(async move { store.get(&object).await?.bytes().await }) {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All objects below a folder of the table, or of all of it.
    pub(crate) fn list(&self, folder: Option<&str>) -> Result<Vec<Found>, TableError> {
        let store = Arc::clone(&self.store);
        let prefix = folder.map_or_else(|| self.prefix.clone(), |folder| self.object(folder));
        let listed: Vec<_> = self.executor.block_on(async move { store.list(Some(&prefix)).try_collect().await })?;
        let found = listed.into_iter().filter_map(|meta: object_store::ObjectMeta| {
            let path = self.relative(&meta.location)?;
            Some(Found { path, size_bytes: meta.size, age: age(meta.last_modified.into()) })
        });
        Ok(found.collect())
    }

    /// Reads a piece of an object of a known size, through the cache.
    pub(crate) fn read_at(&self, path: &str, size: u64, offset: u64, length: usize) -> Result<Bytes, TableError> {
        self.cache.read(path, size, offset, length, |range| {
            let (store, object) = (Arc::clone(&self.store), self.object(path));
            Ok(self.executor.block_on(async move { store.get_range(&object, range).await })?)
        })
    }
}

fn client(location: &S3Location) -> Result<object_store::aws::AmazonS3, TableError> {
    let client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(location.allow_http);
    let retry = RetryConfig { max_retries: MAX_RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env()
        .with_url(location.url.as_str())
        .with_client_options(client)
        .with_retry(retry)
        .with_virtual_hosted_style_request(!location.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    if let Some(endpoint) = &location.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &location.region {
        builder = builder.with_region(region);
    }
    Ok(builder.build()?)
}

async fn upload(store: &dyn ObjectStore, object: &ObjectPath, local: &Path) -> Result<u64, TableError> {
    let mut file = File::open(local).map_err(TableError::io(local))?;
    let size = file.metadata().map_err(TableError::io(local))?.len();
    if size <= PART_BYTES as u64 {
        let mut content = Vec::with_capacity(size as usize);
        file.read_to_end(&mut content).map_err(TableError::io(local))?;
        store.put(object, PutPayload::from(content)).await?;
        return Ok(size);
    }
    let mut multipart = WriteMultipart::new_with_chunk_size(store.put_multipart(object).await?, PART_BYTES);
    let mut left = size;
    while left > 0 {
        let mut part = vec![0; left.min(PART_BYTES as u64) as usize];
        file.read_exact(&mut part).map_err(TableError::io(local))?;
        left -= part.len() as u64;
        multipart.wait_for_capacity(PARTS_AT_ONCE).await?;
        multipart.put(Bytes::from(part));
    }
    multipart.finish().await?;
    Ok(size)
}
