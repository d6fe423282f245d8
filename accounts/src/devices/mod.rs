//! Devices that sign in by a key of their own, and tell each other what happened.
//!
//! A signed-in person enrols a device's Ed25519 key. From then on the device signs in by it: over HTTP ([`challenge`]) or by the
//! handshake of a link, a WebSocket ([`handshake`], [`frames`]), over which an account's devices also exchange events
//! ([`events`], [`links`]). `docs/devices.md` is the protocol.
//!
//! What is sent by a device of one account never reaches one of another: the account is that of the device that signed in, and no
//! message names one.
//!
//! Memory: [`links::LINKS_MAX`] links with [`links::QUEUE_MAX`] events each, shared between the links of an account. Rows of an
//! account: [`enrolled::DEVICES_MAX`] devices, [`events::STREAMS_MAX`] streams of [`events::EVENTS_MAX`] events, and a cursor for
//! each device and stream.

pub mod bans;
pub mod challenge;
pub mod enrolled;
pub mod events;
pub mod frames;
pub mod handshake;
pub mod keys;
pub(crate) mod link;
pub mod links;
pub mod measure;

use vyuha_store::sql::SqlTransaction;

use self::challenge::Challenges;
use self::keys::KeyPair;
use self::links::Links;
use crate::problem::{Code, Problem};
use crate::secret::{hex, random};
use crate::vault::Vault;

/// What the service has for devices.
pub struct Devices {
    /// The key by which devices know this server.
    pub(crate) key: KeyPair,
    pub(crate) challenges: Challenges,
    pub(crate) links: std::sync::Arc<Links>,
}

/// Where the server's key is sealed.
const PLACE: &str = "device_server_key";

impl Devices {
    /// Loads the server's key, or makes it.
    pub(crate) fn open(tx: &mut dyn SqlTransaction, vault: &Vault, now_ms: i64) -> Result<Devices, Problem> {
        let rows = tx.query("SELECT secret FROM device_server_key WHERE id = 1", &[])?;
        let seed: [u8; 32] = if let Some(row) = rows.first() {
            let seed = vault.unseal(PLACE, &row.text(0)?).ok().and_then(|seed| seed.try_into().ok());
            seed.ok_or_else(|| {
                tracing::error!("the key by which devices know this server cannot be unsealed");
                Problem::from(Code::Internal)
            })?
        } else {
            let seed = random()?;
            let sql = "INSERT INTO device_server_key (id, secret, created_ms) VALUES (1, ?1, ?2)";
            tx.execute(sql, &[vault.seal(PLACE, &seed)?.into(), now_ms.into()])?;
            seed
        };
        let (key, challenges) = (KeyPair::from_seed(&seed), Challenges::new(&seed));
        Ok(Devices { key, challenges, links: std::sync::Arc::default() })
    }
}

/// Deletes what is over: devices that were not seen for a year, bans, challenges and events.
pub(crate) fn tidy(tx: &mut dyn SqlTransaction, now_ms: i64) -> Result<(), Problem> {
    for sql in [
        "DELETE FROM device_ban WHERE until_ms <= ?1",
        "DELETE FROM device_challenge WHERE expires_ms <= ?1",
        "DELETE FROM device_event WHERE expires_ms <= ?1",
    ] {
        tx.execute(sql, &[now_ms.into()])?;
    }
    for sql in [
        "DELETE FROM device_cursor WHERE device IN (SELECT id FROM device WHERE seen_ms <= ?1)",
        "DELETE FROM device WHERE seen_ms <= ?1",
    ] {
        tx.execute(sql, &[(now_ms - enrolled::UNSEEN_MS_MAX).into()])?;
    }
    Ok(())
}

/// Bytes of hexadecimal text in lower case, of exactly this many.
pub(crate) fn unhex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * BYTES {
        return None;
    }
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The name of a device as text.
pub(crate) fn device_text(device: handshake::DeviceId) -> String {
    hex(&device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    #[test]
    fn hexadecimal_is_read_strictly() {
        let check = |text: &str, bytes: Option<[u8; 2]>| assert_eq!(unhex(text), bytes, "{text}");
        check("00ff", Some([0, 255]));
        check("a5b6", Some([0xa5, 0xb6]));
        for wrong in ["", "00", "00f", "00fff", "00FF", "00fg", " 00f", "0é0"] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_servers_key_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        with_tx(|tx| {
            let one = Devices::open(tx, &vault, 1)?;
            let again = Devices::open(tx, &vault, 2)?;
            assert_eq!(one.key.public(), again.key.public());
            let other = Vault::open(&dir.path().join("other")).unwrap();
            assert_eq!(Devices::open(tx, &other, 3).err(), Some(Code::Internal.into()));
            Ok(())
        });
    }
}
