//! Identities at providers: which account each of them lets in, and the sign-ins there that have begun.
//!
//! An identity is a provider's issuer and subject, never an address. What an address may do is little, since who can have it
//! vouched for somewhere could otherwise take an account over, or wait in one for its owner:
//!
//! - It counts only if the provider calls it verified and the configuration trusts that provider's word for it. Without that
//!   an account that is made has no address, so that nobody holds the address of another.
//! - An identity that is new here is linked to the account that has shown the same address to be its own, if there is one
//!   without second factor and without a role. One with either is left alone: its owner signs in and links.
//! - Every link that an address made is told to that address.
//!
//! There is no account whose address was not shown to be its owner's, and so none in which somebody else could have been
//! waiting.

use vyuha_store::sql::SqlTransaction;

use crate::email::Email;
use crate::login;
use crate::oidc::Identity;
use crate::problem::{Code, Problem};
use crate::registration;
use crate::secret::{Kind, Token, shown};
use crate::staff;

/// How long somebody may be at the provider.
pub const FLOW_MS: i64 = 10 * 60_000;
/// The account of a sign-in that is to find one.
const NOBODY: i64 = 0;

/// A sign-in that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Where the provider was told to send them back to.
    pub redirect_uri: String,
    /// Whose account the identity is to be linked to; `None` to sign in.
    pub account: Option<i64>,
    /// The account that was found, where a code of its second factor is all that is missing.
    pub proven: Option<i64>,
}

/// The account that an identity lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub account: i64,
    /// The address by which the identity was linked to it just now, if it was there before.
    pub linked_by: Option<Email>,
}

/// An identity as the account's owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The provider.
    pub issuer: String,
    /// Since when, milliseconds since 1970 UTC.
    pub linked_ms: i64,
}

/// Keeps a sign-in that begins.
pub fn begin(
    tx: &mut dyn SqlTransaction,
    flow: &Token,
    provider: &str,
    redirect_uri: &str,
    account: Option<i64>,
    now_ms: i64,
) -> Result<(), Problem> {
    tx.execute(
        "INSERT INTO identity_flow (hash, provider, redirect_uri, account, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        &[
            flow.hash.clone().into(),
            provider.into(),
            redirect_uri.into(),
            account.unwrap_or(NOBODY).into(),
            (now_ms + FLOW_MS).into(),
        ],
    )?;
    Ok(())
}

/// Takes a sign-in up again, once: it is gone unless a code is all that it waits for. `None` if it is unknown, was taken up or
/// is too old.
pub fn take(
    tx: &mut dyn SqlTransaction,
    text: &str,
    provider: &str,
    now_ms: i64,
) -> Result<Option<Flow>, Problem> {
    let Some(hash) = shown(Kind::Flow, text) else { return Ok(None) };
    let rows = tx.query(
        "DELETE FROM identity_flow
         WHERE hash = ?1 AND provider = ?2 AND expires_ms > ?3 AND proven IS NULL
         RETURNING redirect_uri, account",
        &[hash.clone().into(), provider.into(), now_ms.into()],
    )?;
    if let Some(row) = rows.first() {
        let account = Some(row.int(1)?).filter(|account| *account != NOBODY);
        return Ok(Some(Flow { redirect_uri: row.text(0)?, account, proven: None }));
    }
    let rows = tx.query(
        "SELECT redirect_uri, proven FROM identity_flow WHERE hash = ?1 AND provider = ?2 AND expires_ms > ?3",
        &[hash.into(), provider.into(), now_ms.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Flow { redirect_uri: row.text(0)?, account: None, proven: row.optional_int(1)? }))
}

/// Keeps a sign-in that found its account and waits for a code, for as long as one that begins.
pub fn prove(
    tx: &mut dyn SqlTransaction,
    text: &str,
    provider: &str,
    flow: &Flow,
    account: i64,
    now_ms: i64,
) -> Result<(), Problem> {
    let hash = shown(Kind::Flow, text).ok_or(Code::TokenInvalid)?;
    tx.execute(
        "INSERT INTO identity_flow (hash, provider, redirect_uri, account, proven, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        &[
            hash.into(),
            provider.into(),
            flow.redirect_uri.clone().into(),
            NOBODY.into(),
            account.into(),
            (now_ms + FLOW_MS).into(),
        ],
    )?;
    Ok(())
}

