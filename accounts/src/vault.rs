//! Seals what must be kept and read again (keys and shared secrets) under a key that lies beside the database, not in it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::problem::Problem;
use crate::secret::random;

const KEY_BYTES: usize = 32;

/// Why the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It cannot be read or written.
    #[error("the key file {} cannot be used: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("the key file {} does not hold {KEY_BYTES} bytes: put the right one back; without it no second factor can be checked", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The kernel has no random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
}

/// What was sealed cannot be opened: it was sealed under another key or for something else, or it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret cannot be opened: was the key file exchanged?")]
pub struct OpenError;

/// Seals and opens.
pub struct Vault {
    key: LessSafeKey,
}

impl Vault {
    /// With the key in this file, which is made, readable to its owner alone, where it is absent.
    pub fn open(path: &Path) -> Result<Vault, VaultError> {
        let failed = |source| VaultError::Io { path: path.into(), source };
        let key = match fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; KEY_BYTES];
                SystemRandom::new().fill(&mut key).map_err(|_| VaultError::Random)?;
                let mut file =
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
                let folder =
                    path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
                fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
                key.to_vec()
            }
            Err(error) => return Err(failed(error)),
        };
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| VaultError::Damaged { path: path.into() })?;
        Ok(Vault::with_key(&key))
    }

    /// With this key.
    fn with_key(key: &[u8; KEY_BYTES]) -> Vault {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the key has the cipher's length");
        Vault { key: LessSafeKey::new(key) }
    }

    /// Seals a secret for one place, which it can then be opened for alone.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<String, Problem> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
            .expect("a secret is far shorter than what the cipher takes");
        sealed.splice(..0, nonce);
        Ok(STANDARD_NO_PAD.encode(sealed))
    }

    /// Opens what was sealed for this place.
    pub fn unseal(&self, place: &str, sealed: &str) -> Result<Vec<u8>, OpenError> {
        let mut bytes = STANDARD_NO_PAD.decode(sealed).map_err(|_| OpenError)?;
        let (nonce, secret) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or(OpenError)?;
        let opened = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), secret)
            .map_err(|_| OpenError)?;
        Ok(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_place_only() {
        let vault = Vault::with_key(&[7; 32]);
        let sealed = vault.seal("second_factor 1", b"secret").unwrap();
        assert_eq!(vault.unseal("second_factor 1", &sealed).unwrap(), b"secret");
        assert_ne!(vault.seal("second_factor 1", b"secret").unwrap(), sealed);
        assert_eq!(vault.unseal("second_factor 2", &sealed), Err(OpenError));
        assert_eq!(Vault::with_key(&[8; 32]).unseal("second_factor 1", &sealed), Err(OpenError));
        for bad in ["", "AAAA", "not base64!", &sealed[1..]] {
            assert_eq!(vault.unseal("second_factor 1", bad), Err(OpenError), "{bad}");
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let sealed = Vault::open(&path).unwrap().seal("x", b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Vault::open(&path).unwrap().unseal("x", &sealed).unwrap(), b"secret");
        fs::write(&path, b"short").unwrap();
        assert!(matches!(Vault::open(&path), Err(VaultError::Damaged { .. })));
        assert!(matches!(Vault::open(&dir.path().join("none/key")), Err(VaultError::Io { .. })));
    }
}
