//! Where assets lie: `files/HASH`, `manifests/VERSION.json`, and `latest`, the name of the version that clients take.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientOptions, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode,
    PutPayload, RetryConfig,
};
use thiserror::Error;
use url::Url;

use crate::manifest::{Hash, Manifest, ManifestError, ManifestFile, Version};

/// How long a store may say nothing.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often and for how long an answer that may be another one in a moment is asked for again.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest manifest that is read into memory.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A folder or an S3-style service.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
}

/// Something to be read that never changes.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// A file.
    File(Hash),
    /// What a version is made of.
    Manifest(Version),
}

impl Object {
    fn path(&self) -> Path {
        Path::from(match self {
            Object::File(hash) => format!("files/{hash}"),
            Object::Manifest(version) => format!("manifests/{version}.json"),
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::File(hash) => write!(f, "file {hash}"),
            Object::Manifest(version) => write!(f, "version {version}"),
        }
    }
}

/// Why a store did not do what it was asked for.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It says something else than where assets are.
    #[error("{0:?} is neither a folder nor s3://BUCKET or s3://BUCKET/PREFIX")]
    Address(String),
    /// The folder cannot be made.
    #[error("the folder {} cannot be made", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// There is nothing of this name.
    #[error("there is no {0}")]
    Missing(String),
    /// The store failed, or refused.
    #[error("the store of assets failed: {0}")]
    Failed(#[source] object_store::Error),
    /// What lies there is no manifest of ours.
    #[error("the manifest of version {0} cannot be read: {1}")]
    Manifest(Version, String),
    /// The name of the latest version is none.
    #[error("`latest` names no version")]
    Latest(#[source] ManifestError),
}

impl Store {
    /// The store at `address`: a folder, which is made, or `s3://BUCKET/PREFIX`, for which the usual variables hold
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, and `AWS_ENDPOINT` for other services than Amazon's).
    pub fn open(address: &str) -> Result<Store, StoreError> {
        match address.strip_prefix("s3://") {
            Some(rest) => Store::s3(address, rest),
            None if address.is_empty() || address.contains("://") => {
                Err(StoreError::Address(address.to_owned()))
            }
            None => {
                let folder = PathBuf::from(address);
                std::fs::create_dir_all(&folder)
                    .map_err(|error| StoreError::Folder(folder.clone(), error))?;
                let files = LocalFileSystem::new_with_prefix(folder).map_err(StoreError::Failed)?;
                Ok(Store { objects: Arc::new(files.with_fsync(true)) })
            }
        }
    }

    fn s3(address: &str, rest: &str) -> Result<Store, StoreError> {
        let url = Url::parse(address).map_err(|_| StoreError::Address(address.to_owned()))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(StoreError::Address(address.to_owned()));
        }
        // One TLS for the whole program. Another part may have said so before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A download lasts as long as bytes come.
        let client = ClientOptions::new()
            .with_connect_timeout(TIMEOUT)
            .with_timeout_disabled()
            .with_read_timeout(TIMEOUT)
            .with_allow_http(true);
        let retry =
            RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
        let bucket =
            AmazonS3Builder::from_env().with_url(address).with_client_options(client).with_retry(retry);
        let bucket = bucket.build().map_err(StoreError::Failed)?;
        let objects: Arc<dyn ObjectStore> =
            match rest.split_once('/').map(|(_, prefix)| prefix.trim_end_matches('/')) {
                Some(prefix) if !prefix.is_empty() => Arc::new(PrefixStore::new(bucket, prefix)),
                _ => Arc::new(bucket),
            };
        Ok(Store { objects })
    }

    /// Size of what is there, in bytes.
    pub(crate) async fn size(&self, object: &Object) -> Result<u64, StoreError> {
        let found = self.objects.head(&object.path()).await;
        let ObjectMeta { size, .. } = found.map_err(|error| failed(error, || object.to_string()))?;
        Ok(size)
    }

    /// Something, or a part of it, as it comes.
    pub(crate) async fn get(
        &self,
        object: &Object,
        range: Option<GetRange>,
    ) -> Result<GetResult, StoreError> {
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.objects.get_opts(&object.path(), options).await;
        found.map_err(|error| failed(error, || object.to_string()))
    }

    /// Whether a file of this hash is there whole.
    pub(crate) async fn has(&self, file: &ManifestFile) -> Result<bool, StoreError> {
        match self.size(&Object::File(file.hash)).await {
            Ok(bytes) => Ok(bytes == file.bytes),
            Err(StoreError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A place to write a file to; nothing is there before the writer is shut down.
    pub(crate) fn file_writer(&self, hash: Hash) -> object_store::buffered::BufWriter {
        object_store::buffered::BufWriter::new(self.objects.clone(), Object::File(hash).path())
    }

    /// The manifest of a version.
    pub async fn manifest(&self, version: &Version) -> Result<Manifest, StoreError> {
        let wrong = |text: String| StoreError::Manifest(version.clone(), text);
        let found = self.get(&Object::Manifest(version.clone()), None).await?;
        if found.meta.size > MANIFEST_BYTES_MAX {
            return Err(wrong("it is too long".to_owned()));
        }
        let bytes = found.bytes().await.map_err(StoreError::Failed)?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        manifest.check().map_err(|error| wrong(error.to_string()))?;
        Ok(manifest)
    }

    /// Writes a manifest, unless its version has one: whether it was written.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<bool, StoreError> {
        let bytes = serde_json::to_vec(manifest)
            .map_err(|error| StoreError::Manifest(manifest.version.clone(), error.to_string()))?;
        let path = Object::Manifest(manifest.version.clone()).path();
        match self.objects.put_opts(&path, PutPayload::from(bytes), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// The version that clients take.
    pub async fn latest(&self) -> Result<Version, StoreError> {
        let found = self.objects.get(&latest_path()).await;
        let found = found.map_err(|error| failed(error, || "latest version".to_owned()))?;
        let bytes = found.bytes().await.map_err(StoreError::Failed)?;
        String::from_utf8_lossy(&bytes).trim().parse().map_err(StoreError::Latest)
    }

    /// Makes this the version that clients take.
    pub async fn set_latest(&self, version: &Version) -> Result<(), StoreError> {
        let payload = PutPayload::from(version.as_str().as_bytes().to_vec());
        self.objects.put(&latest_path(), payload).await.map_err(StoreError::Failed)?;
        Ok(())
    }
}

fn failed(error: object_store::Error, what: impl FnOnce() -> String) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::Missing(what()),
        error => StoreError::Failed(error),
    }
}

fn latest_path() -> Path {
    Path::from("latest")
}
