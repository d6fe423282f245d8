//! Trading, wearing and banking on a whole node: over TCP and as browsers come, with connections that break at every step, and
//! under `kill -9` again and again.
//!
//! In the crash test each thread plays two characters that deal with each other. It knows what both were told that they have,
//! and the one request that was under way when the node died. After the restart both must have what they were told, with or
//! without that request, and a trade must have happened for both or for none; and the database's items must be what its ledger
//! says, with no sum changed since the world began.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use vyuha_net::client::{ClientError, Event};
use vyuha_protocol::message::ItemSlot;
use vyuha_protocol::{ErrorCode, RequestId};
use vyuha_tests::{
    COIN, DEPOT, Database, HERB, Identity, LANTERN, Node, Options, PATIENCE, Player, StoppedThread,
};

const BAG: u8 = 0;
const WORN: u8 = 2;
const BANK: u8 = 3;

/// What is where: by place and slot, kind and count. A placeholder's count is 0.
type Held = BTreeMap<(u8, u16), (u16, u32)>;

/// A player and all that it was told to have.
struct Dealer {
    player: Player,
    held: Held,
}

impl Dealer {
    fn enter(who: &Identity, node: &Node) -> Result<Dealer, ClientError> {
        let player = who.try_sign_in(node)?;
        let mut dealer = Dealer { player, held: Held::new() };
        for slot in dealer.player.inventory.values() {
            dealer.held.insert((BAG, slot.slot.into()), (slot.kind, slot.count));
        }
        let worn = dealer.player.entered.worn.clone();
        dealer.note(&worn);
        let request = dealer.player.client.core().open_bank()?;
        let bank = dealer.player.client.answer(request, |event| match event {
            Event::BankOpened { slots, .. } => Some(slots.clone()),
            _ => None,
        })?;
        dealer.note(&bank);
        Ok(dealer)
    }

    fn note(&mut self, slots: &[ItemSlot]) {
        for slot in slots {
            match slot.kind {
                0 => self.held.remove(&(slot.place, slot.slot)),
                kind => self.held.insert((slot.place, slot.slot), (kind, slot.count)),
            };
        }
    }

    /// Waits for the slots that a request changed.
    fn changed(&mut self, request: RequestId) -> Result<(), ClientError> {
        let slots = self.player.client.answer(request, |event| match event {
            Event::SlotsChanged { request: answered, slots } if *answered == request => Some(slots.clone()),
            _ => None,
        })?;
        self.note(&slots);
        Ok(())
    }

    fn done(&mut self, request: RequestId) -> Result<(), ClientError> {
        self.player.client.answer(request, |event| match event {
            Event::Done { request: answered } if *answered == request => Some(()),
            _ => None,
        })
    }

    /// Waits for the trade's next state: its revision, what is offered and what is got.
    fn trade(&mut self) -> Result<(u32, Vec<ItemSlot>, Vec<ItemSlot>), ClientError> {
        self.player.client.wait_for(PATIENCE, |event| match event {
            Event::TradeChanged { revision, yours, theirs, .. } => {
                Some((*revision, yours.clone(), theirs.clone()))
            }
            _ => None,
        })
    }

    fn totals(&self) -> BTreeMap<u16, i64> {
        let mut totals = BTreeMap::new();
        for (kind, count) in self.held.values().filter(|(_, count)| *count > 0) {
            *totals.entry(*kind).or_default() += i64::from(*count);
        }
        totals
    }

    fn in_bag(&self) -> Vec<(u16, u16, u32)> {
        let bag = self.held.iter().filter(|((place, _), _)| *place == BAG);
        bag.map(|((_, slot), (kind, count))| (*slot, *kind, *count)).collect()
    }
}

