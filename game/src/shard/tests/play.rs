//! A shard with the twin of its store: every transaction is applied to rows, every answer is put into words.

use std::collections::BTreeMap;

use vyuha_core::SimdLevel;
use vyuha_protocol::message::{
    AcceptTrade, ArchivedInventorySlot, ArchivedItemSlot, AskTrade, CancelTrade, ClientMessage, ConfirmTrade,
    Deposit, Drop, Equip, Logout, Message, Move, Offer, OpenBank, PickUp, Say, ServerMessage, Unequip,
    Withdraw, append,
};
use vyuha_protocol::units::TILE_UNITS;
use vyuha_protocol::{CharacterId, EntityId, ErrorCode, Pos, frame};
use vyuha_record::{Op, Record, transactions};

use crate::character::CharacterRow;
use crate::inventory::{PLACE_BANK, PLACE_EQUIPMENT, PLACE_GROUND, PLACES_OF_CHARACTERS};
use crate::ledger::{LedgerRow, PLACE_NOWHERE, Reason, scan};
use crate::presence::Patience;
use crate::shard::*;

/// Stacks to 100.
pub const COIN: u16 = 1;
/// Does not stack.
pub const SWORD: u16 = 2;

/// Worn with both hands.
pub const BOW: u16 = 3;
pub const SHIELD: u16 = 4;
/// Stacks, and is worn only with a bow.
pub const ARROW: u16 = 5;
/// Reaches 2 m farther, twice.
pub const CROOK: u16 = 6;
/// Lets one carry a kilogram more.
pub const FRAME: u16 = 7;
/// Cannot be traded, and weighs 9 kg of the 10 that can be carried.
pub const IDOL: u16 = 8;

const ITEMS: &str = r#"
carry_g_max = 10000
items = [
    { id = 1, key = "coin", name = "Coin", stack_max = 100, weight_g = 1 },
    { id = 2, key = "sword", name = "Sword", stack_max = 1, weight_g = 100, slot = "weapon", attack = 3 },
    { id = 3, key = "bow", name = "Bow", stack_max = 1, slot = "weapon", two_handed = true },
    { id = 4, key = "shield", name = "Shield", stack_max = 1, slot = "shield", defence = 5 },
    { id = 5, key = "arrow", name = "Arrow", stack_max = 50, slot = "ammunition", needs_worn = "bow" },
    { id = 6, key = "crook", name = "Crook", stack_max = 1, slot = "weapon", reach_cm = 200, durability = 2 },
    { id = 7, key = "frame", name = "Frame", stack_max = 1, slot = "back", carry_g = 1000 },
    { id = 8, key = "idol", name = "Idol", stack_max = 1, weight_g = 9000, tradeable = false },
]"#;

const NPCS: &str = r#"
[[npcs]]
id = 1
key = "dog"
name = "Dog"
walk_speed_cm_s = 100
wander_radius_m = 3
sight_radius_m = 4
chase_speed_cm_s = 300
chase_time_s = 2
"#;

const WORLD: &str = r#"
[[zone_kinds]]
key = "fast"
tick_hz = 30
player_speed_cm_s = 500
view_radius_m = 32
hearing_radius_m = 10
reach_cm = 300
ground_items_max = 12
litter_interval_s = 2

[[zone_kinds]]
key = "slow"
tick_hz = 15
player_speed_cm_s = 500
view_radius_m = 32
hearing_radius_m = 10
reach_cm = 300
ground_items_max = 12
litter_interval_s = 2

[[zones]]
id = 1
name = "Yard"
kind = "fast"
map = "yard.map"
spawn = [2, 2]
spawn_stroll_m = 0
start = true
banks = [[2, 2]]
npcs = [{ kind = "dog", count = 4 }]
ground = [{ item = "coin", count = 3, number = 4 }, { item = "sword", count = 1, number = 1 }]

[[zones]]
id = 2
name = "Garden"
kind = "slow"
map = "yard.map"
spawn = [3, 3]
spawn_stroll_m = 0
start = true
npcs = []
ground = []
"#;

const YARD: &str = "\
####################
#..................#
#..................#
#..................#
#......###.........#
#........#.........#
#..................#
####################
";

