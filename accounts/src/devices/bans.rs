//! Devices that staff has banned, by their keys: whoever enrols such a key anew is refused as well.

use vyuha_store::sql::SqlTransaction;

use super::enrolled;
use crate::problem::{Code, Problem};
use crate::secret::hex;

/// Bans a device until a time, in place of a ban that there is.
///
/// # Errors
/// [`Code::DeviceUnknown`].
pub fn ban(
    tx: &mut dyn SqlTransaction,
    device: &str,
    until_ms: i64,
    reason: &str,
    now_ms: i64,
) -> Result<(), Problem> {
    let banned = enrolled::find(tx, device)?.ok_or(Code::DeviceUnknown)?;
    lift(tx, device)?;
    tx.execute(
        "INSERT INTO device_ban (public_key, device, account, since_ms, until_ms, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            hex(&banned.public_key).into(),
            device.into(),
            banned.account.into(),
            now_ms.into(),
            until_ms.into(),
            reason.into(),
        ],
    )?;
    Ok(())
}

/// Takes a ban back; whether there was one.
pub fn lift(tx: &mut dyn SqlTransaction, device: &str) -> Result<bool, Problem> {
    Ok(tx.execute("DELETE FROM device_ban WHERE device = ?1", &[device.into()])? == 1)
}

/// Whose device it is or, where it is banned and no longer enrolled, was.
///
/// # Errors
/// [`Code::DeviceUnknown`].
pub fn owner(tx: &mut dyn SqlTransaction, device: &str) -> Result<i64, Problem> {
    let rows = tx.query(
        "SELECT account FROM device WHERE id = ?1 UNION SELECT account FROM device_ban WHERE device = ?1",
        &[device.into()],
    )?;
    Ok(rows.first().ok_or(Code::DeviceUnknown)?.int(0)?)
}

/// # Errors
/// [`Code::DeviceBanned`] with the reason, where this key is banned.
pub(super) fn needs_none(tx: &mut dyn SqlTransaction, key: &str, now_ms: i64) -> Result<(), Problem> {
    let rows = tx.query(
        "SELECT until_ms, reason FROM device_ban WHERE public_key = ?1 AND until_ms > ?2",
        &[key.into(), now_ms.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(()) };
    let until = match row.int(0)? {
        i64::MAX => "for good".to_owned(),
        until_ms => format!("until {until_ms}"),
    };
    Err(Problem::from(Code::DeviceBanned).detail(format!("{until}: {}", row.text(1)?)))
}
