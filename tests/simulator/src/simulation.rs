//! A run: who does something when, what goes wrong, and what is looked at.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use vyuha_game::inventory::PLACE_GROUND;
use vyuha_game::{ItemRow, Shard};
use vyuha_protocol::ZoneId;
use vyuha_record::Record as _;
use vyuha_server::simulation::zones_of_shards;
use vyuha_store::AccountRow;
use vyuha_store::journal::{Fault as DiskFault, FaultyDisk};

use crate::client::{Client, Surroundings};
use crate::database::Database;
use crate::network::Network;
use crate::node::{Node, StartError};
use crate::plan::{Fault, Plan};
use crate::told::Told;
use crate::truth::{Truth, belongings};
use crate::{Bug, Counts, Options, Report, Violation, truth, world};

/// Ticks after the last fault in which everybody must have come, played and left.
const LAST_RITES_TICKS: u64 = 3000;
/// Ticks in which a session must end whose account signs in anew.
const KICK_TICKS: u64 = 60;
/// Ticks that a node takes to let everybody go, at most.
const DRAIN_TICKS: u64 = 600;

/// Runs a seed to its end or its first violation.
pub fn run(options: Options) -> Report {
    let mut simulation = Simulation::new(options);
    let violation = simulation.run(options.ticks).err();
    let Simulation { tick, mut counts, truth, .. } = simulation;
    counts.frames = truth.last_seq();
    Report { seed: options.seed, ticks: tick, trace: counts.trace.finish(), counts, violation }
}

struct Simulation {
    bug: Option<Bug>,
    rng: Pcg64,
    plan: Plan,
    tick: u64,
    disk: FaultyDisk,
    database: Database,
    node: Option<Node>,
    /// When the node starts again that is not there.
    start_tick: u64,
    draining_since: Option<u64>,
    network: Network,
    clients: Vec<Client>,
    truth: Truth,
    told: Told,
    counts: Counts,
    shard_of_zone: BTreeMap<ZoneId, u16>,
    journal_stalls_until: u64,
    outage_until: u64,
    disk_heals_at: Option<u64>,
    /// When a machine is switched off whose disk has stopped.
    off_tick: Option<u64>,
    position_checked: Option<(u64, u64)>,
    /// No fault is planted any more.
    is_calm: bool,
    /// The node is to end and not to start again.
    is_ending: bool,
}

/// What does something in a tick.
#[derive(Debug, Clone, Copy)]
enum Actor {
    Shard(usize),
    Journal,
    Persistence,
    Control,
    Network,
    Client(usize),
}

impl Simulation {
    fn new(options: Options) -> Simulation {
        let mut rng = Pcg64::seed_from_u64(options.seed);
        let plan = Plan::draw(&mut rng);
        tracing::debug!(?plan);
        let content = world::content();
        let disk = FaultyDisk::default();
        if options.bug == Some(Bug::LyingDisk) {
            disk.plant(DiskFault::LyingSync);
        }
        let database = Database::new(rng.random(), plan.database_failure_chance, options.bug);
        let mut store = database.connect();
        for row in world::accounts(plan.accounts) {
            store.insert(&AccountRow::TABLE, &row.to_values()).expect("a new database takes rows");
        }
        for row in world::characters(&content, plan.accounts) {
            let table = vyuha_game::CharacterRow::TABLE;
            store.insert(&table, &row.to_values()).expect("a new database takes rows");
        }
        let truth = Truth::new(truth::read(database.live()));
        let clients = (0..plan.accounts as usize * plan.clients_per_account)
            .map(|index| Client::new(index, index as i64 % plan.accounts + 1))
            .collect();
        // Where zones move, nobody outside knows which gates lead to another shard.
        let moves_zones =
            plan.faults.iter().any(|(fault, chance)| *fault == Fault::ZoneMoves && *chance > 0.0);
        let zones = zones_of_shards(&content, if moves_zones { 1 } else { plan.shards });
        let owners = zones
            .into_iter()
            .zip(0..)
            .flat_map(|(zones, shard)| zones.into_iter().map(move |zone| (zone, shard)));
        Simulation {
            bug: options.bug,
            tick: 0,
            disk,
            database,
            node: None,
            start_tick: 0,
            draining_since: None,
            network: Network::new(plan.delay_ticks_max),
            clients,
            truth,
            told: Told::default(),
            counts: Counts::default(),
            shard_of_zone: owners.collect(),
            journal_stalls_until: 0,
            outage_until: 0,
            disk_heals_at: None,
            off_tick: None,
            position_checked: None,
            is_calm: false,
            is_ending: false,
            rng,
            plan,
        }
    }

