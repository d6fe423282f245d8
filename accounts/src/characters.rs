//! The characters of an account: listed, made, deleted with time to change one's mind, and gone for good.
//!
//! The game's own sign-in uses the same functions. A character's row is its shard's, which writes it whole while it plays; what is
//! said of it here stands beside it. So a deletion holds from the next entry on, and whoever deletes makes sure that the
//! character does not play. What goes for good leaves the ledger balanced: each item goes nowhere, with an entry.

use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::one_time::NOBODY;
use crate::problem::{Code, Problem};
use crate::profiles::{self, Profile};
use crate::service::Service;

/// Characters of one profile, deleted ones that can come back among them.
pub const CHARACTERS_MAX: usize = 8;
/// Why an item goes nowhere with its character, in the ledger: the number of the game's `Reason::Purge`.
pub const PURGE_REASON: i64 = 9;
/// Characters that go for good in one round of upkeep; the others go in the next.
const PURGES_MAX: i64 = 1000;

/// Where a new character of this number begins: zone, and units from its western and northern edge.
pub type Newcomer = std::sync::Arc<dyn Fn(i64) -> (i64, i64, i64) + Send + Sync>;

/// A character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Character {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The zone it was saved in last.
    pub zone: i64,
    /// When it was made, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// Its profile.
    pub profile: i64,
    /// That it is deleted: since when, and when it goes for good, milliseconds since 1970 UTC.
    pub deleted: Option<(i64, i64)>,
}

/// The account's characters of all profiles, deleted ones among them, by number.
pub fn list(tx: &mut dyn SqlTransaction, account: i64, now_ms: i64) -> Result<Vec<Character>, Problem> {
    let first = profiles::first(tx, account, now_ms)?;
    let rows = tx.query(
        "SELECT c.id, c.name, c.zone, c.created_ms, s.profile, s.deleted_ms, s.purge_ms
         FROM character c LEFT JOIN character_standing s ON s.id = c.id
         WHERE c.account = ?1 ORDER BY c.id",
        &[account.into()],
    )?;
    let character = |row: &SqlRow| {
        Ok(Character {
            id: row.int(0)?,
            name: row.text(1)?,
            zone: row.int(2)?,
            created_ms: row.int(3)?,
            profile: row.optional_int(4)?.unwrap_or(first),
            deleted: row.optional_int(5)?.zip(row.optional_int(6)?),
        })
    };
    rows.iter().map(character).collect()
}

/// One of the account's characters.
///
/// # Errors
/// [`Code::CharacterUnknown`].
pub fn find(tx: &mut dyn SqlTransaction, account: i64, id: i64, now_ms: i64) -> Result<Character, Problem> {
    let found = list(tx, account, now_ms)?.into_iter().find(|character| character.id == id);
    found.ok_or_else(|| Code::CharacterUnknown.into())
}

/// The numbers of a profile's characters.
pub fn of_profile(tx: &mut dyn SqlTransaction, profile: &Profile, now_ms: i64) -> Result<Vec<i64>, Problem> {
    let all = list(tx, profile.account, now_ms)?.into_iter();
    Ok(all.filter(|character| character.profile == profile.id).map(|character| character.id).collect())
}

/// The profile of a character that may enter the world.
///
/// # Errors
/// [`Code::CharacterUnknown`], [`Code::CharacterDeleted`], [`Code::ProfileFrozen`].
pub fn needs_entry(
    tx: &mut dyn SqlTransaction,
    account: i64,
    id: i64,
    now_ms: i64,
) -> Result<Profile, Problem> {
    let character = find(tx, account, id, now_ms)?;
    if character.deleted.is_some() {
        return Err(Code::CharacterDeleted.into());
    }
    let profile = profiles::find(tx, account, character.profile, now_ms)?;
    profile.needs_to_be_active()?;
    Ok(profile)
}

/// Makes a character of one of the account's profiles; its number. The name has been found good.
///
/// # Errors
/// [`Code::ProfileUnknown`], [`Code::ProfileFrozen`], [`Code::CharacterLimit`], [`Code::CharacterNameTaken`].
pub fn create(
    tx: &mut dyn SqlTransaction,
    account: i64,
    profile: i64,
    name: &str,
    newcomer: &Newcomer,
    now_ms: i64,
) -> Result<i64, Problem> {
    profiles::find(tx, account, profile, now_ms)?.needs_to_be_active()?;
    let held = list(tx, account, now_ms)?;
    if held.iter().filter(|character| character.profile == profile).count() >= CHARACTERS_MAX {
        return Err(Code::CharacterLimit.into());
    }
    let key = name.to_ascii_lowercase();
    if !tx.query("SELECT id FROM character WHERE name_key = ?1", &[key.clone().into()])?.is_empty() {
        return Err(Code::CharacterNameTaken.into());
    }
    let rows = tx.query("SELECT COALESCE(MAX(id), 0) + 1 FROM character", &[])?;
    let id = rows.first().ok_or(Code::Internal)?.int(0)?;
    let (zone, x, y) = newcomer(id);
    tx.execute(
        "INSERT INTO character (id, account, name, name_key, zone, x, y, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[id.into(), account.into(), name.into(), key.into(), zone.into(), x.into(), y.into(), now_ms.into()],
    )?;
    tx.execute("INSERT INTO character_standing (id, profile) VALUES (?1, ?2)", &[id.into(), profile.into()])?;
    Ok(id)
}

