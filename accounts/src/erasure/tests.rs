use super::*;
use crate::profiles::{self, By};
use crate::sessions::{self, Grant};
use crate::testing::with_tx;
use std::sync::Arc;
use vyuha_record::Value;
use vyuha_store::sql::SqlRow;

const ACCOUNT: i64 = 7;
/// In every text that is of the person.
const MARK: &str = "zebra";

/// An account of which there is something in every table.
fn somebody(tx: &mut dyn SqlTransaction) -> Result<i64, Problem> {
    tx.execute(
        "INSERT INTO account (id, name, password_hash, created_ms, email, second_factor_ms, suspended_until_ms, suspension_reason)
         VALUES (7, 'zebra', 'zebra', 1, 'zebra@example.com', 1, 1, 'zebra'), (8, 'other', 'x', 1, NULL, NULL, NULL, NULL)",
        &[],
    )?;
    for sql in [
        "INSERT INTO registration (id, token, email, password_hash, sends, expires_ms) VALUES ('zebra1', 'zebra2', 'zebra@example.com', 'x', 1, 9)",
        "INSERT INTO one_time_token (hash, purpose, account, expires_ms) VALUES ('zebra', 'reset', 7, 9)",
        "INSERT INTO second_factor (account, secret, last_step) VALUES (7, 'zebra', 1)",
        "INSERT INTO recovery_code (account, hash) VALUES (7, 'zebra')",
        "INSERT INTO identity (issuer, subject, account, linked_ms) VALUES ('i', 'zebra', 7, 1), ('i', 'other', 8, 1)",
        "INSERT INTO identity_flow (hash, provider, redirect_uri, account, proven, expires_ms) VALUES ('zebra', 'p', 'zebra', 0, 7, 9)",
        "INSERT INTO device (id, account, public_key, name, platform, enrolled_ms, seen_ms) VALUES ('d', 7, 'k', 'zebra', 'zebra', 1, 1)",
        "INSERT INTO device_stream (account, name, sequence, dropped) VALUES (7, 'zebra', 1, 0)",
        "INSERT INTO device_event (account, stream, sequence, key, device, number, body, created_ms, expires_ms)
         VALUES (7, 's', 1, 'k', 'd', 1, 'zebra', 1, 9)",
        "INSERT INTO device_cursor (device, stream, acknowledged, published) VALUES ('d', 'zebra', 1, 1)",
        "INSERT INTO staff (account, role, since_ms) VALUES (7, 'support', 1)",
        "INSERT INTO event (source, seq, at_ms, what, account, character, zone, detail) VALUES (1, 1, 1, 'entered', 7, 0, 0, 'zebra')",
        "INSERT INTO item (id, kind, count, place, owner, slot, x, y, wear) VALUES (1, 4, 9, 0, 1, 0, 0, 0, 0)",
        "INSERT INTO ledger (source, seq, idx, at_ms, reason, item, kind, count, from_place, from_owner, to_place, to_owner, counterparty)
         VALUES (99, 1, 0, 0, 0, 1, 4, 9, -1, 0, 0, 1, 0)",
    ] {
        tx.execute(sql, &[])?;
    }
    for grant in [Grant::Refresh, Grant::Cookie] {
        sessions::open(tx, ACCOUNT, grant, MARK, MARK, 1)?;
    }
    let profile = profiles::first(tx, ACCOUNT, 1)?;
    profiles::rename(tx, ACCOUNT, profile, MARK, 1)?;
    profiles::put_settings(tx, ACCOUNT, profile, None, "{\"a\":\"zebra\"}", 1)?;
    let character = characters::create(
        tx,
        ACCOUNT,
        profile,
        MARK,
        &(Arc::new(|id| (1_i64, id, id)) as characters::Newcomer),
        1,
    )?;
    assert_eq!(character, 1);
    let other = profiles::create(tx, ACCOUNT, "zebra crossing", 9, 1)?;
    let other = profiles::find(tx, ACCOUNT, other, 1)?;
    profiles::freeze(tx, &other, By::Staff, MARK, 1)?;
    Ok(character)
}

