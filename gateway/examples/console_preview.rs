//! A developer's tool for working on the console page: serves it over made-up shards that move, without a
//! game.
//!
//! `cargo run -p vyuha-gateway --example console_preview [ADDRESS]`, by default 127.0.0.1:9100. Everything it
//! shows is invented; no figure says anything about the server. Rebuild to see a changed page.

use std::collections::VecDeque;
use std::error::Error;
use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use vyuha_gateway::{
    Feed, Gateway, MARK_UNITS_PER_TILE, Mark, MarkKind, Metrics, NodeInfo, Placement, REPORT_HZ, ShardReport,
    TickUs, ZoneInfo, ZoneReport, serve,
};

const TICK_HZ: u64 = 30;
const TICKS_PER_REPORT: u64 = TICK_HZ / REPORT_HZ as u64;
const SHARDS: u16 = 2;
/// Id, name, shard, side in tiles, players, NPCs and items of each zone.
const ZONES: [(u16, &str, u16, u32, u32, u32, u32); 3] = [
    (1, "Meadow", 0, 256, 260, 1500, 320),
    (2, "Old Quarry", 1, 192, 150, 900, 140),
    (3, "Harbour", 1, 128, 90, 300, 80),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9100".into());
    let mut dice = Dice(7);
    let zones: Vec<ZoneInfo> = ZONES.iter().map(|zone| draw_zone(*zone, &mut dice)).collect();
    let crowds = zones.iter().zip(ZONES).map(|(info, zone)| Crowd::new(info, zone, &mut dice)).collect();
    let node = NodeInfo {
        staff: None,
        version: env!("CARGO_PKG_VERSION").into(),
        commit: "preview".into(),
        started: SystemTime::now(),
        tick_hz: TICK_HZ as u32,
        shards: SHARDS,
        zones,
    };
    let metrics = Arc::new(Metrics::new(SHARDS, &node.version, &node.commit));
    let (gateway, feed) = Gateway::new(node, metrics.clone(), [])?;
    let listener = TcpListener::bind(&address).await?;
    println!("the console over made-up shards: http://{}", listener.local_addr()?);
    let pretend = tokio::spawn(pretend(feed, metrics, crowds, dice));
    serve(listener, gateway, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    pretend.abort();
    Ok(())
}

/// Plays the shards: moves every crowd and publishes, [`REPORT_HZ`] times a second.
async fn pretend(feed: Feed, metrics: Arc<Metrics>, mut crowds: Vec<Crowd>, mut dice: Dice) {
    let mut every = tokio::time::interval(Duration::from_secs(1) / REPORT_HZ);
    let mut totals = vec![ShardReport::default(); usize::from(SHARDS)];
    let mut unsaved = VecDeque::from([0; 8]);
    loop {
        every.tick().await;
        for (shard, total) in (0..).zip(&mut totals) {
            let owned = || ZONES.iter().filter(move |zone| zone.2 == shard);
            let players: u32 = owned().map(|zone| zone.4).sum();
            let load = owned().map(|zone| zone.4 * 3 + zone.5).sum::<u32>() as f32 * dice.between(0.9, 1.15);
            let spike = if dice.between(0.0, 1.0) < 0.02 { dice.between(2.0, 7.0) } else { 1.0 };
            let passes = [
                ("input", 0.05),
                ("integrate", 0.12),
                ("regrid", 0.09),
                ("interest", 0.24),
                ("npcs", 0.17),
                ("encode", 0.21),
                ("send", 0.30),
                ("journal", 0.04),
                ("hash", 0.03),
            ]
            .map(|(name, share)| (name, load * share * dice.between(0.9, 1.1)));
            let p50 = passes.iter().map(|(_, us)| us).sum::<f32>();
            total.shard = shard;
            total.tick += TICKS_PER_REPORT;
            total.ticks += TICKS_PER_REPORT;
            total.window_ms = 1000 / REPORT_HZ;
            total.tick_us =
                TickUs { p50: p50 as u32, p99: (p50 * 1.3 * spike) as u32, max: (p50 * 1.6 * spike) as u32 };
            total.late_ticks += u64::from(spike > 6.0);
            total.passes = passes.to_vec();
            total.sessions = players;
            total.bytes_in += (players as f32 * 30.0 * 6.0 * dice.between(0.9, 1.1)) as u64;
            total.bytes_out += (players as f32 * 380.0 * 6.0 * dice.between(0.9, 1.1)) as u64;
            total.zones = crowds
                .iter_mut()
                .filter(|crowd| crowd.shard == shard)
                .map(|crowd| crowd.step(feed.marks_wanted(), &mut dice))
                .collect();
            feed.publish(total.clone());
        }
        let frames = dice.between(5.0, 14.0) as u64;
        let durable = metrics.journal_durable_seq.get() + frames;
        metrics.journal_durable_seq.set(durable);
        for _ in 0..TICKS_PER_REPORT {
            metrics.journal_syncs.inc();
            metrics.journal_sync_seconds.inc_by(dice.between(400e-6, 1900e-6).into());
        }
        unsaved.push_back(durable);
        let applied = unsaved.pop_front().unwrap_or(durable);
        metrics.store_rows.inc_by((applied - metrics.store_applied_seq.get()) * 3);
        metrics.store_applied_seq.set(applied);
        metrics.store_lag_frames.set(durable - applied);
    }
}

/// The inhabitants of one zone.
struct Crowd {
    zone: u16,
    shard: u16,
    side: f32,
    walls: Vec<u8>,
    walkers: Vec<Walker>,
}

struct Walker {
    kind: MarkKind,
    x: f32,
    y: f32,
    heading: f32,
}

impl Crowd {
    fn new(info: &ZoneInfo, (zone, _, shard, side, players, npcs, items): Placed, dice: &mut Dice) -> Crowd {
        let side = side as f32;
        let mut crowd = Crowd { zone, shard, side, walls: info.walls.clone(), walkers: Vec::new() };
        let kinds = [(MarkKind::Player, players), (MarkKind::NpcWandering, npcs), (MarkKind::Item, items)];
        for (kind, count) in kinds {
            for _ in 0..count {
                let (x, y) = crowd.free_place(kind, dice);
                crowd.walkers.push(Walker { kind, x, y, heading: dice.between(0.0, TAU) });
            }
        }
        crowd
    }

    /// Players and items gather around three places; NPCs are everywhere.
    fn free_place(&self, kind: MarkKind, dice: &mut Dice) -> (f32, f32) {
        const SQUARES: [(f32, f32); 3] = [(0.3, 0.35), (0.68, 0.6), (0.45, 0.8)];
        loop {
            let (x, y) = if kind == MarkKind::NpcWandering {
                (dice.between(0.0, self.side), dice.between(0.0, self.side))
            } else {
                let (x, y) = SQUARES[dice.between(0.0, 2.99) as usize];
                let mut far = || (dice.between(-1.0, 1.0) + dice.between(-1.0, 1.0)) * self.side * 0.14;
                (x * self.side + far(), y * self.side + far())
            };
            if !self.blocked(x, y) {
                return (x, y);
            }
        }
    }

    fn blocked(&self, x: f32, y: f32) -> bool {
        if !(0.0..self.side).contains(&x) || !(0.0..self.side).contains(&y) {
            return true;
        }
        let tile = y as usize * self.side as usize + x as usize;
        self.walls[tile / 8] >> (tile % 8) & 1 == 1
    }

    fn step(&mut self, marks_wanted: bool, dice: &mut Dice) -> ZoneReport {
        for index in 0..self.walkers.len() {
            let Walker { kind, x, y, heading } = self.walkers[index];
            if kind == MarkKind::Item {
                continue;
            }
            let stride = if kind == MarkKind::Player { 0.8 } else { 0.4 };
            let (to_x, to_y) = (x + heading.cos() * stride, y + heading.sin() * stride);
            let blocked = self.blocked(to_x, to_y);
            let turn = if blocked { dice.between(1.5, 4.5) } else { dice.between(-0.3, 0.3) };
            let temper = dice.between(0.0, 1.0);
            let walker = &mut self.walkers[index];
            walker.heading += turn;
            if !blocked {
                (walker.x, walker.y) = (to_x, to_y);
            }
            walker.kind = match kind {
                MarkKind::NpcWandering if temper < 0.004 => MarkKind::NpcChasing,
                MarkKind::NpcChasing if temper < 0.05 => MarkKind::NpcWandering,
                kind => kind,
            };
        }
        let count = |of: &dyn Fn(MarkKind) -> bool| {
            self.walkers.iter().filter(|walker| of(walker.kind)).count() as u32
        };
        let unit = MARK_UNITS_PER_TILE as f32;
        let mark =
            |walker: &Walker| Mark::new((walker.x * unit) as u16, (walker.y * unit) as u16, walker.kind);
        ZoneReport {
            zone: self.zone,
            players: count(&|kind| kind == MarkKind::Player),
            npcs: count(&|kind| matches!(kind, MarkKind::NpcWandering | MarkKind::NpcChasing)),
            items: count(&|kind| kind == MarkKind::Item),
            tick_us: self.walkers.len() as f32 / 10.0,
            marks: if marks_wanted { self.walkers.iter().map(mark).collect() } else { Vec::new() },
        }
    }
}

type Placed = (u16, &'static str, u16, u32, u32, u32, u32);

/// A walled zone with blocks of houses and scattered rocks.
fn draw_zone((id, name, shard, side, ..): Placed, dice: &mut Dice) -> ZoneInfo {
    let mut wall = vec![false; (side * side) as usize];
    let mut block = |x0: u32, y0: u32, width: u32, height: u32, hollow: bool| {
        for y in y0..(y0 + height).min(side) {
            for x in x0..(x0 + width).min(side) {
                let rim = x == x0 || y == y0 || x == x0 + width - 1 || y == y0 + height - 1;
                let door = y == y0 + height - 1 && x.abs_diff(x0 + width / 2) < 2;
                if !hollow || (rim && !door) {
                    wall[(y * side + x) as usize] = true;
                }
            }
        }
    };
    for edge in [0, side - 1] {
        block(0, edge, side, 1, false);
        block(edge, 0, 1, side, false);
    }
    for _ in 0..side * side / 1600 {
        let (x, y) =
            (dice.between(4.0, side as f32 - 20.0) as u32, dice.between(4.0, side as f32 - 20.0) as u32);
        block(x, y, dice.between(6.0, 15.0) as u32, dice.between(5.0, 12.0) as u32, true);
    }
    for _ in 0..side * side / 500 {
        let (x, y) =
            (dice.between(2.0, side as f32 - 4.0) as u32, dice.between(2.0, side as f32 - 4.0) as u32);
        block(x, y, dice.between(1.0, 3.5) as u32, dice.between(1.0, 3.5) as u32, false);
    }
    let mut walls = vec![0u8; wall.len().div_ceil(8)];
    for (tile, _) in wall.iter().enumerate().filter(|(_, wall)| **wall) {
        walls[tile / 8] |= 1 << (tile % 8);
    }
    let shard = Placement::new(shard);
    ZoneInfo { id, name: name.into(), shard, width_tiles: side, height_tiles: side, walls }
}

/// Numbers that look random and are the same in every run (a linear congruential generator, Knuth's MMIX
/// constants).
struct Dice(u64);

impl Dice {
    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * ((self.0 >> 40) as f32 / (1u64 << 24) as f32)
    }
}
