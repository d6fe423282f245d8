//! Accounts: the rules of names and passwords, and the hashing of passwords.
//!
//! Hashing takes tens of milliseconds of a core, so it has threads of its own at a low priority and a bounded
//! queue: a login storm makes logins wait or be refused and never touches a shard. Memory is `threads` times
//! the cost's memory. Accounts are not stored here, and no password is kept once its answer is given.

mod hasher;
mod rules;
#[cfg(test)]
mod tests;

use std::io;
use std::thread;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use rustix::process::setpriority_process;
use tokio::sync::oneshot;

pub use hasher::HashCost;
pub use rules::{
    AccountName, NAME_CHARS_MAX, NAME_CHARS_MIN, NameError, PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN,
    PasswordError, check_password,
};

use hasher::Hasher;

/// The niceness of hashing threads, so that a shard on the same core comes first.
const HASHING_NICENESS: i32 = 10;

/// How much hashing may go on at once.
#[derive(Clone, Copy, Debug)]
pub struct AccountsConfig {
    /// What a new hash costs; a stored one is verified at the cost it names.
    pub cost: HashCost,
    /// Hashes computed at once, at least 1.
    pub threads: usize,
    /// Requests that may wait for a thread, at least 1.
    pub waiting_max: usize,
}

impl Default for AccountsConfig {
    fn default() -> AccountsConfig {
        AccountsConfig { cost: HashCost::default(), threads: 1, waiting_max: 1024 }
    }
}

/// Why a password was neither hashed nor verified.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// As many requests wait as may.
    #[error("too many logins are waiting: try again in a few seconds")]
    Busy,
    /// A setting is out of range.
    #[error("{0}")]
    Config(String),
    /// The hashing threads could not be started.
    #[error("a hashing thread cannot be started: {0}")]
    Spawn(#[from] io::Error),
    /// The password is longer than any that can have been set.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The stored hash is not one that this service made.
    #[error("the stored password hash is unusable ({0}): reset the account's password")]
    StoredHash(String),
    /// Hashing itself failed, for want of random numbers or memory.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
    /// The thread that was hashing is gone.
    #[error("the hashing thread ended before it answered")]
    Stopped,
}

/// What the hashing threads are asked.
enum Job {
    Hash { password: String, answer: oneshot::Sender<Result<String, AccountsError>> },
    Verify { password: String, phc: Option<String>, answer: oneshot::Sender<Result<bool, AccountsError>> },
}

/// The password hashing service. Cheap to clone; its threads end once every clone is dropped.
#[derive(Clone, Debug)]
pub struct Accounts {
    jobs: Sender<Job>,
    cost: HashCost,
}

impl Accounts {
    /// Starts the hashing threads.
    pub fn start(config: AccountsConfig) -> Result<Accounts, AccountsError> {
        for (name, value) in [("threads", config.threads), ("waiting_max", config.waiting_max)] {
            if value == 0 {
                return Err(AccountsError::Config(format!("accounts: {name} must be at least 1")));
            }
        }
        let (jobs, queue) = bounded(config.waiting_max);
        for index in 0..config.threads {
            let mut hasher = Hasher::new(config.cost)?;
            let queue: Receiver<Job> = queue.clone();
            thread::Builder::new().name(format!("hash-{index}")).spawn(move || {
                // Linux takes "the calling process" as the calling thread.
                if let Err(error) = setpriority_process(None, HASHING_NICENESS) {
                    tracing::warn!(%error, "a hashing thread keeps its normal priority");
                }
                queue.iter().for_each(|job| run(&mut hasher, job));
            })?;
        }
        Ok(Accounts { jobs, cost: config.cost })
    }

    /// Hashes a new password with a fresh salt; a PHC string to be stored. The rules of [`check_password`]
    /// apply.
    pub async fn hash(&self, password: &str) -> Result<String, AccountsError> {
        check_password(password)?;
        let (answer, answered) = oneshot::channel();
        self.submit(Job::Hash { password: password.to_owned(), answer })?;
        answered.await.map_err(|_| AccountsError::Stopped)?
    }

    /// Whether the password is the one that was hashed. Without a hash, because the account is unknown or its hash
    /// is empty, which is that of an account without a password, it takes the same time and answers `false`, so that
    /// nobody can tell by the clock which accounts exist.
    pub async fn verify(&self, password: &str, phc: Option<&str>) -> Result<bool, AccountsError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordError::Length(password.len()).into());
        }
        let phc = phc.filter(|phc| !phc.is_empty());
        let (answer, answered) = oneshot::channel();
        self.submit(Job::Verify { password: password.to_owned(), phc: phc.map(str::to_owned), answer })?;
        answered.await.map_err(|_| AccountsError::Stopped)?
    }

    /// Whether a stored hash was made at another cost than new ones are; at the next login it is made anew.
    pub fn is_outdated(&self, phc: &str) -> bool {
        !hasher::has_cost(phc, self.cost)
    }

    fn submit(&self, job: Job) -> Result<(), AccountsError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => AccountsError::Busy,
            TrySendError::Disconnected(_) => AccountsError::Stopped,
        })
    }
}

/// Does one job, unless whoever asked has gone away meanwhile.
fn run(hasher: &mut Hasher, job: Job) {
    match job {
        Job::Hash { answer, .. } if answer.is_closed() => {}
        Job::Verify { answer, .. } if answer.is_closed() => {}
        // An answer that nobody takes any more is of no use to anybody.
        Job::Hash { password, answer } => drop(answer.send(hasher.hash(&password))),
        Job::Verify { password, phc, answer } => {
            drop(answer.send(hasher.verify(&password, phc.as_deref())));
        }
    }
}
