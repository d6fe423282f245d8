//! What a bot does in the world, step by step, and how it judges what it sees there.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngExt as _;
use rand_pcg::Pcg32;
use vyuha_net::client::{ClientCore, EnteredZone, Event, INPUTS_PENDING_MAX, SendError, SnapshotSummary};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::metres;
use vyuha_protocol::{EntityId, ErrorCode, Pos, RequestId, TileMap, ZoneId};

use crate::LoadOptions;
use crate::bot::{ANSWER_NS_MAX, SECOND_NS, Shared};
use crate::deal::{Deal, Next};
use crate::inventory::{Book, InFlight};
use crate::role::Role;
use crate::walk::Walker;

/// How near an item must be to be picked up, in position units. Less than worlds allow: the server's place of the
/// character is a few steps behind the predicted one.
const REACH: u32 = metres(2);
/// How near an item must be to be walked to, in position units.
const SIGHT: u32 = metres(12);
/// How long an item is walked to before the bot thinks of something else.
const CHASE_NS_MAX: u64 = 6 * SECOND_NS;
/// How often a bot looks for something to do with items.
const LOOK_NS: u64 = SECOND_NS / 4;
/// A bot that carries something drops some of it at one look in so many.
const DROP_LOOKS: u32 = 4;
/// A trader that carries something sets out for the market at one look in so many.
const DEAL_LOOKS: u32 = 6;
/// It puts something on, takes something off, or goes through its bank, at one look in so many.
const REARRANGE_LOOKS: u32 = 6;
/// More stacks than these are a burden: it drops some.
const STACKS_CARRIED: usize = 8;
/// A trader says something once in so many steps, on average: 15 s at 30 Hz.
const SAY_STEPS: u32 = 450;
/// A chatter says something once in so many steps, on average: 3 s at 30 Hz.
pub const CHATTER_STEPS: u32 = 90;
/// A crowd's member does not go farther than this from where it gathers, in position units.
pub const CROWD_RADIUS: u32 = metres(4);
/// What bots say.
pub const TEXTS: &[&str] = &[
    "Good day!",
    "Has anyone seen a lantern?",
    "The wolves are out again.",
    "Mangoes, three for a coin!",
    "Which way to the river?",
    "I was here first.",
    "नमस्ते",
];

/// A bot's time in the world, from entering to leaving.
pub struct Play {
    /// Its character.
    entity: EntityId,
    zone: ZoneId,
    /// Its character in the world view; `None` if it keeps items alone.
    own: Option<EntityId>,
    map: Arc<TileMap>,
    role: Role,
    walker: Walker,
    /// When the last snapshot came, or the character entered.
    heard_ns: u64,
    snapshots: u64,
    /// It went through a gate, and what the server makes of its inputs since is not known yet.
    crossed: bool,
    /// The last input that was acknowledged.
    acknowledged: u32,
    /// When the inputs after that were sent.
    inputs_ns: VecDeque<u64>,
    ping_ns: u64,
    /// When it looks for something to do with items again.
    look_ns: u64,
    /// Since when it walks to an item.
    chase_ns: Option<u64>,
    /// The request about an item that is not answered yet, and when it was sent.
    item: Option<(RequestId, u64)>,
    /// The deal that it is about.
    deal: Option<Deal>,
    /// Whether it stands still, to deal.
    stands: bool,
    /// The request to leave, and when it was sent.
    leave: Option<(RequestId, u64)>,
}

impl Play {
    /// A character that has just entered; `watches` if it holds and checks the whole view.
    pub fn new(entered: &EnteredZone, map: Arc<TileMap>, role: Role, watches: bool, shared: &Shared) -> Play {
        Play {
            entity: entered.entity,
            zone: entered.zone,
            own: watches.then_some(entered.entity),
            map,
            role,
            walker: Walker::default(),
            heard_ns: shared.now_ns,
            snapshots: 0,
            crossed: false,
            acknowledged: 0,
            inputs_ns: VecDeque::new(),
            ping_ns: shared.now_ns,
            look_ns: shared.now_ns + LOOK_NS,
            chase_ns: None,
            item: None,
            deal: None,
            stands: false,
            leave: None,
        }
    }

