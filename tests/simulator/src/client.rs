//! Players: the real client library without its sockets, and somebody who walks, picks up, drops, talks, goes through gates,
//! loses the connection, comes back, and signs in from a second place.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand_pcg::Pcg64;
use vyuha_game::inventory::{PLACE_BANK, PLACE_EQUIPMENT, PLACE_INVENTORY};
use vyuha_net::client::{ClientCore, Event, Predictor};
use vyuha_protocol::message::{self, InventorySlot, ItemSlot};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{CharacterId, EntityId, ErrorCode, Pos, ZoneId};

use crate::control::Control;
use crate::network::{LinkId, Network};
use crate::told::{Request, RequestKey, Told};
use crate::truth::{Slots, Truth};
use crate::{Counts, Violation, world};

/// A client that hears nothing gives a connection up.
const PATIENCE_TICKS: u64 = 200;
/// Ticks in which a request is answered if its connection holds and the journal writes.
const ANSWER_TICKS: u32 = 200;
/// Snapshots, with nothing sent, after which a character stands still.
const REST_SNAPSHOTS: u32 = 4;

/// Everything that a client has to do with.
pub struct Surroundings<'a> {
    /// Ticks since the run began.
    pub tick: u64,
    /// What the seed says.
    pub rng: &'a mut Pcg64,
    /// Its connections.
    pub network: &'a mut Network,
    /// Where they are accepted; none while the node is away.
    pub control: Option<&'a mut Control>,
    /// What clients were told.
    pub told: &'a mut Told,
    /// What is durable.
    pub truth: &'a Truth,
    /// What happened, for the summary.
    pub counts: &'a mut Counts,
    /// Whether the journal writes nothing just now.
    pub is_stalled: bool,
    /// The last rites: everybody is to sign in once more, do something, and log out.
    pub is_last: bool,
    /// The shard of each zone.
    pub shard_of: &'a dyn Fn(ZoneId) -> u16,
}

/// A player's client.
pub struct Client {
    index: usize,
    account: i64,
    character: i64,
    /// Which life of the library this is: request numbers begin anew with each.
    life: u32,
    core: ClientCore,
    link: Option<LinkId>,
    stage: Stage,
    heard_tick: u64,
    zone: Option<ZoneId>,
    /// The number under which it was let in; of the character's admissions.
    admission: usize,
    /// Whether the zone was entered from another shard, so that it is known to be durable.
    zone_is_durable: bool,
    rest_snapshots: u32,
    rest_until_tick: u64,
    goal: Option<Pos>,
    answered: Option<u32>,
    entity: Option<EntityId>,
    trade: Option<Trade>,
    /// The last confirmation of a trade that may be carried out, and of which revision.
    confirmed: Option<(RequestKey, u32)>,
    /// The oldest request without an answer, by which connection it waits, and for how long.
    waiting: Option<(RequestKey, Option<LinkId>, u32)>,
    /// Whether it has logged out in the last rites.
    pub is_done: bool,
}

/// A trade as it was told last.
struct Trade {
    revision: u32,
    gives: BTreeMap<u16, u32>,
    gets: BTreeMap<u16, u32>,
    your_step: u8,
    their_step: u8,
}

/// How many there are of each kind.
fn totals(slots: &[ItemSlot]) -> BTreeMap<u16, u32> {
    let mut totals = BTreeMap::new();
    for slot in slots {
        *totals.entry(slot.kind).or_default() += slot.count;
    }
    totals
}

