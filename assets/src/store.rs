//! Where assets lie: `files/HASH`, `manifests/VERSION.json`, and `latest`, the name of the version that clients take.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    ClientOptions, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload,
    RetryConfig,
};
use thiserror::Error;
use url::Url;

use crate::manifest::{Hash, Manifest, ManifestError, Version};

/// How long a store may say nothing.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How often and for how long an answer that may be another one in a moment is asked for again.
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A folder or an S3-style service.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
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
        let client =
            ClientOptions::new().with_connect_timeout(TIMEOUT).with_timeout(TIMEOUT).with_allow_http(true);
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

    /// Size of a file, if it is there.
    pub(crate) async fn file_bytes(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&file_path(hash)).await {
            Ok(ObjectMeta { size, .. }) => Ok(Some(size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::Failed(error)),
        }
    }

    /// A file, or a part of it, as it comes.
    pub(crate) async fn file(&self, hash: Hash, range: Option<GetRange>) -> Result<GetResult, StoreError> {
        let options = GetOptions { range, ..GetOptions::default() };
        self.objects
            .get_opts(&file_path(hash), options)
            .await
            .map_err(|error| failed(error, || format!("file {hash}")))
    }

    /// A place to write a file to; nothing is there before the writer is shut down.
    pub(crate) fn file_writer(&self, hash: Hash) -> object_store::buffered::BufWriter {
        object_store::buffered::BufWriter::new(self.objects.clone(), file_path(hash))
    }

    /// The manifest of a version, as it was written.
    pub(crate) async fn manifest_bytes(&self, version: &Version) -> Result<Vec<u8>, StoreError> {
        let found = self.objects.get(&manifest_path(version)).await;
        let found = found.map_err(|error| failed(error, || format!("version {version}")))?;
        if found.meta.size > MANIFEST_BYTES_MAX {
            return Err(StoreError::Manifest(version.clone(), "it is too long".to_owned()));
        }
        Ok(found.bytes().await.map_err(StoreError::Failed)?.into())
    }

    /// The manifest of a version.
    pub async fn manifest(&self, version: &Version) -> Result<Manifest, StoreError> {
        let bytes = self.manifest_bytes(version).await?;
        let wrong = |text: String| StoreError::Manifest(version.clone(), text);
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        manifest.check().map_err(|error| wrong(error.to_string()))?;
        Ok(manifest)
    }

    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(manifest)
            .map_err(|error| StoreError::Manifest(manifest.version.clone(), error.to_string()))?;
        let path = manifest_path(&manifest.version);
        self.objects.put(&path, PutPayload::from(bytes)).await.map_err(StoreError::Failed)?;
        Ok(())
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

fn file_path(hash: Hash) -> Path {
    Path::from(format!("files/{hash}"))
}

fn manifest_path(version: &Version) -> Path {
    Path::from(format!("manifests/{version}.json"))
}

fn latest_path() -> Path {
    Path::from("latest")
}