    /// It walked through a gate: what it sent and asked before goes on, what it saw does not.
    pub fn cross(&mut self, entered: &EnteredZone, map: Arc<TileMap>) {
        self.own = self.own.map(|_| entered.entity);
        (self.entity, self.zone) = (entered.entity, entered.zone);
        self.map = map;
        self.walker = Walker::default();
        self.chase_ns = None;
        self.crossed = true;
    }

    /// Whether all that should have come has come.
    pub fn check_answers(&self, now_ns: u64) -> Result<(), String> {
        let late = |since_ns: u64| now_ns.saturating_sub(since_ns) > ANSWER_NS_MAX;
        if late(self.heard_ns) {
            return Err("no snapshot came for 10 s".into());
        }
        for (open, what) in [(self.item, "a request about an item"), (self.leave, "the request to leave")] {
            if open.is_some_and(|(_, since_ns)| late(since_ns)) {
                return Err(format!("{what} was not answered within 10 s"));
            }
        }
        Ok(())
    }

    /// One step: walks, and does what a player does now and then. `gathering` is where its zone's crowd meets.
    pub fn step(
        &mut self,
        core: &mut ClientCore,
        book: &mut Book,
        rng: &mut Pcg32,
        gathering: Option<Pos>,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        let now_ns = shared.now_ns;
        let window = &mut shared.measures.windows[self.role as usize];
        let Some(predictor) = core.predictor() else { return Err(SendError::NotInZone) };
        let (pos, stuck) = (predictor.pos(), predictor.pending() == INPUTS_PENDING_MAX);
        if !stuck {
            if let Some(place) = gathering.filter(|_| self.role == Role::Crowd) {
                self.walker.gather(place, pos, rng);
            }
            let heading =
                if self.stands { Heading::default() } else { self.walker.steer(&self.map, predictor, rng) };
            core.input(heading)?;
            self.inputs_ns.push_back(now_ns);
            window.inputs += 1;
        }
        if now_ns >= self.ping_ns {
            core.ping(now_ns)?;
            self.ping_ns = now_ns + SECOND_NS;
        }
        let say_steps = match self.role {
            Role::Trader => Some(SAY_STEPS),
            Role::Chatter => Some(CHATTER_STEPS),
            _ => None,
        };
        if say_steps.is_some_and(|steps| rng.random_ratio(1, steps)) {
            core.say(TEXTS[rng.random_range(0..TEXTS.len())])?;
            window.commands += 1;
        }
        self.stands &= self.deal.is_some();
        if self.deal.is_some() && self.item.is_none() {
            self.deal_on(core, book, pos, rng, shared)?;
        } else if self.role == Role::Trader && now_ns >= self.look_ns && self.item.is_none() {
            self.look_ns = now_ns + LOOK_NS;
            if let Some(request) = self.handle_items(core, book, pos, rng, shared)? {
                self.item = Some((request, now_ns));
                self.chase_ns = None;
                self.look_ns = now_ns + pause_ns(rng, shared.options);
                shared.measures.windows[self.role as usize].commands += 1;
            }
        }
        Ok(())
    }

    /// One step of leaving: asks to, once nothing about items is open.
    pub fn leave(
        &mut self,
        core: &mut ClientCore,
        book: &Book,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        if self.leave.is_none() && book.in_flight.is_none() {
            self.leave = Some((core.log_out()?, shared.now_ns));
            shared.measures.windows[self.role as usize].commands += 1;
        }
        Ok(())
    }

