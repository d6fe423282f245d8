//! How often something may be tried: sliding windows, in process, bounded in memory.
//!
//! An attempt is counted before it is judged, so that many at once are no more than many in a row; it is taken back unless it was
//! judged to have failed. Subjects are counted whether they exist or not, and only as hashes. Counts do not outlive the process.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::problem::Problem;

/// Windows kept at once; past it the one that was used longest ago is forgotten. A window takes at most about 1 KiB.
pub const WINDOWS_MAX: usize = 65_536;

const MINUTE_MS: i64 = 60_000;

/// So many attempts in so long a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What is tried.
    pub name: &'static str,
    /// Attempts, 1 and more.
    pub most: usize,
    /// In milliseconds.
    pub window_ms: i64,
}

/// Failed logins of one account from one address.
pub const LOGIN_PAIR: Rule = Rule { name: "login", most: 5, window_ms: 15 * MINUTE_MS };
/// Failed logins from one address, whatever the account: many passwords of many people.
pub const LOGIN_ADDRESS: Rule = Rule { name: "login_address", most: 50, window_ms: 15 * MINUTE_MS };
/// Failed logins of one account, wherever from: many machines at one person. High, since it shuts the owner out as well.
pub const LOGIN_ACCOUNT: Rule = Rule { name: "login_account", most: 100, window_ms: 15 * MINUTE_MS };
/// Wrong codes of one account's second factor.
pub const CODE: Rule = Rule { name: "code", most: 5, window_ms: 15 * MINUTE_MS };
/// Requests that send mail, from one address.
pub const MAIL_ADDRESS: Rule = Rule { name: "mail_address", most: 20, window_ms: 60 * MINUTE_MS };
/// Mails to one mailbox.
pub const MAILBOX: Rule = Rule { name: "mailbox", most: 3, window_ms: 15 * MINUTE_MS };
/// Shown tokens that were wrong, from one address.
pub const TOKEN_ADDRESS: Rule = Rule { name: "token_address", most: 50, window_ms: 15 * MINUTE_MS };
/// Devices that did not show who they are, from one address.
pub const DEVICE_ADDRESS: Rule = Rule { name: "device_address", most: 50, window_ms: 15 * MINUTE_MS };
/// Sign-ins at an identity provider that one address begins.
pub const FLOW_ADDRESS: Rule = Rule { name: "flow_address", most: 30, window_ms: 15 * MINUTE_MS };
/// Times that one identity provider's keys are fetched for the sake of a key that is not among them.
pub const PROVIDER_KEYS: Rule = Rule { name: "provider_keys", most: 5, window_ms: MINUTE_MS };

type Key = [u8; 16];

/// Attempts of the recent past.
#[derive(Debug, Default)]
pub struct Throttle {
    windows: Mutex<HashMap<Key, VecDeque<i64>>>,
}

/// Attempts that were counted. Dropped, they are taken back: what succeeded, could not be judged or was given up on the way was
/// no failure.
#[derive(Debug)]
#[must_use = "what is dropped is taken back"]
pub struct Counted<'t> {
    throttle: &'t Throttle,
    keys: Vec<Key>,
    at_ms: i64,
}

impl Counted<'_> {
    /// They stay counted.
    pub fn stands(mut self) {
        self.keys.clear();
    }

    /// They stay counted where what was tried was refused; a fault of ours is no refusal.
    ///
    /// # Errors
    /// Those of the outcome.
    pub fn judge<T>(self, outcome: Result<T, Problem>) -> Result<T, Problem> {
        if outcome.as_ref().is_err_and(|problem| problem.code.status().is_client_error()) {
            self.stands();
        }
        outcome
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut windows = self.throttle.windows();
        for key in &self.keys {
            let Some(window) = windows.get_mut(key) else { continue };
            if let Some(index) = window.iter().rposition(|at| *at == self.at_ms) {
                window.remove(index);
            }
            if window.is_empty() {
                windows.remove(key);
            }
        }
    }
}

