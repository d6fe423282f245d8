//! The crash test: a node is killed again and again while a crowd picks up and drops, and is held to every word that it
//! gave.
//!
//! Each bot keeps a ledger: what it carries by the node's acknowledgements, and the one request that was under way when
//! the node died. After the restart its inventory must be the ledger's, with or without that request; and in the
//! database, as it was left and as it is after a stop in good order, the sum of all items of a kind must be what the
//! world began with. Together that is: nothing lost, nothing doubled, in hands and on the ground.
//!
//! `VYUHA_CRASH_ROUNDS` sets how often the node is killed, `VYUHA_CRASH_SEED` repeats a run's choices.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use rustix::process::Signal;
use vyuha_game::inventory::{INVENTORY_SLOTS, Stack, placement};
use vyuha_net::client::{ClientError, Event};
use vyuha_protocol::message::InventorySlot;
use vyuha_protocol::motion::Heading;
use vyuha_protocol::{ErrorCode, ItemId, ItemKind};
use vyuha_tests::{DEPOT, Database, Identity, Mover, Node, Options, Player, StoppedThread, test_world};

const ROUNDS_DEFAULT: u64 = 20;
const BOTS: usize = 24;
/// The node dies at a random moment this long after the bots begin to sign in.
const ALIVE_MS: std::ops::Range<u64> = 20..2500;
/// One round in so many ends by SIGTERM instead, under the same load.
const ROUNDS_PER_TERM: u64 = 5;

type Slots = BTreeMap<u8, InventorySlot>;

/// What was asked and not answered.
#[derive(Debug, Clone, Copy)]
enum Asked {
    PickUp { kind: u16, count: u32 },
    Drop { slot: u8, count: u32 },
}

/// What a bot knows for certain, and what it cannot know.
#[derive(Debug)]
struct Bot {
    who: Identity,
    acknowledged: Slots,
    asked: Option<Asked>,
    rng: Pcg64Mcg,
}

#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    /// Requests that were under way at a death and turned out to be done.
    done_unheard: AtomicU64,
    /// Requests that were under way at a death and turned out not to be done.
    undone: AtomicU64,
}

impl Bot {
    /// What the bot may carry now, given what it knows.
    fn may_carry(&self, slots: &Slots) -> Result<bool, String> {
        if *slots == self.acknowledged {
            return Ok(false);
        }
        match self.asked {
            Some(asked) if *slots == after(&self.acknowledged, asked) => Ok(true),
            asked => Err(format!(
                "{} carries {slots:?}, was told {:?} and had asked {asked:?}",
                self.who.name, self.acknowledged
            )),
        }
    }