pub fn content() -> Content {
    let texts = [("items.toml", ITEMS), ("npcs.toml", NPCS), ("world.toml", WORLD), ("yard.map", YARD)];
    Content::from_texts(&texts).unwrap()
}

/// The same world with a gate from tile [6, 2] of zone 1 to [10, 3] of zone 2, and one from [10, 5] there to [3, 3] here.
pub fn content_with_gates() -> Content {
    let there = "gates = [{ at = [6, 2], to_zone = 2, to = [10, 3] }]\nnpcs = [{";
    let back = "gates = [{ at = [10, 5], to_zone = 1, to = [3, 3] }]\nnpcs = []";
    let world = WORLD.replacen("npcs = [{", there, 1).replacen("npcs = []", back, 1);
    let texts = [("items.toml", ITEMS), ("npcs.toml", NPCS), ("world.toml", &world), ("yard.map", YARD)];
    Content::from_texts(&texts).unwrap()
}

pub fn config() -> ShardConfig {
    ShardConfig {
        zones: vec![ZoneId(1), ZoneId(2)],
        tick_hz: 30,
        save_interval_ticks: 20,
        snapshot_bytes_max: 64 << 10,
        requests_per_second_max: 1000,
        patience: Patience { away_ticks: 600, leave_ticks: 0 },
        seed: 7,
        began_ms: 1_000_000,
        next_item_id: 1000,
        item_id_stride: 3,
        simd: SimdLevel::detect(),
    }
}

/// The row of an item that a character carries.
pub fn carried(id: i64, owner: i64, kind: u16, count: u32, slot: i64) -> ItemRow {
    let stack = Stack { id: ItemId(id), kind: ItemKind(kind), count, wear: 0 };
    ItemRow::carried(stack, CharacterId(owner), slot as usize)
}

/// A ledger as a store keeps it.
#[derive(Default)]
pub struct Accounts(BTreeMap<(i64, i64, i64), LedgerRow>);

impl Accounts {
    /// Takes what is there without having moved, as the migration does that made the ledger.
    fn open(&mut self, row: &ItemRow) {
        self.enter(LedgerRow {
            source: 0,
            seq: row.id,
            idx: 0,
            at_ms: 0,
            reason: Reason::Opening as i64,
            item: row.id,
            kind: row.kind,
            count: row.count,
            from_place: PLACE_NOWHERE,
            from_owner: 0,
            to_place: row.place,
            to_owner: row.owner,
            counterparty: 0,
        });
    }

    fn enter(&mut self, row: LedgerRow) {
        assert!(row.count > 0, "{row:?} moves nothing");
        let key = (row.source, row.seq, row.idx);
        assert!(self.0.insert(key, row).is_none(), "an entry of the ledger was written twice: {key:?}");
    }

    /// What the shard wrote.
    pub fn rows(&self) -> impl Iterator<Item = &LedgerRow> {
        self.0.values().filter(|row| row.source > 0)
    }

    /// Compares with the rows of all items.
    pub fn check(&self, items: &BTreeMap<i64, ItemRow>) {
        let items: Vec<ItemRow> = items.values().cloned().collect();
        let ledger: Vec<LedgerRow> = self.0.values().cloned().collect();
        let findings = scan(&items, &ledger, |kind| [COIN, ARROW].map(i64::from).contains(&kind));
        assert_eq!(findings, [], "of {items:?}");
    }
}

pub struct Play {
    pub shard: Shard,
    pub out: Outbox,
    /// The id that the next request gets.
    pub request: u32,
    /// The stored items.
    pub items: BTreeMap<i64, ItemRow>,
    /// The zones that were stored, each with its heaps.
    pub zones_known: Vec<(i64, i64)>,
    characters: BTreeMap<i64, CharacterRow>,
    /// When which character was saved where.
    pub characters_saved: Vec<(u64, i64, Pos)>,
    counts: Counts,
    pub ledger: Accounts,
}

impl Play {
    pub fn new() -> Play {
        Play::of(Shard::new(config(), Arc::new(content()), &[], &[]).unwrap())
    }

    /// A later run: ids below 2000 were given.
    pub fn with_ground(ground: &[ItemRow]) -> Play {
        let config = ShardConfig { next_item_id: 2000, ..config() };
        let known = [1, 2].map(|id| ZoneRow { id, heaps: 0 });
        Play::of(Shard::new(config, Arc::new(content()), ground, &known).unwrap())
    }