    fn run(&mut self, ticks: u64) -> Result<(), Violation> {
        while self.tick < ticks {
            self.plant_faults();
            self.step()?;
        }
        self.calm();
        let until = self.tick + LAST_RITES_TICKS;
        while !self.clients.iter().all(|client| client.is_done) {
            Violation::unless(self.tick < until, || {
                let late: Vec<String> =
                    self.clients.iter().filter(|client| !client.is_done).map(Client::standing).collect();
                format!(
                    "{LAST_RITES_TICKS} ticks after the last fault some could not sign in and log out: {late:?}"
                )
            })?;
            self.step()?;
        }
        self.end_in_order()?;
        self.start_again()?;
        let lying: BTreeMap<i64, ItemRow> =
            self.truth.items().filter(|row| row.place == PLACE_GROUND).map(|row| (row.id, row)).collect();
        let found: BTreeMap<i64, ItemRow> =
            self.node.iter().flat_map(Node::twins).flat_map(Shard::items).map(|row| (row.id, row)).collect();
        Violation::unless(lying == found, || "what lies on the ground is not what was stored".to_owned())
    }

    /// No fault is planted any more, and those that last end.
    fn calm(&mut self) {
        tracing::debug!(tick = self.tick, "the last fault");
        self.is_calm = true;
        self.network.heal();
        self.database.heal();
        self.disk.mend();
        (self.journal_stalls_until, self.outage_until) = (0, 0);
        (self.plan.lag_chance, self.plan.persistence_chance) = (0.0, 1.0);
        if self.off_tick.is_some() {
            self.crash(true);
        }
        for client in &mut self.clients {
            client.is_done = false;
        }
    }

    /// Everybody leaves, and nothing is left to be written.
    fn end_in_order(&mut self) -> Result<(), Violation> {
        if let Some(node) = &mut self.node {
            node.drain();
        }
        (self.draining_since, self.is_ending) = (Some(self.tick), true);
        while self.node.is_some() {
            self.step()?;
        }
        let position = self.database.position();
        Violation::unless(position.seq == self.truth.last_seq(), || {
            format!("the node ended in order at frame {} of {}", position.seq, self.truth.last_seq())
        })?;
        self.truth.check_sums()?;
        self.told.check(&self.truth)
    }

    /// Starts the node once more, without anybody.
    fn start_again(&mut self) -> Result<(), Violation> {
        (self.draining_since, self.is_ending, self.start_tick) = (None, false, self.tick);
        let until = self.tick + DRAIN_TICKS;
        while !self.node.as_ref().is_some_and(Node::is_playing) {
            Violation::unless(self.tick < until, || "the node does not start again".to_owned())?;
            self.step()?;
        }
        Ok(())
    }

    fn plant_faults(&mut self) {
        for (fault, chance) in self.plan.faults.clone() {
            if !self.rng.random_bool(chance) {
                continue;
            }
            if fault != Fault::Cut {
                tracing::debug!(tick = self.tick, ?fault);
            }
            let lasts = self.tick + self.rng.random_range(1..60);
            match fault {
                Fault::Kill => self.crash(false),
                Fault::PowerLoss => self.crash(true),
                Fault::DiskStops if self.off_tick.is_none() => {
                    let most = self.rng.random_range(1..60);
                    self.disk.stop_after(self.rng.random_range(0..most));
                    self.off_tick = Some(lasts);
                }
                Fault::DiskFull => self.spoil_disk(DiskFault::DiskFull, lasts),
                Fault::FailedSync => self.spoil_disk(DiskFault::FailedSync, lasts),
                Fault::ShortWrites => {
                    let bytes = self.rng.random_range(1..200);
                    self.spoil_disk(DiskFault::ShortWrites { bytes }, lasts);
                }
                Fault::JournalStalls => self.journal_stalls_until = lasts,
                Fault::Outage => {
                    self.database.set_out(true);
                    self.outage_until = lasts;
                }
                Fault::Cut => {
                    if let Some(link) = self.network.any(&mut self.rng) {
                        self.network.cut(link, self.tick, &mut self.rng);
                    }
                }
                Fault::Restart if self.draining_since.is_none() => {
                    if let Some(node) = self.node.as_mut().filter(|node| node.is_playing()) {
                        node.drain();
                        self.draining_since = Some(self.tick);
                    }
                }
                Fault::ZoneMoves => {
                    let content = world::content();
                    let zone = content.zones[self.rng.random_range(0..content.zones.len())].id.0;
                    let to = self.rng.random_range(0..self.plan.shards);
                    if let Some(control) = self.node.as_mut().and_then(Node::control) {
                        control.move_zone(zone, to);
                    }
                }
                Fault::DiskStops | Fault::Restart => {}
            }
        }
        if self.outage_until == self.tick {
            self.database.set_out(false);
        }
        if self.disk_heals_at == Some(self.tick) {
            self.disk.mend();
        }
        if self.off_tick.is_some_and(|off| off <= self.tick) {
            let power = self.rng.random();
            self.crash(power);
        }
    }

