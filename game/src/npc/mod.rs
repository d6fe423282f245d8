//! Those who live in the zones: they wander about their homes, and some chase players whom they see.
//!
//! - Every NPC decides once in [`BEAT_MS`]; they take turns by slot, so that each tick has an equal share of them.
//!   Between two decisions it keeps walking, and walls stop it.
//! - It rests, or wanders to a place within its kind's radius of its home. A player within its sight is chased for
//!   the kind's time at most, to [`KEEP_OFF_UNITS`] and no nearer; then it goes home, and until it is there it
//!   chases nobody.
//! - An NPC that cannot find home in [`RETURN_S_MAX`] seconds settles where it is.
//! - Where a landmark is, everybody in its zone is told, however far off.
//! - State 1 of its entity tells clients that it chases somebody; else 0.

mod rules;
#[cfg(test)]
mod tests;

use vyuha_core::{Circle, Spawn, Warm, Zone};
use vyuha_protocol::snapshot::GROUP_LANDMARKS;
use vyuha_protocol::units::UNITS_PER_METRE;
use vyuha_protocol::{EntityId, EntityKind, Pos};

use crate::content::{NpcContent, ZoneContent, units_per_step};
use crate::hash::StateHash;
use crate::place::random_open_place;
use crate::random::Rng;

pub use rules::{Decision, Situation, approach, decide};

/// Milliseconds between two decisions of an NPC.
pub const BEAT_MS: u32 = 400;
/// Distance that a chaser keeps from whom it chases, in units (1.5 m).
pub const KEEP_OFF_UNITS: u32 = UNITS_PER_METRE * 3 / 2;
/// Seconds that an NPC looks for its home.
pub const RETURN_S_MAX: u32 = 30;

/// What an NPC is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// Stands until its time has come.
    Rest,
    /// Walks to its goal.
    Wander,
    /// Follows a player.
    Chase,
    /// Goes home.
    Return,
}

/// A kind of NPC in a zone's own measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nature {
    /// What clients know it as.
    pub kind: EntityKind,
    /// Units a step when it wanders and goes home.
    pub walk_speed: u16,
    /// Units a step when it chases.
    pub chase_speed: u16,
    /// Units from its home within which it wanders.
    pub wander_radius: u32,
    /// Units within which it sees a player; 0 if it chases nobody.
    pub sight_radius: u32,
    /// Steps that it chases at most.
    pub chase_ticks: u32,
}

/// How time passes in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Steps a second.
    pub tick_hz: u32,
    /// Steps between two decisions of an NPC, at least 1.
    pub beat_ticks: u32,
}

/// The NPCs of a zone, in columns by slot.
#[derive(Debug)]
pub struct Npcs {
    natures: Vec<Nature>,
    pace: Pace,
    entity: Vec<EntityId>,
    nature: Vec<u16>,
    mood: Vec<Mood>,
    home: Vec<Pos>,
    goal: Vec<Pos>,
    /// Where it was at its last decision.
    before: Vec<Pos>,
    until_tick: Vec<u32>,
    look: Look,
}

/// Room for one turn's look around; between turns it means nothing.
#[derive(Debug, Default)]
struct Look {
    /// Where those stand whose turn it is.
    places: Vec<Pos>,
    /// What those of them see who look out, and the nearest player in it.
    circles: Vec<Circle>,
    players: Vec<Option<(EntityId, Pos)>>,
}

impl Nature {
    /// A kind at a zone's pace.
    pub fn new(npc: &NpcContent, tick_hz: u16) -> Nature {
        Nature {
            kind: EntityKind::npc(npc.id),
            walk_speed: units_per_step(npc.walk_speed_cm_s, tick_hz) as u16,
            chase_speed: units_per_step(npc.chase_speed_cm_s, tick_hz) as u16,
            wander_radius: npc.wander_radius,
            sight_radius: npc.sight_radius,
            chase_ticks: npc.chase_time_s * u32::from(tick_hz),
        }
    }
}

impl Pace {
    /// The pace of a zone of a rate.
    pub fn new(tick_hz: u16) -> Pace {
        let tick_hz = u32::from(tick_hz);
        Pace { tick_hz, beat_ticks: (tick_hz * BEAT_MS / 1000).max(1) }
    }
}