/// Lets two who stand near each other begin to trade.
fn begin_trade([one, other]: &mut [Dealer; 2]) -> Result<(), ClientError> {
    let (entity, other_entity) = (one.player.entity(), other.player.entity());
    let request = one.player.client.core().ask_trade(other_entity)?;
    one.done(request)?;
    other.player.client.wait_for(PATIENCE, |event| match event {
        Event::TradeAsked { entity: asker, .. } if *asker == entity => Some(()),
        _ => None,
    })?;
    let request = other.player.client.core().accept_trade(entity)?;
    other.done(request)?;
    other.trade()?;
    one.trade()?;
    Ok(())
}

/// One offers some of a slot; the revision after that.
fn offer(dealers: &mut [Dealer; 2], nth: usize, slot: u8, count: u32) -> Result<u32, ClientError> {
    let request = dealers[nth].player.client.core().offer(slot, count)?;
    dealers[nth].done(request)?;
    let (revision, ..) = dealers[nth].trade()?;
    dealers[1 - nth].trade()?;
    Ok(revision)
}

/// One confirms a step that is not the last.
fn confirm(dealers: &mut [Dealer; 2], nth: usize, revision: u32, step: u8) -> Result<(), ClientError> {
    let request = dealers[nth].player.client.core().confirm_trade(revision, step)?;
    dealers[nth].done(request)?;
    dealers[nth].trade()?;
    dealers[1 - nth].trade()?;
    Ok(())
}

/// One confirms the last step, and both hear that the trade took place.
fn confirm_last(dealers: &mut [Dealer; 2], nth: usize, revision: u32) -> Result<(), ClientError> {
    let request = dealers[nth].player.client.core().confirm_trade(revision, 2)?;
    for nth in [nth, 1 - nth] {
        let slots = dealers[nth].player.client.answer(request, |event| match event {
            Event::TradeDone { slots } => Some(slots.clone()),
            _ => None,
        })?;
        dealers[nth].note(&slots);
    }
    dealers[nth].done(request)
}

fn two(node: &Node, names: [&str; 2]) -> [Dealer; 2] {
    names.map(|name| {
        let mut player = Player::sign_up(node, name, DEPOT);
        for kind in [LANTERN, COIN, HERB] {
            player.pick_up_any(kind);
        }
        let who = player.log_out();
        Dealer::enter(&who, node).expect("it comes in again")
    })
}

/// Two trade, wear and bank, and come back to what they have.
fn a_deal_lasts(options: &Options) {
    let mut node = Node::start(options);
    let mut dealers = two(&node, ["Asha", "Bala"]);
    let [slot, other_slot] = [0, 1].map(|nth| {
        let lantern = dealers[nth].in_bag().into_iter().find(|(_, kind, _)| *kind == LANTERN.0);
        lantern.expect("it picked one up").0 as u8
    });
    begin_trade(&mut dealers).expect("they begin to trade");
    offer(&mut dealers, 0, slot, 1).expect("it offers a lantern");
    let request = dealers[0].player.client.core().drop_items(slot, 1).expect("it can be sent");
    let refused = dealers[0].player.client.answer(request, |_| None::<()>);
    assert!(
        matches!(refused, Err(ClientError::Refused { code: Some(ErrorCode::ItemOffered), .. })),
        "{refused:?}"
    );
    let coins = dealers[1].in_bag().into_iter().find(|(_, kind, _)| *kind == COIN.0);
    let coins = coins.expect("it picked some up").0 as u8;
    let revision = offer(&mut dealers, 1, coins, 3).expect("it offers coins");
    for step in [1, 2] {
        confirm(&mut dealers, 0, revision, step).unwrap_or_else(|error| panic!("step {step}: {error}"));
        if step == 1 {
            confirm(&mut dealers, 1, revision, 1).expect("the other confirms too");
        }
    }
    confirm_last(&mut dealers, 1, revision).expect("the trade takes place");
    assert_eq!(dealers[0].totals(), [(COIN.0, 10), (HERB.0, 3)].into());
    assert_eq!(dealers[1].totals(), [(COIN.0, 4), (HERB.0, 3), (LANTERN.0, 2)].into());

    let request = dealers[1].player.client.core().equip(other_slot).expect("it can be sent");
    dealers[1].changed(request).expect("it wears its lantern");
    let request = dealers[1].player.client.core().deposit(coins, 4, 2).expect("it can be sent");
    dealers[1].changed(request).expect("its coins are in the bank");
    let request = dealers[1].player.client.core().withdraw(100, 4, true).expect("it can be sent");
    dealers[1].changed(request).expect("and out again");
    let request = dealers[1].player.client.core().move_item(BANK, 100, 7).expect("it can be sent");
    dealers[1].changed(request).expect("the place that is kept is elsewhere");
    assert_eq!(dealers[1].held.get(&(BANK, 7)), Some(&(COIN.0, 0)));
    assert_eq!(dealers[1].held.get(&(WORN, 1)), Some(&(LANTERN.0, 1)));
    let told: Vec<Held> = dealers.iter().map(|dealer| dealer.held.clone()).collect();
    let whos = dealers.map(|dealer| dealer.player.who.clone());

    node.kill_9();
    assert_eq!(Database::of(&mut node).item_violations(), [""; 0]);
    node.start_again();
    for (who, told) in whos.iter().zip(told) {
        let dealer = Dealer::enter(who, &node).expect("it comes in again");
        assert_eq!(dealer.held, told, "{}", who.name);
    }
}

