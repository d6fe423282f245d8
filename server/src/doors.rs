//! The doors between the control plane and the shards: bounded rings, one each way and shard, that no shard ever waits
//! at. A shard looks at its requests once a tick; the control plane is woken when somebody left.

use std::cell::RefCell;
use std::future::poll_fn;

use vyuha_game::character::CharacterRow;
use vyuha_game::inventory::ItemRow;
use vyuha_net::transport::Stream;
use vyuha_protocol::ErrorCode;
use vyuha_ring::{Bell, Consumer, Producer, Sleeper, bell, ring, ring_with};

/// Requests that may wait at one shard's door: some seconds' worth of a login storm.
const REQUESTS_MAX: usize = 4096;
/// Departures that may wait for the control plane; more of them wait with the shard.
const DEPARTURES_MAX: usize = 1024;

/// A character that is to enter a shard's zone, with its socket.
pub struct Admission {
    /// The client's socket, and its TLS session where it has one.
    pub stream: Stream,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Whose it was.
    pub account: i64,
}

/// A shard's side of the door through which it is asked.
pub struct Requests(Consumer<Option<Request>>);

impl Requests {
    /// The oldest request that waits.
    pub fn next(&mut self) -> Option<Request> {
        self.0.pop().flatten()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The control plane's side of every door through which it asks. Its tasks share them, and with them its thread.
pub struct ShardDoors {
    rings: RefCell<Vec<Producer<Option<Request>>>>,
    shard_of_zone: Vec<(i64, u16)>,
}

impl ShardDoors {
    /// Doors to as many shards as `zones` names, each zone with the shard that owns it; and the shards' sides in order.
    pub fn new(shards: u16, zones: impl IntoIterator<Item = (i64, u16)>) -> (ShardDoors, Vec<Requests>) {
        let rings = (0..shards).map(|_| ring(REQUESTS_MAX));
        let (producers, requests) = rings.map(|(producer, consumer)| (producer, Requests(consumer))).unzip();
        let doors = ShardDoors { rings: RefCell::new(producers), shard_of_zone: zones.into_iter().collect() };
        (doors, requests)
    }

    /// The shard that owns a zone; for a zone that is no longer part of the world, the first.
    pub fn shard_of(&self, zone: i64) -> u16 {
        self.shard_of_zone.iter().find(|(id, _)| *id == zone).map_or(0, |(_, shard)| *shard)
    }

    /// Hands somebody to a shard; gives them back if the shard's door is full.
    pub fn admit(&self, shard: u16, admission: Admission) -> Result<(), Box<Admission>> {
        match self.ask(shard, Request::Admit(Box::new(admission))) {
            Ok(()) => Ok(()),
            Err(Some(Request::Admit(back))) => Err(back),
            Err(_) => unreachable!("what was sent comes back"),
        }
    }

    /// Asks a shard to end an account's session. `false` if its door is full: ask again.
    #[must_use]
    pub fn kick(&self, shard: u16, account: i64, code: ErrorCode) -> bool {
        self.ask(shard, Request::Kick { account, code }).is_ok()
    }

    fn ask(&self, shard: u16, request: Request) -> Result<(), Option<Request>> {
        self.rings.borrow_mut()[shard as usize].push(Some(request))
    }
}

/// A shard's side of the door through which it tells who left.
pub struct Leaving {
    ring: Producer<Left, Bell>,
    /// Those who left and were not told of yet: at most one a seat, which is taken until the control plane hears of it.
    waiting: Vec<Left>,
}

impl Leaving {
    /// Notes that somebody left; the control plane hears of it by the next [`Leaving::tell`].
    pub fn push(&mut self, left: Left) {
        self.waiting.push(left);
    }

    /// Tells of as many as there is room for, all at once.
    pub fn tell(&mut self) {
        if self.ring.is_closed() {
            // A control plane that has ended does not listen.
            self.waiting.clear();
        }
        let (first, second) = self.ring.reserve(self.waiting.len());
        let told = first.len() + second.len();
        for (slot, left) in first.iter_mut().chain(second).zip(self.waiting.drain(..told)) {
            *slot = left;
        }
        self.ring.commit(told);
    }

    /// Whether the control plane was told of everybody.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The control plane's side of every door through which it hears of those who left.
pub struct Departures {
    rings: Vec<Consumer<Left>>,
    sleeper: Sleeper,
}

impl Departures {
    /// Doors for as many shards, and the shards' sides in order.
    pub fn new(shards: u16) -> (Departures, Vec<Leaving>) {
        let (bell, sleeper) = bell();
        let (leaving, rings) = (0..shards)
            .map(|_| {
                let (ring, consumer) = ring_with(DEPARTURES_MAX, bell.clone());
                (Leaving { ring, waiting: Vec::new() }, consumer)
            })
            .unzip();
        (Departures { rings, sleeper }, leaving)
    }

    /// Waits until somebody left; everybody who did. Nobody once every shard has ended.
    pub async fn next(&mut self) -> Vec<Left> {
        let Departures { rings, sleeper } = self;
        let is_ready = || rings.iter().any(|ring| !ring.is_empty()) || rings.iter().all(Consumer::is_closed);
        poll_fn(|context| sleeper.poll(context, is_ready)).await;
        let mut everybody = Vec::new();
        for ring in rings {
            let (first, second) = ring.ready();
            everybody.extend(first.iter().chain(&*second));
            let told = first.len() + second.len();
            ring.release(told);
        }
        everybody
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Who is known to have left just now; `None` if that is waited for.
    fn heard(departures: &mut Departures) -> Option<Vec<i64>> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(departures.next()).poll(&mut context) {
            Poll::Ready(left) => Some(left.iter().map(|left| left.account).collect()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_full_door_refuses_and_gives_back() {
        let (doors, mut requests) = ShardDoors::new(2, [(7, 1)]);
        assert_eq!((doors.shard_of(7), doors.shard_of(8)), (1, 0));
        let fits = |account: &i64| doors.kick(1, *account, ErrorCode::Flood);
        let asked = (0..2 * REQUESTS_MAX as i64).take_while(fits).count();
        assert_eq!((asked, requests[0].is_empty(), requests[1].is_empty()), (REQUESTS_MAX, true, false));
        for expected in 0..asked as i64 {
            let request = requests[1].next();
            assert!(matches!(request, Some(Request::Kick { account, .. }) if account == expected));
        }
        assert!(requests[1].next().is_none() && doors.kick(1, 1, ErrorCode::Flood));
        drop(requests);
        assert!(!doors.kick(0, 1, ErrorCode::Flood), "the shard has ended");
    }

    #[test]
    fn everybody_who_left_is_told_of_once_whatever_the_room() {
        let (mut departures, mut leaving) = Departures::new(2);
        assert_eq!(heard(&mut departures), None);
        let everybody = 2 * DEPARTURES_MAX as i64 + 3;
        for account in 0..everybody {
            leaving[0].push(Left { account });
        }
        leaving[1].push(Left { account: -1 });
        assert_eq!(heard(&mut departures), None, "nobody was told of yet");
        leaving[1].tell();
        assert_eq!(heard(&mut departures), Some(vec![-1]));
        let mut told = Vec::new();
        while !leaving[0].is_empty() {
            leaving[0].tell();
            let left = heard(&mut departures).expect("somebody was told of");
            assert!(left.len() <= DEPARTURES_MAX);
            told.extend(left);
        }
        assert_eq!(told, (0..everybody).collect::<Vec<_>>());
        leaving.pop();
        assert_eq!(heard(&mut departures), None, "one shard goes on");
        leaving.pop();
        assert_eq!(heard(&mut departures), Some(vec![]), "every shard has ended");
    }

    #[test]
    fn a_shard_does_not_wait_for_a_control_plane_that_has_ended() {
        let (departures, mut leaving) = Departures::new(1);
        drop(departures);
        leaving[0].push(Left { account: 1 });
        leaving[0].tell();
        assert!(leaving[0].is_empty());
    }
}