impl Throttle {
    /// Counts an attempt under each of these rules, or under none.
    ///
    /// # Errors
    /// How long to wait, in milliseconds, where a rule has had enough.
    pub fn count(&self, now_ms: i64, subjects: &[(Rule, &str)]) -> Result<Counted<'_>, i64> {
        let mut windows = self.windows();
        let keys: Vec<Key> = subjects.iter().map(|(rule, subject)| key(*rule, subject)).collect();
        let waits = subjects.iter().zip(&keys).filter_map(|((rule, _), key)| {
            let window = windows.get_mut(key)?;
            window.retain(|at| now_ms - at < rule.window_ms);
            (window.len() >= rule.most).then(|| window[0] + rule.window_ms - now_ms)
        });
        if let Some(wait_ms) = waits.max() {
            return Err(wait_ms);
        }
        for key in &keys {
            if windows.len() >= WINDOWS_MAX && !windows.contains_key(key) {
                forget_oldest(&mut windows);
            }
            windows.entry(*key).or_default().push_back(now_ms);
        }
        Ok(Counted { throttle: self, keys, at_ms: now_ms })
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Key, VecDeque<i64>>> {
        // A panic between two of its statements leaves it usable.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an address counts as: an IPv6 site as one, since whoever has one address of it has all.
pub fn site(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn key(rule: Rule, subject: &str) -> Key {
    let sum = Sha256::new().chain_update(rule.name).chain_update([0]).chain_update(subject).finalize();
    std::array::from_fn(|index| sum[index])
}

fn forget_oldest(windows: &mut HashMap<Key, VecDeque<i64>>) {
    let oldest = windows.iter().min_by_key(|(_, window)| window.back().copied()).map(|(key, _)| *key);
    if let Some(key) = oldest {
        windows.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;
    use proptest::prelude::*;

    const RULE: Rule = Rule { name: "test", most: 3, window_ms: 100 };

    #[test]
    fn a_window_slides() {
        let throttle = Throttle::default();
        let check = |at_ms: i64, expected: Result<(), i64>| {
            let counted = throttle.count(at_ms, &[(RULE, "asha")]).map(Counted::stands);
            assert_eq!(counted, expected, "at {at_ms}");
        };
        check(0, Ok(()));
        check(40, Ok(()));
        check(50, Ok(()));
        check(60, Err(40));
        check(99, Err(1));
        check(100, Ok(()));
        check(139, Err(1));
        check(140, Ok(()));
    }

    #[test]
    fn subjects_and_rules_are_apart_and_one_refusal_counts_nothing() {
        let throttle = Throttle::default();
        let other = Rule { name: "other", most: 1, ..RULE };
        throttle.count(0, &[(RULE, "asha"), (other, "asha")]).unwrap().stands();
        assert_eq!(throttle.count(1, &[(RULE, "asha"), (other, "asha")]).map(drop), Err(99));
        throttle.count(1, &[(RULE, "ravi"), (other, "ravi")]).unwrap().stands();
        throttle.count(1, &[(RULE, "asha")]).unwrap().stands();
        throttle.count(1, &[(RULE, "asha")]).unwrap().stands();
        assert_eq!(throttle.count(1, &[(RULE, "asha")]).map(drop), Err(99));
    }

    #[test]
    fn what_is_under_way_counts_and_what_was_no_failure_never_did() {
        let throttle = Throttle::default();
        let count = || throttle.count(0, &[(RULE, "asha")]);
        let under_way = [count().unwrap(), count().unwrap(), count().unwrap()];
        assert_eq!(count().map(drop), Err(100));
        drop(under_way);
        for _ in 0..10 {
            drop(count().unwrap());
            assert!(count().unwrap().judge(Ok(())).is_ok());
            assert!(count().unwrap().judge::<()>(Err(Code::Unavailable.into())).is_err());
        }
        assert!(throttle.windows().is_empty());
        for _ in 0..3 {
            assert!(count().unwrap().judge::<()>(Err(Code::TokenInvalid.into())).is_err());
        }
        assert_eq!(count().map(drop), Err(100));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        for subject in 0..WINDOWS_MAX + 5 {
            throttle.count(subject as i64, &[(RULE, &subject.to_string())]).unwrap().stands();
        }
        assert_eq!(throttle.windows().len(), WINDOWS_MAX);
    }

    #[test]
    fn an_ipv6_site_counts_as_one() {
        let check = |address: &str, expected: &str| assert_eq!(site(address.parse().unwrap()), expected);
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
        check("2001:db8:1:2::9", "2001:db8:1:2::/64");
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_it_may(steps in prop::collection::vec((0i64..40, 0u8..2), 1..60)) {
            let throttle = Throttle::default();
            let (mut now_ms, mut counted) = (0, Vec::new());
            for (wait_ms, who) in steps {
                now_ms += wait_ms;
                if throttle.count(now_ms, &[(RULE, &who.to_string())]).map(Counted::stands).is_ok() {
                    counted.push((now_ms, who));
                }
                let recent = counted.iter().filter(|(at, of)| *of == who && now_ms - at < RULE.window_ms);
                prop_assert!(recent.count() <= RULE.most);
            }
        }
    }
}
