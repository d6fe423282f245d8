//! Bans: who may not come in, since when and until when, why, and by whom.
//!
//! An account has one ban in force at most, and its own row says the same, so that every way in sees it. Ranges of addresses are
//! kept in the process as well ([`AddressBans`]), since every request and every connection asks; what another node banned is
//! known [`REFRESH_INTERVAL`] later. Bans are ended and never deleted.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;
use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::problem::{Code, Problem};

/// Ranges that may be banned at once: each request is held against all of them.
pub const RANGES_MAX: usize = 1024;
/// The widest ranges that may be banned, in bits of the network: whole providers are not.
pub const V4_BITS_MIN: u8 = 16;
/// The same of IPv6.
pub const V6_BITS_MIN: u8 = 32;
/// How often the ranges are to be read again, for those that other nodes banned.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// What is banned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An account.
    Account(i64),
    /// A range of addresses, with no bit set outside the network.
    Range(IpNet),
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Its number, from 1.
    pub id: i64,
    /// What is banned.
    pub target: Target,
    /// Why.
    pub reason: String,
    /// Since when, milliseconds since 1970 UTC; 0 where only the log knows.
    pub since_ms: i64,
    /// Until when; `None` for good.
    pub until_ms: Option<i64>,
    /// By whom; 0 for another server.
    pub actor: i64,
    /// When it was lifted or replaced, if it was, and by whom.
    pub ended: Option<(i64, i64)>,
}

impl Ban {
    /// Whether it holds.
    pub fn is_in_force(&self, now_ms: i64) -> bool {
        self.ended.is_none() && self.until_ms.is_none_or(|until_ms| until_ms > now_ms)
    }

    /// What whom it keeps out is told.
    pub fn notice(&self) -> String {
        let until = self.until_ms.map_or_else(|| "for good".into(), |until_ms| format!("until {until_ms}"));
        format!("{until}: {}", self.reason)
    }
}

/// Which bans are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of one account.
    pub account: Option<i64>,
    /// Those of one kind: `account` or `address`.
    pub kind: Option<&'static str>,
    /// Those that hold at this time.
    pub in_force_ms: Option<i64>,
}

/// A range of addresses as staff writes it: an address alone, or with the bits of its network.
///
/// # Errors
/// [`Code::BodyInvalid`] where it is none, or too wide.
pub fn parse_range(text: &str) -> Result<IpNet, Problem> {
    let alone = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    let range = text.parse::<IpNet>().map(|range| range.trunc()).or_else(|_| alone()).map_err(|_| {
        let detail = "a range is an address, or one with the bits of its network: 192.0.2.0/24";
        Problem::from(Code::BodyInvalid).detail(detail)
    })?;
    let (bits_min, mapped) = match range {
        IpNet::V4(_) => (V4_BITS_MIN, false),
        IpNet::V6(range) => (V6_BITS_MIN, range.addr().to_ipv4_mapped().is_some()),
    };
    if range.prefix_len() < bits_min || mapped {
        let detail = "a range is no wider than /16 of IPv4 or /32 of IPv6, and IPv4 is written as such";
        return Err(Problem::from(Code::BodyInvalid).detail(detail));
    }
    Ok(range)
}

/// Bans something from now on, in place of what held of it until now; the ban's number.
///
/// # Errors
/// [`Code::BanLimit`] where there are [`RANGES_MAX`] ranges.
pub fn put(
    tx: &mut dyn SqlTransaction,
    target: &Target,
    until_ms: Option<i64>,
    reason: &str,
    actor: i64,
    now_ms: i64,
) -> Result<i64, Problem> {
    let (kind, account, network) = match target {
        Target::Account(account) => ("account", *account, String::new()),
        Target::Range(range) => ("address", 0, range.to_string()),
    };
    tx.execute(
        "UPDATE ban SET ended_ms = ?4, ended_by = ?5
         WHERE kind = ?1 AND account = ?2 AND network = ?3 AND ended_ms IS NULL AND until_ms > ?4",
        &[kind.into(), account.into(), network.clone().into(), now_ms.into(), actor.into()],
    )?;
    match target {
        Target::Account(account) => mark(tx, *account, Some((until_ms.unwrap_or(i64::MAX), reason)))?,
        Target::Range(_) if ranges(tx, now_ms)?.len() >= RANGES_MAX => return Err(Code::BanLimit.into()),
        Target::Range(_) => {}
    }
    let rows = tx.query("SELECT id FROM ban ORDER BY id DESC LIMIT 1", &[])?;
    let id = rows.first().map_or(Ok(0), |row| row.int(0))? + 1;
    tx.execute(
        "INSERT INTO ban (id, kind, account, network, reason, since_ms, until_ms, by_actor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        &[
            id.into(),
            kind.into(),
            account.into(),
            network.into(),
            reason.into(),
            now_ms.into(),
            until_ms.unwrap_or(i64::MAX).into(),
            actor.into(),
        ],
    )?;
    Ok(id)
}

