//! The doors between the control plane and the shards: bounded rings, one each way and shard, that no shard ever waits
//! at. A shard looks at its requests once a tick; the control plane is woken when somebody left.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use vyuha_game::character::CharacterRow;
use vyuha_game::gates::Carried;
use vyuha_game::inventory::ItemRow;
use vyuha_game::shard::MovingZone;
use vyuha_gateway::{MoveOrder, MoveRefused, ZoneMoved};
use vyuha_net::transport::{Released, Stream};
use vyuha_protocol::ErrorCode;
use vyuha_ring::{Bell, Consumer, Producer, Sleeper, bell, ring, ring_with};

use crate::mailbox::Mailbox;
use crate::placement::ZoneTable;
use crate::seats::Stay;
use crate::tickets::Ticket;

/// Requests that may wait at one shard's door: some seconds' worth of a login storm.
const REQUESTS_MAX: usize = 4096;
/// What one shard may have handed to another before that looks: more waits with the one that hands.
const NEIGHBOUR_REQUESTS_MAX: usize = 256;
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
    /// Whether its profile owes.
    pub owes: bool,
    /// What is to take the session up again.
    pub ticket: Ticket,
    /// Which session of its account it is.
    pub stay: Stay,
}

/// A stream that is to take the place of the one that a session had.
pub struct Resumption {
    /// Whose session it is.
    pub account: i64,
    /// The client's socket, and its TLS session where it has one.
    pub stream: Stream,
    /// Bytes that were read ahead.
    pub unread: Vec<u8>,
    /// Numbered messages that the client received.
    pub received: u32,
    /// What is to take the session up the next time.
    pub ticket: Ticket,
}

/// A session that comes from another shard, whole. All that it did there is durable.
pub struct Arrival {
    /// What is the game's of it.
    pub carried: Carried,
    /// The others' part.
    pub traveller: Traveller,
}

/// A zone that comes from another shard, with all who play in it. All that happened there is durable.
pub struct ZoneArrival {
    /// The zone.
    pub zone: Box<MovingZone>,
    /// Its sessions, in the order that it has them in; none for one that ended on the way.
    pub travellers: Vec<Option<Traveller>>,
    /// The shard that it left.
    pub from: u16,
    /// When its last tick there began.
    pub ticked: Instant,
    /// Who asked for the move.
    pub answer: oneshot::Sender<Result<ZoneMoved, MoveRefused>>,
}

/// What a session is beside the game, on its way to another shard.
pub struct Traveller {
    /// Its connection; none if its client is awaited.
    pub connection: Option<Released>,
    /// Ticks for which its client is still awaited, if it is.
    pub awaited_ticks: Option<u64>,
    /// Frames that came after it had left the other shard.
    pub frames: Vec<u8>,
    /// What may have to be sent again.
    pub mailbox: Mailbox,
    /// The ticket that the client was given and is not known to have.
    pub ticket_unconfirmed: Option<u32>,
    /// Which session of its account it is, and how often it went.
    pub stay: Stay,
}

/// Messages to players that come from no shard.
#[derive(Clone)]
pub struct Telling {
    /// Whose session is told; all of the shard's where there is none.
    pub account: Option<i64>,
    /// What they are told, each a whole frame.
    pub frames: Arc<[Vec<u8>]>,
}

/// What the control plane or another shard asks of a shard.
pub enum Request {
    /// Let somebody in.
    Admit(Box<Admission>),
    /// Give a session another socket.
    Resume(Box<Resumption>),
    /// Go on with a session that comes from another shard.
    Arrive(Box<Arrival>),
    /// Let a zone go to another shard.
    Move(MoveOrder),
    /// Go on with a zone that comes from another shard.
    Zone(Box<ZoneArrival>),
    /// Tell players something.
    Tell(Telling),
    /// Note whether the profile owes that an account plays with.
    Owes {
        /// The account.
        account: i64,
        /// Whether it does.
        owes: bool,
    },
    /// End an account's session and tell it why.
    Kick {
        /// The account.
        account: i64,
        /// Why.
        code: ErrorCode,
    },
}

