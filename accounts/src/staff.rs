//! Staff: who may do what to whom, and the log of what was done, to which is only ever added.

use sha2::{Digest as _, Sha256};
use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::problem::{Code, Problem};
use crate::secret::hex;

/// What a member of the staff is, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Helps people with their accounts.
    Support,
    /// Keeps people apart as well.
    Moderator,
    /// Appoints staff as well, and reads what it did.
    Administrator,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To look accounts up.
    Look,
    /// To end an account's sessions, and its stay in the game.
    EndSessions,
    /// To ban accounts and addresses, to take that back, and to decide appeals.
    Suspend,
    /// To book what profiles owe, and what of it was settled.
    BookDebts,
    /// To appoint and dismiss staff.
    Appoint,
    /// To read the log.
    ReadLog,
    /// To announce something to those who play.
    Announce,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 7] = [
        Permission::Look,
        Permission::EndSessions,
        Permission::Suspend,
        Permission::BookDebts,
        Permission::Announce,
        Permission::Appoint,
        Permission::ReadLog,
    ];

    /// The permission's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Permission::Look => "look",
            Permission::EndSessions => "end_sessions",
            Permission::Suspend => "suspend",
            Permission::BookDebts => "book_debts",
            Permission::Announce => "announce",
            Permission::Appoint => "appoint",
            Permission::ReadLog => "read_log",
        }
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Support, Role::Moderator, Role::Administrator];

    /// The role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Support => "support",
            Role::Moderator => "moderator",
            Role::Administrator => "administrator",
        }
    }

    /// The role of a name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// Whether somebody of this role may do that.
    pub fn may(self, permission: Permission) -> bool {
        let least = match permission {
            Permission::Look | Permission::EndSessions => Role::Support,
            Permission::Suspend | Permission::BookDebts | Permission::Announce => Role::Moderator,
            Permission::Appoint | Permission::ReadLog => Role::Administrator,
        };
        self >= least
    }

    /// Whether somebody of this role may do anything to one who is `other`, or no staff.
    pub fn may_touch(self, other: Option<Role>) -> bool {
        other.is_none_or(|other| self > other || self == Role::Administrator)
    }
}

/// The role of an account.
pub fn role_of(tx: &mut dyn SqlTransaction, account: i64) -> Result<Option<Role>, Problem> {
    let rows = tx.query("SELECT role FROM staff WHERE account = ?1", &[account.into()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let name = row.text(0)?;
    let role = Role::parse(&name).ok_or_else(|| {
        tracing::error!(account, name, "a member of the staff has an unknown role");
        Problem::from(Code::Internal)
    })?;
    Ok(Some(role))
}

/// Gives an account a role, or takes the one away that it has.
pub fn appoint(
    tx: &mut dyn SqlTransaction,
    account: i64,
    role: Option<Role>,
    now_ms: i64,
) -> Result<(), Problem> {
    tx.execute("DELETE FROM staff WHERE account = ?1", &[account.into()])?;
    if let Some(role) = role {
        let sql = "INSERT INTO staff (account, role, since_ms) VALUES (?1, ?2, ?3)";
        tx.execute(sql, &[account.into(), role.as_str().into(), now_ms.into()])?;
    }
    Ok(())
}

/// Whether there is any staff.
pub fn is_any(tx: &mut dyn SqlTransaction) -> Result<bool, Problem> {
    Ok(!tx.query("SELECT account FROM staff LIMIT 1", &[])?.is_empty())
}

/// Something that staff did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Its number, from 1.
    pub id: i64,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Who did it.
    pub actor: i64,
    /// What.
    pub action: String,
    /// To which account.
    pub subject: i64,
    /// What was said of it.
    pub detail: String,
    /// SHA-256 over this deed and the chain of the one before: none can be changed or left out unseen.
    pub chain: String,
}

/// Adds a deed to the log.
pub fn record(
    tx: &mut dyn SqlTransaction,
    at_ms: i64,
    actor: i64,
    action: &str,
    subject: i64,
    detail: &str,
) -> Result<(), Problem> {
    let rows = tx.query("SELECT id, chain FROM staff_log ORDER BY id DESC LIMIT 1", &[])?;
    let (last, before) = match rows.first() {
        Some(row) => (row.int(0)?, row.text(1)?),
        None => (0, String::new()),
    };
    let (action, detail) = (action.to_owned(), detail.to_owned());
    let mut deed = Deed { id: last + 1, at_ms, actor, action, subject, detail, chain: String::new() };
    deed.chain = chain(&before, &deed);
    tx.execute(
        "INSERT INTO staff_log (id, at_ms, actor, action, subject, detail, chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        &[
            deed.id.into(),
            at_ms.into(),
            actor.into(),
            deed.action.into(),
            subject.into(),
            deed.detail.into(),
            deed.chain.into(),
        ],
    )?;
    Ok(())
}

/// Which deeds are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Those before a number.
    pub before: Option<i64>,
    /// Those of one who did them.
    pub actor: Option<i64>,
    /// Those that were done to one account.
    pub subject: Option<i64>,
    /// Those of one kind; of every kind where it is empty.
    pub action: String,
    /// Those since a time, milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// Those before a time.
    pub until_ms: Option<i64>,
}