impl Npcs {
    /// Spawns all that the content has in a zone, each at a random place, its home.
    pub fn populate(kinds: &[NpcContent], content: &ZoneContent, zone: &mut Zone, rng: &mut Rng) -> Npcs {
        let tick_hz = content.kind.tick_hz;
        let natures = content.npcs.iter().map(|spawn| Nature::new(&kinds[spawn.npc], tick_hz)).collect();
        let mut npcs = Npcs {
            natures,
            pace: Pace::new(tick_hz),
            entity: Vec::new(),
            nature: Vec::new(),
            mood: Vec::new(),
            home: Vec::new(),
            goal: Vec::new(),
            before: Vec::new(),
            until_tick: Vec::new(),
            look: Look::default(),
        };
        for (nature, spawn) in content.npcs.iter().enumerate() {
            for _ in 0..spawn.count {
                let home = random_open_place(&content.map, content.spawn, rng);
                let kind = npcs.natures[nature].kind;
                npcs.entity.push(zone.spawn(Spawn {
                    pos: home,
                    kind,
                    state: 0,
                    name: "",
                    warm: Warm::default(),
                }));
                if kinds[spawn.npc].landmark {
                    let entity = *npcs.entity.last().expect("it was spawned just now");
                    assert!(
                        zone.set_group(entity, GROUP_LANDMARKS),
                        "content has no more landmarks than fit a group"
                    );
                }
                npcs.nature.push(nature as u16);
                npcs.mood.push(Mood::Rest);
                npcs.home.push(home);
                npcs.goal.push(home);
                npcs.before.push(home);
                npcs.until_tick.push(rules::rest_ticks(npcs.pace, rng));
            }
        }
        npcs
    }

    /// Lets those decide whose turn it is at a tick of the zone.
    pub fn think(&mut self, tick: u32, zone: &mut Zone, rng: &mut Rng) {
        let beat_ticks = self.pace.beat_ticks as usize;
        let turn = (tick as usize % beat_ticks..self.entity.len()).step_by(beat_ticks);
        let mut look = std::mem::take(&mut self.look);
        look.places.clear();
        look.circles.clear();
        for slot in turn.clone() {
            let at = zone.position(self.entity[slot]).expect("nobody but the NPC system despawns an NPC");
            look.places.push(at);
            look.circles.extend(self.looks_out(slot).map(|radius_units| Circle { centre: at, radius_units }));
        }
        // No decision moves anybody before the next step, so all can look before the first decides.
        zone.now().nearest_within(&look.circles, |_, _, kind| kind.is_player(), &mut look.players);
        let mut players = look.players.iter();
        for (slot, &at) in turn.zip(&look.places) {
            let (entity, mood) = (self.entity[slot], self.mood[slot]);
            let nature = &self.natures[usize::from(self.nature[slot])];
            let seen =
                self.looks_out(slot).and_then(|_| *players.next().expect("an answer to each question"));
            let seen = seen.map(|(_, place)| place);
            let situation = Situation {
                mood,
                at,
                before: self.before[slot],
                home: self.home[slot],
                goal: self.goal[slot],
                until_tick: self.until_tick[slot],
                tick,
                seen,
            };
            let decision = decide(&situation, nature, self.pace, rng);
            if (decision.mood == Mood::Chase) != (mood == Mood::Chase) {
                zone.set_state(entity, u16::from(decision.mood == Mood::Chase));
            }
            zone.walk(entity, decision.walk);
            self.mood[slot] = decision.mood;
            self.home[slot] = decision.home;
            self.goal[slot] = decision.goal;
            self.until_tick[slot] = decision.until_tick;
            self.before[slot] = at;
        }
        self.look = look;
    }

    /// How far an NPC looks for players, if it does.
    fn looks_out(&self, slot: usize) -> Option<u32> {
        let radius = self.natures[usize::from(self.nature[slot])].sight_radius;
        (radius > 0 && self.mood[slot] != Mood::Return).then_some(radius)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.entity.len()
    }

    /// Feeds the whole state to a hash.
    pub fn hash_into(&self, hash: &mut StateHash) {
        let place = |place: &Pos| u64::from(place.x) << 32 | u64::from(place.y);
        hash.write_each(0..self.entity.len(), |hash, slot| {
            hash.write(u64::from(self.entity[slot].0) << 32 | u64::from(self.until_tick[slot]));
            hash.write(u64::from(self.nature[slot]) << 8 | self.mood[slot] as u64);
            hash.write(place(&self.home[slot]));
            hash.write(place(&self.goal[slot]));
            hash.write(place(&self.before[slot]));
        });
    }
}
