//! What a client is told: the cells near it, the nearest first, within a bound of bytes.
//!
//! A [`View`] remembers which cells its client is subscribed to and which of them the client holds exactly as
//! they were after the tick that it was last served: those get the block of what changed since, the others one
//! that states all there is.

use vyuha_protocol::snapshot::{CellKey, SnapshotHead};
use vyuha_protocol::units::{CELL_UNITS, metres};
use vyuha_protocol::{CellCoord, Pos};

use crate::columns::Grid;
use crate::query::{cells_near, distance_squared_to_cell};
use crate::zone::Zone;

/// How much farther than the radius a cell may be before a client is unsubscribed from it, in units, so that
/// walking to and fro along a border does not send the same cells over and over.
pub const HYSTERESIS_UNITS: u32 = metres(4);
/// Largest radius of a view, in units (3.2 km).
pub const VIEW_RADIUS_UNITS_MAX: u32 = metres(3200);

// A snapshot counts its blocks and its dropped cells in 16 bits.
const _: () = {
    let side = 2 * (VIEW_RADIUS_UNITS_MAX + HYSTERESIS_UNITS).div_ceil(CELL_UNITS) + 1;
    assert!(side * side <= u16::MAX as u32);
};

/// One client's view of a zone. It takes 24 bytes a cell near the client.
#[derive(Debug)]
pub struct View {
    radius_units: u32,
    centre: Option<Pos>,
    served_tick: Option<u32>,
    /// Set aside for a block that did not fit; see [`Zone::write_snapshot`].
    saved_bytes: usize,
    /// The nearest first.
    subscribed: Vec<Subscribed>,
}

#[derive(Debug)]
struct Subscribed {
    distance_squared: u64,
    cell: CellCoord,
    in_sync: bool,
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
    /// units; a radius over [`VIEW_RADIUS_UNITS_MAX`] is shortened to it.
    pub fn new(radius_units: u32) -> View {
        View {
            radius_units: radius_units.min(VIEW_RADIUS_UNITS_MAX),
            centre: None,
            served_tick: None,
            saved_bytes: 0,
            subscribed: Vec::new(),
        }
    }

    /// The cells that the client holds exactly, after the last snapshot.
    #[cfg(test)]
    pub(crate) fn in_sync(&self) -> impl Iterator<Item = CellCoord> {
        self.subscribed.iter().filter(|subscribed| subscribed.in_sync).map(|subscribed| subscribed.cell)
    }
}

impl Zone {
    /// Appends the payload of a snapshot for one client: the state after the last step.
    ///
    /// A cell that the client is newly subscribed to, or whose last block it did not get, comes as a full block;
    /// all do if the view was not served after the step before. The nearest cells come first. A block that does
    /// not fit in `bytes_max` any more is left out, and its cell comes as a full block once that fits; half of
    /// the room that the nearest such cell found is saved up for it from tick to tick, so that a large cell is
    /// delayed but not starved by farther ones. The first block is always sent, whatever its size: a payload is
    /// longer than `bytes_max` only by that, by what was saved, or by its list of dropped cells.
    ///
    /// The view takes the payload as delivered: for a client that cannot take one in this tick, do not call this.
    pub fn write_snapshot(&mut self, view: &mut View, subscriber: &Subscriber, out: &mut Vec<u8>) {
        let Zone { tick, grid, columns, slots, deltas, fulls, near, .. } = self;
        let begin = out.len();
        out.extend_from_slice(&[0; size_of::<SnapshotHead>()]);
        let dropped = view.subscribe(*grid, subscriber.centre, near, out);
        let continues = view.served_tick == Some(tick.wrapping_sub(1));
        view.served_tick = Some(*tick);
        let mut room = subscriber.bytes_max.saturating_sub(out.len() - begin);
        let (mut blocks, mut cut) = (0, false);
        for subscribed in &mut view.subscribed {
            let cell = grid.index(subscribed.cell);
            let block = if continues && subscribed.in_sync {
                deltas.block(cell)
            } else {
                fulls.block(*grid, columns, slots, cell)
            };
            if block.is_empty() {
                continue;
            }
            let bytes = size_of_val(block);
            let allowed = if cut { room } else { room.saturating_add(view.saved_bytes) };
            subscribed.in_sync = blocks == 0 || bytes <= allowed;
            if subscribed.in_sync {
                out.extend_from_slice(bytemuck::cast_slice(block));
                blocks += 1;
                view.saved_bytes = view.saved_bytes.saturating_sub(bytes.saturating_sub(room));
                room = room.saturating_sub(bytes);
            } else if !cut {
                cut = true;
                view.saved_bytes += room / 2;
                room -= room / 2;
            }
        }
        if !cut {
            view.saved_bytes = 0;
        }
        let Pos { x, y } = subscriber.centre;
        let head = SnapshotHead { tick: *tick, input_ack: subscriber.input_ack, x, y, dropped, blocks };
        out[begin..begin + size_of::<SnapshotHead>()].copy_from_slice(bytemuck::bytes_of(&head));
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
        let kept_squared = u64::from(self.radius_units + HYSTERESIS_UNITS).pow(2);
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
        let radius = self.radius_units;
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
                self.subscribed.push(Subscribed { distance_squared, cell, in_sync: false });
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
    fn a_cell_that_was_left_out_comes_whole_and_all_do_after_a_skipped_tick() {
        let (mut zone, ids) = row_of_cells(&[10, 10]);
        let mut view = View::new(metres(500));
        assert_eq!(serve(&mut zone, &mut view, HEAD_BYTES + full_bytes(10)).1, [(0, true)]);
        zone.walk(ids[0][0], Displacement { dx: 1, dy: 0 });
        zone.walk(ids[1][0], Displacement { dx: 1, dy: 0 });
        zone.step(&mut ());
        assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, false), (1, true)]);
        zone.step(&mut ());
        assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, false), (1, false)]);
        zone.step(&mut ());
        zone.step(&mut ());
        assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, true), (1, true)]);
        assert_eq!(serve(&mut zone, &mut view, 4096).1, [(0, true), (1, true)], "twice in a tick");
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
                let dense = blocks.iter().filter(|&&(cell, full)| full && (1..=2).contains(&cell));
                dense_at.extend(dense.map(|&(cell, _)| (tick, cell)));
            }
            if dense_moves {
                assert!(dense_at.len() > 5, "the nearer one comes again and again: {dense_at:?}");
            } else {
                assert!(matches!(dense_at[..], [(1..30, 1), (1..30, 2)]), "{dense_at:?}");
                assert_eq!((view.in_sync().count(), view.saved_bytes), (4, 0), "and then all is in sync");
            }
        }
    }
}
