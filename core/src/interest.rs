//! What a client is told: the cells near it, the nearest first, within a bound of bytes.
//!
//! A [`View`] remembers which cells its client is subscribed to and as of which tick the client holds each of
//! them: it gets the block of what changed since, or, after too long, one that states all there is. Where walls
//! hide it also remembers whom the client knows.

use vyuha_protocol::snapshot::{CellKey, SnapshotHead};
use vyuha_protocol::units::{CELL_UNITS, metres};
use vyuha_protocol::{CellCoord, Pos};

use crate::columns::Grid;
use crate::encode::{Span, WINDOW_TICKS, ZoneParts};
use crate::groups::Watched;
use crate::query::{cells_near, distance_squared_to_cell};
use crate::screen::Screen;
use crate::visible::tiles_within;
use crate::zone::Zone;

/// How much farther than the radius a cell may be before a client is unsubscribed from it, in units, so that
/// walking to and fro along a border does not send the same cells over and over.
pub const HYSTERESIS_UNITS: u32 = metres(4);
/// Largest radius of a view, in units (3.2 km).
pub const VIEW_RADIUS_UNITS_MAX: u32 = metres(3200);
/// The same where walls hide (128 m): what is seen from a tile is then found in about a millisecond at worst.
pub const HIDING_RADIUS_UNITS_MAX: u32 = metres(128);
/// Most groups that a view watches.
pub const GROUPS_WATCHED_MAX: usize = 8;

// A snapshot counts its blocks and its dropped cells in 16 bits.
const _: () = {
    let side = 2 * (VIEW_RADIUS_UNITS_MAX + HYSTERESIS_UNITS).div_ceil(CELL_UNITS) + 1;
    assert!(side * side <= u16::MAX as u32);
};

/// What a view covers. The distance of a cell is that of its nearest place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// How near a cell must come to be told of, in units; more than [`VIEW_RADIUS_UNITS_MAX`], or
    /// [`HIDING_RADIUS_UNITS_MAX`], is shortened to that.
    pub radius_units: u32,
    /// Cells farther than this are told of every second tick.
    pub half_rate_units: u32,
    /// Cells farther than this are told of every fourth tick.
    pub quarter_rate_units: u32,
    /// Whether the client is told only of those that it may see. It may see whoever stands on a tile that some
    /// straight line, from any point of its own tile to any point of that one, joins to its own without crossing
    /// a wall, if that tile is not farther than the radius. Rates have no effect then: all that is
    /// seen is told of every tick.
    pub walls_hide: bool,
}

impl Scope {
    /// All cells within a radius, every tick.
    pub fn every_tick(radius_units: u32) -> Scope {
        Scope { radius_units, half_rate_units: u32::MAX, quarter_rate_units: u32::MAX, walls_hide: false }
    }
}

/// One client's view of a zone. It takes 32 bytes a cell near the client and, where walls hide, 8 an entity seen.
#[derive(Debug)]
pub struct View {
    scope: Scope,
    centre: Option<Pos>,
    /// Set aside for a block that did not fit; see [`Zone::write_snapshot`].
    saved_bytes: usize,
    /// The nearest first.
    subscribed: Vec<Subscribed>,
    /// Where walls hide: the entities that the client knows, cell by cell; and room for those of the next snapshot.
    known: Vec<u32>,
    seen: Vec<u32>,
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Subscribed {
    distance_squared: u64,
    cell: CellCoord,
    /// The tick after which the client holds the cell exactly as it was; none if it never did.
    held_tick: Option<u32>,
    /// Where walls hide: which of the known entities are in it.
    known: (u32, u32),
}

/// How many bytes a snapshot may still take.
struct Budget {
    room: usize,
    /// What was set aside in earlier ticks.
    saved: usize,
    blocks: u16,
    /// Whether a block did not fit.
    cut: bool,
}

impl Budget {
    /// Takes so many bytes for a block, if there are as many.
    fn take(&mut self, bytes: usize) -> bool {
        let allowed = if self.cut { self.room } else { self.room.saturating_add(self.saved) };
        if self.blocks == 0 || bytes <= allowed {
            self.blocks += 1;
            self.saved = self.saved.saturating_sub(bytes.saturating_sub(self.room));
            self.room = self.room.saturating_sub(bytes);
            return true;
        }
        if !self.cut {
            self.cut = true;
            self.saved += self.room / 2;
            self.room -= self.room / 2;
        }
        false
    }
}

/// What a snapshot is written for.
#[derive(Debug, Clone, Copy)]
pub struct Subscriber {
    /// Where the client's character stands.
    pub centre: Pos,
    /// The last of its inputs that was processed; 0 if none.
    pub input_ack: u32,
    /// How long the payload may be, in bytes.
    pub bytes_max: usize,
}

impl View {
    /// The view of a client that knows nothing yet and is to know all cells that come as near as the radius, in
    /// units, every tick.
    pub fn new(radius_units: u32) -> View {
        View::of(Scope::every_tick(radius_units))
    }

