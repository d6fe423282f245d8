//! One bot: a client that signs in, plays and leaves, and checks what it is told.
//!
//! A state machine without a thread of its own: [`crate::load`] tells it once a step that its time has come, and what its
//! connection brought. Never blocks. What it is told is judged against its own [`Book`], its prediction and its view.

use std::collections::{HashMap, VecDeque};

use rand::RngExt as _;
use rand_pcg::Pcg32;
use vyuha_net::client::{ClientCore, EnteredZone, Event, Fault, SendError, Watch};
use vyuha_protocol::{CharacterId, ErrorCode, Pos, ZoneId};

use crate::LoadOptions;
use crate::deal::Market;
use crate::inventory::Book;
use crate::lean::{Contradiction, Fate, Lean};
use crate::measure::Measures;
use crate::play::Play;
use crate::report::LedgerEntry;
use crate::role::Role;
use crate::sockets::{Arrived, Links};

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
/// How long a reconnecter plays before it drops its connection, on average; half of it to one and a half.
const RECONNECT_NS: u64 = 5 * SECOND_NS;
/// A lagger reads once in so many steps: half a second at 30 Hz.
const LAGGER_STEPS: u64 = 15;
/// Most steps a second of a zone.
pub const RATE_HZ_MAX: u32 = 1000;

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
    /// Nanoseconds since the load began.
    pub now_ns: u64,
    /// Whether everybody is leaving for good.
    pub finishing: bool,
    /// How often a second bots are woken: a multiple of every zone's rate.
    pub rate_hz: u32,
    /// Where each zone's crowd gathers: where the first of it entered.
    pub gatherings: HashMap<ZoneId, Pos>,
    /// Where each zone's traders meet: where the first of them entered.
    pub markets: HashMap<ZoneId, Market>,
    /// The figures.
    pub measures: Measures,
    /// Who stands where.
    pub census: Census,
    /// Bots whose turn to sign in comes next.
    pub queue: VecDeque<u32>,
}

/// Why a connection is over.
enum Ending {
    /// It was asked to.
    LoggedOut,
    /// The bot drops it, to sign in again.
    Dropped,
    /// The server cannot take it just now; it knocks again, however often.
    Busy,
    /// The server or the network ended it.
    Gone(String),
    /// Something is wrong, and trying again may help.
    Error(String),
    /// Something is wrong that no second attempt mends.
    Hopeless(String),
}

impl From<Fault> for Ending {
    fn from(fault: Fault) -> Ending {
        Ending::Error(format!("the server sent what cannot be followed: {fault}"))
    }
}

impl From<SendError> for Ending {
    fn from(error: SendError) -> Ending {
        Ending::Error(error.to_string())
    }
}

impl From<Contradiction> for Ending {
    fn from(contradiction: Contradiction) -> Ending {
        Ending::Error(format!("the server sent what cannot be followed: {contradiction}"))
    }
}

/// The protocol's state of a connection.
enum Session {
    None,
    /// Signing in, or playing with a view of the world.
    Core(Box<ClientCore>, Option<Box<Play>>),
    /// Playing without one.
    Lean(Box<Lean>),
}

/// A client that plays.
pub struct Bot {
    stage: Stage,
    index: u32,
    role: Role,
    /// Steps a second of its zone.
    rate_hz: u32,
    session: Session,
    /// When it acts next, where that is not its next step, in nanoseconds since the load began.
    wake_ns: u64,
    zone: ZoneId,
    tries: u32,
    /// Whether the account is there, as far as the bot knows.
    registered: bool,
    /// Whether it has logged out, to come back.
    returns: bool,
    account: String,
    rng: Pcg32,
    book: Box<Book>,
}

impl Bot {
    /// A bot that waits for its turn. It goes on from the ledger's entry of its account, if there is one.
    pub fn new(index: u32, options: &LoadOptions) -> Bot {
        let account = format!("{}{index:05}", options.account_prefix);
        let entry = options.ledger.iter().find(|entry| entry.account == account);
        Bot {
            stage: Stage::Waiting,
            index,
            role: options.roles.of(index),
            rate_hz: 1,
            session: Session::None,
            wake_ns: NEVER,
            zone: ZoneId(0),
            tries: 0,
            registered: entry.is_some_and(|entry| entry.book.slots.is_some()),
            returns: false,
            rng: Pcg32::new(options.seed, u64::from(index)),
            book: entry.map(|entry| Box::new(entry.book.clone())).unwrap_or_default(),
            account,
        }
    }

