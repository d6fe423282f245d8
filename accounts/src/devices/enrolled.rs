//! The devices of an account: enrolled, listed, renamed, revoked; and signed in.

use vyuha_store::sql::{SqlRow, SqlTransaction};

use super::bans;
use super::keys::PublicKey;
use super::unhex;
use crate::login;
use crate::problem::{Code, Problem};
use crate::secret::{hex, random_id};
use crate::sessions::{self, EndReason};

/// Devices that an account may have.
pub const DEVICES_MAX: usize = 16;
/// A device that was not seen for so long is one no more: a year.
pub const UNSEEN_MS_MAX: i64 = 365 * 24 * 60 * 60_000;
/// The longest name or platform, in characters.
pub const NAME_CHARS_MAX: usize = 60;
/// How long a device that is linked may be seen without its row saying so.
const SEEN_MS: i64 = 24 * 60 * 60_000;

/// A device as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// When it was enrolled, milliseconds since 1970 UTC.
    pub enrolled_ms: i64,
    /// When it last signed in, or was linked, to a day.
    pub seen_ms: i64,
    /// The session that it signed in to last, which may be over.
    pub session: Option<String>,
}

/// What is needed of a device to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub account: i64,
    /// Its key.
    pub public_key: PublicKey,
    name: String,
    session: Option<String>,
}

/// A device that signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// Its account.
    pub account: i64,
    /// Its session.
    pub session: String,
    /// Sessions that ended for it.
    pub ended: Vec<String>,
}

/// Whether a text can be a device's name or platform.
pub fn is_name(text: &str) -> bool {
    let length = text.chars().count();
    (1..=NAME_CHARS_MAX).contains(&length) && !text.chars().any(char::is_control)
}

/// Enrols a device; its id.
///
/// # Errors
/// [`Code::DeviceBanned`], [`Code::DeviceTaken`], [`Code::DevicesFull`].
pub fn enrol(
    tx: &mut dyn SqlTransaction,
    account: i64,
    key: &PublicKey,
    name: &str,
    platform: &str,
    now_ms: i64,
) -> Result<String, Problem> {
    let key = hex(key);
    bans::needs_none(tx, &key, now_ms)?;
    if !tx.query("SELECT id FROM device WHERE public_key = ?1", &[key.clone().into()])?.is_empty() {
        return Err(Code::DeviceTaken.into());
    }
    if list(tx, account)?.len() >= DEVICES_MAX {
        return Err(Code::DevicesFull.into());
    }
    let id = random_id()?;
    tx.execute(
        "INSERT INTO device (id, account, public_key, name, platform, enrolled_ms, seen_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        &[id.clone().into(), account.into(), key.into(), name.into(), platform.into(), now_ms.into()],
    )?;
    Ok(id)
}

/// The account's devices, the one that was enrolled first before all others.
pub fn list(tx: &mut dyn SqlTransaction, account: i64) -> Result<Vec<Device>, Problem> {
    let rows = tx.query(
        "SELECT id, name, platform, enrolled_ms, seen_ms, session FROM device
         WHERE account = ?1 ORDER BY enrolled_ms, id",
        &[account.into()],
    )?;
    let device = |row: &SqlRow| {
        Ok(Device {
            id: row.text(0)?,
            name: row.text(1)?,
            platform: row.text(2)?,
            enrolled_ms: row.int(3)?,
            seen_ms: row.int(4)?,
            session: row.optional_text(5)?,
        })
    };
    rows.iter().map(device).collect()
}

/// Calls one of the account's devices something else.
///
/// # Errors
/// [`Code::DeviceUnknown`].
pub fn rename(tx: &mut dyn SqlTransaction, account: i64, device: &str, name: &str) -> Result<(), Problem> {
    let renamed = tx.execute(
        "UPDATE device SET name = ?3 WHERE id = ?1 AND account = ?2",
        &[device.into(), account.into(), name.into()],
    )?;
    if renamed == 1 { Ok(()) } else { Err(Code::DeviceUnknown.into()) }
}

/// Revokes one of the account's devices; the sessions that ended.
///
/// # Errors
/// [`Code::DeviceUnknown`].
pub fn revoke(
    tx: &mut dyn SqlTransaction,
    account: i64,
    device: &str,
    reason: EndReason,
    now_ms: i64,
) -> Result<Vec<String>, Problem> {
    let ended = end_session(tx, account, device, reason, now_ms)?;
    tx.execute("DELETE FROM device_cursor WHERE device = ?1", &[device.into()])?;
    tx.execute("DELETE FROM device WHERE id = ?1 AND account = ?2", &[device.into(), account.into()])?;
    Ok(ended)
}

/// Revokes all of the account's devices; the sessions that ended.
pub fn revoke_all(
    tx: &mut dyn SqlTransaction,
    account: i64,
    reason: EndReason,
    now_ms: i64,
) -> Result<Vec<String>, Problem> {
    let mut ended = Vec::new();
    for device in list(tx, account)? {
        ended.extend(revoke(tx, account, &device.id, reason, now_ms)?);
    }
    Ok(ended)
}