/// What becomes of a seat, as its shard tells the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notice {
    /// Whose seat it is.
    pub account: i64,
    /// What becomes of it.
    pub change: SeatChange,
}

/// What becomes of a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SeatChange {
    /// The session is over, and all it did is with the journal.
    #[default]
    Left,
    /// The client has its newest ticket, by number: the one before is good no longer.
    Confirmed(u32),
    /// The session goes on at another shard.
    Moved {
        /// That shard.
        shard: u16,
        /// Which session it is, and how often it went.
        stay: Stay,
    },
}

/// A shard's side of the door through which it is asked.
pub struct Requests(Consumer<Option<Request>>);

impl Requests {
    /// The oldest request that waits.
    pub fn pop(&mut self) -> Option<Request> {
        self.0.pop().flatten()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A shard's doors to all others: what it hands to them, and what they hand to it.
pub struct Neighbours {
    to: Vec<Producer<Option<Request>>>,
    from: Vec<Consumer<Option<Request>>>,
    /// What found no room; in order for each shard.
    waiting: VecDeque<(u16, Request)>,
    /// The shard that these are the doors of.
    pub own: u16,
    /// Where every zone is.
    pub zones: Arc<ZoneTable>,
}

impl Neighbours {
    /// The doors of as many shards, in order. A shard has doors to itself, for what was meant for another and is its own by now.
    pub fn all(shards: u16, zones: &Arc<ZoneTable>) -> Vec<Neighbours> {
        let mut from: Vec<Vec<Consumer<Option<Request>>>> = (0..shards).map(|_| Vec::new()).collect();
        let to: Vec<Vec<Producer<Option<Request>>>> = (0..shards)
            .map(|_| {
                let doors = from.iter_mut().map(|from| {
                    let (producer, consumer) = ring(NEIGHBOUR_REQUESTS_MAX);
                    from.push(consumer);
                    producer
                });
                doors.collect()
            })
            .collect();
        let sides = to.into_iter().zip(from);
        let neighbours = (0..).zip(sides).map(|(own, (to, from))| Neighbours {
            to,
            from,
            waiting: VecDeque::new(),
            own,
            zones: zones.clone(),
        });
        neighbours.collect()
    }

    /// Hands something to a shard, at once or when there is room.
    pub fn hand(&mut self, shard: u16, request: Request) {
        self.waiting.push_back((shard, request));
        self.hand_waiting();
    }

    /// Hands on what waits, as far as there is room.
    pub fn hand_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some((shard, request)) = self.waiting.pop_front() else { return };
            if let Err(Some(request)) = self.to[shard as usize].push(Some(request)) {
                self.waiting.push_front((shard, request));
                return;
            }
        }
    }

    /// The oldest request of one of the others.
    pub fn pop(&mut self) -> Option<Request> {
        self.from.iter_mut().find_map(|from| from.pop().flatten())
    }

    /// Whether everything that was handed over is where the others can see it.
    pub fn is_handed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing waits, either way.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.from.iter().all(Consumer::is_empty)
    }
}

/// The control plane's side of every door through which it asks. Its tasks share them, and with them its thread.
pub struct ShardDoors {
    rings: RefCell<Vec<Producer<Option<Request>>>>,
    zones: Arc<ZoneTable>,
}

impl ShardDoors {
    /// Doors to as many shards, and the shards' sides in order.
    pub fn new(shards: u16, zones: Arc<ZoneTable>) -> (ShardDoors, Vec<Requests>) {
        let rings = (0..shards).map(|_| ring(REQUESTS_MAX));
        let (producers, requests) = rings.map(|(producer, consumer)| (producer, Requests(consumer))).unzip();
        let doors = ShardDoors { rings: RefCell::new(producers), zones };
        (doors, requests)
    }