/// Ends a ban; false if it does not hold any more.
pub fn lift(tx: &mut dyn SqlTransaction, ban: &Ban, actor: i64, now_ms: i64) -> Result<bool, Problem> {
    let ended = tx.execute(
        "UPDATE ban SET ended_ms = ?2, ended_by = ?3 WHERE id = ?1 AND ended_ms IS NULL AND until_ms > ?2",
        &[ban.id.into(), now_ms.into(), actor.into()],
    )?;
    if let (1, Target::Account(account)) = (ended, &ban.target) {
        mark(tx, *account, None)?;
    }
    Ok(ended == 1)
}

/// Writes into an account's row until when nobody signs in with it, and why.
fn mark(tx: &mut dyn SqlTransaction, account: i64, ban: Option<(i64, &str)>) -> Result<(), Problem> {
    let (until_ms, reason) =
        ban.map_or((Value::Null, Value::Null), |(until_ms, reason)| (until_ms.into(), reason.into()));
    tx.execute(
        "UPDATE account SET suspended_until_ms = ?2, suspension_reason = ?3 WHERE id = ?1",
        &[account.into(), until_ms, reason],
    )?;
    Ok(())
}

/// The columns of [`Ban`].
macro_rules! columns {
    () => {
        "id, kind, account, network, reason, since_ms, until_ms, by_actor, ended_ms, ended_by"
    };
}

/// The ban of a number.
pub fn find(tx: &mut dyn SqlTransaction, id: i64) -> Result<Option<Ban>, Problem> {
    let rows = tx.query(concat!("SELECT ", columns!(), " FROM ban WHERE id = ?1"), &[id.into()])?;
    rows.first().map(ban).transpose()
}

/// The ban that holds of an account.
pub fn of_account(tx: &mut dyn SqlTransaction, account: i64, now_ms: i64) -> Result<Option<Ban>, Problem> {
    let filter = Filter { account: Some(account), kind: Some("account"), in_force_ms: Some(now_ms) };
    Ok(list(tx, &filter, i64::MAX, 1)?.pop())
}

/// Every range that is banned.
pub fn ranges(tx: &mut dyn SqlTransaction, now_ms: i64) -> Result<Vec<Ban>, Problem> {
    let filter = Filter { account: None, kind: Some("address"), in_force_ms: Some(now_ms) };
    list(tx, &filter, i64::MAX, RANGES_MAX)
}

/// Bans, newest first; those before a number.
pub fn list(
    tx: &mut dyn SqlTransaction,
    filter: &Filter,
    before: i64,
    limit: usize,
) -> Result<Vec<Ban>, Problem> {
    let rows = tx.query(
        concat!(
            "SELECT ",
            columns!(),
            " FROM ban WHERE id < ?1 AND (account = ?2 OR ?2 < 0) AND (kind = ?3 OR ?3 = '')
              AND ((until_ms > ?4 AND ended_ms IS NULL) OR ?4 < 0)
              ORDER BY id DESC LIMIT ?5"
        ),
        &[
            before.into(),
            filter.account.unwrap_or(-1).into(),
            filter.kind.unwrap_or_default().into(),
            filter.in_force_ms.unwrap_or(-1).into(),
            Value::Int(limit as i64),
        ],
    )?;
    rows.iter().map(ban).collect()
}

fn ban(row: &SqlRow) -> Result<Ban, Problem> {
    let id = row.int(0)?;
    let target = match row.text(1)?.as_str() {
        "account" => Some(Target::Account(row.int(2)?)),
        "address" => row.text(3)?.parse().ok().map(Target::Range),
        _ => None,
    };
    let target = target.ok_or_else(|| {
        tracing::error!(ban = id, "a ban is of an unknown kind, or of no range");
        Problem::from(Code::Internal)
    })?;
    Ok(Ban {
        id,
        target,
        reason: row.text(4)?,
        since_ms: row.int(5)?,
        until_ms: Some(row.int(6)?).filter(|until_ms| *until_ms != i64::MAX),
        actor: row.int(7)?,
        ended: row.optional_int(8)?.zip(row.optional_int(9)?),
    })
}

/// The ranges that are banned, as this process knows them: at most [`RANGES_MAX`].
#[derive(Debug, Default)]
pub struct AddressBans {
    ranges: RwLock<Arc<[Ban]>>,
}

impl AddressBans {
    /// These and no others.
    pub fn replace(&self, bans: Vec<Ban>) {
        *self.ranges.write().unwrap_or_else(PoisonError::into_inner) = bans.into();
    }

