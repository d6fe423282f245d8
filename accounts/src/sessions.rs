//! Sessions: families of refresh tokens, of which one is good at a time.
//!
//! A refresh token is used once and gives the next. One that comes back was copied: whoever has the copy and whoever was robbed
//! cannot be told apart, so the whole family ends, and with it every access token and ticket that it gave.

use vyuha_record::Value;
use vyuha_store::sql::{SqlRow, SqlTransaction};

use crate::browser;
use crate::erasure;
use crate::one_time;
use crate::problem::Problem;
use crate::secret::{Kind, Token, random_id, shown};

/// How long a session lasts, whatever is done with it.
pub const SESSION_MS: i64 = 30 * 24 * 60 * 60_000;
/// Sessions that an account may have at once; the oldest ends for the next.
pub const SESSIONS_MAX: usize = 20;
/// How much of a client's description is kept, in characters.
const AGENT_CHARS_MAX: usize = 120;

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Its owner ended it.
    Owner,
    /// A refresh token came back.
    Reuse,
    /// The password was changed or reset.
    Password,
    /// There were too many.
    Crowd,
    /// The staff ended it.
    Staff,
    /// Its owner wants the account deleted.
    Erasure,
    /// Its device was revoked.
    Device,
}

impl EndReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            EndReason::Owner => "owner",
            EndReason::Reuse => "reuse",
            EndReason::Password => "password",
            EndReason::Crowd => "crowd",
            EndReason::Staff => "staff",
            EndReason::Erasure => "erasure",
            EndReason::Device => "device",
        }
    }
}

/// What a session is shown by from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Refresh tokens, each good once.
    Refresh,
    /// A browser's cookie.
    Cookie,
}

/// A session that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its account.
    pub account: i64,
    /// Its id.
    pub session: String,
    /// Its first refresh token, or its cookie.
    pub token: Token,
    /// Those that ended for it.
    pub ended: Vec<String>,
}

/// What became of a refresh token that was shown. Each is to be committed.
#[derive(Debug)]
pub enum Shown {
    /// It was good; here is the next.
    Rotated {
        /// The session's account.
        account: i64,
        /// The session.
        session: String,
        /// The next refresh token.
        refresh: Token,
    },
    /// It had been used: its session is over.
    Reused {
        /// The session's account.
        account: i64,
        /// The session.
        session: String,
    },
    /// It is unknown, or its session is over.
    Refused,
}

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// What the client said that it is.
    pub agent: String,
    /// Where it was opened from.
    pub address: String,
    /// When it was opened, milliseconds since 1970 UTC.
    pub created_ms: i64,
    /// When it was last refreshed.
    pub seen_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
}

/// Opens a session. An account that was to be erased is not.
///
/// # Errors
/// [`crate::problem::Code::CredentialsWrong`] where it has been.
pub fn open(
    tx: &mut dyn SqlTransaction,
    account: i64,
    grant: Grant,
    agent: &str,
    address: &str,
    now_ms: i64,
) -> Result<Opened, Problem> {
    let (session, ended) = begin(tx, account, agent, address, now_ms)?;
    let token = match grant {
        Grant::Refresh => next_refresh(tx, &session)?,
        Grant::Cookie => browser::begin(tx, &session)?,
    };
    Ok(Opened { account, session, token, ended })
}

/// Begins a session that no token goes with; its id, and those that ended for it.
pub fn begin(
    tx: &mut dyn SqlTransaction,
    account: i64,
    agent: &str,
    address: &str,
    now_ms: i64,
) -> Result<(String, Vec<String>), Problem> {
    erasure::restore(tx, account)?;
    let session = random_id()?;
    let agent: String = agent.chars().filter(|c| !c.is_control()).take(AGENT_CHARS_MAX).collect();
    tx.execute(
        "INSERT INTO session (id, account, agent, address, created_ms, seen_ms, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
        &[
            session.clone().into(),
            account.into(),
            agent.into(),
            address.into(),
            now_ms.into(),
            (now_ms + SESSION_MS).into(),
        ],
    )?;
    let rows = tx.query(
        "SELECT id FROM session WHERE account = ?1 AND ended_ms IS NULL AND expires_ms > ?2 AND id <> ?3
         ORDER BY created_ms DESC, id",
        &[account.into(), now_ms.into(), session.clone().into()],
    )?;
    let mut ended = Vec::new();
    for row in rows.iter().skip(SESSIONS_MAX - 1) {
        let id = row.text(0)?;
        if end(tx, account, &id, EndReason::Crowd, now_ms)? {
            ended.push(id);
        }
    }
    Ok((session, ended))
}

