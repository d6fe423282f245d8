//! One bot: a client that signs in, plays and leaves, and checks what it is told.
//!
//! A state machine without a thread of its own: [`crate::load`] tells it that its time has come or that its socket
//! is ready. Never blocks. What it is told is judged against its own [`Book`], its prediction and its view.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rand_pcg::Pcg32;
use rustix::event::epoll;
use vyuha_net::client::{ClientError, Connection, EnteredZone, Event, Received, SendError, Watch};
use vyuha_protocol::{CharacterId, ErrorCode};

use crate::LoadOptions;
use crate::inventory::Book;
use crate::measure::Measures;
use crate::play::Play;
use crate::report::LedgerEntry;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// A wake-up that never comes.
pub const NEVER: u64 = u64::MAX;
/// How long a sign-in may take.
const SIGN_IN_NS_MAX: u64 = 30 * SECOND_NS;
/// How long a bot waits before it tries again.
const BACKOFF_NS: u64 = SECOND_NS;
/// Attempts in a row after which a bot is given up.
const TRIES_MAX: u32 = 5;
/// How long an answer, or the next snapshot, may take.
pub const ANSWER_NS_MAX: u64 = 10 * SECOND_NS;

/// Bots that keep the whole view of the world and check it; the others keep its items alone, so that one thread can
/// run thousands.
pub const WATCHERS_MAX: u32 = 100;

/// Where a bot stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for its turn to sign in.
    Waiting,
    /// Between connecting and entering.
    SigningIn,
    /// In the world.
    Playing,
    /// In the world, and about to leave; `again`: to come back.
    Leaving {
        /// Whether it comes back.
        again: bool,
    },
    /// Done, or given up.
    Out,
}

/// How many bots stand where.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Between connecting and entering.
    pub signing_in: u32,
    /// In the world.
    pub playing: u32,
    /// Done, or given up.
    pub out: u32,
}

impl Census {
    fn place(&mut self, stage: Stage) -> Option<&mut u32> {
        match stage {
            Stage::Waiting => None,
            Stage::SigningIn => Some(&mut self.signing_in),
            Stage::Playing | Stage::Leaving { .. } => Some(&mut self.playing),
            Stage::Out => Some(&mut self.out),
        }
    }
}

/// What all bots share.
pub struct Shared<'a> {
    /// What was asked for.
    pub options: &'a LoadOptions,
    /// Where sockets are registered, each under its bot's index.
    pub epoll: &'a OwnedFd,
    /// Nanoseconds since the load began.
    pub now_ns: u64,
    /// Whether everybody is leaving for good.
    pub finishing: bool,
    /// The figures.
    pub measures: Measures,
    /// Who stands where.
    pub census: Census,
    /// Bots whose turn to sign in comes next.
    pub queue: VecDeque<u32>,
    /// Where bytes are read to.
    pub scratch: Vec<u8>,
}

/// Why a connection is over.
enum Ending {
    /// It was asked to.
    LoggedOut,
    /// The server cannot take it just now; it knocks again, however often.
    Busy,
    /// The server or the network ended it.
    Gone(String),
    /// Something is wrong, and trying again may help.
    Error(String),
    /// Something is wrong that no second attempt mends.
    Hopeless(String),
}

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Ending {
        match error {
            ClientError::Io(error) => Ending::Gone(format!("{:?}", error.kind())),
            error => Ending::Error(error.to_string()),
        }
    }
}

impl From<SendError> for Ending {
    fn from(error: SendError) -> Ending {
        Ending::Error(error.to_string())
    }
}

/// A client that plays.
pub struct Bot {
    index: u32,
    account: String,
    rng: Pcg32,
    stage: Stage,
    /// When it wants to be woken, in nanoseconds since the load began.
    pub wake_ns: u64,
    tries: u32,
    /// Whether the account is there, as far as the bot knows.
    registered: bool,
    /// Whether it is in the world for a second time or more.
    returned: bool,
    connection: Option<Connection>,
    /// Whether the socket is also polled for room to write.
    polls_write: bool,
    play: Option<Play>,
    book: Book,
}