#[test]
fn a_deal_lasts_over_tcp() {
    a_deal_lasts(&Options::test_world());
}

#[test]
fn a_deal_lasts_over_websocket() {
    a_deal_lasts(&Options::test_world().by_web());
}

/// A connection breaks at each step of a trade: the other hears of it, and nothing has changed.
#[test]
fn whose_connection_breaks_keeps_what_it_offered() {
    let mut node = Node::start(&Options::test_world());
    let mut dealers = two(&node, ["Chitra", "Deva"]);
    let held = dealers.each_ref().map(|dealer| dealer.held.clone());
    for steps in 0..5 {
        begin_trade(&mut dealers).expect("they begin to trade");
        let mut revision = 1;
        if steps > 0 {
            revision = offer(&mut dealers, 0, 0, 1).expect("it offers something");
        }
        if steps > 1 {
            revision = offer(&mut dealers, 1, 0, 1).expect("it offers something");
        }
        if steps > 2 {
            confirm(&mut dealers, 0, revision, 1).expect("it confirms");
            confirm(&mut dealers, 1, revision, 1).expect("it confirms");
        }
        if steps > 3 {
            confirm(&mut dealers, 1, revision, 2).expect("it confirms");
        }
        let [one, mut other] = dealers;
        let who = one.player.who.clone();
        drop(one);
        let code = other.player.client.wait_for(PATIENCE, |event| match event {
            Event::TradeEnded { code } => Some(*code),
            _ => None,
        });
        assert!(matches!(code, Ok(Some(ErrorCode::PartnerGone))), "after {steps} steps: {code:?}");
        let one = Dealer::enter(&who, &node).expect("it comes in again");
        assert_eq!((&one.held, &other.held), (&held[0], &held[1]), "after {steps} steps");
        let entity = one.player.entity();
        other.player.until("the other", |core| core.world().get(entity).map(|_| ()));
        dealers = [one, other];
    }
    drop(dealers);
    node.terminate();
    assert_eq!(Database::of(&mut node).item_violations(), [""; 0]);
}

/// Two characters, what each was told to have, and what both have if the request under way was carried out.
struct Pair {
    whos: [Identity; 2],
    told: [Held; 2],
    totals: [BTreeMap<u16, i64>; 2],
    /// What both have in all, by kind, if what was asked and not answered was carried out.
    asked: Option<[BTreeMap<u16, i64>; 2]>,
    /// One of them heard that it was.
    heard: bool,
    rng: Pcg64Mcg,
    deals: u64,
    trades: u64,
    /// Requests under way at a death that turned out to be done.
    done_unheard: u64,
}