/// Uses up a sign-in that found its account; false if another was first.
pub fn finish(tx: &mut dyn SqlTransaction, text: &str, account: i64, now_ms: i64) -> Result<bool, Problem> {
    let hash = shown(Kind::Flow, text).ok_or(Code::TokenInvalid)?;
    let gone = tx.execute(
        "DELETE FROM identity_flow WHERE hash = ?1 AND proven = ?2 AND expires_ms > ?3",
        &[hash.into(), account.into(), now_ms.into()],
    )?;
    Ok(gone == 1)
}

/// The account that an identity lets in; one is made where there is none.
///
/// # Errors
/// [`Code::IdentityUnlinked`] and [`Code::RegistrationClosed`].
pub fn find_or_make(
    tx: &mut dyn SqlTransaction,
    identity: &Identity,
    trust_email: bool,
    open_registration: bool,
    now_ms: i64,
) -> Result<Found, Problem> {
    let rows = tx.query(
        "SELECT account FROM identity WHERE issuer = ?1 AND subject = ?2",
        &[identity.issuer.clone().into(), identity.subject.clone().into()],
    )?;
    if let Some(row) = rows.first() {
        return Ok(Found { account: row.int(0)?, linked_by: None });
    }
    let email = identity.email.as_ref().filter(|_| trust_email);
    if let Some(email) = email
        && let Some(account) = login::find(tx, email.as_str())?
    {
        if account.second_factor || staff::role_of(tx, account.id)?.is_some() {
            return Err(Code::IdentityUnlinked.into());
        }
        link(tx, identity, account.id, now_ms)?;
        return Ok(Found { account: account.id, linked_by: Some(email.clone()) });
    }
    if !open_registration {
        return Err(Code::RegistrationClosed.into());
    }
    let account = registration::create(tx, String::new(), email.map(Email::as_str), now_ms)?;
    link(tx, identity, account, now_ms)?;
    Ok(Found { account, linked_by: None })
}

/// Lets an identity into an account from now on.
///
/// # Errors
/// [`Code::IdentityTaken`] where it lets into another, or the account has another identity of that provider.
pub fn link(
    tx: &mut dyn SqlTransaction,
    identity: &Identity,
    account: i64,
    now_ms: i64,
) -> Result<(), Problem> {
    let rows = tx.query(
        "SELECT account, subject FROM identity
         WHERE issuer = ?1 AND (subject = ?2 OR account = ?3)",
        &[identity.issuer.clone().into(), identity.subject.clone().into(), account.into()],
    )?;
    for row in &rows {
        if row.int(0)? != account || row.text(1)? != identity.subject {
            return Err(Code::IdentityTaken.into());
        }
    }
    if rows.is_empty() {
        tx.execute(
            "INSERT INTO identity (issuer, subject, account, linked_ms) VALUES (?1, ?2, ?3, ?4)",
            &[identity.issuer.clone().into(), identity.subject.clone().into(), account.into(), now_ms.into()],
        )?;
    }
    Ok(())
}

/// The account's identities, the one that was linked first before the others.
pub fn list(tx: &mut dyn SqlTransaction, account: i64) -> Result<Vec<Linked>, Problem> {
    let rows = tx.query(
        "SELECT issuer, linked_ms FROM identity WHERE account = ?1 ORDER BY linked_ms, issuer",
        &[account.into()],
    )?;
    rows.iter().map(|row| Ok(Linked { issuer: row.text(0)?, linked_ms: row.int(1)? })).collect()
}