impl Bot {
    /// A bot that waits for its turn. It goes on from the ledger's entry of its account, if there is one.
    pub fn new(index: u32, options: &LoadOptions) -> Bot {
        let account = format!("{}{index:05}", options.account_prefix);
        let entry = options.ledger.iter().find(|entry| entry.account == account);
        Bot {
            index,
            rng: Pcg32::new(options.seed, u64::from(index)),
            stage: Stage::Waiting,
            wake_ns: NEVER,
            tries: 0,
            registered: entry.is_some_and(|entry| entry.book.slots.is_some()),
            returned: false,
            connection: None,
            polls_write: false,
            play: None,
            book: entry.map(|entry| entry.book.clone()).unwrap_or_default(),
            account,
        }
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What it was told.
    pub fn into_ledger(self) -> LedgerEntry {
        let (password, character) = (password(&self.account), character(&self.account));
        LedgerEntry { account: self.account, password, character, book: self.book }
    }

    /// Its turn to sign in has come.
    pub fn start(&mut self, shared: &mut Shared) {
        self.set_stage(shared, Stage::SigningIn);
        self.wake_ns = shared.now_ns + SIGN_IN_NS_MAX;
        let opened = Connection::open(shared.options.target, shared.options.content.clone())
            .map_err(Ending::from)
            .and_then(|connection| {
                let (data, flags) = (epoll::EventData::new_u64(self.index.into()), epoll::EventFlags::IN);
                epoll::add(shared.epoll, &connection, data, flags | epoll::EventFlags::OUT)
                    .map_err(|error| Ending::Error(format!("the socket cannot be polled: {error}")))?;
                Ok(connection)
            });
        self.polls_write = true;
        match opened {
            Ok(mut connection) => {
                if self.index >= WATCHERS_MAX {
                    connection.core_mut().watch(Watch::Items);
                }
                self.connection = Some(connection);
            }
            Err(ending) => self.end(shared, ending),
        }
    }

    /// The time has come that it asked for; it may ask for another.
    pub fn wake(&mut self, shared: &mut Shared, due_ns: u64) {
        match self.stage {
            Stage::Waiting => shared.queue.push_back(self.index),
            Stage::SigningIn => self.end(shared, Ending::Error("signing in took too long".into())),
            Stage::Playing | Stage::Leaving { .. } => {
                if let Err(ending) = self.tick(shared, due_ns) {
                    self.end(shared, ending);
                }
            }
            Stage::Out => {}
        }
    }

    /// Its socket has bytes, or room.
    pub fn ready(&mut self, shared: &mut Shared) {
        if let Err(ending) = self.receive(shared) {
            self.end(shared, ending);
        }
    }

    /// Asks it to leave the world; `again`: and to come back.
    pub fn leave(&mut self, shared: &mut Shared, again: bool) {
        match self.stage {
            Stage::Playing | Stage::Leaving { .. } => self.set_stage(shared, Stage::Leaving { again }),
            Stage::Waiting | Stage::SigningIn => {
                self.connection = None;
                self.set_stage(shared, Stage::Out);
            }
            Stage::Out => {}
        }
    }

    fn set_stage(&mut self, shared: &mut Shared, stage: Stage) {
        if let Some(place) = shared.census.place(self.stage) {
            *place -= 1;
        }
        if let Some(place) = shared.census.place(stage) {
            *place += 1;
        }
        self.stage = stage;
    }

    fn tick(&mut self, shared: &mut Shared, due_ns: u64) -> Result<(), Ending> {
        let (Some(play), Some(connection)) = (&mut self.play, &mut self.connection) else {
            return Err(Ending::Error("plays without a connection".into()));
        };
        self.wake_ns = play.pace().next_step(due_ns, shared.now_ns);
        play.check_answers(shared.now_ns).map_err(Ending::Error)?;
        match self.stage {
            Stage::Leaving { .. } => play.leave(connection.core_mut(), &self.book, shared)?,
            _ => play.step(connection.core_mut(), &mut self.book, &mut self.rng, shared)?,
        }
        shared.measures.window.client_ticks += 1;
        self.flush(shared)
    }

    fn receive(&mut self, shared: &mut Shared) -> Result<(), Ending> {
        loop {
            let Some(connection) = &mut self.connection else { return Ok(()) };
            let received = connection.poll_read(&mut shared.scratch)?;
            loop {
                let Some(connection) = &mut self.connection else { return Ok(()) };
                let event = connection.core_mut().next_event().map_err(ClientError::from)?;
                let Some(event) = event else { break };
                self.take(event, shared)?;
            }
            match received {
                Received::Bytes(bytes) => {
                    shared.measures.window.bytes_in += bytes as u64;
                    if bytes < shared.scratch.len() {
                        break;
                    }
                }
                Received::Nothing => break,
                Received::Ended => return Err(Ending::Gone("ended without a word".into())),
            }
        }
        // A playing bot writes once a step; one that signs in, at once.
        if self.play.is_none() || self.polls_write { self.flush(shared) } else { Ok(()) }
    }

    fn flush(&mut self, shared: &mut Shared) -> Result<(), Ending> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        shared.measures.window.bytes_out += connection.flush()? as u64;
        let waits = !connection.core().outgoing().is_empty();
        if waits != self.polls_write {
            self.polls_write = waits;
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, waits);
            epoll::modify(shared.epoll, &*connection, epoll::EventData::new_u64(self.index.into()), flags)
                .map_err(|error| Ending::Error(format!("the socket cannot be polled: {error}")))?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event, shared: &mut Shared) -> Result<(), Ending> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let core = connection.core_mut();
        match event {
            Event::Closed { code, text } => return Err(closed(code, &text)),
            Event::LoggedOut { .. } => return Err(Ending::LoggedOut),
            Event::Welcome { .. } if !self.registered => {
                core.register(&self.account, &password(&self.account))?;
            }
            Event::Welcome { .. } => {
                core.log_in(&self.account, &password(&self.account))?;
            }
            Event::Registered { .. } | Event::Refused { code: Some(ErrorCode::AccountNameTaken), .. }
                if !self.registered =>
            {
                self.registered = true;
                core.log_in(&self.account, &password(&self.account))?;
            }
            Event::LoggedIn { .. } => {
                core.list_characters()?;
            }
            Event::Characters { characters, .. } => match characters.first() {
                Some(first) => core.select_character(CharacterId(first.character)).map(drop)?,
                None => core.create_character(&character(&self.account)).map(drop)?,
            },
            Event::CharacterCreated { character, .. } => {
                core.select_character(character)?;
            }
            Event::SessionBegun => {}
            Event::EnteredZone(entered) => self.enter(&entered, shared)?,
            event => match &mut self.play {
                Some(play) => {
                    let taken = play.take(&event, core, &mut self.book, shared);
                    taken.unwrap_or_else(|what| shared.measures.error(&self.account, what));
                }
                None => return Err(refused(&event)),
            },
        }
        Ok(())
    }

    fn enter(&mut self, entered: &EnteredZone, shared: &mut Shared) -> Result<(), Ending> {
        let play = Play::new(entered, self.index, shared)
            .ok_or_else(|| Ending::Hopeless(format!("zone {} has no map", entered.zone)))?;
        self.wake_ns = play.pace().first_step(shared.now_ns);
        self.play = Some(play);
        if entered.request.0 == 0 {
            // It walked there, with all that it carries.
            return Ok(());
        }
        self.tries = 0;
        if let Err(mismatch) = self.book.entered(&entered.inventory) {
            shared.measures.error(&self.account, mismatch);
        }
        shared.measures.window.relogs += u64::from(self.returned);
        self.returned = true;
        self.set_stage(shared, Stage::Playing);
        Ok(())
    }

    /// The connection is over: counts it, and tries again where that makes sense.
    fn end(&mut self, shared: &mut Shared, ending: Ending) {
        let played = matches!(self.stage, Stage::Playing | Stage::Leaving { .. });
        let again = self.stage == Stage::Leaving { again: true } && !shared.finishing;
        self.connection = None;
        self.play = None;
        let hopeless = matches!(ending, Ending::Hopeless(_));
        let reason = match ending {
            Ending::LoggedOut => {
                return if again { self.wait(shared, 0) } else { self.set_stage(shared, Stage::Out) };
            }
            Ending::Busy => {
                shared.measures.sign_in_retries += 1;
                return self.wait(shared, BACKOFF_NS);
            }
            Ending::Gone(reason) => reason,
            Ending::Error(what) | Ending::Hopeless(what) => {
                shared.measures.error(&self.account, &what);
                "an error".to_owned()
            }
        };
        if played {
            *shared.measures.disconnects.entry(reason.clone()).or_default() += 1;
        } else {
            shared.measures.sign_in_retries += 1;
            self.tries += 1;
        }
        if hopeless || shared.finishing {
            self.set_stage(shared, Stage::Out);
        } else if self.tries >= TRIES_MAX {
            shared.measures.error(&self.account, format!("given up after {TRIES_MAX} attempts: {reason}"));
            self.set_stage(shared, Stage::Out);
        } else {
            self.wait(shared, BACKOFF_NS);
        }
    }

    fn wait(&mut self, shared: &mut Shared, delay_ns: u64) {
        self.set_stage(shared, Stage::Waiting);
        self.wake_ns = shared.now_ns + delay_ns;
    }
}

fn closed(code: Option<ErrorCode>, text: &str) -> Ending {
    match code {
        Some(ErrorCode::VersionMismatch | ErrorCode::ContentMismatch) => Ending::Hopeless(text.to_owned()),
        Some(code) => Ending::Gone(code.name().to_owned()),
        None => Ending::Gone("a code newer than this client".to_owned()),
    }
}

/// What an event means that stops a sign-in.
fn refused(event: &Event) -> Ending {
    match event {
        Event::Refused { code: Some(ErrorCode::SignInBusy | ErrorCode::Unavailable), .. } => Ending::Busy,
        Event::Refused { text, .. } => Ending::Hopeless(format!("sign-in was refused: {text}")),
        event => Ending::Error(format!("{event:?} came before the character entered")),
    }
}

fn password(account: &str) -> String {
    format!("{account}-plays-here")
}

/// The account's name with a capital letter.
fn character(account: &str) -> String {
    let (first, rest) = account.split_at(1);
    first.to_ascii_uppercase() + rest
}