    /// Takes what the server says. The error says what contradicts what the bot knows.
    pub fn take(
        &mut self,
        event: &Event,
        core: &ClientCore,
        book: &mut Book,
        shared: &mut Shared,
    ) -> Result<(), String> {
        let window = &mut shared.measures.windows[self.role as usize];
        match event {
            Event::Snapshot(snapshot) => self.take_snapshot(snapshot, core, shared),
            Event::Pong { stamp } => {
                window.rtt.record(shared.now_ns.saturating_sub(*stamp));
                Ok(())
            }
            Event::Said { .. } => {
                window.heard += 1;
                Ok(())
            }
            Event::Away { .. } => Ok(()),
            Event::Done { request } => {
                self.item = self.item.filter(|(item, _)| item != request);
                Ok(())
            }
            Event::SlotsChanged { slots, .. } => {
                self.item = None;
                book.rearranged(slots).map_err(|mismatch| mismatch.to_string())
            }
            Event::TradeAsked { .. }
            | Event::TradeChanged { .. }
            | Event::TradeDone { .. }
            | Event::TradeEnded { .. } => {
                window.traded += u64::from(matches!(event, Event::TradeDone { .. }));
                // Who has given a deal up may still be asked.
                let Some(deal) = &mut self.deal else { return Ok(()) };
                if !deal.hear(event, book, shared.now_ns)? {
                    self.deal = None;
                }
                Ok(())
            }
            Event::PickedUp { entity, slot, .. } => {
                window.picked_up += 1;
                self.item = None;
                book.picked_up(entity.0, *slot).map_err(|mismatch| mismatch.to_string())
            }
            Event::Dropped { slot, .. } => {
                window.dropped += 1;
                self.item = None;
                book.dropped(*slot).map_err(|mismatch| mismatch.to_string())
            }
            Event::Refused { request, code, text } => {
                window.refused(*code);
                if self.item.is_some_and(|(item, _)| item == *request) {
                    self.item = None;
                    // A trade that is no more may have taken place.
                    if *code != Some(ErrorCode::NoTrade) {
                        book.refused();
                    }
                    let goes_on = self.deal.as_mut().is_some_and(|deal| deal.refused(*code));
                    self.deal = self.deal.take().filter(|_| goes_on);
                }
                if self.leave.is_some_and(|(leave, _)| leave == *request) {
                    self.leave = None;
                }
                if code.is_some_and(happens) { Ok(()) } else { Err(format!("refused: {text}")) }
            }
            event => Err(format!("{event:?} came to a character that plays")),
        }
    }

    fn take_snapshot(
        &mut self,
        snapshot: &SnapshotSummary,
        core: &ClientCore,
        shared: &mut Shared,
    ) -> Result<(), String> {
        let now_ns = shared.now_ns;
        let window = &mut shared.measures.windows[self.role as usize];
        window.snapshots += 1;
        if self.snapshots > 0 {
            window.snapshot_gap.record(now_ns - self.heard_ns);
        }
        self.snapshots += 1;
        self.heard_ns = now_ns;
        let acknowledged = (snapshot.input_ack - self.acknowledged) as usize;
        self.acknowledged = snapshot.input_ack;
        for sent_ns in self.inputs_ns.drain(..acknowledged) {
            window.input_to_snapshot.record(now_ns.saturating_sub(sent_ns));
        }
        window.corrections += u64::from(snapshot.correction > 0 && !self.crossed);
        self.crossed = false;
        if snapshot.strays > 0 {
            return Err(format!(
                "the snapshot of tick {} has {} stray records",
                snapshot.tick, snapshot.strays
            ));
        }
        let Some(own) = self.own else { return Ok(()) };
        match core.world().get(own) {
            Some(own) if own.pos == snapshot.pos => Ok(()),
            own => Err(format!(
                "tick {} places the character at {:?}, but its cell's block at {:?}",
                snapshot.tick,
                snapshot.pos,
                own.map(|own| own.pos)
            )),
        }
    }

    /// Goes on with its deal.
    fn deal_on(
        &mut self,
        core: &mut ClientCore,
        book: &mut Book,
        pos: Pos,
        rng: &mut Pcg32,
        shared: &mut Shared,
    ) -> Result<(), SendError> {
        let (Some(deal), Some(market)) = (&mut self.deal, shared.markets.get_mut(&self.zone)) else {
            self.deal = None;
            return Ok(());
        };
        let next = deal.next(core, book, (self.entity, pos), market, rng, shared.now_ns)?;
        self.stands = next != Next::Walk;
        match next {
            Next::Walk => self.walker.go_to(market.place),
            Next::Stand => {}
            Next::Asked(request) => {
                self.item = Some((request, shared.now_ns));
                shared.measures.windows[self.role as usize].commands += 1;
            }
            Next::Over => self.deal = None,
        }
        Ok(())
    }

