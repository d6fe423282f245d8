//! The zone: what stands where, how it moves, and what each client is told of it.
//!
//! A [`Zone`] is a pure state machine over integers. It never does I/O, reads a clock, starts a thread or uses
//! floating point, so the same calls give the same bytes and the same [`Zone::state_hash`] on every machine.
//!
//! # Layout
//! The hot columns take 14 bytes an entity (place within its cell, displacement, id, flags, recent changes) and
//! are kept in cell order for good: a cell's entities lie next to each other, and the cell is implied by where they
//! lie. So the passes stream through memory, and whatever concerns a neighbourhood reads a few contiguous runs. Finding one
//! entity costs a scan of its cell's run. The [`Warm`] columns lie beside them in the same order. What is seldom
//! read (kind, state, name: 25 bytes) is kept by slot.
//!
//! | columns | bytes an entity | order | streamed by | read in runs by |
//! |---|---|---|---|---|
//! | place | 4 | cell | integrate, regrid, encode, history, hash | queries, interest |
//! | displacement | 4 | cell | integrate, regrid, encode, hash | |
//! | id | 4 | cell | regrid, encode, history, hash | queries, interest |
//! | flags | 1 | cell | integrate, regrid, encode, hash | |
//! | recent changes | 1 | cell | regrid, encode | blocks of several ticks |
//! | warm: health, team, action | 4 | cell | regrid, history, hash | rules of combat |
//! | place of the slot, generation, kind, state | 9 | slot | | whatever is asked by id; kind and state by those that enter |
//! | name | 16 | slot | | full blocks and those that enter |
//!
//! Beside that a zone needs 68 bytes a cell, and buffers for one tick's moves, blocks and events of pairs.
//!
//! # A tick
//! Between two steps the game gives orders ([`Zone::spawn`], [`Zone::walk_all`], [`Zone::place_all`] ...); then
//! [`Zone::step`] runs the passes over everything:
//!
//! 1. **integrate** adds each displacement to its place and settles those that came to another tile;
//! 2. **regrid** moves those that came to another cell, in place, and lets arrivals in and departures out;
//! 3. **interest** finds, if the zone watches pairs, who came into whose range and who left it;
//! 4. **encode** writes, once a cell, the bytes that tell observers what changed in it;
//! 5. **hash** sums everything that is state.
//!
//! Then it is copied into the history, if one is kept. After it [`Zone::now`] and [`Zone::at`] answer
//! questions in batches, of this tick or of a past one ([`Moment`]), [`Zone::shots`] judges shots by what their shooters
//! saw, and [`Zone::write_snapshot`] hands each client the blocks of the cells near it.

#![allow(clippy::inline_always, reason = "a body is compiled for a SIMD level only where it is inlined")]

mod batch;
mod columns;
mod encode;
mod groups;
mod hash;
mod history;
mod hostile;
mod integrate;
mod interest;
mod orders;
mod pairs;
mod query;
mod ray;
mod regrid;
mod screen;
mod sight;
mod simd;
mod updates;
mod visible;
mod zone;

#[cfg(test)]
mod tests;

pub use batch::{COSINE_FULL, Circle, Cone, Found};
pub use columns::Warm;
pub use groups::{GROUP_MEMBERS_MAX, GROUP_PERIOD_TICKS};
pub use hash::COLUMNS;
pub use history::{Moment, MomentError};
pub use hostile::Seeker;
pub use interest::{
    GROUPS_WATCHED_MAX, HIDING_RADIUS_UNITS_MAX, HYSTERESIS_UNITS, Scope, Subscriber, VIEW_RADIUS_UNITS_MAX,
    View,
};
pub use pairs::{PAIR_RADIUS_UNITS_MAX, PairEvent};
pub use ray::{Ray, Shot};
pub use simd::{SimdError, SimdLevel};
pub use zone::{Pass, Probe, Spawn, ZONE_ENTITIES_MAX, Zone};
