//! What an NPC decides: data in, data out.

use vyuha_protocol::units::UNITS_PER_METRE;
use vyuha_protocol::{Displacement, Pos};

use super::{KEEP_OFF_UNITS, Mood, Nature, Pace, RETURN_S_MAX};
use crate::random::Rng;

/// Nearer than this to its goal an NPC is there (25 cm).
const ARRIVED_UNITS: u32 = UNITS_PER_METRE / 4;
/// A chaser that stands keeps standing until whom it chases is this much farther off than it must keep (50 cm):
/// without it, it would creep after every step.
const SLACK_UNITS: u32 = UNITS_PER_METRE / 2;
/// Rest of an NPC between two walks, in seconds: at least, and at most.
const REST_S: (u32, u32) = (1, 7);
/// Seconds after which a walk ends wherever it has led.
const WANDER_S_MAX: u32 = 12;
/// How far an NPC steps aside that is kept from going home (4 m).
const ASIDE_UNITS: u32 = 4 * UNITS_PER_METRE;

/// All that an NPC decides by.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// What it is about.
    pub mood: Mood,
    /// Where it is.
    pub at: Pos,
    /// Where it was a beat ago.
    pub before: Pos,
    /// Where it lives.
    pub home: Pos,
    /// Where it is going.
    pub goal: Pos,
    /// When its mood ends at the latest.
    pub until_tick: u32,
    /// Now.
    pub tick: u32,
    /// The nearest player in its sight.
    pub seen: Option<Pos>,
}

/// What it does until its next decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What it is about.
    pub mood: Mood,
    /// Where it lives.
    pub home: Pos,
    /// Where it is going.
    pub goal: Pos,
    /// When its mood ends at the latest.
    pub until_tick: u32,
    /// Its steps until then.
    pub walk: Displacement,
}

/// What an NPC does next.
pub fn decide(now: &Situation, nature: &Nature, pace: Pace, rng: &mut Rng) -> Decision {
    let stays = Decision {
        mood: now.mood,
        home: now.home,
        goal: now.goal,
        until_tick: now.until_tick,
        walk: Displacement::default(),
    };
    let over = now.tick >= now.until_tick;
    match (now.mood, now.seen) {
        (Mood::Chase, Some(_)) if over => go_home(now, stays, nature, pace, rng),
        (Mood::Chase, Some(player)) => chase(now, Decision { goal: player, ..stays }, nature, pace),
        (Mood::Rest | Mood::Wander, Some(player)) => {
            let until_tick = now.tick + nature.chase_ticks;
            chase(now, Decision { mood: Mood::Chase, goal: player, until_tick, ..stays }, nature, pace)
        }
        (Mood::Rest, None) if over => {
            let goal = near(now.home, nature.wander_radius, rng);
            let until_tick = now.tick + WANDER_S_MAX * pace.tick_hz;
            let walk = approach(now.at, goal, nature.walk_speed, 0, pace.beat_ticks);
            Decision { mood: Mood::Wander, goal, until_tick, walk, ..stays }
        }
        (Mood::Rest, None) => stays,
        (Mood::Wander, None) => {
            if over || arrived(now.at, now.goal) || now.at == now.before {
                return rest(now, stays, pace, rng);
            }
            Decision { walk: approach(now.at, now.goal, nature.walk_speed, 0, pace.beat_ticks), ..stays }
        }
        (Mood::Return, _) | (Mood::Chase, None) => go_home(now, stays, nature, pace, rng),
    }
}

/// The steps of a beat toward a goal that end no nearer to it than `keep_off` units, at most `speed` units each.
pub fn approach(at: Pos, goal: Pos, speed: u16, keep_off: u32, beat_ticks: u32) -> Displacement {
    // Rounded up, so that no step is longer than the speed.
    let distance_squared = at.distance_squared(goal);
    let root = distance_squared.isqrt();
    let distance = (root + u64::from(root * root < distance_squared)) as i64;
    let left = distance - i64::from(keep_off);
    if left <= 0 {
        return Displacement::default();
    }
    let step = i64::from(speed).min(left / i64::from(beat_ticks));
    let along = |from: u32, to: u32| ((i64::from(to) - i64::from(from)) * step / distance) as i16;
    Displacement { dx: along(at.x, goal.x), dy: along(at.y, goal.y) }
}

/// How long a rest is.
pub fn rest_ticks(pace: Pace, rng: &mut Rng) -> u32 {
    let (least, most) = REST_S;
    least * pace.tick_hz + rng.below((most - least) * pace.tick_hz)
}

fn chase(now: &Situation, decision: Decision, nature: &Nature, pace: Pace) -> Decision {
    let stood = now.mood == Mood::Chase && now.at == now.before;
    let near_enough = u64::from(KEEP_OFF_UNITS + SLACK_UNITS).pow(2);
    if stood && now.at.distance_squared(decision.goal) < near_enough {
        return decision;
    }
    Decision {
        walk: approach(now.at, decision.goal, nature.chase_speed, KEEP_OFF_UNITS, pace.beat_ticks),
        ..decision
    }
}

/// Home is wherever it may wander. One that is kept from it steps aside now and then; one that fails for too long
/// settles.
fn go_home(now: &Situation, stays: Decision, nature: &Nature, pace: Pace, rng: &mut Rng) -> Decision {
    let sets_out = now.mood != Mood::Return;
    let until_tick = if sets_out { now.tick + RETURN_S_MAX * pace.tick_hz } else { now.until_tick };
    if now.at.distance_squared(now.home) <= u64::from(nature.wander_radius / 2).pow(2) {
        return rest(now, stays, pace, rng);
    }
    if now.tick >= until_tick {
        return rest(now, Decision { home: now.at, ..stays }, pace, rng);
    }
    let way_least = u64::from(nature.walk_speed) * u64::from(pace.beat_ticks) / 4;
    let kept_off = !sets_out && now.at.distance_squared(now.before) < way_least.pow(2);
    let goal = if kept_off { near(now.at, ASIDE_UNITS, rng) } else { now.home };
    let walk = approach(now.at, goal, nature.walk_speed, 0, pace.beat_ticks);
    Decision { mood: Mood::Return, goal, until_tick, walk, ..stays }
}

fn rest(now: &Situation, stays: Decision, pace: Pace, rng: &mut Rng) -> Decision {
    Decision { mood: Mood::Rest, until_tick: now.tick + rest_ticks(pace, rng), ..stays }
}

fn arrived(at: Pos, goal: Pos) -> bool {
    at.distance_squared(goal) <= u64::from(ARRIVED_UNITS).pow(2)
}

/// A place in the largest square within a circle, which spares the root.
fn near(centre: Pos, radius: u32, rng: &mut Rng) -> Pos {
    let half = (radius * 7 / 10) as i32;
    let (dx, dy) = (rng.between(-half, half), rng.between(-half, half));
    Pos { x: centre.x.saturating_add_signed(dx), y: centre.y.saturating_add_signed(dy) }
}