    /// Puts something on, takes something off, or moves something into its bank or out of it.
    fn rearrange(
        core: &mut ClientCore,
        book: &mut Book,
        rng: &mut Pcg32,
    ) -> Result<Option<RequestId>, SendError> {
        let held: Vec<_> = book.held().collect();
        let banked: Vec<_> = book.bank.iter().map(|(slot, stack)| (*slot, *stack)).collect();
        let worn = book.worn.keys().next().copied();
        let choice = rng.random_range(0..4);
        if let Some(slot) = worn.filter(|_| choice == 0) {
            let slot = slot as u8;
            let request = core.unequip(slot)?;
            book.ask(InFlight::Unequip { slot });
            return Ok(Some(request));
        }
        if choice == 1 && !banked.is_empty() {
            let (slot, stack) = banked[rng.random_range(0..banked.len())];
            let (kind, count) = (stack.kind, rng.random_range(1..=stack.count));
            let request = core.withdraw(slot, count, rng.random())?;
            book.ask(InFlight::Withdraw { kind, count });
            return Ok(Some(request));
        }
        if held.is_empty() {
            return Ok(None);
        }
        let (slot, stack) = held[rng.random_range(0..held.len())];
        if choice == 2 {
            let (kind, count) = (stack.kind, rng.random_range(1..=stack.count));
            let request = core.deposit(slot, count, rng.random_range(0..8))?;
            book.ask(InFlight::Deposit { kind, count });
            return Ok(Some(request));
        }
        let request = core.equip(slot)?;
        book.ask(InFlight::Equip { slot });
        Ok(Some(request))
    }

    /// Picks something up, drops something, or walks to something. Returns the request that was made.
    fn handle_items(
        &mut self,
        core: &mut ClientCore,
        book: &mut Book,
        pos: Pos,
        rng: &mut Pcg32,
        shared: &Shared,
    ) -> Result<Option<RequestId>, SendError> {
        let now_ns = shared.now_ns;
        let stacks = book.held().count();
        let too_many = stacks > STACKS_CARRIED || book.free() == 0;
        if stacks > 0 && self.chase_ns.is_none() && rng.random_ratio(1, DEAL_LOOKS) {
            self.deal = Some(Deal::begin(now_ns));
            return Ok(None);
        }
        if self.chase_ns.is_none() && rng.random_ratio(1, REARRANGE_LOOKS) {
            return Play::rearrange(core, book, rng);
        }
        if stacks > 0 && self.chase_ns.is_none() && (too_many || rng.random_ratio(1, DROP_LOOKS)) {
            let Some((slot, stack)) = book.held().nth(rng.random_range(0..stacks)) else { return Ok(None) };
            let count = rng.random_range(1..=stack.count);
            let request = core.drop_items(slot, count)?;
            book.ask(InFlight::Drop { slot, kind: stack.kind, count });
            return Ok(Some(request));
        }
        let nearest = core
            .world()
            .items_near(pos, SIGHT)
            .filter_map(|item| {
                Some((item.pos.distance_squared(pos), item.id, item.pos, item.kind.as_item()?, item.state))
            })
            .min_by_key(|&(distance_squared, id, ..)| (distance_squared, id));
        let Some((distance_squared, id, at, kind, state)) = nearest else {
            self.chase_ns = None;
            return Ok(None);
        };
        if distance_squared <= u64::from(REACH) * u64::from(REACH) {
            let request = core.pick_up(id)?;
            book.ask(InFlight::PickUp { entity: id.0, kind: kind.0, count: state.into() });
            return Ok(Some(request));
        }
        if now_ns - *self.chase_ns.get_or_insert(now_ns) > CHASE_NS_MAX {
            self.chase_ns = None;
            self.look_ns = now_ns + pause_ns(rng, shared.options);
        } else {
            self.walker.go_to(at);
        }
        Ok(None)
    }
}

/// How long to leave items alone: half the average to one and a half of it.
fn pause_ns(rng: &mut Pcg32, options: &LoadOptions) -> u64 {
    let average_ns = options.item_pause.as_nanos() as u64;
    rng.random_range(average_ns / 2..=average_ns + average_ns / 2)
}

/// Whether a refusal is what happens to a player who does nothing wrong.
pub fn happens(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::TooFar
            | ErrorCode::ItemGone
            | ErrorCode::InventoryFull
            | ErrorCode::ChatTooFast
            | ErrorCode::JournalBusy
            | ErrorCode::GroundFull
            | ErrorCode::Unavailable
            | ErrorCode::TooHeavy
            | ErrorCode::NotWearable
            | ErrorCode::RequirementUnmet
            | ErrorCode::NotAtBank
            | ErrorCode::BankFull
            | ErrorCode::NotTradeable
            | ErrorCode::AlreadyTrading
            | ErrorCode::NoTrade
            | ErrorCode::TradeMoved
            | ErrorCode::PartnerGone
    )
}
