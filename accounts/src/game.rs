//! What the service asks of the game: who plays, and that somebody stops. The way to the control plane, which alone knows.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::problem::{Code, Problem};

/// Questions and orders that wait to be taken up; past it they are refused.
pub const ASKS_MAX: usize = 1024;
/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A question or an order for the game.
#[derive(Debug)]
pub enum Ask {
    /// Which character of an account plays, or is about to.
    Playing {
        /// The account.
        account: i64,
        /// Takes the answer.
        answer: oneshot::Sender<Option<i64>>,
    },
    /// What a profile owes has changed: whoever plays one of its characters trades no longer, or again.
    Debt {
        /// The account.
        account: i64,
        /// The profile.
        profile: i64,
    },
    /// Whichever of these characters plays with the account is to stop: their profile is frozen.
    Frozen {
        /// The account.
        account: i64,
        /// The profile's characters.
        characters: Vec<i64>,
    },
}

/// The way to the game.
#[derive(Debug, Clone)]
pub struct Game(pub mpsc::Sender<Ask>);

impl Game {
    /// Which character of the account plays, or is about to.
    ///
    /// # Errors
    /// [`Code::Unavailable`] where the game does not answer.
    pub async fn playing(&self, account: i64) -> Result<Option<i64>, Problem> {
        let (answer, answered) = oneshot::channel();
        let unavailable = || Problem { retry_after_s: Some(1), ..Code::Unavailable.into() };
        self.0.try_send(Ask::Playing { account, answer }).map_err(|_| unavailable())?;
        match timeout(ANSWER_TIMEOUT, answered).await {
            Ok(Ok(playing)) => Ok(playing),
            Ok(Err(_)) | Err(_) => Err(unavailable()),
        }
    }

    /// Has the game learn whether a profile owes.
    pub fn tell_debt(&self, account: i64, profile: i64) {
        if self.0.try_send(Ask::Debt { account, profile }).is_err() {
            tracing::error!(account, profile, "a debt is known to who plays when they enter again");
        }
    }

    /// Has whoever plays one of these characters stop.
    pub fn freeze(&self, account: i64, characters: Vec<i64>) {
        if self.0.try_send(Ask::Frozen { account, characters }).is_err() {
            tracing::error!(
                account,
                "a frozen profile could not be taken out of the game: it plays until it leaves"
            );
        }
    }
}