    pub fn of(shard: Shard) -> Play {
        Play {
            shard,
            out: Outbox::default(),
            request: 1,
            items: BTreeMap::new(),
            zones_known: Vec::new(),
            characters: BTreeMap::new(),
            characters_saved: Vec::new(),
            counts: Counts::default(),
            ledger: Accounts::default(),
        }
    }

    /// The stored row of a character, created at the spawn point of zone 1 when first asked for.
    pub fn character(&mut self, id: i64) -> &mut CharacterRow {
        let at = Pos::tile_centre(2, 2);
        self.characters.entry(id).or_insert_with(|| CharacterRow {
            id,
            account: id * 10,
            name: format!("Player {id}"),
            name_key: format!("player {id}"),
            zone: 1,
            x: i64::from(at.x),
            y: i64::from(at.y),
            created_ms: 0,
        })
    }

    /// Puts an item into the store.
    pub fn give(&mut self, owner: i64, row: ItemRow) {
        assert_eq!(row.owner, owner);
        self.ledger.open(&row);
        self.items.insert(row.id, row);
    }

    pub fn try_join(&mut self, session: u32, character: i64) -> Result<Vec<String>, JoinError> {
        let row = self.character(character).clone();
        let carried = |row: &&ItemRow| PLACES_OF_CHARACTERS.contains(&row.place) && row.owner == character;
        let items: Vec<ItemRow> = self.items.values().filter(carried).cloned().collect();
        self.shard.join(SessionId(session), 0, row, &items, &mut self.out)?;
        Ok(self.absorb())
    }

    pub fn join(&mut self, session: u32, character: i64) -> Vec<String> {
        self.try_join(session, character).unwrap()
    }

    pub fn send<M: Message>(&mut self, session: u32, message: &M) -> Vec<String> {
        let mut bytes = Vec::new();
        append(&mut bytes, message);
        let message = ClientMessage::decode(M::KIND, &bytes[frame::FRAME_HEAD_BYTES..]).unwrap();
        self.shard.receive(SessionId(session), message, &mut self.out);
        self.absorb()
    }

    pub fn owes(&mut self, session: u32, owes: bool) -> Vec<String> {
        self.shard.set_owes(SessionId(session), owes, &mut self.out);
        self.absorb()
    }

    pub fn say(&mut self, session: u32, text: &str) -> Vec<String> {
        let request = self.next_request();
        self.send(session, &Say { request, text: text.to_owned() })
    }