/// Ends the session of one of the account's devices.
///
/// # Errors
/// [`Code::DeviceUnknown`].
pub fn end_session(
    tx: &mut dyn SqlTransaction,
    account: i64,
    device: &str,
    reason: EndReason,
    now_ms: i64,
) -> Result<Vec<String>, Problem> {
    let sql = "SELECT session FROM device WHERE id = ?1 AND account = ?2";
    let rows = tx.query(sql, &[device.into(), account.into()])?;
    let session = rows.first().ok_or(Code::DeviceUnknown)?.optional_text(0)?;
    let Some(session) = session else { return Ok(Vec::new()) };
    let ended = sessions::end(tx, account, &session, reason, now_ms)?;
    Ok(if ended { vec![session] } else { Vec::new() })
}

/// The device of an id, whoever's it is.
pub fn find(tx: &mut dyn SqlTransaction, device: &str) -> Result<Option<Credential>, Problem> {
    let sql = "SELECT id, account, public_key, name, session FROM device WHERE id = ?1";
    let rows = tx.query(sql, &[device.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let public_key = unhex(&row.text(2)?).ok_or_else(|| {
        tracing::error!(device, "a device's key cannot be read");
        Problem::from(Code::Internal)
    })?;
    let (name, session) = (row.text(3)?, row.optional_text(4)?);
    Ok(Some(Credential { id: row.text(0)?, account: row.int(1)?, public_key, name, session }))
}

/// Signs a device in, which has shown that it has its key: its session goes on if it lasts, and another begins if not.
///
/// # Errors
/// [`Code::DeviceRefused`] where it was revoked meanwhile, [`Code::DeviceBanned`], [`Code::AccountSuspended`].
pub fn sign_in(
    tx: &mut dyn SqlTransaction,
    shown: &Credential,
    address: &str,
    now_ms: i64,
) -> Result<SignedIn, Problem> {
    let found = find(tx, &shown.id)?.filter(|found| found.public_key == shown.public_key);
    let Credential { id, account, public_key, name, session } = found.ok_or(Code::DeviceRefused)?;
    bans::needs_none(tx, &hex(&public_key), now_ms)?;
    let owner = login::load(tx, account)?.ok_or(Code::DeviceRefused)?;
    owner.needs_no_suspension(now_ms)?;
    let mut ended = Vec::new();
    let lasting = match session {
        Some(session) if sessions::lasts(tx, account, &session, now_ms)? => Some(session),
        _ => None,
    };
    let session = if let Some(session) = lasting {
        session
    } else {
        let (session, others) = sessions::begin(tx, account, &name, address, now_ms)?;
        ended = others;
        session
    };
    tx.execute(
        "UPDATE device SET session = ?2, seen_ms = ?3 WHERE id = ?1",
        &[id.into(), session.clone().into(), now_ms.into()],
    )?;
    Ok(SignedIn { account, session, ended })
}

/// Whether a linked device may stay so: it is enrolled, and its session lasts. It is seen.
pub fn stays(tx: &mut dyn SqlTransaction, device: &str, session: &str, now_ms: i64) -> Result<bool, Problem> {
    let rows = tx.query(
        "SELECT d.seen_ms FROM device d JOIN session s ON s.id = d.session
         WHERE d.id = ?1 AND s.id = ?2 AND s.account = d.account AND s.ended_ms IS NULL AND s.expires_ms > ?3",
        &[device.into(), session.into(), now_ms.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(false) };
    if row.int(0)? <= now_ms - SEEN_MS {
        tx.execute("UPDATE device SET seen_ms = ?2 WHERE id = ?1", &[device.into(), now_ms.into()])?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::keys::KeyPair;
    use crate::testing::with_tx;

    fn key(seed: u8) -> PublicKey {
        KeyPair::from_seed(&[seed; 32]).public()
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Problem>) -> Option<Code> {
        result.err().map(|problem| problem.code)
    }

    /// An account to own them.
    fn account(tx: &mut dyn SqlTransaction) -> i64 {
        let sql = "INSERT INTO account (id, name, password_hash, created_ms) VALUES (?1, ?2, '', 0)";
        tx.execute(sql, &[7.into(), "asha".into()]).unwrap();
        7
    }

    #[test]
    fn names_are_what_can_be_shown() {
        let check = |text: &str, good: bool| assert_eq!(is_name(text), good, "{text:?}");
        check("Asha's phone", true);
        check(&"ä".repeat(NAME_CHARS_MAX), true);
        check("", false);
        check(&"x".repeat(NAME_CHARS_MAX + 1), false);
        check("a\nb", false);
        check("a\0", false);
    }

    #[test]
    fn an_account_has_so_many_devices_and_a_key_is_one_devices() {
        with_tx(|tx| {
            for seed in 0..DEVICES_MAX as u8 {
                enrol(tx, 7, &key(seed), "x", "y", i64::from(seed))?;
            }
            assert_eq!(code(enrol(tx, 7, &key(100), "x", "y", 0)), Some(Code::DevicesFull));
            assert_eq!(code(enrol(tx, 8, &key(0), "x", "y", 0)), Some(Code::DeviceTaken));
            enrol(tx, 8, &key(100), "x", "y", 0)?;
            let devices = list(tx, 7)?;
            assert!(devices.is_sorted_by_key(|device| device.enrolled_ms));
            assert_eq!((devices.len(), list(tx, 8)?.len()), (DEVICES_MAX, 1));
            Ok(())
        });
    }

    #[test]
    fn nobody_does_anything_to_anothers_device() {
        with_tx(|tx| {
            let device = enrol(tx, 7, &key(1), "x", "y", 0)?;
            assert_eq!(code(rename(tx, 8, &device, "z")), Some(Code::DeviceUnknown));
            assert_eq!(code(revoke(tx, 8, &device, EndReason::Device, 1)), Some(Code::DeviceUnknown));
            rename(tx, 7, &device, "z")?;
            assert_eq!(list(tx, 7)?[0].name, "z");
            revoke(tx, 7, &device, EndReason::Device, 1)?;
            assert_eq!(code(revoke(tx, 7, &device, EndReason::Device, 1)), Some(Code::DeviceUnknown));
            assert_eq!(find(tx, &device)?, None);
            Ok(())
        });
    }

    #[test]
    fn a_devices_session_goes_on_until_it_ends() {
        with_tx(|tx| {
            let account = account(tx);
            let device = enrol(tx, account, &key(1), "phone", "y", 0)?;
            let shown = find(tx, &device)?.unwrap();
            let first = sign_in(tx, &shown, "127.0.0.1", 1)?;
            assert_eq!(sign_in(tx, &shown, "127.0.0.1", 2)?, first);
            assert!(stays(tx, &device, &first.session, 3)?);
            assert_eq!(sessions::list(tx, account, None, 9, 3)?[0].agent, "phone");
            assert!(sessions::end(tx, account, &first.session, EndReason::Owner, 4)?);
            assert!(!stays(tx, &device, &first.session, 5)?);
            let next = sign_in(tx, &shown, "127.0.0.1", 6)?;
            assert_ne!(next.session, first.session);
            let ended = revoke(tx, account, &device, EndReason::Device, 7)?;
            assert_eq!(ended, std::slice::from_ref(&next.session));
            assert!(!stays(tx, &device, &next.session, 8)?);
            assert_eq!(code(sign_in(tx, &shown, "127.0.0.1", 9)), Some(Code::DeviceRefused));
            Ok(())
        });
    }

    #[test]
    fn a_ban_is_of_the_key_and_for_its_time() {
        with_tx(|tx| {
            let account = account(tx);
            let device = enrol(tx, account, &key(1), "phone", "y", 0)?;
            let shown = find(tx, &device)?.unwrap();
            bans::ban(tx, &device, 100, "bots", 1)?;
            let refused = sign_in(tx, &shown, "", 99).unwrap_err();
            assert_eq!(
                (refused.code, refused.detail.as_deref()),
                (Code::DeviceBanned, Some("until 100: bots"))
            );
            sign_in(tx, &shown, "", 100)?;
            bans::ban(tx, &device, i64::MAX, "bots again", 101)?;
            revoke(tx, account, &device, EndReason::Device, 102)?;
            assert_eq!(code(enrol(tx, 8, &key(1), "x", "y", 103)), Some(Code::DeviceBanned));
            assert_eq!(
                (bans::owner(tx, &device)?, code(bans::owner(tx, "x"))),
                (account, Some(Code::DeviceUnknown))
            );
            assert!(bans::lift(tx, &device)? && !bans::lift(tx, &device)?);
            enrol(tx, 8, &key(1), "x", "y", 104)?;
            assert_eq!(code(bans::ban(tx, &device, 200, "x", 105)), Some(Code::DeviceUnknown));
            Ok(())
        });
    }

    #[test]
    fn a_device_that_is_not_seen_for_a_year_is_one_no_more() {
        with_tx(|tx| {
            let account = account(tx);
            let (old, linked) =
                (enrol(tx, account, &key(1), "x", "y", 0)?, enrol(tx, account, &key(2), "x", "y", 0)?);
            let shown = find(tx, &linked)?.unwrap();
            let session = sign_in(tx, &shown, "", UNSEEN_MS_MAX - SEEN_MS)?.session;
            assert!(stays(tx, &linked, &session, UNSEEN_MS_MAX)?);
            crate::devices::tidy(tx, UNSEEN_MS_MAX - 1)?;
            assert!(find(tx, &old)?.is_some());
            crate::devices::tidy(tx, 2 * UNSEEN_MS_MAX - 1)?;
            assert_eq!((find(tx, &old)?.is_some(), find(tx, &linked)?.is_some()), (false, true));
            Ok(())
        });
    }
}