/// How many rows of each table hold the mark.
fn marked(tx: &mut dyn SqlTransaction) -> Result<Vec<&'static str>, Problem> {
    let mut found = Vec::new();
    for (table, sql) in [
        ("account", "SELECT * FROM account"),
        ("registration", "SELECT * FROM registration"),
        ("one_time_token", "SELECT * FROM one_time_token"),
        ("session", "SELECT * FROM session"),
        ("second_factor", "SELECT * FROM second_factor"),
        ("recovery_code", "SELECT * FROM recovery_code"),
        ("identity", "SELECT * FROM identity"),
        ("identity_flow", "SELECT * FROM identity_flow"),
        ("device", "SELECT * FROM device"),
        ("device_stream", "SELECT * FROM device_stream"),
        ("device_event", "SELECT * FROM device_event"),
        ("device_cursor", "SELECT * FROM device_cursor"),
        ("profile", "SELECT * FROM profile"),
        ("character", "SELECT * FROM character"),
        ("event", "SELECT * FROM event"),
    ] {
        let has = |row: &SqlRow| {
            row.0.iter().any(|value| matches!(value, Value::Text(text) if text.contains(MARK)))
        };
        if tx.query(sql, &[])?.iter().any(has) {
            found.push(table);
        }
    }
    Ok(found)
}

fn count(tx: &mut dyn SqlTransaction, sql: &'static str) -> Result<i64, Problem> {
    Ok(tx.query(sql, &[])?[0].int(0)?)
}

#[test]
fn nothing_of_an_erased_person_is_left_and_the_ledger_balances() {
    with_tx(|tx| {
        somebody(tx)?;
        assert_eq!(marked(tx)?.len(), 15, "each of the tables is put to the test");
        assert_eq!(request(tx, ACCOUNT, 100, 1000)?, 1100);
        assert_eq!(due_ms(tx, ACCOUNT)?, Some(1100));
        assert!(!erase(tx, ACCOUNT, 1099)?);
        assert!(erase(tx, ACCOUNT, 1100)?);
        assert!(!erase(tx, ACCOUNT, 1101)?);
        assert_eq!(marked(tx)?, [""; 0]);
        for sql in [
            "SELECT count(*) FROM session",
            "SELECT count(*) FROM refresh_token",
            "SELECT count(*) FROM browser_session",
            "SELECT count(*) FROM staff",
            "SELECT count(*) FROM item",
            "SELECT count(*) FROM character WHERE account <> 0",
            "SELECT count(*) FROM profile WHERE account <> 0",
        ] {
            assert_eq!(count(tx, sql)?, 0, "{sql}");
        }
        // What came went again.
        assert_eq!(
            count(tx, "SELECT count(*) FROM ledger WHERE from_place = 0 AND from_owner = 1 AND count = 9")?,
            1
        );
        // The number is not given again, and others are as they were.
        assert_eq!(crate::registration::create(tx, "x".into(), None, 1)?, 9);
        assert_eq!(count(tx, "SELECT count(*) FROM identity WHERE account = 8")?, 1);
        // Nobody signs in with it any more.
        assert_eq!(
            sessions::open(tx, ACCOUNT, Grant::Refresh, "", "", 1200).unwrap_err().code,
            Code::CredentialsWrong
        );
        assert_eq!(due_ms(tx, ACCOUNT)?, None);
        Ok(())
    });
}

#[test]
fn who_signs_in_has_changed_their_mind() {
    with_tx(|tx| {
        somebody(tx)?;
        request(tx, ACCOUNT, 100, 1000)?;
        sessions::open(tx, ACCOUNT, Grant::Refresh, "", "", 1099)?;
        assert_eq!(due_ms(tx, ACCOUNT)?, None);
        assert!(!erase(tx, ACCOUNT, 2000)?);
        assert_eq!(marked(tx)?.len(), 15);
        // Asked for once more it takes as long once more.
        assert_eq!(request(tx, ACCOUNT, 100, 3000)?, 3100);
        assert_eq!(request(tx, ACCOUNT, 100, 3050)?, 3150);
        assert!(!erase(tx, ACCOUNT, 3149)?);
        restore(tx, ACCOUNT)?;
        assert!(!erase(tx, ACCOUNT, 9999)?);
        Ok(())
    });
}