    pub fn pick_up(&mut self, session: u32, entity: EntityId) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &PickUp { request, nonce, entity: entity.0 })
    }

    pub fn drop_items(&mut self, session: u32, slot: u8, count: u32) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Drop { request, nonce, slot, count })
    }

    pub fn move_item(&mut self, session: u32, place: i64, from: u16, to: u16) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Move { request, nonce, place: place as u8, from, to })
    }

    pub fn equip(&mut self, session: u32, slot: u8) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Equip { request, nonce, slot })
    }

    pub fn unequip(&mut self, session: u32, slot: u8) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Unequip { request, nonce, slot })
    }

    pub fn open_bank(&mut self, session: u32) -> Vec<String> {
        let request = self.next_request();
        self.send(session, &OpenBank { request })
    }

    pub fn deposit(&mut self, session: u32, slot: u8, count: u32, tab: u8) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Deposit { request, nonce, slot, count, tab })
    }

    pub fn withdraw(&mut self, session: u32, slot: u16, count: u32, keep: bool) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Withdraw { request, nonce, slot, count, keep })
    }

    pub fn ask_trade(&mut self, session: u32, other: u32) -> Vec<String> {
        let (request, entity) = (self.next_request(), self.entity(other));
        self.send(session, &AskTrade { request, entity })
    }

    pub fn accept_trade(&mut self, session: u32, other: u32) -> Vec<String> {
        let (request, entity) = (self.next_request(), self.entity(other));
        self.send(session, &AcceptTrade { request, entity })
    }

    pub fn offer(&mut self, session: u32, slot: u8, count: u32) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &Offer { request, nonce, slot, count })
    }

    pub fn confirm_trade(&mut self, session: u32, revision: u32, step: u8) -> Vec<String> {
        let (request, nonce) = self.stamp(session);
        self.send(session, &ConfirmTrade { request, nonce, revision, step })
    }

    pub fn cancel_trade(&mut self, session: u32) -> Vec<String> {
        let request = self.next_request();
        self.send(session, &CancelTrade { request })
    }

    /// The next request's id, and the session's nonce; 0 if there is no such session.
    pub fn stamp(&mut self, session: u32) -> (u32, u32) {
        let nonce = self.shard.sessions.get_mut(SessionId(session)).map_or(0, |session| session.nonce);
        (self.next_request(), nonce)
    }

    /// The entity of a session; that of nobody if there is no such session.
    pub fn entity(&mut self, session: u32) -> u32 {
        self.shard.sessions.get_mut(SessionId(session)).map_or(u32::MAX, |session| session.entity.0)
    }

    /// Puts a session's character on a tile.
    pub fn place(&mut self, session: u32, east: u32, south: u32) {
        let session = self.shard.sessions.get_mut(SessionId(session)).unwrap();
        let zone = &mut self.shard.zones[session.zone].zone;
        zone.place_all(&[(session.entity, Pos::tile_centre(east, south))]);
        self.tick();
    }

    pub fn logout(&mut self, session: u32) -> Vec<String> {
        let request = self.next_request();
        self.send(session, &Logout { request })
    }

    pub fn tick(&mut self) {
        self.shard.tick(&mut (), &mut self.out);
        self.absorb();
    }

    /// The entity of an item on the ground.
    pub fn lying(&self, item: i64) -> EntityId {
        let ground = self.shard.zones.iter().flat_map(|zone| zone.ground.iter());
        ground.filter(|(_, lying)| lying.stack.id.0 == item).map(|(entity, _)| entity).next().unwrap()
    }

    /// The stored items in words.
    pub fn rows(&self) -> Vec<String> {
        let words = self.items.values().map(|row| {
            let ItemRow { id, kind, count, place, owner, slot, x, y, wear } = row;
            let tile = i64::from(TILE_UNITS);
            match *place {
                PLACE_EQUIPMENT => format!("{id}: {count}x{kind} worn by {owner} in {slot}, wear {wear}"),
                PLACE_BANK => format!("{id}: {count}x{kind} banked by {owner} in {slot}"),
                PLACE_GROUND => format!("{id}: {count}x{kind} in zone {owner} at {},{}", x / tile, y / tile),
                _ => format!("{id}: {count}x{kind} carried by {owner} in {slot}"),
            }
        });
        words.collect()
    }

    /// All that was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Applies the outbox's transactions, puts its messages into words and clears it.
    pub fn absorb(&mut self) -> Vec<String> {
        let written = std::mem::take(&mut self.out.transactions);
        for transaction in transactions(&written) {
            for op in transaction.unwrap() {
                self.apply(op.unwrap());
            }
        }
        for (sum, count) in self.counts.commands.iter_mut().zip(self.out.counts.commands) {
            *sum += count;
        }
        for (sum, count) in self.counts.refused.iter_mut().zip(self.out.counts.refused) {
            *sum += count;
        }
        let mut words: Vec<String> =
            self.out.messages.iter().map(|message| in_words(&self.out, message)).collect();
        words.extend(self.out.left.iter().map(|left| {
            let Left { session, character, account, cause } = left;
            format!("{} left: {cause:?}, character {character} of account {account}", session.0)
        }));
        self.out.clear();
        words
    }

    fn apply(&mut self, op: Op<'_>) {
        match op {
            Op::Put { table, row } if table == ItemRow::TABLE.id => {
                let row = ItemRow::decode(row).unwrap();
                self.items.insert(row.id, row);
            }
            Op::Put { table, row } if table == CharacterRow::TABLE.id => {
                let row = CharacterRow::decode(row).unwrap();
                self.characters_saved.push((self.shard.tick_number(), row.id, row.place()));
                self.characters.insert(row.id, row);
            }
            Op::Put { table, row } if table == ZoneRow::TABLE.id => {
                let row = ZoneRow::decode(row).unwrap();
                self.zones_known.push((row.id, row.heaps));
            }
            Op::Delete { table, key } if table == ItemRow::TABLE.id => {
                let id = i64::from_le_bytes(key.try_into().unwrap());
                assert!(self.items.remove(&id).is_some(), "item {id} was deleted twice");
            }
            Op::Put { table, row } if table == LedgerRow::TABLE.id => {
                self.ledger.enter(LedgerRow::decode(row).unwrap());
            }
            other => panic!("{other:?} is of no table of the game"),
        }
    }

    pub fn next_request(&mut self) -> u32 {
        self.request += 1;
        self.request - 1
    }
}