    fn spoil_disk(&mut self, fault: DiskFault, until: u64) {
        if self.bug != Some(Bug::LyingDisk) {
            self.disk.plant(fault);
            self.disk_heals_at = Some(until);
        }
    }

    /// The process ends where it stands; with `power`, the machine does.
    fn crash(&mut self, power: bool) {
        self.counts.crashes += u64::from(self.node.is_some());
        self.node = None;
        self.draining_since = None;
        self.off_tick = None;
        if power {
            self.disk.power_loss(&mut self.rng);
            self.database.power_loss();
            self.position_checked = None;
            if self.bug == Some(Bug::LyingDisk) {
                self.disk.plant(DiskFault::LyingSync);
            }
        } else {
            self.disk.kill();
        }
        self.start_tick = self.tick + self.rng.random_range(1..30);
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.tick += 1;
        if self.node.is_none() && self.tick >= self.start_tick && self.draining_since.is_none() {
            self.start()?;
        }
        let mut actors = vec![Actor::Journal, Actor::Persistence, Actor::Control, Actor::Network];
        actors.extend((0..usize::from(self.plan.shards)).map(Actor::Shard));
        actors.extend((0..self.clients.len()).map(Actor::Client));
        for again in [Actor::Journal, Actor::Persistence, Actor::Control] {
            actors.extend((0..self.rng.random_range(0..2)).map(|_| again));
        }
        actors.shuffle(&mut self.rng);
        for actor in actors {
            self.act(actor)?;
        }
        if let Some(since) = self.draining_since
            && let Some(node) = &self.node
        {
            let is_done = node.has_drained() && node.journal.durable_seq() == self.database.position().seq;
            if is_done {
                self.close()?;
            }
            let is_late = self.is_calm && self.tick > since + DRAIN_TICKS;
            Violation::unless(!is_late, || format!("the node did not end in {DRAIN_TICKS} ticks"))?;
        }
        Ok(())
    }

    /// Ends a drained node in good order.
    fn close(&mut self) -> Result<(), Violation> {
        let Some(node) = self.node.take() else { return Ok(()) };
        if let Err(error) = node.close() {
            tracing::debug!(%error, "the node was not closed in order");
        }
        if !self.is_ending {
            self.draining_since = None;
        }
        self.start_tick = self.tick + self.rng.random_range(1..30);
        self.check_database()
    }

    fn start(&mut self) -> Result<(), Violation> {
        let seed = self.rng.random();
        match Node::open(&self.disk, &self.database, &self.plan, seed, self.bug) {
            Ok(node) => {
                self.counts.recoveries += 1;
                self.check_recovered(&node)?;
                self.node = Some(node);
                Ok(())
            }
            Err(StartError::Store(error)) => {
                tracing::debug!(%error, "the node does not start");
                self.start_tick = self.tick + self.rng.random_range(1..20);
                Ok(())
            }
            Err(StartError::Journal(error @ vyuha_store::JournalError::Io { .. })) => {
                tracing::debug!(%error, "the node does not start");
                let power = self.rng.random();
                self.crash(power);
                Ok(())
            }
            Err(StartError::Journal(error)) => Err(Violation::new(format!(
                "the journal does not open after faults that it must bear: {error}"
            ))),
        }
    }

