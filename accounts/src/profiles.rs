//! Game profiles: what an account plays as, each with its characters, its settings and its debt.
//!
//! Every account has at least one: the first is made when it is asked for. A profile is active or frozen, by its owner or by the
//! staff, and who froze it is who can take that back (the staff always can). A profile that was deleted belongs to
//! [`NOBODY`], so that its number is not given again and what was booked under it still names one thing.

use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::characters;
use crate::one_time::NOBODY;
use crate::problem::{Code, Problem};

/// The longest settings as JSON text without spaces, in bytes.
pub const SETTINGS_BYTES_MAX: usize = 8 << 10;
/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 32;
/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 500;
/// What the first profile is called until it is renamed.
const FIRST_NAME: &str = "Main";

/// The columns of [`Profile`].
macro_rules! columns {
    () => {
        "id, account, name, settings_version, frozen_ms, frozen_by, frozen_reason, debt, created_ms"
    };
}

/// Who froze a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Its owner.
    Owner,
    /// The staff.
    Staff,
}

impl By {
    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            By::Owner => "owner",
            By::Staff => "staff",
        }
    }
}

/// That a profile is frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// By whom.
    pub by: By,
    /// Why.
    pub reason: String,
}

/// A profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub account: i64,
    /// Its name.
    pub name: String,
    /// How often its settings were put, from 1.
    pub settings_version: i64,
    /// That it is frozen, if it is.
    pub frozen: Option<Frozen>,
    /// What it owes, at least 0.
    pub debt: i64,
    /// When it was made, milliseconds since 1970 UTC.
    pub created_ms: i64,
}

impl Profile {
    /// # Errors
    /// [`Code::ProfileFrozen`], with the reason.
    pub fn needs_to_be_active(&self) -> Result<(), Problem> {
        match &self.frozen {
            Some(Frozen { by, reason, .. }) => {
                let detail = format!("by {}: {reason}", by.as_str());
                Err(Problem::from(Code::ProfileFrozen).detail(detail))
            }
            None => Ok(()),
        }
    }
}

/// The account's profiles by number, at least one.
pub fn list(tx: &mut dyn SqlTransaction, account: i64, now_ms: i64) -> Result<Vec<Profile>, Problem> {
    let found = stored(tx, account)?;
    if !found.is_empty() {
        return Ok(found);
    }
    create(tx, account, FIRST_NAME, 1, now_ms)?;
    stored(tx, account)
}

fn stored(tx: &mut dyn SqlTransaction, account: i64) -> Result<Vec<Profile>, Problem> {
    let sql = concat!("SELECT ", columns!(), " FROM profile WHERE account = ?1 ORDER BY id");
    tx.query(sql, &[account.into()])?.iter().map(profile).collect()
}

/// The number of the account's first profile.
pub fn first(tx: &mut dyn SqlTransaction, account: i64, now_ms: i64) -> Result<i64, Problem> {
    Ok(list(tx, account, now_ms)?.first().ok_or(Code::Internal)?.id)
}

/// One of the account's profiles.
///
/// # Errors
/// [`Code::ProfileUnknown`].
pub fn find(tx: &mut dyn SqlTransaction, account: i64, id: i64, now_ms: i64) -> Result<Profile, Problem> {
    let found = list(tx, account, now_ms)?.into_iter().find(|profile| profile.id == id);
    found.ok_or_else(|| Code::ProfileUnknown.into())
}

/// A profile of anybody's.
///
/// # Errors
/// [`Code::ProfileUnknown`].
pub fn load(tx: &mut dyn SqlTransaction, id: i64) -> Result<Profile, Problem> {
    let sql = concat!("SELECT ", columns!(), " FROM profile WHERE id = ?1 AND account <> 0");
    tx.query(sql, &[id.into()])?.first().map(profile).transpose()?.ok_or_else(|| Code::ProfileUnknown.into())
}

/// The profile that the account's session plays with.
pub fn active(
    tx: &mut dyn SqlTransaction,
    account: i64,
    session: &str,
    now_ms: i64,
) -> Result<Profile, Problem> {
    let rows = tx.query(
        "SELECT profile FROM session WHERE id = ?1 AND account = ?2",
        &[session.into(), account.into()],
    )?;
    let chosen = rows.first().map(|row| row.optional_int(0)).transpose()?.flatten();
    let mut profiles = list(tx, account, now_ms)?;
    // One that is gone is no choice.
    let at = profiles.iter().position(|profile| Some(profile.id) == chosen).unwrap_or(0);
    Ok(profiles.swap_remove(at))
}