    /// The view of a client that knows nothing yet.
    pub fn of(scope: Scope) -> View {
        let max = if scope.walls_hide { HIDING_RADIUS_UNITS_MAX } else { VIEW_RADIUS_UNITS_MAX };
        let radius_units = scope.radius_units.min(max);
        View {
            scope: if scope.walls_hide {
                Scope { walls_hide: true, ..Scope::every_tick(radius_units) }
            } else {
                Scope { radius_units, ..scope }
            },
            centre: None,
            saved_bytes: 0,
            subscribed: Vec::new(),
            known: Vec::new(),
            seen: Vec::new(),
            watched: Vec::new(),
        }
    }

    /// From the next snapshot on, the client is told of the members of a group, wherever they are; see
    /// [`Zone::set_group`]. `false` if the view watches [`GROUPS_WATCHED_MAX`] others already.
    pub fn watch(&mut self, group: u32) -> bool {
        if self.watched.iter().any(|watched| watched.number == group) {
            return true;
        }
        if self.watched.len() == GROUPS_WATCHED_MAX {
            return false;
        }
        self.watched.push(Watched::new(group));
        true
    }

    /// The cells that the client holds after the last snapshot, and as of which tick.
    #[cfg(test)]
    pub(crate) fn held(&self) -> impl Iterator<Item = (CellCoord, u32)> {
        self.subscribed.iter().filter_map(|subscribed| Some((subscribed.cell, subscribed.held_tick?)))
    }
}

impl Zone {
    /// Appends the payload of a snapshot for one client: the state after the last step.
    ///
    /// A cell that the client is newly subscribed to comes as a full block, and so does one of which it was told
    /// more than four ticks ago; of others comes what changed since they were told of. Cells in the range of a
    /// lower rate are told of when their turn is, which is not the same tick for all of them; one that missed its
    /// turn comes as soon as it can. The nearest cells come first. A block that does not fit in `bytes_max` any
    /// more is left out, and its cell comes once that fits; half of the room that the nearest such cell found is
    /// saved up for it from tick to tick, so that a large cell is delayed but not starved by farther ones. The
    /// first block is always sent, whatever its size: a payload is longer than `bytes_max` only by that, by what
    /// was saved, by its list of dropped cells or by the groups that the client watches.
    ///
    /// The view takes the payload as delivered: for a client that cannot take one in this tick, do not call this.
    pub fn write_snapshot(&mut self, view: &mut View, subscriber: &Subscriber, out: &mut Vec<u8>) {
        let Zone { map, tick, grid, columns, slots, blocks: encoded, near, sight, marks, groups, .. } = self;
        let (tick, grid) = (*tick, *grid);
        let parts = ZoneParts { tick, grid, columns, slots };
        let begin = out.len();
        out.extend_from_slice(&[0; size_of::<SnapshotHead>()]);
        let dropped = view.subscribe(grid, subscriber.centre, near, out);
        let View { scope, subscribed, known, seen, watched, saved_bytes, .. } = view;
        let told_groups =
            watched.iter_mut().filter_map(|watched| groups.news(watched, out).then_some(())).count();
        let mut screen = scope.walls_hide.then(|| {
            marks.fit(slots.place.len());
            let lose_tiles = tiles_within(scope.radius_units + HYSTERESIS_UNITS);
            let field = sight.from(map, subscriber.centre, lose_tiles);
            Screen { field, gain_tiles: tiles_within(scope.radius_units), lose_tiles, marks }
        });
        let room = subscriber.bytes_max.saturating_sub(out.len() - begin);
        let mut budget = Budget { room, saved: *saved_bytes, blocks: 0, cut: false };
        seen.clear();
        for subscribed in subscribed {
            let (span, first) = (subscribed.due(tick, scope), seen.len());
            let told = match (&mut screen, span) {
                (_, None) => false,
                (None, Some(span)) => {
                    let block = encoded.block(&parts, grid.index(subscribed.cell), span);
                    let told = block.is_empty() || budget.take(size_of_val(block));
                    if told {
                        out.extend_from_slice(bytemuck::cast_slice(block));
                    }
                    told
                }
                (Some(screen), Some(span)) => {
                    let end = out.len();
                    let known = &known[subscribed.known.0 as usize..subscribed.known.1 as usize];
                    screen.put_block(&parts, subscribed.cell, span, known, seen, out);
                    let told = out.len() == end || budget.take(out.len() - end);
                    if !told {
                        out.truncate(end);
                        seen.truncate(first);
                    }
                    told
                }
            };
            if told {
                subscribed.held_tick = Some(tick);
            } else if screen.is_some() {
                seen.extend_from_slice(&known[subscribed.known.0 as usize..subscribed.known.1 as usize]);
            }
            subscribed.known = (first as u32, seen.len() as u32);
        }
        std::mem::swap(known, seen);
        *saved_bytes = if budget.cut { budget.saved } else { 0 };
        let Pos { x, y } = subscriber.centre;
        let (input_ack, blocks) = (subscriber.input_ack, budget.blocks);
        let groups = told_groups as u16;
        let head = SnapshotHead { tick, input_ack, x, y, dropped, groups, blocks, reserved: 0 };
        out[begin..begin + size_of::<SnapshotHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    }
}

impl Subscribed {
    /// What the client is to be told of the cell at a tick, if it is its turn.
    fn due(&self, tick: u32, scope: &Scope) -> Option<Span> {
        let Some(held_tick) = self.held_tick else { return Some(Span::Full) };
        let square = |units: u32| u64::from(units).pow(2);
        let period = match self.distance_squared {
            near if near <= square(scope.half_rate_units) => 1,
            far if far <= square(scope.quarter_rate_units) => 2,
            _ => 4,
        };
        // Neighbours take turns, so that each tick has its share of a client's cells.
        let turn = u32::from(self.cell.x) + 2 * u32::from(self.cell.y);
        match tick.wrapping_sub(held_tick) {
            0 => None,
            age if age < period && tick.wrapping_add(turn) % period != 0 => None,
            age if age <= WINDOW_TICKS => Some(Span::Ticks(age)),
            _ => Some(Span::Full),
        }
    }
}

impl View {
    /// Brings the subscriptions up to date and appends those that end. Returns how many these are.
    fn subscribe(&mut self, grid: Grid, centre: Pos, near: &mut Vec<u64>, out: &mut Vec<u8>) -> u16 {
        if self.centre == Some(centre) {
            return 0;
        }
        self.centre = Some(centre);
        let mut dropped = 0;
        let kept_squared = u64::from(self.scope.radius_units + HYSTERESIS_UNITS).pow(2);
        self.subscribed.retain_mut(|subscribed| {
            subscribed.distance_squared = distance_squared_to_cell(centre, subscribed.cell);
            let kept = subscribed.distance_squared <= kept_squared;
            if !kept {
                out.extend_from_slice(bytemuck::bytes_of(&CellKey::from(subscribed.cell)));
                dropped += 1;
            }
            kept
        });

        // Which cells of the square around the centre are subscribed to already: one bit each.
        let radius = self.scope.radius_units;
        let origin = Pos { x: centre.x.saturating_sub(radius), y: centre.y.saturating_sub(radius) }.cell();
        let side = 2 * (radius / CELL_UNITS) as usize + 3;
        let bit = |cell: CellCoord| {
            let (x, y) = (cell.x.checked_sub(origin.x)? as usize, cell.y.checked_sub(origin.y)? as usize);
            (x < side && y < side).then_some(y * side + x)
        };
        near.clear();
        near.resize((side * side).div_ceil(64), 0);
        for bit in self.subscribed.iter().filter_map(|subscribed| bit(subscribed.cell)) {
            near[bit / 64] |= 1 << (bit % 64);
        }
        for cell in cells_near(grid, centre, radius) {
            let distance_squared = distance_squared_to_cell(centre, cell);
            let known = bit(cell).is_some_and(|bit| near[bit / 64] >> (bit % 64) & 1 == 1);
            if !known && distance_squared <= u64::from(radius).pow(2) {
                self.subscribed.push(Subscribed { distance_squared, cell, held_tick: None, known: (0, 0) });
            }
        }
        self.subscribed.sort_unstable_by_key(|subscribed| (subscribed.distance_squared, subscribed.cell));
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use vyuha_protocol::snapshot::{BlockHead, Enter, Snapshot, Update};
    use vyuha_protocol::{Displacement, EntityId, EntityKind, TileMap};

    const HEAD_BYTES: usize = size_of::<SnapshotHead>();

    /// `counts[x]` entities in the cell `x` of a row of cells.
    fn row_of_cells(counts: &[usize]) -> (crate::Zone, Vec<Vec<EntityId>>) {
        let mut zone = crate::Zone::new(Arc::new(TileMap::open(counts.len() as u32 * 32, 32)));
        let ids = (0u32..)
            .zip(counts)
            .map(|(cell, &count)| {
                let pos = Pos { x: cell * CELL_UNITS + metres(8), y: metres(8) };
                let spawn = crate::Spawn {
                    pos,
                    kind: EntityKind::npc(1),
                    state: 0,
                    name: "",
                    warm: crate::Warm::default(),
                };
                (0..count).map(|_| zone.spawn(spawn)).collect()
            })
            .collect();
        zone.step(&mut ());
        (zone, ids)
    }

    /// Serves a client in the first cell, and lists the blocks: cell and whether it is full.
    fn serve(zone: &mut crate::Zone, view: &mut View, bytes_max: usize) -> (usize, Vec<(u16, bool)>) {
        let mut out = Vec::new();
        let subscriber = Subscriber { centre: Pos { x: metres(8), y: metres(8) }, input_ack: 0, bytes_max };
        zone.write_snapshot(view, &subscriber, &mut out);
        let blocks = Snapshot::read(&out).unwrap().blocks().map(|block| (block.cell.x, block.full)).collect();
        (out.len(), blocks)
    }

    fn full_bytes(count: usize) -> usize {
        size_of::<BlockHead>() + count * size_of::<Enter>()
    }

    fn delta_bytes(count: usize) -> usize {
        size_of::<BlockHead>() + count * size_of::<Update>()
    }

    #[test]
    fn the_nearest_come_first_and_the_first_always() {
        let (mut zone, _) = row_of_cells(&[50, 20, 3, 0]);
        for (bytes_max, cells) in [
            (0, vec![0]),
            (HEAD_BYTES + full_bytes(50), vec![0]),
            (HEAD_BYTES + full_bytes(50) + full_bytes(20) - 1, vec![0, 2, 3]),
            (HEAD_BYTES + full_bytes(50) + full_bytes(20), vec![0, 1]),
            (HEAD_BYTES + full_bytes(50) + full_bytes(20) + full_bytes(3), vec![0, 1, 2]),
            (1 << 20, vec![0, 1, 2, 3]),
        ] {
            let mut view = View::new(metres(500));
            let (_, blocks) = serve(&mut zone, &mut view, bytes_max);
            let expected: Vec<(u16, bool)> = cells.into_iter().map(|cell| (cell, true)).collect();
            assert_eq!(blocks, expected, "{bytes_max} bytes");
        }
    }

    #[test]
    fn a_new_cell_comes_whole_and_so_do_all_after_more_ticks_than_are_known() {
        let (mut zone, ids) = row_of_cells(&[10, 10]);
        let mut view = View::new(metres(500));
        assert_eq!(serve(&mut zone, &mut view, HEAD_BYTES + full_bytes(10)).1, [(0, true)]);
        zone.walk(ids[0][0], Displacement { dx: 1, dy: 0 });
        zone.walk(ids[1][0], Displacement { dx: 1, dy: 0 });
        zone.step(&mut ());
        assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, false), (1, true)]);
        zone.step(&mut ());
        assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, false), (1, false)]);
        for skipped in 1..8 {
            (0..=skipped).for_each(|_| zone.step(&mut ()));
            let full = skipped >= WINDOW_TICKS;
            assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, full), (1, full)], "{skipped} skipped");
            assert_eq!(serve(&mut zone, &mut view, 4096).1, [], "twice in a tick");
        }
    }

    #[test]
    fn far_cells_take_turns() {
        let (mut zone, ids) = row_of_cells(&[1; 12]);
        ids.iter().flatten().for_each(|&id| zone.walk(id, Displacement { dx: 0, dy: 1 }));
        let (half_rate_units, quarter_rate_units) = (metres(64), metres(160));
        let mut view =
            View::of(Scope { half_rate_units, quarter_rate_units, ..Scope::every_tick(metres(500)) });
        zone.step(&mut ());
        assert_eq!(serve(&mut zone, &mut view, 4096).1.len(), 12, "all at first");
        let mut told = [0; 12];
        for _ in 0..40 {
            zone.step(&mut ());
            let blocks = serve(&mut zone, &mut view, 4096).1;
            assert!((5..=7).contains(&blocks.len()), "each tick has its share: {blocks:?}");
            for (cell, full) in blocks {
                assert!(!full);
                told[usize::from(cell)] += 1;
            }
        }
        // The first cell is the client's own, and the second one is 24 m away.
        assert_eq!(told, [40, 40, 40, 20, 20, 20, 10, 10, 10, 10, 10, 10]);
    }

    /// All in the near and the far cell move, so their blocks never end; the dense ones between them do not
    /// fit beside the near one in any one tick, neither whole nor, if all in them move too, by their changes.
    #[test]
    fn a_large_cell_is_delayed_but_not_starved_and_the_bound_holds_on_average() {
        for dense_moves in [false, true] {
            let (mut zone, ids) = row_of_cells(&[20, 400, 400, 20]);
            for &id in ids.iter().flatten() {
                let dy = i16::from(dense_moves || ids[0].contains(&id) || ids[3].contains(&id));
                zone.walk(id, Displacement { dx: 0, dy });
            }
            let mut view = View::new(metres(500));
            let bytes_max = HEAD_BYTES + delta_bytes(20) + full_bytes(20) + 1000;
            assert!(bytes_max < delta_bytes(400));
            let (mut bytes, mut dense_at) = (0, Vec::new());
            for tick in 0..100 {
                zone.step(&mut ());
                let (length, blocks) = serve(&mut zone, &mut view, bytes_max);
                bytes += length;
                assert!(bytes <= bytes_max * (tick + 1), "at tick {tick}");
                assert!(blocks.iter().any(|&(cell, _)| cell == 0), "the nearest is served every tick");
                let dense = blocks.iter().filter(|(cell, _)| (1..=2).contains(cell));
                dense_at.extend(dense.map(|&(cell, _)| (tick, cell)));
            }
            if dense_moves {
                assert!(dense_at.len() > 5, "the nearer one comes again and again: {dense_at:?}");
            } else {
                assert!(matches!(dense_at[..], [(1..30, 1), (1..30, 2)]), "{dense_at:?}");
                let held = view.held().filter(|(_, tick)| *tick == zone.tick()).count();
                assert_eq!((held, view.saved_bytes), (4, 0), "and then all are held");
            }
        }
    }
}
