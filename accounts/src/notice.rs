//! What an account's own pages are told while they listen: what concerns its security.
//!
//! Told on the topic `player/{account}/notifications`, of this node alone; whoever does not listen is not told. What must reach
//! somebody goes by mail.

use serde::Serialize;
use vyuha_topics::Topic;

use crate::service::Service;
use crate::sessions::{EndReason, Opened};

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice<'a> {
    /// Somebody signed in.
    SignedIn {
        /// The new session.
        session: &'a str,
        /// Where from.
        address: &'a str,
    },
    /// Sessions ended.
    SessionsEnded {
        /// They.
        sessions: &'a [String],
        /// Why: `owner`, `reuse`, `password`, `crowd` or `staff`.
        reason: &'a str,
    },
    /// The password was changed or reset.
    PasswordChanged,
    /// The second factor was turned on.
    SecondFactorOn,
    /// The second factor was turned off.
    SecondFactorOff,
    /// An identity signs in to the account from now on.
    IdentityLinked {
        /// The provider's name.
        provider: &'a str,
    },
    /// An identity signs in to the account no more.
    IdentityUnlinked {
        /// The provider's name.
        provider: &'a str,
    },
}

impl Service {
    /// Tells an account's pages.
    pub(crate) fn notify(&self, account: i64, notice: &Notice<'_>) {
        self.topics.publish(Topic::Notifications(account), notice, self.now_ms());
    }

    /// Tells an account's pages that somebody signed in from an address, and which sessions ended for that.
    pub(crate) fn notify_sign_in(&self, opened: &Opened, address: &str) {
        self.notify(opened.account, &Notice::SignedIn { session: &opened.session, address });
        self.notify_ended(opened.account, &opened.ended, EndReason::Crowd);
    }

    /// Tells an account's pages that sessions ended, if any did.
    pub(crate) fn notify_ended(&self, account: i64, sessions: &[String], reason: EndReason) {
        if !sessions.is_empty() {
            self.notify(account, &Notice::SessionsEnded { sessions, reason: reason.as_str() });
        }
    }
}