/// Marks one of the account's characters as deleted, for good after `grace_ms`; when that is.
///
/// # Errors
/// [`Code::CharacterUnknown`], [`Code::CharacterDeleted`], [`Code::ProfileFrozen`].
pub fn delete(
    tx: &mut dyn SqlTransaction,
    account: i64,
    id: i64,
    grace_ms: i64,
    now_ms: i64,
) -> Result<i64, Problem> {
    let profile = needs_entry(tx, account, id, now_ms)?;
    let purge_ms = now_ms + grace_ms;
    mark(tx, id, profile.id, now_ms, purge_ms)?;
    Ok(purge_ms)
}

/// Takes a deletion back.
///
/// # Errors
/// [`Code::CharacterUnknown`], [`Code::CharacterNotDeleted`].
pub fn restore(tx: &mut dyn SqlTransaction, account: i64, id: i64, now_ms: i64) -> Result<(), Problem> {
    // One whose time is over is as good as gone.
    match find(tx, account, id, now_ms)?.deleted {
        Some((_, purge_ms)) if purge_ms <= now_ms => Err(Code::CharacterUnknown.into()),
        Some(_) => undelete(tx, id),
        None => Err(Code::CharacterNotDeleted.into()),
    }
}

/// Takes a deletion back that came too late: the character plays.
pub fn undelete(tx: &mut dyn SqlTransaction, id: i64) -> Result<(), Problem> {
    tx.execute(
        "UPDATE character_standing SET deleted_ms = NULL, purge_ms = NULL WHERE id = ?1",
        &[id.into()],
    )?;
    Ok(())
}

/// Marks a character to go for good at once, whatever was said of it.
pub fn end(tx: &mut dyn SqlTransaction, character: &Character, now_ms: i64) -> Result<(), Problem> {
    mark(tx, character.id, character.profile, now_ms, now_ms)
}

fn mark(
    tx: &mut dyn SqlTransaction,
    id: i64,
    profile: i64,
    now_ms: i64,
    purge_ms: i64,
) -> Result<(), Problem> {
    tx.execute(
        "INSERT INTO character_standing (id, profile, deleted_ms, purge_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET deleted_ms = excluded.deleted_ms, purge_ms = excluded.purge_ms",
        &[id.into(), profile.into(), now_ms.into(), purge_ms.into()],
    )?;
    Ok(())
}

/// Has a character go for good whose time is over: its items go nowhere, its name is free, its number is nobody's. Whether it
/// went; it must not play.
pub fn purge(tx: &mut dyn SqlTransaction, id: i64, now_ms: i64) -> Result<bool, Problem> {
    let due = tx.execute(
        "DELETE FROM character_standing WHERE id = ?1 AND purge_ms <= ?2",
        &[id.into(), now_ms.into()],
    )?;
    if due == 0 {
        return Ok(false);
    }
    // The source is this character's alone, as a source is used once: the shards' are all above zero.
    tx.execute(
        "INSERT INTO ledger (source, seq, idx, at_ms, reason, item, kind, count, from_place, from_owner, to_place, to_owner,
                             counterparty)
         SELECT -owner, 1, ROW_NUMBER() OVER (ORDER BY id) - 1, CAST(?2 AS BIGINT), CAST(?3 AS BIGINT), id, kind, count,
                place, owner, -1, 0, 0
         FROM item WHERE owner = ?1 AND place IN (0, 2, 3) AND count > 0",
        &[id.into(), now_ms.into(), PURGE_REASON.into()],
    )?;
    tx.execute("DELETE FROM item WHERE owner = ?1 AND place IN (0, 2, 3)", &[id.into()])?;
    tx.execute(
        "UPDATE character SET account = ?2, name = '', name_key = '#' || CAST(id AS TEXT) WHERE id = ?1",
        &[id.into(), NOBODY.into()],
    )?;
    Ok(true)
}

/// Has every character go for good whose time is over and which does not play.
pub async fn purge_due(service: &Service) -> Result<(), Problem> {
    let now_ms = service.now_ms();
    let due = service.sql.transaction(move |tx| {
        let rows = tx.query(
            "SELECT s.id, c.account FROM character_standing s JOIN character c ON c.id = s.id
             WHERE s.purge_ms <= ?1 ORDER BY s.purge_ms, s.id LIMIT ?2",
            &[now_ms.into(), PURGES_MAX.into()],
        )?;
        rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect::<Result<Vec<_>, Problem>>()
    });
    for (id, account) in due.await? {
        if service.game.playing(account).await? == Some(id) {
            continue;
        }
        if service.sql.transaction(move |tx| purge(tx, id, now_ms)).await? {
            tracing::info!(account, character = id, "a deleted character has gone for good");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
