//! The doors between the control plane and the shards: bounded queues that neither side ever waits at.

use std::os::fd::OwnedFd;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use vyuha_game::character::CharacterRow;
use vyuha_game::inventory::ItemRow;
use vyuha_protocol::ErrorCode;

/// Requests that may wait at one shard's door: some seconds' worth of a login storm.
const REQUESTS_MAX: usize = 4096;

/// A character that is to enter a shard's zone, with its socket.
pub struct Admission {
    /// The client's socket.
    pub socket: OwnedFd,
    /// Bytes that were read ahead.
    pub received: Vec<u8>,
    /// The id of the request that selected the character.
    pub request: u32,
    /// The character.
    pub character: CharacterRow,
    /// What it carries.
    pub items: Vec<ItemRow>,
}

/// What the control plane asks of a shard.
pub enum Request {
    /// Let somebody in.
    Admit(Box<Admission>),
    /// End an account's session and tell it why.
    Kick {
        /// The account.
        account: i64,
        /// Why.
        code: ErrorCode,
    },
}

/// A session that is over, with all it did durable.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// Whose it was.
    pub account: i64,
}

/// The control plane's side of every door.
#[derive(Clone)]
pub struct ShardDoors {
    senders: Vec<Sender<Request>>,
    shard_of_zone: Vec<(i64, u16)>,
}

impl ShardDoors {
    /// Doors to as many shards as `zones` names, each zone with the shard that owns it; the receivers are the shards'
    /// sides in order.
    pub fn new(
        shards: u16,
        zones: impl IntoIterator<Item = (i64, u16)>,
    ) -> (ShardDoors, Vec<Receiver<Request>>) {
        let (senders, receivers) = (0..shards).map(|_| bounded(REQUESTS_MAX)).unzip();
        (ShardDoors { senders, shard_of_zone: zones.into_iter().collect() }, receivers)
    }

    /// The shard that owns a zone; for a zone that is no longer part of the world, the first.
    pub fn shard_of(&self, zone: i64) -> u16 {
        self.shard_of_zone.iter().find(|(id, _)| *id == zone).map_or(0, |(_, shard)| *shard)
    }

    /// Hands somebody to a shard; gives them back if the shard's door is full.
    pub fn admit(&self, shard: u16, admission: Admission) -> Result<(), Box<Admission>> {
        let sent = self.senders[shard as usize].try_send(Request::Admit(Box::new(admission)));
        match sent {
            Ok(()) => Ok(()),
            Err(
                TrySendError::Full(Request::Admit(back)) | TrySendError::Disconnected(Request::Admit(back)),
            ) => Err(back),
            Err(_) => unreachable!("what was sent comes back"),
        }
    }

    /// Asks a shard to end an account's session. `false` if its door is full: ask again.
    #[must_use]
    pub fn kick(&self, shard: u16, account: i64, code: ErrorCode) -> bool {
        self.senders[shard as usize].try_send(Request::Kick { account, code }).is_ok()
    }
}