    fn check_recovered(&mut self, node: &Node) -> Result<(), Violation> {
        let (first, last) = (node.journal.first_seq(), node.journal.durable_seq());
        tracing::debug!(tick = self.tick, first, last, "recovered");
        Violation::unless(last >= self.truth.last_seq(), || {
            format!(
                "the journal was durable up to frame {} and is recovered up to {last}",
                self.truth.last_seq()
            )
        })?;
        Violation::unless(last <= self.truth.last_seq() + 1, || {
            format!("frame {last} is recovered, but only {} were ever durable", self.truth.last_seq())
        })?;
        // Read by the disk as it is, not by one that stops in the meantime.
        let stops = self.off_tick.take().is_some();
        if stops {
            self.disk.kill();
        }
        let mut reader = node.journal.reader(first);
        loop {
            match reader.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) if frame.seq <= self.truth.last_seq() => {
                    self.truth.check_frame(frame.seq, frame.payload)?;
                }
                Ok(Some(frame)) => self.truth.add(frame.payload, &world::content())?,
                Err(error) => {
                    return Err(Violation::new(format!("a recovered frame cannot be read: {error}")));
                }
            }
        }
        self.counts.note_number(last);
        self.position_checked = None;
        self.check_database()?;
        self.told.check(&self.truth)
    }

    /// The database's rows, whenever its position has moved.
    fn check_database(&mut self) -> Result<(), Violation> {
        let position = self.database.position();
        let found = (position.epoch, position.seq);
        if self.position_checked == Some(found) {
            return Ok(());
        }
        Violation::unless(self.position_checked.is_none_or(|before| before <= found), || {
            format!("the database's position went from {:?} to {found:?}", self.position_checked)
        })?;
        self.position_checked = Some(found);
        self.truth.check_database(self.database.live(), position.seq)
    }

    fn act(&mut self, actor: Actor) -> Result<(), Violation> {
        match actor {
            Actor::Network => self.network.step(self.tick, &mut self.rng),
            Actor::Client(index) => {
                let shards = &self.shard_of_zone;
                let mut around = Surroundings {
                    tick: self.tick,
                    rng: &mut self.rng,
                    network: &mut self.network,
                    control: self.node.as_mut().and_then(Node::control),
                    told: &mut self.told,
                    truth: &self.truth,
                    counts: &mut self.counts,
                    is_stalled: self.tick < self.journal_stalls_until,
                    is_last: self.is_calm,
                    shard_of: &|zone| shards[&zone],
                };
                return self.clients[index].step(&mut around);
            }
            Actor::Shard(_) | Actor::Journal | Actor::Persistence | Actor::Control => {}
        }
        let Some(node) = &mut self.node else { return Ok(()) };
        match actor {
            Actor::Shard(shard) => {
                if self.rng.random_bool(self.plan.lag_chance) {
                    return Ok(());
                }
                if !node.tick_shard(shard)? {
                    let power = self.rng.random();
                    self.crash(power);
                    return Ok(());
                }
                self.check_shards()?;
            }
            Actor::Journal if self.tick >= self.journal_stalls_until => {
                if let Err(error) = node.step_journal(&mut self.truth)? {
                    tracing::debug!(tick = self.tick, %error, "the journal stopped");
                    // Others may go on for a while before the process ends.
                    self.off_tick.get_or_insert(self.tick + self.rng.random_range(0..3));
                }
                self.counts.note_number(self.truth.last_seq());
            }
            Actor::Persistence if self.rng.random_bool(self.plan.persistence_chance) => {
                if let Err(error) = node.step_persistence() {
                    return Err(Violation::new(format!(
                        "the only node is shut out of its database: {error}"
                    )));
                }
                self.check_database()?;
            }
            Actor::Control => {
                for (character, items) in node.step_control(self.tick, &self.plan, &mut self.rng)? {
                    let slots = belongings(character.id, &items);
                    let place = (character.zone, character.x, character.y);
                    self.told.admitted(
                        character.id,
                        &slots,
                        place,
                        self.truth.zones_of(character.id).len(),
                    )?;
                }
            }
            Actor::Journal | Actor::Persistence | Actor::Network | Actor::Client(_) => {}
        }
        Ok(())
    }

    /// One session an account, and each item in one place, over all shards.
    fn check_shards(&mut self) -> Result<(), Violation> {
        let Some(node) = &self.node else { return Ok(()) };
        let (mut accounts, mut items) = (BTreeMap::new(), BTreeMap::new());
        let kicked = node.kicked_by(self.tick.saturating_sub(KICK_TICKS));
        for (shard, twin) in node.twins().enumerate() {
            for (session, character) in twin.players() {
                if let Some(other) = accounts.insert(character.account, (shard, session)) {
                    return Err(Violation::new(format!(
                        "account {} has two sessions, on shards {} and {shard}",
                        character.account, other.0
                    )));
                }
            }
            let stays = twin.players().find(|(_, character)| kicked.contains(&character.account));
            Violation::unless(stays.is_none(), || {
                format!("{KICK_TICKS} ticks after it signed in anew an older session goes on: {stays:?}")
            })?;
            for row in twin.items() {
                if let Some(other) = items.insert(row.id, row.clone()) {
                    return Err(Violation::new(format!(
                        "item {} is in two places: {other:?} and {row:?}",
                        row.id
                    )));
                }
            }
            self.counts.note_number(twin.state_hash());
        }
        Ok(())
    }
}
