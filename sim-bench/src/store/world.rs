//! Players who make durable changes: a real shard, driven by the commands that clients send.
//!
//! They stand in pairs on an open field, each with [`INVENTORY_SLOTS`] swords. A save is a step, which makes the character's row
//! dirty, and two slots that change places; a trade is the whole of one by its eight commands, at whose end a sword went each
//! way.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use vyuha_core::SimdLevel;
use vyuha_game::inventory::{PLACE_INVENTORY, Stack};
use vyuha_game::presence::Patience;
use vyuha_game::{CharacterRow, Content, INVENTORY_SLOTS, ItemRow, Outbox, SessionId, Shard, ShardConfig};
use vyuha_protocol::frame::FRAME_HEAD_BYTES;
use vyuha_protocol::message::{
    AcceptTrade, AskTrade, ClientMessage, ConfirmTrade, Input, Message, Move, Offer, ServerMessage, append,
};
use vyuha_protocol::{CharacterId, ItemId, ItemKind, Pos, ZoneId};

/// Ticks a second.
pub const TICK_HZ: u16 = 30;
/// How often a character is saved.
pub const SAVE_INTERVAL_TICKS: u32 = 5 * TICK_HZ as u32;
/// The item that everybody carries; it does not stack.
const SWORD: u16 = 1;
const ZONE: ZoneId = ZoneId(1);
/// Tiles from one pair to the next.
const PAIR_TILES: u32 = 3;
/// The revision of a trade in which both have offered one slot.
const REVISION_OFFERED: u32 = 3;

const ITEMS: &str = "[[items]]\nid = 1\nkey = \"sword\"\nname = \"Sword\"\nstack_max = 1\n";

/// Which characters there are: their ids are those from `first` on.
#[derive(Debug, Clone, Copy)]
pub struct People {
    /// The first one's id, from 1.
    pub first: i64,
    /// How many, an even number.
    pub count: u32,
}

impl People {
    /// The row of the one at `index`.
    pub fn character(self, index: u32) -> CharacterRow {
        let id = self.first + i64::from(index);
        let (pair, across) = (index / 2, pairs_across(self.count));
        let at = Pos::tile_centre(1 + pair % across * PAIR_TILES, 1 + pair / across * PAIR_TILES);
        CharacterRow {
            id,
            account: id,
            name: format!("Player {id}"),
            name_key: format!("player {id}"),
            zone: i64::from(ZONE.0),
            x: i64::from(at.x),
            y: i64::from(at.y),
            created_ms: 0,
        }
    }

    /// The rows of what the one at `index` carries.
    pub fn items(self, index: u32) -> Vec<ItemRow> {
        let owner = self.first + i64::from(index);
        let stack = |slot: usize| {
            let id = ItemId(owner * INVENTORY_SLOTS as i64 + slot as i64);
            Stack { id, kind: ItemKind(SWORD), count: 1, wear: 0 }
        };
        (0..INVENTORY_SLOTS).map(|slot| ItemRow::carried(stack(slot), CharacterId(owner), slot)).collect()
    }
}

fn pairs_across(people: u32) -> u32 {
    (people / 2).isqrt() + 1
}

struct Player {
    entity: u32,
    nonce: u32,
    request: u32,
    sequence: u32,
}

/// The shard with its players.
pub struct World {
    shard: Shard,
    /// What the last tick came to.
    pub out: Outbox,
    players: Vec<Player>,
    frame: Vec<u8>,
    /// Trades begun so far.
    trades: u64,
}

/// What players do in a tick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Doings {
    /// Those whose turn it is to be saved have changed.
    pub save: bool,
    /// Trades, at most one for each pair.
    pub trades: u32,
    /// Everybody walks, not only who is to be saved.
    pub walk: bool,
}