/// The log, newest first.
pub fn log(tx: &mut dyn SqlTransaction, filter: &LogFilter, limit: usize) -> Result<Vec<Deed>, Problem> {
    let rows = tx.query(
        "SELECT id, at_ms, actor, action, subject, detail, chain FROM staff_log
         WHERE id < ?1 AND (actor = ?2 OR ?2 < 0) AND (subject = ?3 OR ?3 < 0) AND (action = ?4 OR ?4 = '')
           AND at_ms >= ?5 AND at_ms < ?6
         ORDER BY id DESC LIMIT ?7",
        &[
            filter.before.unwrap_or(i64::MAX).into(),
            filter.actor.unwrap_or(-1).into(),
            filter.subject.unwrap_or(-1).into(),
            filter.action.clone().into(),
            filter.since_ms.unwrap_or(i64::MIN).into(),
            filter.until_ms.unwrap_or(i64::MAX).into(),
            Value::Int(limit as i64),
        ],
    )?;
    rows.iter().map(deed).collect()
}

fn deed(row: &SqlRow) -> Result<Deed, Problem> {
    Ok(Deed {
        id: row.int(0)?,
        at_ms: row.int(1)?,
        actor: row.int(2)?,
        action: row.text(3)?,
        subject: row.int(4)?,
        detail: row.text(5)?,
        chain: row.text(6)?,
    })
}

/// The sum of a deed and all before it: of each text its length as well, so that no two logs have one sum.
pub fn chain(before: &str, deed: &Deed) -> String {
    let mut sum = Sha256::new();
    for number in [deed.id, deed.at_ms, deed.actor, deed.subject] {
        sum.update(number.to_le_bytes());
    }
    for text in [before, &deed.action, &deed.detail] {
        sum.update((text.len() as u64).to_le_bytes());
        sum.update(text);
    }
    hex(&sum.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    #[test]
    fn who_may_do_what() {
        let check = |permission: Permission, roles: &[Role]| {
            for role in Role::ALL {
                assert_eq!(role.may(permission), roles.contains(&role), "{role:?} {permission:?}");
            }
        };
        check(Permission::Look, &Role::ALL);
        check(Permission::EndSessions, &Role::ALL);
        check(Permission::Suspend, &[Role::Moderator, Role::Administrator]);
        check(Permission::Announce, &[Role::Moderator, Role::Administrator]);
        check(Permission::BookDebts, &[Role::Moderator, Role::Administrator]);
        check(Permission::Appoint, &[Role::Administrator]);
        check(Permission::ReadLog, &[Role::Administrator]);
    }

    #[test]
    fn nobody_touches_their_equals_but_administrators() {
        for one in Role::ALL {
            assert!(one.may_touch(None));
            for other in Role::ALL {
                let expected = one == Role::Administrator || one > other;
                assert_eq!(one.may_touch(Some(other)), expected, "{one:?} {other:?}");
            }
        }
        assert!(!Role::Moderator.may_touch(Some(Role::Moderator)));
        assert_eq!(Role::parse("Administrator"), None);
    }

    #[test]
    fn roles_are_given_and_taken() {
        with_tx(|tx| {
            assert!(!is_any(tx)?);
            appoint(tx, 7, Some(Role::Support), 1)?;
            appoint(tx, 7, Some(Role::Moderator), 2)?;
            assert_eq!((role_of(tx, 7)?, role_of(tx, 8)?), (Some(Role::Moderator), None));
            appoint(tx, 7, None, 3)?;
            assert_eq!((role_of(tx, 7)?, is_any(tx)?), (None, false));
            Ok(())
        });
    }

    #[test]
    fn a_changed_log_shows() {
        with_tx(|tx| {
            for number in 0..5 {
                record(tx, number, 1, "suspend", 7, &format!("reason {number}"))?;
            }
            let intact = |deeds: &[Deed]| {
                let mut before = String::new();
                deeds.iter().rev().all(|deed| {
                    let same = chain(&before, deed) == deed.chain;
                    before.clone_from(&deed.chain);
                    same
                })
            };
            let all = LogFilter::default();
            let deeds = log(tx, &all, 10)?;
            assert_eq!(deeds.iter().map(|deed| deed.id).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
            assert!(intact(&deeds));
            assert_eq!(log(tx, &LogFilter { before: Some(4), ..LogFilter::default() }, 2)?, deeds[2..4]);
            let mut without = deeds.clone();
            without.remove(2);
            assert!(!intact(&without));
            tx.execute("UPDATE staff_log SET detail = 'x' WHERE id = 2", &[])?;
            assert!(!intact(&log(tx, &all, 10)?));
            Ok(())
        });
    }

    #[test]
    fn the_log_is_read_by_who_whom_what_and_when() {
        with_tx(|tx| {
            for (at_ms, actor, action, subject) in
                [(10, 1, "ban", 7), (20, 2, "lift", 7), (30, 1, "ban", 8), (40, 0, "ban", 7)]
            {
                record(tx, at_ms, actor, action, subject, "")?;
            }
            let all = LogFilter::default;
            let check = |tx: &mut dyn SqlTransaction, filter: LogFilter, expected: &[i64]| {
                let ids: Vec<i64> = log(tx, &filter, 10).unwrap().iter().map(|deed| deed.id).collect();
                assert_eq!(ids, expected, "{filter:?}");
            };
            check(tx, all(), &[4, 3, 2, 1]);
            check(tx, LogFilter { actor: Some(1), ..all() }, &[3, 1]);
            check(tx, LogFilter { actor: Some(0), ..all() }, &[4]);
            check(tx, LogFilter { subject: Some(7), ..all() }, &[4, 2, 1]);
            check(tx, LogFilter { action: "lift".into(), ..all() }, &[2]);
            check(tx, LogFilter { since_ms: Some(20), until_ms: Some(40), ..all() }, &[3, 2]);
            let some = LogFilter { subject: Some(7), action: "ban".into(), before: Some(4), ..all() };
            check(tx, some, &[1]);
            Ok(())
        });
    }
}