/// Takes a refresh token that was shown.
pub fn rotate(tx: &mut dyn SqlTransaction, text: &str, now_ms: i64) -> Result<Shown, Problem> {
    let Some(hash) = shown(Kind::Refresh, text) else { return Ok(Shown::Refused) };
    let rows = tx.query(
        "SELECT s.id, s.account FROM refresh_token r JOIN session s ON s.id = r.session
         WHERE r.hash = ?1 AND s.ended_ms IS NULL AND s.expires_ms > ?2",
        &[hash.clone().into(), now_ms.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(Shown::Refused) };
    let (session, account) = (row.text(0)?, row.int(1)?);
    let first = tx.execute(
        "UPDATE refresh_token SET used_ms = ?2 WHERE hash = ?1 AND used_ms IS NULL",
        &[hash.into(), now_ms.into()],
    )?;
    if first == 0 {
        end(tx, account, &session, EndReason::Reuse, now_ms)?;
        return Ok(Shown::Reused { account, session });
    }
    let lasts = tx.execute(
        "UPDATE session SET seen_ms = ?2 WHERE id = ?1 AND ended_ms IS NULL",
        &[session.clone().into(), now_ms.into()],
    )?;
    if lasts == 0 {
        return Ok(Shown::Refused);
    }
    let refresh = next_refresh(tx, &session)?;
    Ok(Shown::Rotated { account, session, refresh })
}

/// Whether the account's session is not over. If so it lasts until the transaction ends: this is a write, for which another that
/// ends the session waits.
pub fn lasts(tx: &mut dyn SqlTransaction, account: i64, session: &str, now_ms: i64) -> Result<bool, Problem> {
    let held = tx.execute(
        "UPDATE session SET seen_ms = seen_ms
         WHERE id = ?1 AND account = ?2 AND ended_ms IS NULL AND expires_ms > ?3",
        &[session.into(), account.into(), now_ms.into()],
    )?;
    Ok(held == 1)
}

/// When a session of the account was opened, milliseconds since 1970 UTC; `None` if it is over.
pub fn opened_ms(
    tx: &mut dyn SqlTransaction,
    account: i64,
    session: &str,
    now_ms: i64,
) -> Result<Option<i64>, Problem> {
    let rows = tx.query(
        "SELECT created_ms FROM session WHERE id = ?1 AND account = ?2 AND ended_ms IS NULL AND expires_ms > ?3",
        &[session.into(), account.into(), now_ms.into()],
    )?;
    rows.first().map(|row| Ok(row.int(0)?)).transpose()
}

/// Ends one of the account's sessions; false if it has no such session that lasts.
pub fn end(
    tx: &mut dyn SqlTransaction,
    account: i64,
    session: &str,
    reason: EndReason,
    now_ms: i64,
) -> Result<bool, Problem> {
    let ended = tx.execute(
        "UPDATE session SET ended_ms = ?3, end_reason = ?4
         WHERE id = ?1 AND account = ?2 AND ended_ms IS NULL AND expires_ms > ?3",
        &[session.into(), account.into(), now_ms.into(), reason.as_str().into()],
    )?;
    if ended == 0 {
        return Ok(false);
    }
    for sql in
        ["DELETE FROM refresh_token WHERE session = ?1", "DELETE FROM browser_session WHERE session = ?1"]
    {
        tx.execute(sql, &[session.into()])?;
    }
    one_time::revoke(tx, Kind::Ticket, account)?;
    Ok(true)
}

/// Ends all of an account's sessions but one; which they were.
pub fn end_all(
    tx: &mut dyn SqlTransaction,
    account: i64,
    but: Option<&str>,
    reason: EndReason,
    now_ms: i64,
) -> Result<Vec<String>, Problem> {
    let rows = tx.query(
        "SELECT id FROM session WHERE account = ?1 AND ended_ms IS NULL AND expires_ms > ?2",
        &[account.into(), now_ms.into()],
    )?;
    let mut ended = Vec::new();
    for row in rows {
        let id = row.text(0)?;
        if but != Some(id.as_str()) && end(tx, account, &id, reason, now_ms)? {
            ended.push(id);
        }
    }
    Ok(ended)
}

/// The account's sessions, newest first; those after `after`, by time and id.
pub fn list(
    tx: &mut dyn SqlTransaction,
    account: i64,
    after: Option<&(i64, String)>,
    limit: usize,
    now_ms: i64,
) -> Result<Vec<Listed>, Problem> {
    let (before_ms, id) = after.map_or((i64::MAX, ""), |(created_ms, id)| (*created_ms, id));
    let rows = tx.query(
        "SELECT id, agent, address, created_ms, seen_ms, expires_ms FROM session
         WHERE account = ?1 AND ended_ms IS NULL AND expires_ms > ?2
           AND (created_ms < ?3 OR (created_ms = ?3 AND id > ?4))
         ORDER BY created_ms DESC, id LIMIT ?5",
        &[account.into(), now_ms.into(), before_ms.into(), id.into(), Value::Int(limit as i64)],
    )?;
    rows.iter().map(listed).collect()
}

/// Sessions that ended since a time.
pub fn ended_since(tx: &mut dyn SqlTransaction, since_ms: i64) -> Result<Vec<(String, i64)>, Problem> {
    let rows = tx.query("SELECT id, ended_ms FROM session WHERE ended_ms > ?1", &[since_ms.into()])?;
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

fn listed(row: &SqlRow) -> Result<Listed, Problem> {
    Ok(Listed {
        id: row.text(0)?,
        agent: row.text(1)?,
        address: row.text(2)?,
        created_ms: row.int(3)?,
        seen_ms: row.int(4)?,
        expires_ms: row.int(5)?,
    })
}

fn next_refresh(tx: &mut dyn SqlTransaction, session: &str) -> Result<Token, Problem> {
    let token = Token::new(Kind::Refresh)?;
    let sql = "INSERT INTO refresh_token (hash, session) VALUES (?1, ?2)";
    tx.execute(sql, &[token.hash.clone().into(), session.into()])?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{databases, with_tx};
    use proptest::prelude::*;

    fn show(tx: &mut dyn SqlTransaction, token: &str, now_ms: i64) -> Shown {
        rotate(tx, token, now_ms).unwrap()
    }

    #[test]
    fn a_refresh_token_is_good_once_and_its_return_ends_the_session() {
        with_tx(|tx| {
            let opened = open(tx, 7, Grant::Refresh, "curl", "127.0.0.1", 0)?;
            let Shown::Rotated { account: 7, refresh, .. } = show(tx, &opened.token.text, 1) else {
                panic!()
            };
            let ticket = one_time::issue(tx, Kind::Ticket, 7, 1, 1000)?;
            assert!(lasts(tx, 7, &opened.session, 2)?);
            assert!(matches!(show(tx, &opened.token.text, 2), Shown::Reused { account: 7, .. }));
            assert!(!lasts(tx, 7, &opened.session, 2)?);
            assert!(matches!(show(tx, &refresh.text, 3), Shown::Refused));
            assert_eq!(one_time::redeem(tx, Kind::Ticket, &ticket.text, 3)?, None);
            assert_eq!(ended_since(tx, 1)?, [(opened.session, 2)]);
            Ok(())
        });
    }

    #[test]
    fn a_session_ends_with_its_time_and_what_is_no_token_is_refused() {
        with_tx(|tx| {
            let opened = open(tx, 7, Grant::Refresh, "", "", 0)?;
            for text in ["", "vyr_", "vyr_AAAA", &opened.session] {
                assert!(matches!(show(tx, text, 1), Shown::Refused), "{text}");
            }
            assert!(matches!(show(tx, &opened.token.text, SESSION_MS), Shown::Refused));
            assert!(matches!(show(tx, &opened.token.text, SESSION_MS - 1), Shown::Rotated { .. }));
            Ok(())
        });
    }

    #[test]
    fn nobody_ends_the_sessions_of_another_and_only_the_newest_stay() {
        with_tx(|tx| {
            let others = open(tx, 8, Grant::Refresh, "", "", 0)?;
            let mut ended = Vec::new();
            for now_ms in 0..SESSIONS_MAX as i64 + 3 {
                ended.extend(open(tx, 7, Grant::Refresh, &"x\n".repeat(500), "", now_ms)?.ended);
            }
            let kept = list(tx, 7, None, 100, 100)?;
            assert_eq!((ended.len(), kept.len(), kept[0].agent.len()), (3, SESSIONS_MAX, AGENT_CHARS_MAX));
            assert!(!end(tx, 7, &others.session, EndReason::Owner, 100)?);
            assert!(!end(tx, 7, &ended[0], EndReason::Owner, 100)?);
            assert_eq!(end_all(tx, 7, Some(&kept[0].id), EndReason::Owner, 100)?.len(), SESSIONS_MAX - 1);
            assert_eq!(list(tx, 7, None, 100, 100)?, kept[..1]);
            assert_eq!(list(tx, 8, None, 100, 100)?.len(), 1);
            Ok(())
        });
    }

    #[test]
    fn pages_meet_and_do_not_overlap() {
        with_tx(|tx| {
            for now_ms in [5, 5, 5, 6, 7, 7] {
                open(tx, 7, Grant::Refresh, "", "", now_ms)?;
            }
            let whole = list(tx, 7, None, 100, 10)?;
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = list(tx, 7, after.as_ref(), 2, 10)?;
                let Some(last) = page.last() else { break };
                after = Some((last.created_ms, last.id.clone()));
                paged.extend(page);
            }
            assert_eq!((paged.len(), &paged), (6, &whole));
            Ok(())
        });
    }

    /// What owner and thief may do, in any order: both hold every token that was ever given.
    #[derive(Debug, Clone)]
    enum Step {
        Show(prop::sample::Index),
        End,
        EndAll,
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => any::<prop::sample::Index>().prop_map(Step::Show),
            1 => Just(Step::End),
            1 => Just(Step::EndAll),
            1 => (0..SESSION_MS / 2).prop_map(Step::Wait),
        ]
    }

    #[test]
    fn no_order_of_use_reuse_and_end_leaves_a_copied_token_good() {
        let (_dir, databases) = databases();
        for database in databases {
            let database = std::cell::RefCell::new(database);
            let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(100));
            let run = |steps: Vec<Step>| {
                let mut outcome = Ok(());
                let mut work = |tx: &mut dyn SqlTransaction| {
                    outcome = judge(tx, &steps);
                    false
                };
                database.borrow_mut().transact(&mut work).unwrap();
                outcome
            };
            runner.run(&prop::collection::vec(step(), 1..12), run).unwrap();
        }
    }

    fn judge(tx: &mut dyn SqlTransaction, steps: &[Step]) -> Result<(), TestCaseError> {
        let opened = open(tx, 7, Grant::Refresh, "", "", 0).unwrap();
        let (mut tokens, mut now_ms, mut over) = (vec![opened.token.text], 0, false);
        for step in steps {
            match step {
                Step::Show(which) => {
                    let which = which.index(tokens.len());
                    let newest = which == tokens.len() - 1;
                    match show(tx, &tokens[which], now_ms) {
                        Shown::Rotated { refresh, .. } => {
                            prop_assert!(newest && !over, "token {which} was good");
                            tokens.push(refresh.text);
                        }
                        Shown::Reused { .. } => {
                            prop_assert!(!newest && !over);
                            over = true;
                        }
                        Shown::Refused => prop_assert!(over, "token {which} was refused"),
                    }
                }
                Step::End => {
                    let ended = end(tx, 7, &opened.session, EndReason::Owner, now_ms).unwrap();
                    prop_assert_eq!(ended, !over);
                    over = true;
                }
                Step::EndAll => {
                    let ended = end_all(tx, 7, None, EndReason::Password, now_ms).unwrap();
                    prop_assert_eq!(ended.len(), usize::from(!over));
                    over = true;
                }
                Step::Wait(wait_ms) => {
                    now_ms += wait_ms;
                    over |= now_ms >= SESSION_MS;
                }
            }
        }
        // Whoever holds old tokens: the first of them that is shown is the last thing that this session ever did.
        for token in &tokens[..tokens.len() - 1] {
            let good = matches!(show(tx, token, now_ms), Shown::Rotated { .. });
            prop_assert!(!good, "an old token was good");
        }
        let newest = show(tx, tokens.last().expect("there is a first"), now_ms);
        let good = matches!(newest, Shown::Rotated { .. });
        prop_assert_eq!(good, !over && tokens.len() == 1);
        Ok(())
    }
}