/// Takes an identity off an account.
///
/// # Errors
/// [`Code::IdentityUnknown`]; [`Code::LastWayIn`] where there is neither a password nor another identity.
pub fn unlink(tx: &mut dyn SqlTransaction, account: i64, issuer: &str) -> Result<(), Problem> {
    // A write, for which another that unlinks waits.
    tx.execute("UPDATE account SET id = id WHERE id = ?1", &[account.into()])?;
    let gone = tx.execute(
        "DELETE FROM identity WHERE account = ?1 AND issuer = ?2",
        &[account.into(), issuer.into()],
    )?;
    if gone == 0 {
        return Err(Code::IdentityUnknown.into());
    }
    let has_password = login::load(tx, account)?.is_some_and(|account| account.has_password());
    if !has_password && list(tx, account)?.is_empty() {
        return Err(Code::LastWayIn.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use crate::staff::Role;
    use crate::testing::{databases, with_tx};
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;

    const ISSUER: &str = "https://id.example.com";

    fn identity(subject: &str, email: Option<&str>) -> Identity {
        let email = email.map(|email| Email::parse(email).unwrap());
        Identity { issuer: ISSUER.into(), subject: subject.into(), email }
    }

    fn account(tx: &mut dyn SqlTransaction, email: &str, hash: &str) -> i64 {
        registration::create(tx, hash.into(), Some(email), 0).unwrap()
    }

    fn email_of(tx: &mut dyn SqlTransaction, account: i64) -> Option<String> {
        let rows = tx.query("SELECT email FROM account WHERE id = ?1", &[account.into()]).unwrap();
        rows[0].optional_text(0).unwrap()
    }

    #[test]
    fn who_is_new_gets_an_account_of_their_own_and_the_same_one_each_time() {
        with_tx(|tx| {
            let asha = identity("asha", Some("asha@example.com"));
            let found = find_or_make(tx, &asha, true, true, 1)?;
            assert_eq!(found.linked_by, None);
            assert_eq!(email_of(tx, found.account).as_deref(), Some("asha@example.com"));
            assert!(!login::load(tx, found.account)?.unwrap().has_password());
            // The address may change at the provider; who they are does not. Nor do closed doors shut out who has an account.
            let later = identity("asha", Some("other@example.com"));
            assert_eq!(find_or_make(tx, &later, true, false, 2)?, found);
            let ravi = find_or_make(tx, &identity("ravi", None), true, true, 3)?;
            assert_ne!(ravi.account, found.account);
            assert_eq!(email_of(tx, ravi.account), None);
            let closed = find_or_make(tx, &identity("mira", None), true, false, 4).unwrap_err();
            assert_eq!(closed.code, Code::RegistrationClosed);
            let elsewhere = Identity { issuer: "https://other.example.com".into(), ..asha };
            assert_ne!(find_or_make(tx, &elsewhere, false, true, 5)?.account, found.account);
            Ok(())
        });
    }

    #[test]
    fn an_address_that_is_not_trusted_neither_opens_nor_holds_an_account() {
        with_tx(|tx| {
            let owner = account(tx, "asha@example.com", "$");
            let thief = find_or_make(tx, &identity("thief", Some("asha@example.com")), false, true, 1)?;
            assert_ne!(thief.account, owner);
            assert_eq!(email_of(tx, thief.account), None);
            // Nor does the thief wait in an account for whoever has the address.
            find_or_make(tx, &identity("early", Some("ravi@example.com")), false, true, 2)?;
            assert!(login::find(tx, "ravi@example.com")?.is_none());
            Ok(())
        });
    }

    #[test]
    fn a_trusted_address_links_what_nothing_else_protects() {
        with_tx(|tx| {
            let plain = account(tx, "asha@example.com", "$");
            let asha = identity("asha", Some("asha@example.com"));
            let found = find_or_make(tx, &asha, true, false, 1)?;
            assert_eq!((found.account, found.linked_by), (plain, asha.email.clone()));
            assert_eq!(find_or_make(tx, &asha, true, false, 2)?.linked_by, None, "it is told once");

            let guarded = account(tx, "ravi@example.com", "$");
            let on = "UPDATE account SET second_factor_ms = 1 WHERE id = ?1";
            tx.execute(on, &[guarded.into()])?;
            let staffs = account(tx, "mira@example.com", "$");
            staff::appoint(tx, staffs, Some(Role::Support), 1)?;
            for email in ["ravi@example.com", "mira@example.com"] {
                let refused = find_or_make(tx, &identity(email, Some(email)), true, true, 3).unwrap_err();
                assert_eq!(refused.code, Code::IdentityUnlinked, "{email}");
            }
            // An account has one identity of a provider.
            let second = identity("asha2", Some("asha@example.com"));
            assert_eq!(find_or_make(tx, &second, true, true, 4).unwrap_err().code, Code::IdentityTaken);
            Ok(())
        });
    }

    #[test]
    fn an_identity_lets_into_one_account_and_the_last_way_in_stays() {
        with_tx(|tx| {
            let (one, other) = (account(tx, "a@example.com", "$"), account(tx, "b@example.com", ""));
            let asha = identity("asha", None);
            link(tx, &asha, one, 7)?;
            link(tx, &asha, one, 8)?;
            assert_eq!(list(tx, one)?, [Linked { issuer: ISSUER.into(), linked_ms: 7 }]);
            assert_eq!(link(tx, &asha, other, 9).unwrap_err().code, Code::IdentityTaken);
            assert_eq!(unlink(tx, other, ISSUER).unwrap_err().code, Code::IdentityUnknown);
            unlink(tx, one, ISSUER)?;
            assert_eq!(list(tx, one)?, []);
            link(tx, &asha, other, 10)?;
            assert_eq!(link(tx, &identity("ravi", None), other, 11).unwrap_err().code, Code::IdentityTaken);
            assert_eq!(unlink(tx, other, ISSUER).unwrap_err().code, Code::LastWayIn);
            Ok(())
        });
    }

    #[test]
    fn a_sign_in_is_taken_up_once_in_time_and_at_its_own_provider() {
        with_tx(|tx| {
            let flow = Token::new(Kind::Flow)?;
            begin(tx, &flow, "example", "https://back", None, 0)?;
            assert_eq!(take(tx, &flow.text, "other", 1)?, None);
            assert_eq!(take(tx, &flow.text, "example", FLOW_MS)?, None);
            assert_eq!(take(tx, "vyo_x", "example", 1)?, None);
            let expected = Flow { redirect_uri: "https://back".into(), account: None, proven: None };
            assert_eq!(take(tx, &flow.text, "example", 1)?, Some(expected.clone()));
            assert_eq!(take(tx, &flow.text, "example", 1)?, None);
            // What waits for a code is taken up until it is finished.
            prove(tx, &flow.text, "example", &expected, 7, 2)?;
            for _ in 0..2 {
                let proven = Flow { proven: Some(7), ..expected.clone() };
                assert_eq!(take(tx, &flow.text, "example", 3)?, Some(proven));
            }
            assert!(!finish(tx, &flow.text, 8, 3)?, "that is another's");
            assert!(!finish(tx, &flow.text, 7, 2 + FLOW_MS)?);
            assert!(finish(tx, &flow.text, 7, 3)?);
            assert!(!finish(tx, &flow.text, 7, 3)?);
            assert_eq!(take(tx, &flow.text, "example", 3)?, None);
            let linking = Token::new(Kind::Flow)?;
            begin(tx, &linking, "example", "https://back", Some(9), 0)?;
            assert_eq!(take(tx, &linking.text, "example", 1)?.unwrap().account, Some(9));
            Ok(())
        });
    }

    /// Who comes, with which address if any, and whether the provider's word is trusted.
    type Visit = (u8, Option<u8>, bool);

    /// Whoever comes from wherever with whatever address: no identity ever enters an account that has an address which was not
    /// vouched for by a trusted provider, and every identity comes back to where it was first.
    #[test]
    fn nobody_gets_into_the_account_of_an_address_that_is_not_theirs() {
        let (_dir, databases) = databases();
        for database in databases {
            let database = std::cell::RefCell::new(database);
            let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
            let visit = (0u8..6, prop::option::of(0u8..3), any::<bool>());
            let run = |visits: Vec<Visit>| {
                let mut outcome = Ok(());
                let mut work = |tx: &mut dyn SqlTransaction| {
                    outcome = judge(tx, &visits);
                    false
                };
                database.borrow_mut().transact(&mut work).unwrap();
                outcome
            };
            runner.run(&prop::collection::vec(visit, 1..20), run).unwrap();
        }
    }

    fn judge(tx: &mut dyn SqlTransaction, visits: &[Visit]) -> Result<(), TestCaseError> {
        let owners: Vec<i64> = (0..2).map(|who| account(tx, &format!("p{who}@example.com"), "$")).collect();
        let mut homes = HashMap::new();
        for (subject, address, trusted) in visits {
            let email = address.map(|who| format!("p{who}@example.com"));
            let who = identity(&subject.to_string(), email.as_deref());
            let Ok(found) = find_or_make(tx, &who, *trusted, true, 1) else { continue };
            if let Some(home) = homes.insert(subject, found.account) {
                prop_assert_eq!(home, found.account);
            } else {
                prop_assert_eq!(email_of(tx, found.account), email.filter(|_| *trusted));
                prop_assert!(*trusted || !owners.contains(&found.account));
            }
        }
        Ok(())
    }
}