    /// Where it stands.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// What it does.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What it was told.
    pub fn into_ledger(self) -> LedgerEntry {
        let (password, character) = (password(&self.account), character(&self.account));
        LedgerEntry { account: self.account, password, character, book: *self.book }
    }

    /// Its turn to sign in has come.
    pub fn start(&mut self, shared: &mut Shared, links: &mut Links) {
        self.set_stage(shared, Stage::SigningIn);
        self.wake_ns = shared.now_ns + SIGN_IN_NS_MAX;
        let mut core = ClientCore::new(shared.options.content.clone());
        if self.index >= shared.options.watchers {
            core.watch(Watch::Items);
        }
        let opened = core.hello().map_err(Ending::from).and_then(|()| {
            let opened = links.open(self.index, shared.options.target);
            opened.map_err(|error| Ending::Gone(format!("{:?}", error.kind())))
        });
        self.session = Session::Core(Box::new(core), None);
        if let Err(ending) = opened.and_then(|()| self.flush(shared, links)) {
            self.end(shared, links, ending);
        }
    }

    /// Comes once in a period of [`Shared::rate_hz`]; `wakes` counts them.
    pub fn wake(&mut self, shared: &mut Shared, links: &mut Links, wakes: u64) {
        match self.stage {
            Stage::Playing | Stage::Leaving { .. } => {
                let wakes_per_step = u64::from(shared.rate_hz / self.rate_hz);
                if wakes.is_multiple_of(wakes_per_step)
                    && let Err(ending) = self.step(shared, links, wakes / wakes_per_step)
                {
                    self.end(shared, links, ending);
                }
            }
            Stage::Waiting if shared.now_ns >= self.wake_ns => {
                self.wake_ns = NEVER;
                shared.queue.push_back(self.index);
            }
            Stage::SigningIn if shared.now_ns >= self.wake_ns => {
                self.end(shared, links, Ending::Error("signing in took too long".into()));
            }
            Stage::SigningIn => links.resend(self.index),
            Stage::Waiting | Stage::Out => {}
        }
    }

    /// Lets a resumer break off and take its session up. `false` if it cannot just now.
    pub fn resume(&mut self, shared: &mut Shared, links: &mut Links) -> bool {
        let Session::Lean(lean) = &mut self.session else { return false };
        if self.role != Role::Resumer || self.stage != Stage::Playing || !lean.can_resume() {
            return false;
        }
        let opened = links.open(self.index, shared.options.target);
        let opened = opened.map_err(|error| Ending::Gone(format!("{:?}", error.kind())));
        let said = opened.and_then(|()| {
            links.send(self.index, |out| lean.resume(out, shared.now_ns)).ok_or_else(does_not_read).map(drop)
        });
        match said {
            Ok(()) => shared.measures.windows[self.role as usize].reconnects += 1,
            Err(ending) => self.end(shared, links, ending),
        }
        true
    }

    /// Its connection has brought something.
    pub fn arrived(&mut self, shared: &mut Shared, links: &mut Links, arrived: &Arrived<'_>) {
        let taken = match arrived {
            Arrived::Bytes(bytes) => {
                shared.measures.windows[self.role as usize].bytes_in += bytes.len() as u64;
                self.take_bytes(bytes, shared, links)
            }
            Arrived::Ended => Err(Ending::Gone("ended without a word".into())),
            Arrived::Failed(kind) => Err(Ending::Gone(format!("{kind:?}"))),
        };
        if let Err(ending) = taken {
            self.end(shared, links, ending);
        }
    }