impl World {
    /// A field with these people on it, whose rows are in the database.
    pub fn new(people: People, run: i64, simd: SimdLevel) -> anyhow::Result<World> {
        let folder = tempfile::tempdir().context("no temporary folder can be made")?;
        write_content(folder.path(), people.count).context("the content cannot be written")?;
        let content = Content::load(folder.path()).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let config = ShardConfig {
            zones: vec![ZONE],
            tick_hz: TICK_HZ,
            save_interval_ticks: SAVE_INTERVAL_TICKS,
            snapshot_bytes_max: 16 << 10,
            requests_per_second_max: 1_000_000,
            patience: Patience { away_ticks: 0, leave_ticks: 0 },
            seed: 1,
            began_ms: since_1970.as_millis() as i64,
            next_item_id: run << 40,
            item_id_stride: 1,
            simd,
        };
        let shard = Shard::new(config, Arc::new(content), &[], &[])?;
        let mut world =
            World { shard, out: Outbox::default(), players: Vec::new(), frame: Vec::new(), trades: 0 };
        for index in 0..people.count {
            world.join(people, index)?;
        }
        // Whoever came is seen from the next tick on.
        world.tick(Doings::default())?;
        Ok(world)
    }

    /// How many players there are.
    pub fn people(&self) -> u32 {
        self.players.len() as u32
    }

    /// One tick, in which players do this. What it came to is in [`World::out`].
    pub fn tick(&mut self, doings: Doings) -> anyhow::Result<()> {
        self.out.clear();
        self.act(doings);
        self.run();
        self.check()
    }

    /// What players do before the tick; to be followed by [`World::run`] and [`World::check`].
    pub fn act(&mut self, doings: Doings) {
        let next = self.shard.tick_number() + 1;
        let due =
            |index: u64| next % u64::from(SAVE_INTERVAL_TICKS) == index % u64::from(SAVE_INTERVAL_TICKS);
        for index in 0..self.players.len() as u32 {
            let is_due = doings.save && due(u64::from(index));
            if is_due || doings.walk {
                self.step(index);
            }
            if is_due {
                self.swap_slots(index);
            }
        }
        for _ in 0..doings.trades {
            self.trade();
        }
    }

    /// The tick itself.
    pub fn run(&mut self) {
        self.shard.tick(&mut (), &mut self.out);
    }

    /// Whether all was done that was asked for.
    pub fn check(&self) -> anyhow::Result<()> {
        let refused: u64 = self.out.counts.refused.iter().sum();
        ensure!(refused == 0, "the shard refused {refused} commands of this scenario");
        Ok(())
    }

    fn join(&mut self, people: People, index: u32) -> anyhow::Result<()> {
        self.out.clear();
        self.shard.join(SessionId(index), 1, people.character(index), &people.items(index), &mut self.out)?;
        let Some(answer) = self.out.messages.first() else { bail!("whoever joins is answered") };
        let frame = self.out.frame(answer);
        match ServerMessage::decode(vyuha_protocol::message::EnteredZone::KIND, &frame[FRAME_HEAD_BYTES..]) {
            Ok(ServerMessage::EnteredZone(entered)) => {
                let (entity, nonce) = (entered.entity.to_native(), entered.nonce.to_native());
                self.players.push(Player { entity, nonce, request: 1, sequence: 0 });
                Ok(())
            }
            _ => bail!("whoever joins is told of its zone"),
        }
    }

    /// A step eastward or back, in turn.
    fn step(&mut self, index: u32) {
        let player = &mut self.players[index as usize];
        player.sequence += 1;
        let heading_x = if player.sequence.is_multiple_of(2) { -127 } else { 127 };
        let input = Input { sequence: player.sequence, heading_x, heading_y: 0 };
        self.send(index, &input);
    }

    fn swap_slots(&mut self, index: u32) {
        let (request, nonce) = self.stamp(index);
        let from = (request % INVENTORY_SLOTS as u32) as u16;
        let to = (from + 1) % INVENTORY_SLOTS as u16;
        self.send(index, &Move { request, nonce, place: PLACE_INVENTORY as u8, from, to });
    }

