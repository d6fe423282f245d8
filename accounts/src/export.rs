//! All that is kept about the owner of an account, for that owner. Nothing that would open the account is among it: of passwords, tokens
//! and keys it tells that they are there, and since when.

use serde_json::{Map, Value as Json};
use vyuha_record::Value;
use vyuha_store::sql::SqlTransaction;

use crate::problem::Problem;

/// Rows of one section; a section that has more says so by having as many.
pub const ROWS_MAX: usize = 10_000;

/// A section of the export: its name, the names of its columns, and what finds its rows; `?1` is the account's number and `?2`
/// the most rows. Whoever keeps something else about people adds it here.
const SECTIONS: &[(&str, &[&str], &str)] = &[
    (
        "account",
        &["account", "name", "email", "created_ms", "second_factor_since_ms", "suspended_until_ms", "suspension_reason"],
        "SELECT id, name, email, created_ms, second_factor_ms, suspended_until_ms, suspension_reason
         FROM account WHERE id = ?1 LIMIT ?2",
    ),
    (
        "identities",
        &["issuer", "subject", "linked_ms"],
        "SELECT issuer, subject, linked_ms FROM identity WHERE account = ?1 ORDER BY issuer LIMIT ?2",
    ),
    (
        "sessions",
        &["id", "agent", "address", "created_ms", "seen_ms", "expires_ms", "ended_ms", "end_reason"],
        "SELECT id, agent, address, created_ms, seen_ms, expires_ms, ended_ms, end_reason FROM session
         WHERE account = ?1 ORDER BY created_ms DESC, id LIMIT ?2",
    ),
    (
        "devices",
        &["device", "public_key", "name", "platform", "enrolled_ms", "seen_ms"],
        "SELECT id, public_key, name, platform, enrolled_ms, seen_ms FROM device
         WHERE account = ?1 ORDER BY enrolled_ms, id LIMIT ?2",
    ),
    (
        "device_events",
        &["stream", "sequence", "key", "device", "body", "created_ms", "expires_ms"],
        "SELECT stream, sequence, key, device, body, created_ms, expires_ms FROM device_event
         WHERE account = ?1 ORDER BY stream, sequence LIMIT ?2",
    ),
    (
        "device_bans",
        &["device", "since_ms", "until_ms", "reason"],
        "SELECT device, since_ms, until_ms, reason FROM device_ban WHERE account = ?1 ORDER BY since_ms, device LIMIT ?2",
    ),
    (
        "profiles",
        &["profile", "name", "settings", "frozen_ms", "frozen_by", "frozen_reason", "debt", "created_ms"],
        "SELECT id, name, settings, frozen_ms, frozen_by, frozen_reason, debt, created_ms FROM profile
         WHERE account = ?1 ORDER BY id LIMIT ?2",
    ),
    (
        "debts",
        &["profile", "at_ms", "amount", "reason"],
        "SELECT d.profile, d.at_ms, d.amount, d.reason FROM profile_debt d JOIN profile p ON p.id = d.profile
         WHERE p.account = ?1 ORDER BY d.id LIMIT ?2",
    ),
    (
        "characters",
        &["character", "name", "zone", "x", "y", "created_ms", "profile", "deleted_ms", "purge_ms"],
        "SELECT c.id, c.name, c.zone, c.x, c.y, c.created_ms, s.profile, s.deleted_ms, s.purge_ms
         FROM character c LEFT JOIN character_standing s ON s.id = c.id
         WHERE c.account = ?1 ORDER BY c.id LIMIT ?2",
    ),
    (
        "items",
        &["item", "kind", "count", "place", "character", "slot", "wear"],
        "SELECT i.id, i.kind, i.count, i.place, i.owner, i.slot, i.wear FROM item i JOIN character c ON c.id = i.owner
         WHERE c.account = ?1 AND i.place IN (0, 2, 3) ORDER BY i.owner, i.place, i.slot LIMIT ?2",
    ),
    (
        "ledger",
        &["character", "moved_in", "moved_out"],
        "SELECT c.id,
                (SELECT count(*) FROM ledger WHERE to_owner = c.id AND to_place IN (0, 2, 3)),
                (SELECT count(*) FROM ledger WHERE from_owner = c.id AND from_place IN (0, 2, 3))
         FROM character c WHERE c.account = ?1 ORDER BY c.id LIMIT ?2",
    ),
    (
        "events",
        &["at_ms", "what", "character", "zone", "detail"],
        "SELECT at_ms, what, character, zone, detail FROM event WHERE account = ?1 ORDER BY at_ms DESC LIMIT ?2",
    ),
    ("role", &["role", "since_ms"], "SELECT role, since_ms FROM staff WHERE account = ?1 LIMIT ?2"),
    (
        "staff_actions",
        &["at_ms", "action", "detail"],
        "SELECT at_ms, action, detail FROM staff_log WHERE subject = ?1 ORDER BY id LIMIT ?2",
    ),
];

/// All of it, section by section, each a list of rows.
pub fn collect(tx: &mut dyn SqlTransaction, account: i64) -> Result<Map<String, Json>, Problem> {
    let mut sections = Map::new();
    for (name, columns, sql) in SECTIONS {
        let rows = tx.query(sql, &[account.into(), Value::Int(ROWS_MAX as i64)])?;
        let row = |row: &vyuha_store::sql::SqlRow| {
            let named = columns.iter().zip(&row.0).map(|(column, value)| ((*column).to_owned(), json(value)));
            Json::Object(named.collect())
        };
        sections.insert((*name).to_owned(), rows.iter().map(row).collect());
    }
    Ok(sections)
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(int) => (*int).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(bytes) => crate::secret::hex(bytes).into(),
    }
}
