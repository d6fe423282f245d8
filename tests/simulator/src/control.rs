//! A model of the node's control plane: of `server/src/sign_in.rs` from a socket to a character that is handed to its shard,
//! without registration and passwords; and of `keep_seats` in `server/src/control.rs`. Seats, tickets and doors are the real
//! ones, and so is the way to the database.

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rand::RngExt as _;
use rand_pcg::Pcg64;
use tokio::sync::oneshot;
use vyuha_game::inventory::PLACES_OF_CHARACTERS;
use vyuha_game::{CharacterRow, ItemRow};
use vyuha_gateway::MoveOrder;
use vyuha_net::transport::Stream;
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::message::{self, ClientMessage, LoggedIn, Message, Welcome};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};
use vyuha_server::simulation::{
    Admission, Claim, Departures, Notice, Resumption, SeatChange, Seats, ShardDoors, Ticket, error_message,
};
use vyuha_store::{AccountRow, Handle, StoreError, TypedStore as _};

use crate::Bug;

/// How long a client has from connection to character.
const HANDSHAKE_TICKS: u64 = 300;

/// A future that is polled by hand.
pub type Task<T> = Pin<Box<dyn Future<Output = T>>>;

/// Moves a future on; its result once it has one.
pub fn poll<T>(task: &mut Task<T>) -> Option<T> {
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

/// The control plane of a node.
pub struct Control {
    seats: Rc<Seats>,
    doors: Rc<ShardDoors>,
    departures: Departures,
    store: Handle,
    visitors: Vec<Visitor>,
    /// Accounts whose seats are free once the database has all that they did.
    leaving: Vec<Left>,
    /// Accounts whose sessions were to end for a newer one, and when.
    kicked: Rc<RefCell<Vec<(i64, u64)>>>,
    bug: Option<Bug>,
}

/// Accounts whose sessions are over, and the wait for the database.
struct Left {
    applied: Task<Result<(), StoreError>>,
    accounts: Vec<i64>,
}

/// Somebody who signs in.
struct Visitor {
    socket: UnixStream,
    received: Vec<u8>,
    account: Option<i64>,
    until_tick: u64,
    task: Option<Task<Done>>,
}

/// What came of a request that had to wait.
enum Done {
    SignedIn { request: u32, account: i64 },
    Enter { claim: Claim, ticket: Ticket, request: u32, character: CharacterRow, items: Vec<ItemRow> },
    Refused { request: u32, code: ErrorCode },
}

/// What becomes of a visitor.
enum Next {
    Stays,
    Gone,
    Enters(Done),
    Resumes { account: i64, shard: u16, received: u32, ticket: Ticket },
}

impl Control {
    /// A control plane to which nobody has come.
    pub fn new(doors: ShardDoors, departures: Departures, store: Handle, bug: Option<Bug>) -> Control {
        Control {
            seats: Rc::default(),
            doors: Rc::new(doors),
            departures,
            store,
            visitors: Vec::new(),
            leaving: Vec::new(),
            kicked: Rc::default(),
            bug,
        }
    }

    /// Lets a connection in.
    pub fn accept(&mut self, socket: UnixStream, tick: u64) {
        let until_tick = tick + HANDSHAKE_TICKS;
        self.visitors.push(Visitor { socket, received: Vec::new(), account: None, until_tick, task: None });
    }

    /// Orders a zone to another shard, which may refuse.
    pub fn move_zone(&self, zone: u16, to: u16) {
        let (answer, _) = oneshot::channel();
        self.doors.move_zone(MoveOrder { zone, to, answer });
    }

    /// Sends away whoever signs in.
    pub fn drain(&mut self) {
        self.visitors.clear();
    }

    /// Seats that are taken.
    pub fn seats(&self) -> usize {
        self.seats.count()
    }

    /// The accounts whose sessions were to end by a tick for a newer one, and that was not let in since.
    pub fn kicked_by(&self, tick: u64) -> Vec<i64> {
        let kicked = self.kicked.borrow();
        kicked.iter().filter(|(_, asked)| *asked <= tick).map(|(account, _)| *account).collect()
    }

    /// Everything that can be done now; the rows of those who are let in come back.
    pub fn step(
        &mut self,
        tick: u64,
        durable_seq: u64,
        rng: &mut Pcg64,
    ) -> Vec<(CharacterRow, Vec<ItemRow>)> {
        let mut admitted = Vec::new();
        self.keep_seats(durable_seq);
        for mut visitor in std::mem::take(&mut self.visitors) {
            match self.serve(&mut visitor, tick, rng) {
                Next::Stays => self.visitors.push(visitor),
                Next::Gone | Next::Enters(Done::SignedIn { .. } | Done::Refused { .. }) => {}
                Next::Enters(Done::Enter { claim, ticket, request, character, items }) => {
                    let Visitor { socket, received, .. } = visitor;
                    let shard = self.doors.shard_of(character.zone);
                    self.kicked.borrow_mut().retain(|(account, _)| *account != character.account);
                    admitted.push((character.clone(), items.clone()));
                    let stream = Stream::from(OwnedFd::from(socket));
                    let stay = claim.stay();
                    let owes = false;
                    let admission =
                        Admission { stream, received, request, character, items, owes, ticket, stay };
                    if self.doors.admit(shard, admission).is_ok() {
                        claim.play(shard);
                    }
                }
                Next::Resumes { account, shard, received, ticket } => {
                    let Visitor { socket, received: unread, .. } = visitor;
                    let stream = Stream::from(OwnedFd::from(socket));
                    let resumption = Resumption { account, stream, unread, received, ticket };
                    // A full door sends the client away, which closes its socket.
                    let _ = self.doors.resume(shard, resumption);
                }
            }
        }
        admitted
    }

    fn keep_seats(&mut self, durable_seq: u64) {
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(notices) = pin!(self.departures.next()).poll(&mut context) else {
            return self.free_seats();
        };
        let mut left = Vec::new();
        for Notice { account, change } in notices {
            match change {
                SeatChange::Left if self.bug == Some(Bug::EarlySeat) => self.seats.free(account),
                SeatChange::Left => left.push(account),
                SeatChange::Confirmed(ticket) => self.seats.confirm(account, ticket),
                SeatChange::Moved { shard, stay } => self.seats.moved(account, shard, stay),
            }
        }
        if !left.is_empty() {
            let store = self.store.clone();
            let applied = Box::pin(async move { store.wait_applied(durable_seq).await });
            self.leaving.push(Left { applied, accounts: left });
        }
        self.free_seats();
    }

    fn free_seats(&mut self) {
        let seats = &self.seats;
        self.leaving.retain_mut(|Left { applied, accounts }| match poll(applied) {
            None => true,
            Some(result) => {
                if result.is_ok() {
                    for account in accounts {
                        seats.free(*account);
                    }
                }
                false
            }
        });
    }

    fn serve(&self, visitor: &mut Visitor, tick: u64, rng: &mut Pcg64) -> Next {
        if tick >= visitor.until_tick {
            return Next::Gone;
        }
        loop {
            if let Some(task) = &mut visitor.task {
                let Some(done) = poll(task) else { return Next::Stays };
                visitor.task = None;
                let told = match done {
                    Done::SignedIn { request, account } => {
                        visitor.account = Some(account);
                        visitor.say(&LoggedIn { request, account })
                    }
                    Done::Refused { request, code } => visitor.say(&error_message(request, code, false)),
                    Done::Enter { .. } => return Next::Enters(done),
                };
                if !told {
                    return Next::Gone;
                }
            }
            match visitor.read() {
                Ok(true) => {}
                Ok(false) => return Next::Stays,
                Err(()) => return Next::Gone,
            }
            let Ok(Some(frame)) = first_frame(&visitor.received, CLIENT_PAYLOAD_BYTES_MAX) else {
                return Next::Gone;
            };
            let bytes = frame.bytes();
            let next = match ClientMessage::decode(frame.kind, frame.payload) {
                Ok(message) => self.take(&message, visitor.account, tick, rng),
                Err(_) => Taken::Next(Next::Gone),
            };
            visitor.received.drain(..bytes);
            match next {
                Taken::Next(next) => return next,
                Taken::Task(task) => visitor.task = Some(task),
                Taken::Say(frame) => {
                    if visitor.socket.write_all(&frame).is_err() {
                        return Next::Gone;
                    }
                }
            }
        }
    }

    fn take(&self, message: &ClientMessage<'_>, account: Option<i64>, tick: u64, rng: &mut Pcg64) -> Taken {
        match (message, account) {
            (ClientMessage::Hello(_), None) => {
                Taken::say(&Welcome { version: PROTOCOL_VERSION, build: String::new() })
            }
            (ClientMessage::Login(asked), None) => {
                let (store, request) = (self.store.clone(), asked.request.to_native());
                Taken::Task(Box::pin(log_in(store, request, asked.account.as_str().to_owned())))
            }
            (ClientMessage::Resume(asked), None) => {
                match self.seats.resume(&asked.ticket, rng.random::<u128>().to_le_bytes()) {
                    Some((account, shard, ticket)) => Taken::Next(Next::Resumes {
                        account,
                        shard,
                        received: asked.received.to_native(),
                        ticket,
                    }),
                    None => Taken::say(&error_message(0, ErrorCode::ResumeRefused, false)),
                }
            }
            (ClientMessage::SelectCharacter(asked), Some(account)) => {
                let select = Select {
                    seats: self.seats.clone(),
                    doors: self.doors.clone(),
                    store: self.store.clone(),
                    kicked: self.kicked.clone(),
                    tick,
                    request: asked.request.to_native(),
                    account,
                    character: asked.character.to_native(),
                    secret: rng.random::<u128>().to_le_bytes(),
                    bug: self.bug,
                };
                Taken::Task(Box::pin(select.run()))
            }
            _ => Taken::Next(Next::Gone),
        }
    }
}

/// What a message leads to.
enum Taken {
    Next(Next),
    Task(Task<Done>),
    Say(Vec<u8>),
}

impl Taken {
    fn say<M: Message>(message: &M) -> Taken {
        let mut frame = Vec::new();
        message::append(&mut frame, message);
        Taken::Say(frame)
    }
}

impl Visitor {
    /// Whether there is a whole frame.
    ///
    /// # Errors
    /// If the client is gone, or sends no frames.
    fn read(&mut self) -> Result<bool, ()> {
        let mut buffer = [0; 2048];
        loop {
            if first_frame(&self.received, CLIENT_PAYLOAD_BYTES_MAX).map_err(|_| ())?.is_some() {
                return Ok(true);
            }
            match self.socket.read(&mut buffer) {
                Ok(bytes @ 1..) => self.received.extend(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return Err(()),
            }
        }
    }

    fn say<M: Message>(&mut self, message: &M) -> bool {
        let mut frame = Vec::new();
        message::append(&mut frame, message);
        self.socket.write_all(&frame).is_ok()
    }
}

async fn log_in(store: Handle, request: u32, name: String) -> Done {
    let rows = store.call(move |store| store.load::<AccountRow>(&[("name", name.into())])).await;
    match rows.map(|rows| rows.into_iter().next()) {
        Ok(Some(row)) => Done::SignedIn { request, account: row.id },
        Ok(None) => Done::Refused { request, code: ErrorCode::CredentialsWrong },
        Err(_) => Done::Refused { request, code: ErrorCode::Unavailable },
    }
}

/// A character that is to enter the world.
struct Select {
    seats: Rc<Seats>,
    doors: Rc<ShardDoors>,
    store: Handle,
    kicked: Rc<RefCell<Vec<(i64, u64)>>>,
    /// When it was asked for.
    tick: u64,
    request: u32,
    account: i64,
    character: i64,
    secret: [u8; 16],
    bug: Option<Bug>,
}

impl Select {
    async fn run(self) -> Done {
        let Select { ref seats, ref doors, account, request, .. } = self;
        let stale = if self.bug == Some(Bug::StaleLogin) { Some(self.rows().await) } else { None };
        let kick = |shard| {
            tracing::debug!(tick = self.tick, account, shard, "kick");
            self.kicked.borrow_mut().push((account, self.tick));
            doors.kick(shard, account, ErrorCode::SignedInElsewhere)
        };
        let claim = seats.claim(account, kick).await;
        // Only now are the rows read: whatever an older session did is in the database.
        let rows = match stale {
            Some(rows) => rows,
            None => self.rows().await,
        };
        match rows {
            Ok((Some(character), items)) => {
                let ticket = claim.ticket(self.secret).expect("a claim holds its seat");
                Done::Enter { claim, ticket, request, character, items }
            }
            Ok((None, _)) => Done::Refused { request, code: ErrorCode::CharacterUnknown },
            Err(_) => Done::Refused { request, code: ErrorCode::Unavailable },
        }
    }

    async fn rows(&self) -> Result<(Option<CharacterRow>, Vec<ItemRow>), StoreError> {
        let Select { account, character, .. } = *self;
        let load = self.store.call(move |store| {
            let row = store.load::<CharacterRow>(&[("id", character.into()), ("account", account.into())])?;
            let mut items = Vec::new();
            for place in PLACES_OF_CHARACTERS {
                items.extend(store.load::<ItemRow>(&[("place", place.into()), ("owner", character.into())])?);
            }
            Ok((row.into_iter().next(), items))
        });
        load.await
    }
}