/// Has the session play with one of the account's profiles; who plays already plays on.
///
/// # Errors
/// [`Code::ProfileUnknown`], [`Code::ProfileFrozen`].
pub fn activate(
    tx: &mut dyn SqlTransaction,
    account: i64,
    session: &str,
    id: i64,
    now_ms: i64,
) -> Result<(), Problem> {
    find(tx, account, id, now_ms)?.needs_to_be_active()?;
    tx.execute(
        "UPDATE session SET profile = ?3 WHERE id = ?1 AND account = ?2",
        &[session.into(), account.into(), id.into()],
    )?;
    Ok(())
}

/// Adds a profile to an account that has at most `profiles_max` then; its number.
///
/// # Errors
/// [`Code::ProfileNameInvalid`], [`Code::ProfileNameTaken`], [`Code::ProfileLimit`].
pub fn create(
    tx: &mut dyn SqlTransaction,
    account: i64,
    name: &str,
    profiles_max: usize,
    now_ms: i64,
) -> Result<i64, Problem> {
    let key = name_key(name)?;
    let held = stored(tx, account)?;
    if held.len() >= profiles_max {
        return Err(Code::ProfileLimit.into());
    }
    needs_free(tx, account, &key, None)?;
    let rows = tx.query(
        "INSERT INTO profile (id, account, name, name_key, settings, settings_version, debt, created_ms)
         SELECT COALESCE(MAX(id), 0) + 1, CAST(?1 AS BIGINT), CAST(?2 AS TEXT), CAST(?3 AS TEXT), '{}', 1, 0, CAST(?4 AS BIGINT)
         FROM profile
         RETURNING id",
        &[account.into(), name.into(), key.into(), now_ms.into()],
    )?;
    Ok(rows.first().ok_or(Code::Internal)?.int(0)?)
}

/// Gives one of the account's profiles another name.
///
/// # Errors
/// [`Code::ProfileUnknown`], [`Code::ProfileNameInvalid`], [`Code::ProfileNameTaken`].
pub fn rename(
    tx: &mut dyn SqlTransaction,
    account: i64,
    id: i64,
    name: &str,
    now_ms: i64,
) -> Result<(), Problem> {
    let key = name_key(name)?;
    find(tx, account, id, now_ms)?;
    needs_free(tx, account, &key, Some(id))?;
    tx.execute(
        "UPDATE profile SET name = ?2, name_key = ?3 WHERE id = ?1",
        &[id.into(), name.into(), key.into()],
    )?;
    Ok(())
}

/// Deletes one of the account's profiles: not the last one, nor one that is frozen by the staff, owes, or has characters.
///
/// # Errors
/// [`Code::ProfileUnknown`], [`Code::LastProfile`], [`Code::ProfileFrozen`], [`Code::ProfileInDebt`], [`Code::ProfileNotEmpty`].
pub fn delete(tx: &mut dyn SqlTransaction, account: i64, id: i64, now_ms: i64) -> Result<(), Problem> {
    let profile = find(tx, account, id, now_ms)?;
    if stored(tx, account)?.len() == 1 {
        return Err(Code::LastProfile.into());
    }
    if profile.frozen.as_ref().is_some_and(|frozen| frozen.by == By::Staff) {
        profile.needs_to_be_active()?;
    }
    if profile.debt > 0 {
        return Err(Code::ProfileInDebt.into());
    }
    if characters::list(tx, account, now_ms)?.iter().any(|character| character.profile == id) {
        return Err(Code::ProfileNotEmpty.into());
    }
    tx.execute(
        "UPDATE profile SET account = ?2, name = '', name_key = CAST(id AS TEXT), settings = '{}' WHERE id = ?1",
        &[id.into(), NOBODY.into()],
    )?;
    Ok(())
}

/// The settings of one of the account's profiles, as JSON text, and their version.
///
/// # Errors
/// [`Code::ProfileUnknown`].
pub fn settings(
    tx: &mut dyn SqlTransaction,
    account: i64,
    id: i64,
    now_ms: i64,
) -> Result<(String, i64), Problem> {
    find(tx, account, id, now_ms)?;
    let rows = tx.query("SELECT settings, settings_version FROM profile WHERE id = ?1", &[id.into()])?;
    let row = rows.first().ok_or(Code::ProfileUnknown)?;
    Ok((row.text(0)?, row.int(1)?))
}

