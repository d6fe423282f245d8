//! What a version is made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most files of a version.
pub const FILES_MAX: usize = 100_000;
/// Longest path of a file, in bytes.
const PATH_BYTES_MAX: usize = 512;
/// Longest name of a version, in bytes.
const VERSION_BYTES_MAX: usize = 64;

/// SHA-256 of a file's content; 64 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

/// The name of a version: letters, digits, `.`, `_` and `-`, at most 64, none of the last three first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// The files of a version, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name.
    pub version: Version,
    /// In the order of their paths, each once.
    pub files: Vec<ManifestFile>,
}

/// A file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Where a client puts it: relative, with `/` between folders.
    pub path: String,
    /// Of its content.
    pub hash: Hash,
    /// Of its content.
    pub bytes: u64,
}

/// What is wrong with a manifest, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// No hash.
    #[error("{0:?} is not 64 hexadecimal digits in lower case")]
    Hash(String),
    /// No name of a version.
    #[error(
        "{0:?} is no name of a version: letters, digits, '.', '_', '-', at most 64, a letter or digit first"
    )]
    Version(String),
    /// A path that might lead elsewhere, or that not every system can have.
    #[error(
        "{0:?} is no path of an asset: relative, at most 512 bytes, none of \\ : * ? \" < > | or control characters, no part \
             that is empty, \".\" or \"..\" or ends in a dot or a space"
    )]
    Path(String),
    /// Not in order, or twice; systems that know no case would mix two files up.
    #[error("{0:?} is there twice, or differs from another path in case only, or is out of order")]
    Twice(String),
    /// Too many.
    #[error("{0} files are too many for one version, {FILES_MAX} are the most")]
    TooMany(usize),
}

impl Manifest {
    /// A version of these files, in any order.
    pub fn new(version: Version, mut files: Vec<ManifestFile>) -> Result<Manifest, ManifestError> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest { version, files };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether a manifest that was read is one.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.files.len() > FILES_MAX {
            return Err(ManifestError::TooMany(self.files.len()));
        }
        let mut folded = std::collections::HashSet::with_capacity(self.files.len());
        let mut before: Option<&str> = None;
        for file in &self.files {
            let path = file.path.as_str();
            check_path(path)?;
            if before.is_some_and(|before| before >= path) || !folded.insert(path.to_lowercase()) {
                return Err(ManifestError::Twice(path.to_owned()));
            }
            before = Some(path);
        }
        Ok(())
    }
}

fn check_path(path: &str) -> Result<(), ManifestError> {
    let is_bad = |part: &str| {
        part.is_empty()
            || part == "."
            || part == ".."
            || part.ends_with(['.', ' '])
            || part.chars().any(|c| c.is_control() || "\\:*?\"<>|".contains(c))
    };
    if path.len() > PATH_BYTES_MAX || path.split('/').any(is_bad) {
        return Err(ManifestError::Path(path.to_owned()));
    }
    Ok(())
}

impl Version {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Version {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Version, ManifestError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if begins_well && text.len() <= VERSION_BYTES_MAX && text.bytes().all(is_word) {
            Ok(Version(text.to_owned()))
        } else {
            Err(ManifestError::Version(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Version {
    type Error = ManifestError;

    fn try_from(text: String) -> Result<Version, ManifestError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Hash {
    type Err = ManifestError;

    fn from_str(text: &str) -> Result<Hash, ManifestError> {
        let wrong = || ManifestError::Hash(text.to_owned());
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        if text.len() != 64 {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Ok(Hash(hash))
    }
}

impl TryFrom<String> for Hash {
    type Error = ManifestError;

    fn try_from(text: String) -> Result<Hash, ManifestError> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str) -> ManifestFile {
        ManifestFile { path: path.into(), hash: Hash([7; 32]), bytes: 1 }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        for path in ["a", "a/b.bin", "zone 1/tiles.png", ".hidden", "ä/ö", "a..b/c"] {
            assert_eq!(check_path(path), Ok(()), "{path:?}");
        }
        let long = "x".repeat(513);
        for path in [
            "", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", "a\\b", "c:a", "a\0", "a\nb",
            "a?", "a*", "a.", "a ", "a /b", "a|b", "<a", &long,
        ] {
            assert_eq!(check_path(path), Err(ManifestError::Path(path.into())), "{path:?}");
        }
    }

    #[test]
    fn versions_are_words() {
        for version in ["1", "1.2.3", "2026-11-21_b"] {
            assert_eq!(version.parse::<Version>().unwrap().as_str(), version);
        }
        for version in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(version.parse::<Version>().is_err(), "{version:?}");
        }
    }

    #[test]
    fn a_manifest_has_each_path_once_whatever_the_case() {
        let version: Version = "1".parse().unwrap();
        let manifest = Manifest::new(version.clone(), vec![file("b"), file("a/x"), file("a")]).unwrap();
        assert_eq!(
            manifest.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["a", "a/x", "b"]
        );
        for paths in [["a", "a"], ["a", "A"], ["Ä", "ä"]] {
            let twice = Manifest::new(version.clone(), paths.map(file).to_vec());
            assert!(matches!(twice, Err(ManifestError::Twice(_))), "{paths:?}");
        }
        let backwards = Manifest { version, files: vec![file("b"), file("a")] };
        assert!(backwards.check().is_err());
    }

    proptest! {
        #[test]
        fn hashes_come_back_from_their_text(bytes: [u8; 32]) {
            prop_assert_eq!(Hash(bytes).to_string().parse(), Ok(Hash(bytes)));
        }

        #[test]
        fn no_text_is_a_hash_but_its_own(text in "[0-9a-fA-F]{62,66}|.{0,70}") {
            if let Ok(hash) = text.parse::<Hash>() {
                prop_assert_eq!(hash.to_string(), text);
            }
        }
    }
}