    /// Takes an inventory for the truth, if it can be.
    fn settle(&mut self, slots: Slots, counts: &Counts) -> Result<(), String> {
        let done = self.may_carry(&slots)?;
        if self.asked.take().is_some() {
            let count = if done { &counts.done_unheard } else { &counts.undone };
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.acknowledged = slots;
        Ok(())
    }

    /// Signs in, compares, and plays until the node is gone. Says what was wrong.
    fn play(&mut self, node: &Node, counts: &Counts) -> Result<(), String> {
        let mut player = match self.who.try_sign_in(node) {
            Ok(player) => player,
            Err(error) => return gone(error),
        };
        self.settle(std::mem::take(&mut player.inventory), counts)?;
        loop {
            if let Err(error) = self.act(&mut player, counts) {
                return gone(error);
            }
        }
    }

    /// One request, and a step on the way.
    fn act(&mut self, player: &mut Player, counts: &Counts) -> Result<(), ClientError> {
        let heading = Heading { x: self.rng.random_range(-127..=127), y: self.rng.random_range(-127..=127) };
        player.client.core().input(heading)?;
        let drops = self.rng.random_bool(0.45);
        let (asked, request) = if drops && let Some(slot) = self.pick(&self.acknowledged.clone()) {
            let count =
                if self.rng.random_bool(0.5) { slot.count } else { self.rng.random_range(1..=slot.count) };
            (Asked::Drop { slot: slot.slot, count }, player.client.core().drop_items(slot.slot, count)?)
        } else {
            let world = player.client.core().world();
            let items =
                world.iter().filter_map(|entity| Some((entity.id, (entity.kind.as_item()?, entity.state))));
            let items: BTreeMap<_, _> = items.collect();
            let Some((entity, (kind, count))) = self.pick_entry(&items) else {
                return player.client.wait_for(vyuha_tests::PATIENCE, |_| Some(()));
            };
            let asked = Asked::PickUp { kind: kind.0, count: count.into() };
            (asked, player.client.core().pick_up(entity)?)
        };
        self.asked = Some(asked);
        let answer = player.client.answer(request, |event| match event {
            Event::PickedUp { slot, .. } | Event::Dropped { slot, .. } => Some(*slot),
            _ => None,
        });
        match answer {
            Ok(slot) => {
                self.acknowledged.remove(&slot.slot);
                if slot.count > 0 {
                    self.acknowledged.insert(slot.slot, slot);
                }
                counts.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(ClientError::Refused { .. }) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
        self.asked = None;
        Ok(())
    }

    fn pick(&mut self, slots: &Slots) -> Option<InventorySlot> {
        self.pick_entry(slots).map(|(_, slot)| slot)
    }

    fn pick_entry<K: Copy, V: Copy>(&mut self, from: &BTreeMap<K, V>) -> Option<(K, V)> {
        let at = if from.is_empty() { 0 } else { self.rng.random_range(0..from.len()) };
        from.iter().nth(at).map(|(key, value)| (*key, *value))
    }
}

/// The slots once a request is carried out.
fn after(slots: &Slots, asked: Asked) -> Slots {
    let mut after = slots.clone();
    match asked {
        Asked::Drop { slot, count } => {
            if let Some(held) = after.get_mut(&slot) {
                held.count -= count;
            }
            after.retain(|_, held| held.count > 0);
        }
        Asked::PickUp { kind, count } => {
            let mut stacks = [None; INVENTORY_SLOTS];
            for held in slots.values() {
                let stack = Stack { id: ItemId(0), kind: ItemKind(held.kind), count: held.count, wear: 0 };
                stacks[usize::from(held.slot)] = Some(stack);
            }
            let stack_max = test_world().item(ItemKind(kind)).expect("it was seen").stack_max;
            if let Ok(slot) = placement(&stacks, ItemKind(kind), count, stack_max) {
                let slot = slot as u8;
                after.entry(slot).or_insert(InventorySlot { slot, kind, count: 0 }).count += count;
            }
        }
    }
    after
}

/// A client's end that the node's death explains, or what else it was.
fn gone(error: ClientError) -> Result<(), String> {
    match error {
        ClientError::Io(_)
        | ClientError::Ended
        | ClientError::Closed { code: Some(ErrorCode::ShuttingDown), .. }
        // A node that goes down may refuse what its shards cannot do any more.
        | ClientError::Refused { code: Some(ErrorCode::Unavailable | ErrorCode::ShuttingDown), .. } => Ok(()),
        error => Err(format!("a client failed: {error}")),
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// What the database of a node that was stopped in good order says otherwise than the bots.
fn ledger_violations(node: &mut Node, bots: &[Bot]) -> Vec<String> {
    let mut inventories = Database::of(node).inventories();
    let carried = |bot: &Bot| inventories.remove(&bot.who.character).unwrap_or_default();
    let carried: Vec<Slots> = bots.iter().map(carried).collect();
    let faults = bots.iter().zip(&carried).filter_map(|(bot, slots)| bot.may_carry(slots).err());
    faults.collect()
}

#[test]
fn kill_9_twenty_times_under_load() {
    let rounds = from_environment("VYUHA_CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let seed = from_environment("VYUHA_CRASH_SEED").unwrap_or_else(rand::random);
    println!("VYUHA_CRASH_SEED={seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let counts = Counts::default();

    // Small segments and many saves, so that the journal goes round while it is looked at.
    let options =
        Options::test_world().with("journal-segment", "1MiB").with("character-save-interval", "100ms");
    let mut node = Node::start(&options);
    let mut bots: Vec<Bot> = (0..BOTS)
        .map(|nth| {
            let who = Player::sign_up(&node, &format!("Bot{nth}x"), DEPOT).log_out();
            let rng = Pcg64Mcg::seed_from_u64(seed.wrapping_add(nth as u64 + 1));
            Bot { who, acknowledged: Slots::new(), asked: None, rng }
        })
        .collect();
    node.terminate();
    let mut violations = Database::of(&mut node).world_violations();
    assert_eq!(violations, [""; 0], "before anything happened");

    let (mut killed, mut round, mut moved, mut recovery_ms) = (0, 0, 0, Vec::new());
    while killed < rounds {
        round += 1;
        node.start_again();
        recovery_ms.push(node.ready_after.as_millis() as u64);
        let kills = round % ROUNDS_PER_TERM != 0;
        let (alive, signal) = (
            Duration::from_millis(rng.random_range(ALIVE_MS)),
            if kills { Signal::KILL } else { Signal::TERM },
        );
        // Half of the time the database falls behind before the end, so that the next start finds much in the journal.
        let behind = kills && rng.random();
        // Half of the time the zones go back and forth between the shards meanwhile.
        let moves: bool = rng.random();
        let found: Vec<String> = std::thread::scope(|scope| {
            let playing: Vec<_> =
                bots.iter_mut().map(|bot| scope.spawn(|| bot.play(&node, &counts))).collect();
            let mover = moves.then(|| Mover::start(&node, round));
            std::thread::sleep(alive / 2);
            let store = behind.then(|| StoppedThread::of(&node, "vyuha-store"));
            std::thread::sleep(alive / 2);
            node.kill_process(signal);
            drop(store);
            moved += mover.map_or(0, |mover| mover.finish().len());
            playing.into_iter().filter_map(|bot| bot.join().expect("a bot does not panic").err()).collect()
        });
        violations.extend(found);
        let status = node.wait();
        violations.extend(Database::of(&mut node).world_violations());
        if kills {
            killed += 1;
        } else {
            if status.code() != Some(0) {
                violations.push(format!("SIGTERM under load: {status}; {}", node.log()));
            }
            violations.extend(ledger_violations(&mut node, &bots));
        }
        assert!(violations.is_empty(), "round {round}, {signal:?} after {alive:?}: {violations:#?}");
    }

    // The last word: all sign in, compare and leave, and the database says the same.
    node.start_again();
    recovery_ms.push(node.ready_after.as_millis() as u64);
    for bot in &mut bots {
        let player = bot.who.sign_in(&node);
        violations.extend(bot.settle(player.inventory.clone(), &counts).err());
        player.log_out();
    }
    node.terminate();
    violations.extend(Database::of(&mut node).world_violations());
    violations.extend(ledger_violations(&mut node, &bots));

    recovery_ms.sort_unstable();
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let summary = serde_json::json!({
        "seed": seed,
        "rounds": killed,
        "bots": BOTS,
        "zones_moved": moved,
        "acknowledged": count(&counts.acknowledged),
        "refused": count(&counts.refused),
        "done_unheard": count(&counts.done_unheard),
        "undone": count(&counts.undone),
        "violations": violations.len(),
        "recovery_ms": { "p50": recovery_ms[recovery_ms.len() / 2], "max": recovery_ms.last() },
    });
    println!("{summary}");
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(count(&counts.acknowledged) > rounds, "next to nothing happened: the test proves little");
}

#[test]
fn the_ledger_tells_what_may_be_from_what_may_not() {
    let slot = |slot, kind, count| (slot, InventorySlot { slot, kind, count });
    let who =
        Identity { account: String::new(), character: vyuha_protocol::CharacterId(1), name: "Bot".into() };
    let rng = Pcg64Mcg::seed_from_u64(0);
    let told: Slots = [slot(0, 1, 7), slot(2, 3, 1)].into();
    let check = |asked, carries: &[(u8, InventorySlot)], expected: Option<bool>| {
        let bot = Bot { who: who.clone(), acknowledged: told.clone(), asked, rng: rng.clone() };
        let carries = carries.iter().copied().collect();
        assert_eq!(bot.may_carry(&carries).ok(), expected, "{asked:?}, {carries:?}");
    };
    let coins = Some(Asked::PickUp { kind: 1, count: 5 });
    let lantern = Some(Asked::PickUp { kind: 3, count: 1 });
    let part = Some(Asked::Drop { slot: 0, count: 3 });
    let whole = Some(Asked::Drop { slot: 2, count: 1 });
    for asked in [None, coins, lantern, part, whole] {
        check(asked, &[slot(0, 1, 7), slot(2, 3, 1)], Some(false));
        check(asked, &[slot(0, 1, 8), slot(2, 3, 1)], None);
        check(asked, &[], None);
    }
    check(coins, &[slot(0, 1, 12), slot(2, 3, 1)], Some(true));
    check(coins, &[slot(0, 1, 17), slot(2, 3, 1)], None);
    check(lantern, &[slot(0, 1, 7), slot(1, 3, 1), slot(2, 3, 1)], Some(true));
    check(part, &[slot(0, 1, 4), slot(2, 3, 1)], Some(true));
    check(whole, &[slot(0, 1, 7)], Some(true));
    check(None, &[slot(0, 1, 7)], None);
}