    /// Asks it to leave the world; `again`: and to come back.
    pub fn leave(&mut self, shared: &mut Shared, links: &mut Links, again: bool) {
        match self.stage {
            Stage::Playing | Stage::Leaving { .. } => {
                self.set_stage(shared, Stage::Leaving { again });
                if let Err(error) = links.set_slow(self.index, false) {
                    self.end(shared, links, Ending::Gone(format!("{:?}", error.kind())));
                }
            }
            Stage::Waiting | Stage::SigningIn => {
                self.session = Session::None;
                links.close(self.index);
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

    fn step(&mut self, shared: &mut Shared, links: &mut Links, steps: u64) -> Result<(), Ending> {
        let now_ns = shared.now_ns;
        let leaves = matches!(self.stage, Stage::Leaving { .. });
        let gathering = match self.role {
            Role::Crowd => shared.gatherings.get(&self.zone).copied(),
            Role::Reconnecter if now_ns >= self.wake_ns && !leaves => return Err(Ending::Dropped),
            Role::Lagger if steps.is_multiple_of(LAGGER_STEPS) => {
                links.read_once(self.index);
                None
            }
            _ => None,
        };
        match &mut self.session {
            Session::Lean(lean) => {
                lean.check_answers(now_ns).map_err(Ending::Error)?;
                let window = &mut shared.measures.windows[self.role as usize];
                window.client_ticks += 1;
                let sent = links.send(self.index, |out| {
                    if leaves {
                        lean.leave(out, window, now_ns);
                    } else {
                        lean.step(out, window, gathering, now_ns);
                    }
                });
                let sent = sent.ok_or_else(does_not_read)?;
                shared.measures.windows[self.role as usize].bytes_out += sent as u64;
                Ok(())
            }
            Session::Core(core, Some(play)) => {
                play.check_answers(now_ns).map_err(Ending::Error)?;
                if leaves {
                    play.leave(core, &self.book, shared)?;
                } else {
                    play.step(core, &mut self.book, &mut self.rng, gathering, shared)?;
                }
                shared.measures.windows[self.role as usize].client_ticks += 1;
                self.flush(shared, links)
            }
            Session::Core(_, None) | Session::None => Err(Ending::Error("plays without a connection".into())),
        }
    }

    fn take_bytes(&mut self, bytes: &[u8], shared: &mut Shared, links: &mut Links) -> Result<(), Ending> {
        match &mut self.session {
            Session::Lean(lean) => {
                let Shared { measures, now_ns, .. } = shared;
                let Measures { windows, errors, error_samples, .. } = measures;
                let account = &self.account;
                let fate =
                    lean.take(bytes, &mut windows[self.role as usize], *now_ns, &mut |contradiction| {
                        crate::measure::note_error(errors, error_samples, account, contradiction);
                    })?;
                let (zone, tick_hz) = lean.place();
                match fate {
                    Fate::Plays if zone != self.zone => self.follow(zone, tick_hz, shared),
                    Fate::Plays => Ok(()),
                    Fate::LoggedOut => Err(Ending::LoggedOut),
                    Fate::Closed(code, text) => Err(closed(code, &text)),
                }
            }
            Session::Core(core, _) => {
                core.receive(bytes)?;
                while let Session::Core(core, _) = &mut self.session {
                    let Some(event) = core.next_event()? else { break };
                    self.take(event, shared, links)?;
                }
                // A playing bot writes once a step; one that signs in, at once.
                match &self.session {
                    Session::Core(_, None) => self.flush(shared, links),
                    _ => Ok(()),
                }
            }
            Session::None => Ok(()),
        }
    }

    /// Hands over what the core has to send.
    fn flush(&mut self, shared: &mut Shared, links: &mut Links) -> Result<(), Ending> {
        let Session::Core(core, _) = &mut self.session else { return Ok(()) };
        if core.outgoing().is_empty() {
            return Ok(());
        }
        let sent = links.send(self.index, |out| out.extend_from_slice(core.outgoing()));
        let sent = sent.ok_or_else(does_not_read)?;
        core.mark_sent(sent);
        shared.measures.windows[self.role as usize].bytes_out += sent as u64;
        Ok(())
    }

    fn take(&mut self, event: Event, shared: &mut Shared, links: &mut Links) -> Result<(), Ending> {
        let Session::Core(core, play) = &mut self.session else { return Ok(()) };
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
            Event::EnteredZone(entered) => self.enter(&entered, shared, links)?,
            event => match play {
                Some(play) => {
                    let taken = play.take(&event, core, &mut self.book, shared);
                    taken.unwrap_or_else(|what| shared.measures.error(&self.account, what));
                }
                None => return Err(refused(&event)),
            },
        }
        Ok(())
    }

    /// It is in a zone of so many steps a second.
    fn follow(&mut self, zone: ZoneId, tick_hz: u16, shared: &mut Shared) -> Result<(), Ending> {
        let hz = u32::from(tick_hz);
        let rate_hz = lcm(shared.rate_hz, hz);
        if rate_hz > RATE_HZ_MAX {
            return Err(Ending::Hopeless(format!("zone {zone} has {hz} steps a second")));
        }
        shared.rate_hz = rate_hz;
        self.rate_hz = hz;
        self.zone = zone;
        Ok(())
    }

    fn enter(&mut self, entered: &EnteredZone, shared: &mut Shared, links: &mut Links) -> Result<(), Ending> {
        let map = shared.options.content.maps.get(&entered.zone).cloned();
        let map = map.ok_or_else(|| Ending::Hopeless(format!("zone {} has no map", entered.zone)))?;
        self.follow(entered.zone, entered.tick_hz, shared)?;
        if entered.request.0 == 0 {
            // It walked there, with all that it carries.
            if let Session::Core(_, Some(play)) = &mut self.session {
                play.cross(entered, map);
            }
            return Ok(());
        }
        self.tries = 0;
        if let Err(mismatch) = self.book.entered(&entered.inventory, &entered.worn) {
            shared.measures.error(&self.account, mismatch);
        }
        if self.role == Role::Crowd {
            shared.gatherings.entry(entered.zone).or_insert(entered.pos);
        }
        if self.role == Role::Trader {
            let market = Market { place: entered.pos, waiting: None };
            shared.markets.entry(entered.zone).or_insert(market);
        }
        if self.role == Role::Lagger {
            let slowed = links.set_slow(self.index, true);
            slowed.map_err(|error| Ending::Gone(format!("{:?}", error.kind())))?;
        }
        self.wake_ns = shared.now_ns + self.rng.random_range(RECONNECT_NS / 2..=RECONNECT_NS * 3 / 2);
        shared.measures.windows[self.role as usize].relogs += u64::from(std::mem::take(&mut self.returns));
        self.set_stage(shared, Stage::Playing);
        let watches =
            self.index < shared.options.watchers && !matches!(self.role, Role::Resumer | Role::Idle);
        let Session::Core(core, play) = &mut self.session else { return Ok(()) };
        if watches || self.role == Role::Trader {
            *play = Some(Box::new(Play::new(entered, map, self.role, watches, shared)));
            return Ok(());
        }
        let core = std::mem::replace(&mut **core, ClientCore::new(shared.options.content.clone()));
        let session = core.session();
        let (unread, request_last) = core.into_unread();
        let rng = Pcg32::new(self.rng.random(), u64::from(self.index));
        let content = shared.options.content.clone();
        let mut lean = Lean::new(entered, content, map, self.role, request_last, rng, shared.now_ns);
        lean.set_session(session);
        self.session = Session::Lean(Box::new(lean));
        self.take_bytes(&unread, shared, links)
    }

    /// The connection is over: counts it, and tries again where that makes sense.
    fn end(&mut self, shared: &mut Shared, links: &mut Links, ending: Ending) {
        let played = matches!(self.stage, Stage::Playing | Stage::Leaving { .. });
        let again = self.stage == Stage::Leaving { again: true } && !shared.finishing;
        links.close(self.index);
        self.session = Session::None;
        let hopeless = matches!(ending, Ending::Hopeless(_));
        let reason = match ending {
            Ending::LoggedOut => {
                self.returns = again;
                return if again { self.wait(shared, 0) } else { self.set_stage(shared, Stage::Out) };
            }
            Ending::Dropped => {
                shared.measures.windows[self.role as usize].reconnects += 1;
                return self.wait(shared, 0);
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
            shared.measures.windows[self.role as usize].disconnects += 1;
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

fn does_not_read() -> Ending {
    Ending::Gone("the server does not read".into())
}

/// The least rate of which both are divisors.
fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    (a / x.max(1)).saturating_mul(b)
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
