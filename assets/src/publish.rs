//! From a folder of files to a version in the store.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::manifest::{Hash, Manifest, ManifestError, ManifestFile, Version};
use crate::store::{Store, StoreError};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The version.
    pub version: Version,
    /// Its files.
    pub files: usize,
    /// Of all of them.
    pub bytes: u64,
    /// Files that the store did not have yet.
    pub files_new: usize,
    /// Of those.
    pub bytes_new: u64,
}

/// Why nothing was published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is to be published is no version.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file cannot be read.
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A name that is not Unicode, or something that is neither file nor folder.
    #[error("{} is neither a file nor a folder with a name in Unicode", .0.display())]
    Kind(PathBuf),
    /// A file was another when it was read again.
    #[error("{} changed while it was published: publish again", .0.display())]
    Changed(PathBuf),
    /// There is nothing to publish.
    #[error("{} has no files", .0.display())]
    Empty(PathBuf),
    /// The version is there with other files.
    #[error(
        "version {0} is published already, with other files: a version never changes, give this one another name"
    )]
    Taken(Version),
}

/// Publishes the files in `folder` as `version`, and makes it the latest if `is_latest`. `progress` is told how many files of
/// how many are there. The manifest comes last: what fails leaves no version behind, and can be done again.
pub async fn publish(
    store: &Store,
    folder: &Path,
    version: Version,
    is_latest: bool,
    mut progress: impl FnMut(usize, usize),
) -> Result<Published, PublishError> {
    let found = list(folder).await?;
    if found.is_empty() {
        return Err(PublishError::Empty(folder.to_owned()));
    }
    let mut files = Vec::with_capacity(found.len());
    for path in &found {
        let (hash, bytes) = hash_file(&folder.join(path)).await?;
        files.push(ManifestFile { path: path.clone(), hash, bytes });
    }
    let manifest = Manifest::new(version, files)?;
    match store.manifest(&manifest.version).await {
        Ok(there) if there == manifest => {}
        Ok(_) => return Err(PublishError::Taken(manifest.version)),
        Err(StoreError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let bytes = manifest.files.iter().map(|file| file.bytes).sum();
    let mut published = Published {
        version: manifest.version.clone(),
        files: found.len(),
        bytes,
        files_new: 0,
        bytes_new: 0,
    };
    for (nth, file) in manifest.files.iter().enumerate() {
        if !store.has(file).await? {
            upload(store, &folder.join(&file.path), file).await?;
            published.files_new += 1;
            published.bytes_new += file.bytes;
        }
        progress(nth + 1, manifest.files.len());
    }
    // Another may have published the version meanwhile.
    if !store.put_manifest(&manifest).await? && store.manifest(&manifest.version).await? != manifest {
        return Err(PublishError::Taken(manifest.version));
    }
    if is_latest {
        store.set_latest(&manifest.version).await?;
    }
    Ok(published)
}

/// The files in a folder and below, by paths with `/` between folders.
async fn list(folder: &Path) -> Result<Vec<String>, PublishError> {
    let (mut files, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(below) = folders.pop() {
        let path = folder.join(&below);
        let unread = |error| PublishError::Read(path.clone(), error);
        let mut entries = fs::read_dir(&path).await.map_err(unread)?;
        while let Some(entry) = entries.next_entry().await.map_err(unread)? {
            let odd = || PublishError::Kind(entry.path());
            let name = entry.file_name().into_string().map_err(|_| odd())?;
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            let kind = entry.file_type().await.map_err(unread)?;
            // A link may lead out of the folder.
            match (kind.is_dir(), kind.is_file()) {
                (true, _) => folders.push(path),
                (_, true) => files.push(path),
                _ => return Err(odd()),
            }
        }
    }
    Ok(files)
}

async fn hash_file(path: &Path) -> Result<(Hash, u64), PublishError> {
    let mut hasher = Hasher::default();
    read(path, async |chunk| {
        hasher.add(chunk);
        Ok(())
    })
    .await?;
    Ok(hasher.finish())
}

/// Uploads a file, which must still be what it was.
async fn upload(store: &Store, path: &Path, file: &ManifestFile) -> Result<(), PublishError> {
    let (mut writer, mut hasher) = (store.file_writer(file.hash), Hasher::default());
    let write = read(path, async |chunk| {
        hasher.add(chunk);
        writer.write_all(chunk).await.map_err(store_failed)
    });
    let written = write.await;
    if let Err(error) = written {
        abort(&mut writer).await;
        return Err(error);
    }
    if hasher.finish() != (file.hash, file.bytes) {
        abort(&mut writer).await;
        return Err(PublishError::Changed(path.to_owned()));
    }
    writer.shutdown().await.map_err(store_failed)
}

/// Takes back what was uploaded in part; where that fails too, the store drops it in time.
async fn abort(writer: &mut object_store::buffered::BufWriter) {
    if let Err(error) = writer.abort().await {
        tracing::debug!(%error, "an upload was not taken back");
    }
}

fn store_failed(error: io::Error) -> PublishError {
    StoreError::Failed(object_store::Error::Generic { store: "assets", source: error.into() }).into()
}

/// Reads a file chunk by chunk.
async fn read(
    path: &Path,
    mut take: impl AsyncFnMut(&[u8]) -> Result<(), PublishError>,
) -> Result<(), PublishError> {
    let unread = |error| PublishError::Read(path.to_owned(), error);
    let mut file = File::open(path).await.map_err(unread)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk).await.map_err(unread)? {
            0 => return Ok(()),
            bytes => take(&chunk[..bytes]).await?,
        }
    }
}

#[derive(Default)]
struct Hasher {
    sha256: Sha256,
    bytes: u64,
}

impl Hasher {
    fn add(&mut self, chunk: &[u8]) {
        self.sha256.update(chunk);
        self.bytes += chunk.len() as u64;
    }

    fn finish(self) -> (Hash, u64) {
        (Hash(self.sha256.finalize().into()), self.bytes)
    }
}