    /// The shard that owns a zone; for a zone that is no longer part of the world, the first.
    pub fn shard_of(&self, zone: i64) -> u16 {
        self.zones.shard_of(zone).unwrap_or(0)
    }

    /// Hands an order to move a zone to the shard that the zone is on, or says at once why it is refused.
    pub fn move_zone(&self, order: MoveOrder) {
        let shards = self.rings.borrow().len();
        let why = match self.zones.shard_of(order.zone.into()) {
            None => MoveRefused::UnknownZone,
            Some(_) if usize::from(order.to) >= shards => MoveRefused::UnknownShard,
            Some(shard) if shard == order.to => MoveRefused::AlreadyThere,
            Some(shard) => match self.ask(shard, Request::Move(order)) {
                Err(Some(Request::Move(back))) => return back.refuse(MoveRefused::Busy),
                _ => return,
            },
        };
        order.refuse(why);
    }

    /// Hands somebody to a shard; gives them back if the shard's door is full.
    pub fn admit(&self, shard: u16, admission: Admission) -> Result<(), Box<Admission>> {
        match self.ask(shard, Request::Admit(Box::new(admission))) {
            Ok(()) => Ok(()),
            Err(Some(Request::Admit(back))) => Err(back),
            Err(_) => unreachable!("what was sent comes back"),
        }
    }

    /// Hands a session's new stream to its shard; gives it back if the shard's door is full.
    pub fn resume(&self, shard: u16, resumption: Resumption) -> Result<(), Box<Resumption>> {
        match self.ask(shard, Request::Resume(Box::new(resumption))) {
            Ok(()) => Ok(()),
            Err(Some(Request::Resume(back))) => Err(back),
            Err(_) => unreachable!("what was sent comes back"),
        }
    }

    /// Asks a shard to end an account's session. `false` if its door is full: ask again.
    #[must_use]
    pub fn kick(&self, shard: u16, account: i64, code: ErrorCode) -> bool {
        self.ask(shard, Request::Kick { account, code }).is_ok()
    }

    /// Tells a shard whether the profile owes that an account plays with. `false` if its door is full: tell it again.
    #[must_use]
    pub fn set_owes(&self, shard: u16, account: i64, owes: bool) -> bool {
        self.ask(shard, Request::Owes { account, owes }).is_ok()
    }

    /// Has players told something, unless the shard's door is full.
    pub fn tell(&self, shard: u16, telling: Telling) {
        // Only the door of a shard that stands still is full: nobody there hears anything.
        let _ = self.ask(shard, Request::Tell(telling));
    }

    /// The same of every shard's players.
    pub fn tell_all(&self, telling: &Telling) {
        let shards = self.rings.borrow().len() as u16;
        (0..shards).for_each(|shard| self.tell(shard, telling.clone()));
    }

    fn ask(&self, shard: u16, request: Request) -> Result<(), Option<Request>> {
        self.rings.borrow_mut()[shard as usize].push(Some(request))
    }
}

/// A shard's side of the door through which it tells what becomes of seats, mostly that they are left.
pub struct Leaving {
    ring: Producer<Notice, Bell>,
    /// What was not told of yet: at most two a seat, which is taken until the control plane hears that it was left, and whose
    /// ticket is confirmed once for each time that the control plane gives one; and one for each time that its session went on.
    waiting: Vec<Notice>,
}