/// Replaces the settings of one of the account's profiles where they still have this version, or whichever where that is `None`;
/// the version that they have then.
///
/// # Errors
/// [`Code::ProfileUnknown`], [`Code::SettingsTooLarge`], [`Code::PreconditionFailed`].
pub fn put_settings(
    tx: &mut dyn SqlTransaction,
    account: i64,
    id: i64,
    version: Option<i64>,
    settings: &str,
    now_ms: i64,
) -> Result<i64, Problem> {
    if settings.len() > SETTINGS_BYTES_MAX {
        return Err(Code::SettingsTooLarge.into());
    }
    find(tx, account, id, now_ms)?;
    let version = version.map_or(Value::Null, Value::from);
    let rows = tx.query(
        "UPDATE profile SET settings = ?2, settings_version = settings_version + 1
         WHERE id = ?1 AND settings_version = COALESCE(CAST(?3 AS BIGINT), settings_version)
         RETURNING settings_version",
        &[id.into(), settings.into(), version],
    )?;
    Ok(rows.first().ok_or(Code::PreconditionFailed)?.int(0)?)
}

/// Freezes a profile. What the staff froze its owner does not freeze anew.
///
/// # Errors
/// [`Code::ProfileFrozen`].
pub fn freeze(
    tx: &mut dyn SqlTransaction,
    profile: &Profile,
    by: By,
    reason: &str,
    now_ms: i64,
) -> Result<(), Problem> {
    if by == By::Owner && profile.frozen.as_ref().is_some_and(|frozen| frozen.by == By::Staff) {
        return profile.needs_to_be_active();
    }
    tx.execute(
        "UPDATE profile SET frozen_ms = ?2, frozen_by = ?3, frozen_reason = ?4 WHERE id = ?1",
        &[profile.id.into(), now_ms.into(), by.as_str().into(), reason.into()],
    )?;
    Ok(())
}

/// Takes a freeze back. What the staff froze only the staff does.
///
/// # Errors
/// [`Code::ProfileFrozen`].
pub fn unfreeze(tx: &mut dyn SqlTransaction, profile: &Profile, by: By) -> Result<(), Problem> {
    if by == By::Owner && profile.frozen.as_ref().is_some_and(|frozen| frozen.by == By::Staff) {
        return profile.needs_to_be_active();
    }
    tx.execute(
        "UPDATE profile SET frozen_ms = NULL, frozen_by = NULL, frozen_reason = NULL WHERE id = ?1",
        &[profile.id.into()],
    )?;
    Ok(())
}

/// # Errors
/// [`Code::BodyInvalid`] where a reason is empty, too long, or no text that a database takes.
pub fn check_reason(reason: &str) -> Result<(), Problem> {
    let is_reason = (1..=REASON_CHARS_MAX).contains(&reason.chars().count()) && !reason.contains('\0');
    if is_reason {
        Ok(())
    } else {
        Err(Problem::from(Code::BodyInvalid).detail("a reason has 1 to 500 characters"))
    }
}

/// What a name is compared by.
fn name_key(name: &str) -> Result<String, Problem> {
    let is_name = (1..=NAME_CHARS_MAX).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if is_name { Ok(name.to_lowercase()) } else { Err(Code::ProfileNameInvalid.into()) }
}

fn needs_free(tx: &mut dyn SqlTransaction, account: i64, key: &str, but: Option<i64>) -> Result<(), Problem> {
    let rows = tx.query(
        "SELECT id FROM profile WHERE account = ?1 AND name_key = ?2",
        &[account.into(), key.into()],
    )?;
    match rows.first() {
        Some(row) if Some(row.int(0)?) != but => Err(Code::ProfileNameTaken.into()),
        _ => Ok(()),
    }
}

fn profile(row: &SqlRow) -> Result<Profile, Problem> {
    let frozen = match (row.optional_int(4)?, row.optional_text(5)?, row.optional_text(6)?) {
        (Some(since_ms), by, reason) => {
            // What is not known to be its owner's doing is not its owner's to take back.
            let by = if by.as_deref() == Some(By::Owner.as_str()) { By::Owner } else { By::Staff };
            Some(Frozen { since_ms, by, reason: reason.unwrap_or_default() })
        }
        (None, ..) => None,
    };
    Ok(Profile {
        id: row.int(0)?,
        account: row.int(1)?,
        name: row.text(2)?,
        settings_version: row.int(3)?,
        frozen,
        debt: row.int(7)?,
        created_ms: row.int(8)?,
    })
}

#[cfg(test)]
mod tests;