impl Pair {
    /// Signs both in, compares, and plays until the node is gone. Says what was wrong.
    fn play(&mut self, node: &Node) -> Result<(), String> {
        let entered = [0, 1].map(|nth| Dealer::enter(&self.whos[nth], node));
        let mut dealers = match entered {
            [Ok(one), Ok(other)] => [one, other],
            [one, other] => return [one.err(), other.err()].into_iter().flatten().try_for_each(gone),
        };
        self.settle(&dealers)?;
        loop {
            if let Err(error) = self.act(&mut dealers) {
                return gone(error);
            }
        }
    }

    /// Takes what both have for the truth, if it can be.
    fn settle(&mut self, dealers: &[Dealer; 2]) -> Result<(), String> {
        let held = dealers.each_ref().map(|dealer| dealer.held.clone());
        let totals = dealers.each_ref().map(Dealer::totals);
        let asked = self.asked.take();
        let done = held != self.told;
        let lost = std::mem::take(&mut self.heard) && !done;
        if lost || done && asked.as_ref() != Some(&totals) {
            let names = self.whos.each_ref().map(|who| &who.name);
            return Err(format!(
                "{names:?} have {held:?}, were told {:?}, had asked for {asked:?}",
                self.told
            ));
        }
        self.done_unheard += u64::from(done);
        (self.told, self.totals) = (held, totals);
        Ok(())
    }