/// The slots that hold something that is carried, and how many.
fn carried(slots: &Slots) -> Vec<(u8, u32)> {
    let carried = slots.iter().filter(|((place, _), _)| *place == PLACE_INVENTORY);
    carried.map(|((_, slot), (_, count))| (*slot as u8, *count)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Away { until_tick: u64 },
    SigningIn,
    Resuming,
    Playing,
    LoggingOut,
}

impl Client {
    /// Somebody who has never played.
    pub fn new(index: usize, account: i64) -> Client {
        Client {
            index,
            account,
            character: 0,
            life: 0,
            core: ClientCore::new(world::client_content()),
            link: None,
            stage: Stage::Away { until_tick: 0 },
            heard_tick: 0,
            zone: None,
            admission: 0,
            zone_is_durable: false,
            rest_snapshots: 0,
            rest_until_tick: 0,
            goal: None,
            answered: None,
            entity: None,
            trade: None,
            confirmed: None,
            waiting: None,
            is_done: false,
        }
    }

    /// Where it stands, in words.
    pub fn standing(&self) -> String {
        format!("client {} of account {}: {:?}", self.index, self.account, self.stage)
    }

    /// Reads, acts, sends.
    ///
    /// # Errors
    /// If it is told what cannot be.
    pub fn step(&mut self, around: &mut Surroundings<'_>) -> Result<(), Violation> {
        self.receive(around)?;
        self.check_answers(around)?;
        match self.stage {
            Stage::Away { until_tick } if around.tick >= until_tick && !self.is_done => self.connect(around),
            Stage::Away { .. } => {}
            _ if around.tick > self.heard_tick + PATIENCE_TICKS => self.go_away(around, 1..40),
            Stage::Playing => self.play(around),
            Stage::SigningIn | Stage::Resuming | Stage::LoggingOut => {}
        }
        if let Some(link) = self.link {
            let bytes = self.core.outgoing().len();
            around.network.send(link, self.core.outgoing(), around.tick, around.rng);
            self.core.mark_sent(bytes);
        }
        Ok(())
    }

    /// While somebody plays over one connection, no answer fails to come.
    fn check_answers(&mut self, around: &Surroundings<'_>) -> Result<(), Violation> {
        let plays = matches!(self.stage, Stage::Playing | Stage::LoggingOut);
        let oldest = self.core.requests_pending().next().filter(|_| plays).map(|request| self.key(request.0));
        self.waiting = oldest.map(|oldest| match self.waiting {
            Some((before, link, ticks)) if (before, link) == (oldest, self.link) => {
                (oldest, link, ticks + u32::from(!around.is_stalled))
            }
            _ => (oldest, self.link, 0),
        });
        Violation::unless(self.waiting.is_none_or(|(.., ticks)| ticks < ANSWER_TICKS), || {
            format!("request {oldest:?} of character {} is not answered", self.character)
        })
    }

    fn connect(&mut self, around: &mut Surroundings<'_>) {
        let Some(control) = &mut around.control else {
            self.stage = Stage::Away { until_tick: around.tick + around.rng.random_range(5..30) };
            return;
        };
        let (link, theirs) = around.network.open();
        control.accept(theirs, around.tick);
        self.link = Some(link);
        self.heard_tick = around.tick;
        around.counts.connections += 1;
        if self.core.can_resume() && around.rng.random_bool(0.8) && self.core.resume().is_ok() {
            self.stage = Stage::Resuming;
        } else {
            self.begin_anew(around);
        }
    }

    fn begin_anew(&mut self, around: &mut Surroundings<'_>) {
        self.core = ClientCore::new(world::client_content());
        self.life += 1;
        (self.answered, self.confirmed, self.trade) = (None, None, None);
        self.stage = Stage::SigningIn;
        let first = (self.account - 1) * world::CHARACTERS_PER_ACCOUNT + 1;
        self.character = first + i64::from(around.rng.random_bool(0.2));
        self.core.hello().expect("a new client has room");
    }

    /// Leaves the connection behind.
    fn go_away(&mut self, around: &mut Surroundings<'_>, for_ticks: std::ops::Range<u64>) {
        if let Some(link) = self.link.take() {
            around.network.close(link, around.tick);
        }
        self.zone_is_durable = false;
        self.stage = Stage::Away { until_tick: around.tick + around.rng.random_range(for_ticks) };
    }

    fn receive(&mut self, around: &mut Surroundings<'_>) -> Result<(), Violation> {
        let Some(link) = self.link else { return Ok(()) };
        let (bytes, has_ended) = around.network.receive(link);
        // In portions, as a socket gives them: the library holds no more at once.
        for portion in bytes.chunks(16 << 10) {
            let index = self.index;
            let broken = |fault: &dyn std::fmt::Display| {
                Violation::new(format!("client {index} cannot follow what the server says: {fault}"))
            };
            self.core.receive(portion).map_err(|fault| broken(&fault))?;
            self.heard_tick = around.tick;
            while let Some(event) = self.core.next_event().map_err(|fault| broken(&fault))? {
                self.take(event, around)?;
            }
        }
        if has_ended && self.link == Some(link) {
            self.go_away(around, 1..40);
        }
        Ok(())
    }

    fn key(&self, request: u32) -> RequestKey {
        (self.index, self.life, request)
    }

    fn take(&mut self, event: Event, around: &mut Surroundings<'_>) -> Result<(), Violation> {
        if !matches!(event, Event::Snapshot(_)) {
            tracing::debug!(tick = around.tick, client = self.index, ?event);
            around.counts.note(&format!("{} {event:?}", self.index));
        }
        match event {
            Event::Welcome { .. } if self.stage == Stage::SigningIn => self.log_in(),
            Event::LoggedIn { .. } => {
                // A library that just signed in has room.
                let _ = self.core.select_character(CharacterId(self.character));
            }
            Event::EnteredZone(entered) => {
                if entered.request.0 == 0 {
                    around.counts.crossings += 1;
                    let from = self.zone.map(around.shard_of);
                    self.zone_is_durable = from.is_some_and(|from| from != (around.shard_of)(entered.zone));
                    if self.zone_is_durable {
                        let zone = i64::from(entered.zone.0);
                        around.told.crossed(self.character, self.admission, zone, around.truth)?;
                    }
                } else {
                    around.counts.logins += 1;
                    self.stage = Stage::Playing;
                    self.admission =
                        around.told.entered(self.character, &entered.inventory, &entered.worn)?;
                    self.zone_is_durable = true;
                }
                (self.zone, self.entity) = (Some(entered.zone), Some(entered.entity));
                (self.rest_snapshots, self.goal) = (0, None);
                self.trade = None;
                let rests = around.rng.random_bool(0.3);
                self.rest_until_tick = around.tick + if rests { around.rng.random_range(10..60) } else { 0 };
            }
            Event::Resumed => {
                around.counts.resumed += 1;
                self.stage = Stage::Playing;
            }
            Event::PickedUp { request, slot, .. } | Event::Dropped { request, slot, .. } => {
                around.counts.acknowledged += 1;
                self.answered = Some(request.0);
                let InventorySlot { slot, kind, count } = slot;
                let slot = ItemSlot {
                    place: PLACE_INVENTORY as u8,
                    slot: slot.into(),
                    kind,
                    count,
                    wear: 0,
                    item: 0,
                };
                around.told.acknowledged(self.character, self.key(request.0), &[slot])?;
            }
            Event::SlotsChanged { request, slots } => {
                around.counts.acknowledged += 1;
                around.counts.rearranged += 1;
                around.told.acknowledged(self.character, self.key(request.0), &slots)?;
            }
            Event::TradeAsked { entity, .. } if around.rng.random_bool(0.8) => {
                let _ = self.core.accept_trade(entity);
            }
            Event::TradeChanged { revision, yours, theirs, your_step, their_step, .. } => {
                self.withdraw_confirmation(around, |confirmed| confirmed != revision)?;
                self.trade = Some(Trade {
                    revision,
                    gives: totals(&yours),
                    gets: totals(&theirs),
                    your_step,
                    their_step,
                });
            }
            Event::TradeDone { slots } => {
                around.counts.trades += 1;
                self.trade = None;
                if let Some((key, _)) = self.confirmed.take() {
                    around.told.acknowledged(self.character, key, &slots)?;
                }
            }
            Event::TradeEnded { .. } => {
                self.trade = None;
                self.withdraw_confirmation(around, |_| true)?;
            }
            Event::LoggedOut { .. } => {
                around.counts.logouts += 1;
                let row = around.truth.character(self.character);
                around.told.logged_out(self.character, self.admission, (row.zone, row.x, row.y));
                self.is_done = around.is_last;
                self.go_away(around, 5..60);
            }
            Event::Refused { request, code, .. } => {
                around.counts.refused += 1;
                if code != Some(ErrorCode::Replayed) {
                    around.told.refused(self.character, self.key(request.0))?;
                }
                match self.stage {
                    Stage::Resuming if code == Some(ErrorCode::ResumeRefused) => self.begin_anew_here(around),
                    Stage::SigningIn => self.go_away(around, 5..60),
                    Stage::LoggingOut => self.stage = Stage::Playing,
                    _ => {}
                }
            }
            // Who was sent away by its own second place lets that one play for a while.
            Event::Closed { .. } => self.go_away(around, if around.is_last { 5..90 } else { 20..300 }),
            Event::Snapshot(_) => self.look(around),
            _ => {}
        }
        Ok(())
    }

    /// The session is no more, but the connection is greeted: the library signs in on it.
    fn begin_anew_here(&mut self, around: &mut Surroundings<'_>) {
        if around.rng.random_bool(0.5) {
            return self.go_away(around, 1..20);
        }
        self.life += 1;
        (self.answered, self.confirmed, self.trade) = (None, None, None);
        self.stage = Stage::SigningIn;
        self.log_in();
    }

    fn log_in(&mut self) {
        // A library that was just greeted has room.
        let _ = self.core.log_in(&world::account_name(self.account), "password");
    }

    fn look(&mut self, around: &mut Surroundings<'_>) {
        let is_still = self.core.predictor().is_some_and(|own| own.pending() == 0);
        self.rest_snapshots = if is_still { self.rest_snapshots + 1 } else { 0 };
        if self.rest_snapshots == REST_SNAPSHOTS && self.zone_is_durable {
            let zone = self.zone.map(|zone| i64::from(zone.0));
            around.told.rests(self.character, self.admission, zone);
        }
    }

    fn play(&mut self, around: &mut Surroundings<'_>) {
        let Some(pos) = self.core.predictor().map(Predictor::pos) else { return };
        let chance = around.rng.random_range(0..1000);
        match chance {
            _ if around.is_last && around.tick >= self.rest_until_tick && chance < 20 => self.log_out(),
            0..4 if !around.is_last => self.log_out(),
            // A client that dies sends nothing, not even that it ends.
            4..7 if !around.is_last => {
                if let Some(link) = self.link {
                    around.network.cut(link, around.tick, around.rng);
                }
                self.go_away(around, 1..80);
            }
            7..20 => {
                let _ = self.core.say("hello");
            }
            // What was answered is sent once more, as a network that repeats itself would.
            20..30 => {
                if let Some(request) = self.answered {
                    let again = message::Drop { request, nonce: 0, slot: 0, count: 1 };
                    let _ = self.core.send(&again);
                }
            }
            30..130 => self.ask(pos, around),
            130..180 => self.rearrange(around),
            180..400 => self.deal(pos, around),
            _ => {}
        }
        if around.tick >= self.rest_until_tick && around.rng.random_bool(0.8) {
            self.walk(pos, around);
        }
    }

    /// The last confirmation of a trade, at a revision for which `is_void` says so, will not be carried out.
    fn withdraw_confirmation(
        &mut self,
        around: &mut Surroundings<'_>,
        is_void: impl Fn(u32) -> bool,
    ) -> Result<(), Violation> {
        match self.confirmed.take_if(|(_, revision)| is_void(*revision)) {
            Some((key, _)) => around.told.refused(self.character, key),
            None => Ok(()),
        }
    }

    /// Asks somebody near to trade, or goes on with a trade; nothing is asked for while a confirmation may be carried out.
    fn deal(&mut self, pos: Pos, around: &mut Surroundings<'_>) {
        let Some(slots) = around.told.slots(self.character) else { return };
        let Some(trade) = &self.trade else {
            let content = world::content();
            let reach = self.zone.and_then(|zone| content.zone(zone)).map_or(0, |zone| zone.kind.reach);
            let near = self.core.world().near(pos, reach).filter(|other| other.kind.is_player());
            let mut near: Vec<EntityId> =
                near.map(|other| other.id).filter(|id| Some(*id) != self.entity).collect();
            near.sort_unstable();
            if let Some(other) = near.first() {
                let _ = self.core.ask_trade(*other);
            }
            return;
        };
        let full = carried(slots);
        match (trade.your_step, trade.their_step) {
            (0, _) if !full.is_empty() && around.rng.random_bool(0.3) => {
                let (slot, had) = full[around.rng.random_range(0..full.len())];
                let _ = self.core.offer(slot, around.rng.random_range(0..=had));
            }
            (0, _) => {
                let _ = self.core.confirm_trade(trade.revision, 1);
            }
            (1, 1..) => {
                let request = Request::Trade { gives: trade.gives.clone(), gets: trade.gets.clone() };
                let revision = trade.revision;
                if let Ok(number) = self.core.confirm_trade(revision, 2) {
                    let key = self.key(number.0);
                    around.told.asked(self.character, key, request);
                    self.confirmed = Some((key, revision));
                }
            }
            _ if around.rng.random_bool(0.02) => {
                let _ = self.core.cancel_trade();
            }
            _ => {}
        }
    }

    /// Puts something on, takes it off, or moves something into the bank or out of it; where no bank is near that is refused.
    fn rearrange(&mut self, around: &mut Surroundings<'_>) {
        let Some(slots) = around.told.slots(self.character) else { return };
        let of = |wanted: i64| -> Vec<(i64, u32)> {
            let held = slots.iter().filter(|((place, _), _)| *place == wanted);
            held.map(|((_, slot), (_, count))| (*slot, *count)).collect()
        };
        let choice = around.rng.random_range(0..4);
        let from = of([PLACE_INVENTORY, PLACE_EQUIPMENT, PLACE_INVENTORY, PLACE_BANK][choice]);
        if from.is_empty() {
            return;
        }
        let (slot, had) = from[around.rng.random_range(0..from.len())];
        let count = around.rng.random_range(1..=had);
        let (carried, banked) = (slot as u8, slot as u16);
        let (asked, request) = match choice {
            0 => (self.core.equip(carried), Request::Equip { slot: carried }),
            1 => (self.core.unequip(carried), Request::Unequip { slot: carried }),
            2 => {
                let asked = self.core.deposit(carried, count, around.rng.random_range(0..3));
                (asked, Request::Deposit { slot: carried, count })
            }
            _ => {
                let asked = self.core.withdraw(banked, count, around.rng.random());
                (asked, Request::Withdraw { slot: banked, count })
            }
        };
        if let Ok(number) = asked {
            around.told.asked(self.character, self.key(number.0), request);
        }
    }

    fn log_out(&mut self) {
        if self.core.log_out().is_ok() {
            self.stage = Stage::LoggingOut;
        }
    }

    /// Picks something up or drops something, if the answer to the last such request is there.
    fn ask(&mut self, pos: Pos, around: &mut Surroundings<'_>) {
        let Some(slots) = around.told.slots(self.character) else { return };
        let full = carried(slots);
        let content = world::content();
        let reach = self.zone.and_then(|zone| content.zone(zone)).map_or(0, |zone| zone.kind.reach);
        let mut near: Vec<EntityId> =
            self.core.world().items_near(pos, reach).map(|entity| entity.id).collect();
        near.sort_unstable();
        let (asked, request) = if !near.is_empty() && (full.is_empty() || around.rng.random_bool(0.6)) {
            let entity = near[around.rng.random_range(0..near.len())];
            (self.core.pick_up(entity), Request::PickUp)
        } else if !full.is_empty() {
            let (slot, had) = full[around.rng.random_range(0..full.len())];
            let count = around.rng.random_range(1..=had);
            (self.core.drop_items(slot, count), Request::Drop { slot, count })
        } else {
            return;
        };
        if let Ok(number) = asked {
            around.told.asked(self.character, self.key(number.0), request);
        }
    }

    fn walk(&mut self, pos: Pos, around: &mut Surroundings<'_>) {
        let content = world::content();
        let Some(zone) = self.zone.and_then(|zone| content.zone(zone)) else { return };
        let reached = |goal: &Pos| goal.tile() == pos.tile();
        if self.goal.as_ref().is_none_or(reached) || around.rng.random_bool(0.02) {
            self.goal = Some(if around.rng.random_bool(0.7) && !zone.gates.is_empty() {
                let gate = zone.gates[around.rng.random_range(0..zone.gates.len())].at;
                Pos::tile_centre(gate.0, gate.1)
            } else {
                Pos::tile_centre(
                    around.rng.random_range(1..zone.map.width() - 1),
                    around.rng.random_range(1..zone.map.height() - 1),
                )
            });
        }
        let Some(goal) = self.goal else { return };
        let towards = |from: u32, to: u32| (i64::from(to) - i64::from(from)).clamp(-127, 127) as i8;
        let heading = Heading { x: towards(pos.x, goal.x), y: towards(pos.y, goal.y) };
        if self.core.input(heading).is_ok() {
            around.told.rests(self.character, self.admission, None);
            self.rest_snapshots = 0;
        }
    }
}
