//! Client assets: what a studio's clients download. A file is kept under the SHA-256 of its content, and a version is a
//! manifest of paths and hashes, so that what two versions share is kept and downloaded once, and what was published is
//! never changed.
//!
//! Both lie in an object store: a folder, or an S3-style service ([`Store`]). [`publish`] writes a version there from a
//! folder of files; [`serve`] hands files and manifests out over HTTP, whole or in ranges, to be cached for ever.
//! Nothing here knows the game, and nothing is kept in memory but what is being passed on.

mod manifest;
mod publish;
mod serve;
mod store;

pub use manifest::{FILES_MAX, Hash, Manifest, ManifestError, ManifestFile, Version};
pub use publish::{PublishError, Published, publish};
pub use serve::serve;
pub use store::{Store, StoreError};