    fn act(&mut self, dealers: &mut [Dealer; 2]) -> Result<(), ClientError> {
        let nth = self.rng.random_range(0..2);
        let choice = self.rng.random_range(0..10);
        let outcome = match choice {
            0..2 => self.pick_up(dealers, nth),
            2 => self.drop_items(dealers, nth),
            3..7 => self.rearrange(dealers, nth),
            _ => self.trade(dealers),
        };
        match outcome {
            Err(ClientError::Refused { code, .. }) if code != Some(ErrorCode::Unavailable) => {
                // A trade that did not come about must not stand in the way of the next.
                let request = dealers[0].player.client.core().cancel_trade()?;
                match dealers[0].done(request) {
                    Ok(()) | Err(ClientError::Refused { code: Some(ErrorCode::NoTrade), .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            outcome => outcome?,
        }
        self.told = dealers.each_ref().map(|dealer| dealer.held.clone());
        self.totals = dealers.each_ref().map(Dealer::totals);
        self.asked = None;
        self.deals += 1;
        Ok(())
    }

    /// Notes what both have if one gains and loses so much by what is asked now.
    fn ask(&mut self, nth: usize, kind: u16, count: i64) {
        let mut totals = self.totals.clone();
        *totals[nth].entry(kind).or_default() += count;
        totals[nth].retain(|_, count| *count != 0);
        self.asked = Some(totals);
    }

    fn pick_up(&mut self, dealers: &mut [Dealer; 2], nth: usize) -> Result<(), ClientError> {
        let client = &mut dealers[nth].player.client;
        let items: Vec<_> = client.core().world().iter().collect();
        let items: Vec<_> =
            items.iter().filter_map(|item| Some((item.id, item.kind.as_item()?, item.state))).collect();
        let Some(&(entity, kind, count)) = items.get(self.rng.random_range(0..items.len().max(1))) else {
            return client.wait_for(PATIENCE, |event| matches!(event, Event::Snapshot(_)).then_some(()));
        };
        self.ask(nth, kind.0, count.into());
        let request = client.core().pick_up(entity)?;
        let slot = client.answer(request, |event| match event {
            Event::PickedUp { slot, .. } => Some(*slot),
            _ => None,
        })?;
        dealers[nth].held.insert((BAG, slot.slot.into()), (slot.kind, slot.count));
        Ok(())
    }

    fn drop_items(&mut self, dealers: &mut [Dealer; 2], nth: usize) -> Result<(), ClientError> {
        let Some((slot, kind, count)) = self.some(&dealers[nth].in_bag()) else { return Ok(()) };
        let count = self.rng.random_range(1..=count);
        self.ask(nth, kind, -i64::from(count));
        let client = &mut dealers[nth].player.client;
        let request = client.core().drop_items(slot as u8, count)?;
        let left = client.answer(request, |event| match event {
            Event::Dropped { slot, .. } => Some(*slot),
            _ => None,
        })?;
        match left.count {
            0 => dealers[nth].held.remove(&(BAG, slot)),
            count => dealers[nth].held.insert((BAG, slot), (kind, count)),
        };
        Ok(())
    }

    /// Wears, takes off, banks or moves something: nobody has more or less of anything after it.
    fn rearrange(&mut self, dealers: &mut [Dealer; 2], nth: usize) -> Result<(), ClientError> {
        let of_place = |place: u8| -> Vec<(u16, u16, u32)> {
            let held = dealers[nth].held.iter().filter(|((held, _), _)| *held == place);
            held.map(|((_, slot), (kind, count))| (*slot, *kind, *count)).collect()
        };
        let (bag, banked, worn) = (of_place(BAG), of_place(BANK), of_place(WORN));
        let keep = self.rng.random();
        let core = dealers[nth].player.client.core();
        let request = match self.rng.random_range(0..6) {
            0 if !worn.is_empty() => core.unequip(worn[0].0 as u8)?,
            1 => match bag.iter().find(|(_, kind, _)| *kind == LANTERN.0) {
                Some((slot, ..)) => core.equip(*slot as u8)?,
                None => return Ok(()),
            },
            2 | 3 => match self.some(&banked) {
                Some((slot, _, count)) => {
                    let count = if count > 0 { self.rng.random_range(1..=count) } else { 0 };
                    core.withdraw(slot, count, keep)?
                }
                None => return Ok(()),
            },
            4 => match self.some(&bag) {
                Some((slot, ..)) => {
                    let to = self.rng.random_range(0..28);
                    core.move_item(BAG, slot, if to == slot { (to + 1) % 28 } else { to })?
                }
                None => return Ok(()),
            },
            _ => match self.some(&bag) {
                Some((slot, _, count)) => {
                    let (count, tab) = (self.rng.random_range(1..=count), self.rng.random_range(0..8));
                    core.deposit(slot as u8, count, tab)?
                }
                None => return Ok(()),
            },
        };
        self.asked = Some(self.totals.clone());
        dealers[nth].changed(request)
    }

    /// A trade, which one in four breaks off at some step.
    fn trade(&mut self, dealers: &mut [Dealer; 2]) -> Result<(), ClientError> {
        let cancels_at = if self.rng.random_ratio(1, 4) { self.rng.random_range(0..5) } else { 9 };
        begin_trade(dealers)?;
        let mut revision = 1;
        let mut given = [0, 1].map(|_| (0, 0));
        for nth in [0, 1] {
            let Some((slot, kind, count)) = self.some(&dealers[nth].in_bag()) else { continue };
            let count = self.rng.random_range(1..=count);
            revision = offer(dealers, nth, slot as u8, count)?;
            given[nth] = (kind, i64::from(count));
            if cancels_at == nth {
                return cancel(dealers, nth);
            }
        }
        for (step, nth) in [(1, 0), (1, 1), (2, 0)] {
            confirm(dealers, nth, revision, step)?;
            if cancels_at == 2 + nth {
                return cancel(dealers, nth);
            }
        }
        let mut totals = self.totals.clone();
        for (nth, (kind, count)) in given.into_iter().enumerate() {
            *totals[nth].entry(kind).or_default() -= count;
            *totals[1 - nth].entry(kind).or_default() += count;
        }
        for totals in &mut totals {
            totals.retain(|_, count| *count != 0);
        }
        self.asked = Some(totals);
        let confirmed = confirm_last(dealers, 1, revision);
        self.heard = dealers.iter().zip(&self.told).any(|(dealer, told)| dealer.held != *told);
        confirmed?;
        self.heard = false;
        self.trades += 1;
        Ok(())
    }

    fn some<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { of.get(self.rng.random_range(0..of.len())).copied() }
    }
}

fn cancel(dealers: &mut [Dealer; 2], nth: usize) -> Result<(), ClientError> {
    let request = dealers[nth].player.client.core().cancel_trade()?;
    dealers[nth].done(request)?;
    for dealer in dealers {
        dealer.player.client.wait_for(PATIENCE, |event| match event {
            Event::TradeEnded { .. } => Some(()),
            _ => None,
        })?;
    }
    Ok(())
}

/// A client's end that the node's death explains, or what else it was.
fn gone(error: ClientError) -> Result<(), String> {
    match error {
        ClientError::Io(_)
        | ClientError::Ended
        | ClientError::Closed { code: Some(ErrorCode::ShuttingDown), .. }
        | ClientError::Refused { code: Some(ErrorCode::Unavailable | ErrorCode::ShuttingDown), .. } => Ok(()),
        error => Err(format!("a client failed: {error}")),
    }
}

#[test]
fn kill_9_under_dealers() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("VYUHA_CRASH_ROUNDS").unwrap_or(8);
    let seed: u64 = number("VYUHA_CRASH_SEED").unwrap_or_else(rand::random);
    println!("VYUHA_CRASH_SEED={seed}");
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let options =
        Options::test_world().with("journal-segment", "1MiB").with("character-save-interval", "100ms");
    let mut node = Node::start(&options);
    let mut pairs: Vec<Pair> = (0..6)
        .map(|nth| Pair {
            whos: ["x", "y"].map(|side| Player::sign_up(&node, &format!("Deal{nth}{side}"), DEPOT).log_out()),
            told: Default::default(),
            totals: Default::default(),
            asked: None,
            heard: false,
            rng: Pcg64Mcg::seed_from_u64(seed.wrapping_add(nth + 1)),
            deals: 0,
            trades: 0,
            done_unheard: 0,
        })
        .collect();
    for round in 0..rounds {
        let alive = Duration::from_millis(rng.random_range(300..3000));
        let behind: bool = rng.random();
        let found: Vec<String> = std::thread::scope(|scope| {
            let playing: Vec<_> = pairs.iter_mut().map(|pair| scope.spawn(|| pair.play(&node))).collect();
            std::thread::sleep(alive / 2);
            let store = behind.then(|| StoppedThread::of(&node, "vyuha-store"));
            std::thread::sleep(alive / 2);
            node.kill_process(rustix::process::Signal::KILL);
            drop(store);
            playing.into_iter().filter_map(|pair| pair.join().expect("a pair does not panic").err()).collect()
        });
        node.wait();
        assert_eq!(
            [found, Database::of(&mut node).world_violations()].concat(),
            [""; 0],
            "round {round}, after {alive:?}"
        );
        node.start_again();
    }
    for pair in &mut pairs {
        let dealers = [0, 1].map(|nth| Dealer::enter(&pair.whos[nth], &node).expect("it comes in"));
        pair.settle(&dealers).expect("it has what it was told");
    }
    node.terminate();
    assert_eq!(Database::of(&mut node).world_violations(), [""; 0]);
    let sum = |of: fn(&Pair) -> u64| pairs.iter().map(of).sum::<u64>();
    let (deals, trades) = (sum(|pair| pair.deals), sum(|pair| pair.trades));
    println!("{deals} deals, {trades} trades, {} done unheard", sum(|pair| pair.done_unheard));
    assert!(
        deals > 20 * rounds && trades > rounds,
        "next to nothing happened: {deals} deals, {trades} trades"
    );
}