fn in_words(out: &Outbox, message: &OutMessage) -> String {
    let frame = frame::first_frame(out.frame(message), frame::SERVER_PAYLOAD_BYTES_MAX).unwrap().unwrap();
    let slot = |slot: &ArchivedInventorySlot| match slot.count.to_native() {
        0 => format!("{}=empty", slot.slot),
        count => format!("{}={count}x{}", slot.slot, slot.kind),
    };
    let items = |slots: &[ArchivedItemSlot]| {
        let words = slots.iter().map(|slot| {
            let place = ["bag", "ground", "worn", "bank"][usize::from(slot.place)];
            match (slot.kind.to_native(), slot.count.to_native()) {
                (0, _) => format!(" {place} {}=empty", slot.slot),
                (kind, 0) => format!(" {place} {}=kept for {kind}", slot.slot),
                (kind, count) if slot.wear.to_native() == 0 => {
                    format!(" {place} {}={count}x{kind}", slot.slot)
                }
                (kind, count) => format!(" {place} {}={count}x{kind} wear {}", slot.slot, slot.wear),
            }
        });
        words.collect::<Vec<_>>().join(",")
    };
    let text = match ServerMessage::decode(frame.kind, frame.payload).unwrap() {
        ServerMessage::EnteredZone(entered) => {
            let tile = |units: u32| units / TILE_UNITS;
            let (x, y) = (tile(entered.x.to_native()), tile(entered.y.to_native()));
            let (hz, speed) = (entered.tick_hz, entered.speed);
            let carried: Vec<String> =
                entered.inventory.iter().map(|carried| format!(", {}", slot(carried))).collect();
            let carried = carried.concat();
            let worn = items(&entered.worn);
            format!("EnteredZone {} at {x},{y}, {hz} Hz, speed {speed}{carried}{worn}", entered.zone)
        }
        ServerMessage::SlotsChanged(changed) => format!("SlotsChanged{}", items(&changed.slots)),
        ServerMessage::BankOpened(bank) => format!("BankOpened{}", items(&bank.slots)),
        ServerMessage::TradeAsked(asked) => format!("TradeAsked by {}", asked.name),
        ServerMessage::TradeChanged(trade) => format!(
            "Trade {}: gives{} at {}, gets{} at {}",
            trade.revision,
            items(&trade.yours),
            trade.your_step,
            items(&trade.theirs),
            trade.their_step
        ),
        ServerMessage::TradeDone(done) => format!("TradeDone{}", items(&done.slots)),
        ServerMessage::TradeEnded(ended) => {
            format!("TradeEnded {}", ErrorCode::from_number(ended.code.to_native()).unwrap().name())
        }
        ServerMessage::Done(_) => "Done".to_owned(),
        ServerMessage::Said(said) => format!("Said {} {}", said.name, said.text),
        ServerMessage::PickedUp(picked) => format!("PickedUp {}", slot(&picked.slot)),
        ServerMessage::Dropped(dropped) => format!("Dropped {}", slot(&dropped.slot)),
        ServerMessage::Pong(pong) => format!("Pong {}", pong.stamp),
        ServerMessage::Away(away) if away.away => format!("Away, {} s left", away.closing_s),
        ServerMessage::Away(_) => "Back".to_owned(),
        ServerMessage::LoggedOut(_) => "LoggedOut".to_owned(),
        ServerMessage::Error(error) => {
            let code = ErrorCode::from_number(error.code.to_native()).unwrap();
            let what = if error.closing { "closed" } else { "refused" };
            format!("{what} {}", code.name())
        }
        other => panic!("a shard does not send {}", other.name()),
    };
    let durably = if message.durable { " durably" } else { "" };
    format!("{}: {text}{durably}", message.session.0)
}