impl Leaving {
    /// Notes what becomes of a seat; the control plane hears of it by the next [`Leaving::tell`].
    pub fn push(&mut self, notice: Notice) {
        self.waiting.push(notice);
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
    rings: Vec<Consumer<Notice>>,
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

    /// Waits until something becomes of a seat; everything that did, in order for each shard. Nobody once every shard has ended.
    pub async fn next(&mut self) -> Vec<Notice> {
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

    use vyuha_protocol::ZoneId;

    use super::*;

    fn left(account: i64) -> Notice {
        Notice { account, change: SeatChange::Left }
    }

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
        let (doors, mut requests) = ShardDoors::new(2, ZoneTable::new([(ZoneId(7), 1)]));
        assert_eq!((doors.shard_of(7), doors.shard_of(8)), (1, 0));
        let fits = |account: &i64| doors.kick(1, *account, ErrorCode::Flood);
        let asked = (0..2 * REQUESTS_MAX as i64).take_while(fits).count();
        assert_eq!((asked, requests[0].is_empty(), requests[1].is_empty()), (REQUESTS_MAX, true, false));
        for expected in 0..asked as i64 {
            let request = requests[1].pop();
            assert!(matches!(request, Some(Request::Kick { account, .. }) if account == expected));
        }
        assert!(requests[1].pop().is_none() && doors.kick(1, 1, ErrorCode::Flood));
        drop(requests);
        assert!(!doors.kick(0, 1, ErrorCode::Flood), "the shard has ended");
    }

    #[test]
    fn everybody_who_left_is_told_of_once_whatever_the_room() {
        let (mut departures, mut leaving) = Departures::new(2);
        assert_eq!(heard(&mut departures), None);
        let everybody = 2 * DEPARTURES_MAX as i64 + 3;
        for account in 0..everybody {
            leaving[0].push(left(account));
        }
        leaving[1].push(left(-1));
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
    fn orders_go_where_the_zone_is_or_are_refused() {
        let zones = ZoneTable::new([(ZoneId(7), 1)]);
        let (doors, mut requests) = ShardDoors::new(2, zones.clone());
        let order = |zone, to| {
            let (answer, answered) = oneshot::channel();
            doors.move_zone(MoveOrder { zone, to, answer });
            answered
        };
        let refused = |zone, to| order(zone, to).try_recv().unwrap().unwrap_err();
        assert_eq!(refused(8, 0), MoveRefused::UnknownZone);
        assert_eq!(refused(7, 2), MoveRefused::UnknownShard);
        assert_eq!(refused(7, 1), MoveRefused::AlreadyThere);
        let _waits = order(7, 0);
        assert!(requests[0].is_empty() && matches!(requests[1].pop(), Some(Request::Move(_))));
        zones.set(ZoneId(7), 0);
        assert_eq!(refused(7, 0), MoveRefused::AlreadyThere);
        while doors.kick(0, 1, ErrorCode::Flood) {}
        assert_eq!(refused(7, 1), MoveRefused::Busy);
    }

    #[test]
    fn what_is_handed_to_a_neighbour_arrives_there_in_order_whatever_the_room() {
        let mut shards = Neighbours::all(3, &ZoneTable::new([(ZoneId(7), 2)]));
        assert_eq!([0, 1, 2].map(|shard: usize| shards[shard].own), [0, 1, 2]);
        let handed = 2 * NEIGHBOUR_REQUESTS_MAX as i64 + 3;
        for account in 0..handed {
            shards[0].hand(2, Request::Kick { account, code: ErrorCode::Flood });
        }
        assert!(!shards[0].is_empty() && !shards[2].is_empty() && shards[1].is_empty());
        assert!(!shards[0].is_handed() && shards[2].is_handed());
        let mut got = Vec::new();
        while !shards[0].is_empty() || !shards[2].is_empty() {
            while let Some(Request::Kick { account, .. }) = shards[2].pop() {
                got.push(account);
            }
            shards[0].hand_waiting();
        }
        assert_eq!(got, (0..handed).collect::<Vec<_>>());
        assert!(shards[1].pop().is_none());
    }

    #[test]
    fn a_shard_does_not_wait_for_a_control_plane_that_has_ended() {
        let (departures, mut leaving) = Departures::new(1);
        drop(departures);
        leaving[0].push(left(1));
        leaving[0].tell();
        assert!(leaving[0].is_empty());
    }
}