    /// One pair, another each time, swaps what both have in a slot.
    fn trade(&mut self) {
        let pairs = self.players.len() as u64 / 2;
        let one = (self.trades % pairs * 2) as u32;
        let slot = (self.trades / pairs % INVENTORY_SLOTS as u64) as u8;
        self.trades += 1;
        let other = one + 1;
        let entities = [one, other].map(|index| self.players[index as usize].entity);
        let (request, _) = self.stamp(one);
        self.send(one, &AskTrade { request, entity: entities[1] });
        let (request, _) = self.stamp(other);
        self.send(other, &AcceptTrade { request, entity: entities[0] });
        for index in [one, other] {
            let (request, nonce) = self.stamp(index);
            self.send(index, &Offer { request, nonce, slot, count: 1 });
        }
        for (step, index) in [(1, one), (1, other), (2, one), (2, other)] {
            let (request, nonce) = self.stamp(index);
            self.send(index, &ConfirmTrade { request, nonce, revision: REVISION_OFFERED, step });
        }
    }

    fn stamp(&mut self, index: u32) -> (u32, u32) {
        let player = &mut self.players[index as usize];
        player.request += 1;
        (player.request, player.nonce)
    }

    fn send<M: Message>(&mut self, index: u32, message: &M) {
        self.frame.clear();
        append(&mut self.frame, message);
        let message = ClientMessage::decode(M::KIND, &self.frame[FRAME_HEAD_BYTES..]);
        let message = message.expect("what was archived is read");
        self.shard.receive(SessionId(index), message, &mut self.out);
    }
}

fn write_content(folder: &Path, people: u32) -> std::io::Result<()> {
    let across = (pairs_across(people) * PAIR_TILES + 2) as usize;
    let wall = "#".repeat(across);
    let mut map = format!("{wall}\n");
    for _ in 2..across {
        writeln!(map, "#{}#", ".".repeat(across - 2)).expect("a string takes all that is written");
    }
    map += &wall;
    map.push('\n');
    let world = format!(
        "[[zone_kinds]]\nkey = \"field\"\ntick_hz = {TICK_HZ}\nplayer_speed_cm_s = 300\nview_radius_m = 8\n\
         hearing_radius_m = 8\nreach_cm = 300\nground_items_max = 0\nlitter_interval_s = 60\n\n\
         [[zones]]\nid = {}\nname = \"Field\"\nkind = \"field\"\nmap = \"field.map\"\nspawn = [1, 1]\n\
         spawn_stroll_m = 0\nstart = true\nnpcs = []\nground = []\n",
        ZONE.0
    );
    fs::write(folder.join("items.toml"), ITEMS)?;
    fs::write(folder.join("npcs.toml"), "npcs = []\n")?;
    fs::write(folder.join("field.map"), map)?;
    fs::write(folder.join("world.toml"), world)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vyuha_record::{Op, Record as _, transactions};

    use super::*;

    /// Rows put by table and transaction.
    fn puts(out: &Outbox) -> Vec<BTreeMap<u16, usize>> {
        let count = |ops: vyuha_record::Ops<'_>| {
            let mut puts = BTreeMap::new();
            for op in ops {
                let Op::Put { table, .. } = op.unwrap() else { panic!("nothing is deleted") };
                *puts.entry(table).or_default() += 1;
            }
            puts
        };
        transactions(&out.transactions).map(|ops| count(ops.unwrap())).collect()
    }

    #[test]
    fn a_save_is_a_character_and_two_slots_and_a_trade_two_items_and_two_entries() {
        let people = People { first: 1, count: 300 };
        let mut world = World::new(people, 1, SimdLevel::detect()).unwrap();
        let [character, item] = [CharacterRow::TABLE.id, ItemRow::TABLE.id];
        let ledger = vyuha_game::ledger::LedgerRow::TABLE.id;
        for _ in 0..2 * SAVE_INTERVAL_TICKS {
            world.tick(Doings { save: true, trades: 3, walk: false }).unwrap();
            let swapped = BTreeMap::from([(item, 2)]);
            let traded = BTreeMap::from([(item, 2), (ledger, 2)]);
            // Two of the 300 are due in each tick.
            let saved = BTreeMap::from([(character, 2)]);
            let expected = [[&swapped; 2].as_slice(), &[&traded; 3], &[&saved]].concat().into_iter().cloned();
            assert!(puts(&world.out).into_iter().eq(expected), "{:?}", puts(&world.out));
        }
    }
}
