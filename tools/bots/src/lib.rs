//! A load of bots: many real TCP clients on one thread that play as people do, check all they are told and measure
//! how well they are served.
//!
//! A bot walks about, says things, picks items up and drops them, logs out and in again. It keeps its own book of
//! what was acknowledged, so whatever the server loses or doubles shows as an error. Nothing here knows the server
//! but by its protocol.

mod attack;
mod bot;
mod deal;
mod inventory;
mod lag;
mod lean;
mod load;
mod measure;
mod play;
mod report;
mod role;
mod sockets;
mod stream;
mod walk;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use vyuha_game::content::Content;
use vyuha_net::client::{ClientContent, ServerTrust};

pub use attack::{
    ATTACKERS_MAX, AttackOptions, AttackReport, Kind, KindReport, Kinds, KindsError, SOURCES_MAX, attack,
};
pub use inventory::{Book, InFlight, SLOTS, Stack};
pub use lag::{Conditions, ConditionsError, LAG_MAX, LINE_BYTES_MAX, LagProxy};
pub use load::run;
pub use measure::Distribution;
pub use report::{LedgerEntry, LoadReport, Progress, RoleReport};
pub use role::{Role, Roles, RolesError};

/// Most clients of one load: account names number them with five digits.
pub const CLIENTS_MAX: u32 = 100_000;
/// Longest account prefix, in bytes: with the number it must fit into a character's name.
pub const PREFIX_BYTES_MAX: usize = 10;

/// What load is wanted.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The server.
    pub target: SocketAddr,
    /// Whom the clients take for the server, over TLS; without it they speak plain TCP.
    pub trust: Option<ServerTrust>,
    /// How many clients, 1 to [`CLIENTS_MAX`].
    pub clients: u32,
    /// How long it is measured, from when all are in the world; without it until told to stop.
    pub duration: Option<Duration>,
    /// The content that the server plays.
    pub content: Arc<ClientContent>,
    /// Decides what the bots do.
    pub seed: u64,
    /// How the accounts' names begin, 1 to [`PREFIX_BYTES_MAX`] of a-z and 0-9, beginning with a letter. Loads with
    /// the same prefix play with the same accounts.
    pub account_prefix: String,
    /// What the bots do.
    pub roles: Roles,
    /// How many bots, the first ones, keep the whole view of the world and check it.
    pub watchers: u32,
    /// Clients that sign in at the same time, from 1; each takes one of the node's `net.handshakes_max`.
    pub sign_ins_max: u32,
    /// Whether all bots take their steps at the same moment, instead of spread evenly over it.
    pub at_once: bool,
    /// How many resumers a second break off and take up their sessions.
    pub resumptions_per_second: u32,
    /// The processor that the load is bound to, if it is to be.
    pub cpu: Option<usize>,
    /// What lies between the bots and the server, if not just this machine.
    pub conditions: Option<Conditions>,
    /// How often one of the bots logs out and in again.
    pub relog_interval: Duration,
    /// How long a bot leaves items alone after each pick-up or drop, on average.
    pub item_pause: Duration,
    /// What earlier loads with the same prefix were told: bots with an entry check at first entry that nothing of it was
    /// lost or doubled.
    pub ledger: Vec<LedgerEntry>,
}

impl LoadOptions {
    /// Clients that sign in at the same time, unless told otherwise: a quarter of the node's own default.
    pub const SIGN_INS_MAX: u32 = 64;

    /// Bots that keep the whole view of the world and check it, unless told otherwise. Of the others traders keep its items
    /// alone, and the rest nothing, so that one thread can run thousands.
    pub const WATCHERS: u32 = 100;

    /// A load of traders until told to stop, in which one bot a second logs out and in again.
    pub fn new(target: SocketAddr, clients: u32, content: Arc<ClientContent>) -> LoadOptions {
        LoadOptions {
            target,
            trust: None,
            clients,
            duration: None,
            content,
            seed: 1,
            account_prefix: "bot".to_owned(),
            roles: Roles::all(Role::Trader),
            watchers: LoadOptions::WATCHERS,
            sign_ins_max: LoadOptions::SIGN_INS_MAX,
            at_once: false,
            resumptions_per_second: 0,
            cpu: None,
            conditions: None,
            relog_interval: Duration::from_secs(1),
            item_pause: Duration::from_secs(4),
            ledger: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), LoadError> {
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return Err(LoadError::Clients(self.clients));
        }
        if self.sign_ins_max == 0 {
            return Err(LoadError::SignIns);
        }
        let prefix = self.account_prefix.as_bytes();
        let sound = prefix.first().is_some_and(u8::is_ascii_lowercase)
            && prefix.len() <= PREFIX_BYTES_MAX
            && prefix.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if sound { Ok(()) } else { Err(LoadError::Prefix(self.account_prefix.clone())) }
    }
}

/// Why a load cannot run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Too few or too many clients.
    #[error("{0} clients were asked for; ask for 1 to {CLIENTS_MAX}")]
    Clients(u32),
    /// Nobody may sign in.
    #[error("0 clients may sign in at the same time; let 1 or more")]
    SignIns,
    /// Too few or too many attackers.
    #[error(
        "{attackers} attackers from {sources} addresses were asked for; ask for 1 to {ATTACKERS_MAX} from 1 to {SOURCES_MAX}"
    )]
    Attackers {
        /// How many attackers.
        attackers: u32,
        /// From how many addresses.
        sources: u32,
    },
    /// The load cannot be bound to a processor.
    #[error("processor {cpu} cannot be used: {source}; choose one that this process may run on")]
    Cpu {
        /// Which one.
        cpu: usize,
        /// What the system says.
        source: io::Error,
    },
    /// The account prefix is not well formed.
    #[error(
        "the account prefix {0:?} must be 1 to {PREFIX_BYTES_MAX} of a-z and 0-9, beginning with a letter"
    )]
    Prefix(String),
    /// The process may not open enough sockets.
    #[error(
        "{needed} open files are needed and {maximum} allowed (RLIMIT_NOFILE); ask for fewer clients, or raise the hard limit: \
         in the shell, as root, ulimit -Hn {needed}; systemd LimitNOFILE={needed}; Docker --ulimit nofile={needed}:{needed}"
    )]
    OpenFiles {
        /// How many are needed.
        needed: u64,
        /// The hard limit.
        maximum: u64,
    },
    /// The operating system refused what the sockets need.
    #[error("the sockets cannot be driven: {0}")]
    Io(#[from] io::Error),
}

/// What a client must hold to play a content.
pub fn client_content(content: &Content) -> ClientContent {
    let maps = content.zones.iter().map(|zone| (zone.id, zone.map.clone())).collect();
    ClientContent { hash: content.hash, maps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_loads_are_refused() {
        let options = LoadOptions::new(([127, 0, 0, 1], 1).into(), 1, Arc::default());
        assert!(options.check().is_ok());
        for clients in [0, CLIENTS_MAX + 1] {
            let options = LoadOptions { clients, ..options.clone() };
            assert!(matches!(options.check(), Err(LoadError::Clients(n)) if n == clients));
        }
        for (prefix, sound) in [
            ("a", true),
            ("load2", true),
            ("abcdefghij", true),
            ("", false),
            ("2a", false),
            ("aB", false),
            ("a-b", false),
            ("abcdefghijk", false),
        ] {
            let options = LoadOptions { account_prefix: prefix.into(), ..options.clone() };
            assert_eq!(options.check().is_ok(), sound, "{prefix:?}");
        }
    }
}