    /// The ban that keeps an address out; of an IPv4 address that is written as IPv6, that of what it stands for.
    pub fn covering(&self, address: IpAddr, now_ms: i64) -> Option<Ban> {
        let address = address.to_canonical();
        let ranges = self.ranges.read().unwrap_or_else(PoisonError::into_inner).clone();
        let covers = |ban: &&Ban| {
            matches!(&ban.target, Target::Range(range) if range.contains(&address)) && ban.is_in_force(now_ms)
        };
        ranges.iter().find(covers).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    #[test]
    fn ranges_as_staff_writes_them() {
        let check = |text: &str, expected: Option<&str>| {
            let parsed = parse_range(text).ok().map(|range| range.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        };
        check("192.0.2.7", Some("192.0.2.7/32"));
        check("192.0.2.7/24", Some("192.0.2.0/24"));
        check("192.0.0.0/16", Some("192.0.0.0/16"));
        check("192.0.0.0/15", None);
        check("0.0.0.0/0", None);
        check("2001:db8::7", Some("2001:db8::7/128"));
        check("2001:db8::/32", Some("2001:db8::/32"));
        check("2001:db8::/31", None);
        check("::ffff:192.0.2.7", Some("192.0.2.7/32"));
        check("::ffff:192.0.2.0/120", None);
        check("192.0.2.0/33", None);
        check("example.com", None);
        check("", None);
    }

    #[test]
    fn an_account_has_one_ban_in_force_and_its_row_says_the_same() {
        with_tx(|tx| {
            let sql = "INSERT INTO account (id, name, password_hash, created_ms) VALUES (7, 'asha', '', 0)";
            tx.execute(sql, &[])?;
            let row = |tx: &mut dyn SqlTransaction| {
                let sql = "SELECT suspended_until_ms, suspension_reason FROM account WHERE id = 7";
                let row = tx.query(sql, &[]).unwrap().remove(0);
                (row.optional_int(0).unwrap(), row.optional_text(1).unwrap())
            };
            let target = Target::Account(7);
            let first = put(tx, &target, Some(100), "bots", 1, 10)?;
            let second = put(tx, &target, None, "more bots", 2, 20)?;
            assert_eq!(row(tx), (Some(i64::MAX), Some("more bots".into())));
            let found = of_account(tx, 7, 30)?.unwrap();
            assert_eq!((found.id, found.until_ms, found.actor, found.since_ms), (second, None, 2, 20));
            let replaced = find(tx, first)?.unwrap();
            assert_eq!(replaced.ended, Some((20, 2)));
            assert!(!lift(tx, &replaced, 3, 40)?, "it was replaced");
            assert!(lift(tx, &found, 3, 40)?);
            assert!(!lift(tx, &found, 3, 41)?, "it was lifted");
            assert_eq!((row(tx), of_account(tx, 7, 41)?), ((None, None), None));
            put(tx, &target, Some(100), "bots", 1, 50)?;
            assert!(of_account(tx, 7, 99)?.is_some() && of_account(tx, 7, 100)?.is_none());
            let all = list(tx, &Filter { account: Some(7), ..Filter::default() }, i64::MAX, 10)?;
            assert_eq!(all.iter().map(|ban| ban.id).collect::<Vec<_>>(), [3, 2, 1]);
            assert_eq!(list(tx, &Filter::default(), 3, 1)?[0].id, 2);
            Ok(())
        });
    }

    #[test]
    fn ranges_are_no_more_than_each_request_can_be_held_against() {
        with_tx(|tx| {
            // In one statement: a transaction has seconds.
            tx.execute(
                "WITH RECURSIVE number (id) AS
                     (SELECT CAST(1 AS BIGINT) UNION ALL SELECT id + 1 FROM number WHERE id < ?1)
                 INSERT INTO ban (id, kind, account, network, reason, since_ms, until_ms, by_actor)
                 SELECT id, 'address', 0, '10.0.' || (id / 256) || '.' || (id % 256) || '/32', '', 0, 10, 1 FROM number",
                &[(RANGES_MAX as i64 - 1).into()],
            )?;
            let last = Target::Range("198.51.100.0/24".parse().unwrap());
            put(tx, &last, Some(10), "", 1, 0)?;
            let one = Target::Range("192.0.2.0/24".parse().unwrap());
            assert_eq!(put(tx, &one, None, "", 1, 5).map_err(|problem| problem.code), Err(Code::BanLimit));
            assert_eq!(ranges(tx, 5)?.len(), RANGES_MAX);
            put(tx, &one, None, "", 1, 10)?;
            assert_eq!(ranges(tx, 10)?.len(), 1, "the others are over");
            Ok(())
        });
    }

    fn range_ban(range: IpNet, until_ms: Option<i64>) -> Ban {
        let (target, reason) = (Target::Range(range), String::new());
        Ban { id: 1, target, reason, since_ms: 0, until_ms, actor: 1, ended: None }
    }

    proptest! {
        #[test]
        fn a_range_covers_exactly_the_addresses_whose_leading_bits_are_its_own(
            network: u32, bits in V4_BITS_MIN..=32, address: u32, mapped: bool,
        ) {
            let range = parse_range(&format!("{}/{bits}", Ipv4Addr::from(network))).unwrap();
            let bans = AddressBans::default();
            bans.replace(vec![range_ban(range, Some(100))]);
            let mask = u32::MAX << (32 - u32::from(bits));
            for address in [address, network & mask | address & !mask] {
                let v4 = Ipv4Addr::from(address);
                let shown = if mapped { IpAddr::V6(v4.to_ipv6_mapped()) } else { IpAddr::V4(v4) };
                let same = address & mask == network & mask;
                prop_assert_eq!(bans.covering(shown, 99).is_some(), same);
                prop_assert!(bans.covering(shown, 100).is_none());
            }
        }
    }
}
