//! What can be seen from a tile where walls hide: which tiles some straight line joins to it that crosses no wall.
//!
//! From any point of the one tile to any point of the other: so whoever stands at a corner sees round it as far as
//! it could by a step within its tile, and what two may see of each other is the same both ways. This is J. Duerig's
//! "precise permissive field of view": a sweep outward over each quadrant, with the lines between which a free
//! view is left. It is in exact integers.

use vyuha_protocol::units::{CELL_TILES, CELL_UNITS, TILE_UNITS};
use vyuha_protocol::{CellCoord, Pos, TileMap};

use crate::interest::{HIDING_RADIUS_UNITS_MAX, HYSTERESIS_UNITS};

/// Bytes that the tiles seen from tiles may take in a zone; beyond that they are found anew.
const CACHE_BYTES: usize = 64 << 20;

/// Cells that are looked at from one, on each side.
const CELLS_AROUND: u32 = 5;
const CELLS_SIDE: u32 = 2 * CELLS_AROUND + 1;
const _: () = assert!(CELLS_SIDE * CELLS_SIDE <= u128::BITS);
const _: () = assert!(HIDING_RADIUS_UNITS_MAX + HYSTERESIS_UNITS <= CELLS_AROUND * CELL_UNITS);

/// What is seen from each tile that somebody stood on, found once.
#[derive(Default)]
pub(crate) struct Sight {
    /// How far from a tile others are looked at, in tiles.
    reach: u32,
    /// By tile of the map: one more than the number of its field; 0 if nobody looked from there yet.
    field_of: Vec<u32>,
    fields: Vec<u64>,
    /// By field: a bit for each cell around that some tile of is seen.
    cells: Vec<u128>,
    sweep: Sweep,
}

/// The tiles seen from one.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    bits: &'a [u64],
    cells: u128,
    reach: u32,
    tile: (u32, u32),
}

impl Sight {
    /// What is seen from the tile of a place, up to `reach` tiles away or farther.
    pub fn from(&mut self, map: &TileMap, place: Pos, reach: u32) -> Field<'_> {
        let tiles = map.width() as usize * map.height() as usize;
        if self.reach < reach {
            self.reach = reach;
            self.fields = Vec::with_capacity(CACHE_BYTES / 8);
            self.field_of = vec![0; tiles];
        }
        let words = field_words(self.reach);
        let (x, y) = place.tile();
        // Whoever stands outside the map is taken to stand at its edge, and sees nothing but that.
        let tile = (x.min(map.width() - 1), y.min(map.height() - 1));
        let at = tile.1 as usize * map.width() as usize + tile.0 as usize;
        if self.field_of[at] == 0 {
            if self.fields.len() + words > (CACHE_BYTES / 8).max(words) {
                self.fields.clear();
                self.cells.clear();
                self.field_of.fill(0);
            }
            let begin = self.fields.len();
            self.fields.resize(begin + words, 0);
            self.sweep.look(map, tile, self.reach, &mut self.fields[begin..]);
            self.cells.push(cells_seen(&self.fields[begin..], tile, self.reach));
            self.field_of[at] = (begin / words) as u32 + 1;
        }
        let field = (self.field_of[at] - 1) as usize;
        let bits = &self.fields[field * words..(field + 1) * words];
        Field { bits, cells: self.cells[field], reach: self.reach, tile }
    }
}

impl Field<'_> {
    /// Whether any tile of a cell may be seen.
    pub fn shows_any_of(&self, cell: CellCoord) -> bool {
        let x = u32::from(cell.x).wrapping_sub(self.tile.0 / CELL_TILES).wrapping_add(CELLS_AROUND);
        let y = u32::from(cell.y).wrapping_sub(self.tile.1 / CELL_TILES).wrapping_add(CELLS_AROUND);
        x < CELLS_SIDE && y < CELLS_SIDE && self.cells >> (y * CELLS_SIDE + x) & 1 == 1
    }

    /// Whether the tile of a place is seen and at most `within` tiles away.
    #[inline]
    pub fn shows(&self, place: Pos, within: u32) -> bool {
        let (x, y) = place.tile();
        let (east, south) = (x.wrapping_sub(self.tile.0) as i32, y.wrapping_sub(self.tile.1) as i32);
        let (wide, high) = (east.unsigned_abs(), south.unsigned_abs());
        let within = within.min(self.reach);
        let is_near = wide <= within && high <= within;
        let near = if is_near { (east, south) } else { (0, 0) };
        let bit = field_bit(self.reach, near.0, near.1);
        let distance_squared = wide.wrapping_mul(wide).wrapping_add(high.wrapping_mul(high));
        is_near && distance_squared <= within * within && self.bits[bit / 64] >> (bit % 64) & 1 == 1
    }
}

/// A bit for each cell around a tile of which some tile is seen from there.
fn cells_seen(bits: &[u64], tile: (u32, u32), reach: u32) -> u128 {
    let mut cells = 0;
    for (word, mut seen) in bits.iter().copied().enumerate() {
        while seen != 0 {
            let bit = word as u32 * 64 + seen.trailing_zeros();
            let (x, y) = (bit % (2 * reach + 1), bit / (2 * reach + 1));
            // How many cells the tile is from that of the tile looked from, counted from the farthest there are.
            let cell = |within: u32, at: u32| {
                (within % CELL_TILES + CELLS_AROUND * CELL_TILES + at - reach) / CELL_TILES
            };
            cells |= 1 << (cell(tile.1, y) * CELLS_SIDE + cell(tile.0, x));
            // On to the next cell of the row, or the next row.
            let next = (CELL_TILES - (tile.0 + CELL_TILES * CELLS_SIDE + x - reach) % CELL_TILES)
                .min(2 * reach + 1 - x);
            let rest = bit % 64 + next;
            seen = if rest < 64 { seen >> rest << rest } else { 0 };
        }
    }
    cells
}

fn field_words(reach: u32) -> usize {
    (2 * reach as usize + 1).pow(2).div_ceil(64)
}

fn field_bit(reach: u32, east: i32, south: i32) -> usize {
    let column = (east + reach as i32) as usize;
    (south + reach as i32) as usize * (2 * reach as usize + 1) + column
}

/// A corner of tiles, in tiles from the nearer corner of the tile that is looked from, outward.
type Corner = (i32, i32);

#[derive(Clone, Copy)]
struct Line {
    near: Corner,
    far: Corner,
}

impl Line {
    /// Positive for a corner on the far side of the line as seen from the x axis, zero on the line.
    fn side(&self, (x, y): Corner) -> i32 {
        let ((nx, ny), (fx, fy)) = (self.near, self.far);
        (fy - ny) * (fx - x) - (fx - nx) * (fy - y)
    }

    /// The first `y` from which on the corners `(sum - y, y)` are at least that much on the far side.
    fn first_beyond(&self, sum: i32, least: i32) -> i32 {
        // Along the corners the side changes evenly, never toward the near side: lines go outward.
        let ((nx, ny), (fx, fy)) = (self.near, self.far);
        let (at_zero, step) = (self.side((sum, 0)), fx + fy - nx - ny);
        match least - at_zero {
            ..=0 => 0,
            _ if step == 0 => i32::MAX,
            short => (short + step - 1) / step,
        }
    }
}

/// A free view outward: all lines between two. The corners of walls that bound it on each side are lists, of which
/// views that were split share the beginnings.
#[derive(Clone, Copy)]
struct Gap {
    /// Nearer the x axis.
    shallow: Line,
    /// Nearer the y axis.
    steep: Line,
    shallow_bumps: Option<u32>,
    steep_bumps: Option<u32>,
}

/// The sweep, with its working space.
#[derive(Default)]
struct Sweep {
    /// From the x axis to the y axis.
    gaps: Vec<Gap>,
    /// A corner and the one before it in its list.
    bumps: Vec<(Corner, Option<u32>)>,
}

impl Sweep {
    /// Sets the bits of the tiles seen.
    fn look(&mut self, map: &TileMap, from: (u32, u32), reach: u32, bits: &mut [u64]) {
        let (own, row) = (field_bit(reach, 0, 0) as i32, 2 * reach as i32 + 1);
        for (east, south) in [(1, 1), (-1, 1), (-1, -1), (1, -1)] {
            self.look_into(reach as i32, |x, y| {
                let (x, y) = (x * east, y * south);
                let bit = (own + y * row + x) as usize;
                bits[bit / 64] |= 1 << (bit % 64);
                map.is_wall(from.0.wrapping_add_signed(x), from.1.wrapping_add_signed(y))
            });
        }
    }

    /// Visits the tiles seen in a quadrant, diagonal by diagonal; `visit` says whether it is a wall.
    fn look_into(&mut self, reach: i32, mut visit: impl FnMut(i32, i32) -> bool) {
        visit(0, 0);
        self.bumps.clear();
        self.gaps.clear();
        self.gaps.push(Gap {
            shallow: Line { near: (0, 1), far: (reach, 0) },
            steep: Line { near: (1, 0), far: (0, reach) },
            shallow_bumps: None,
            steep_bumps: None,
        });
        for diagonal in 1.. {
            // Where the diagonal crosses the circle of the reach.
            let Some(half) = (2 * reach * reach - diagonal * diagonal).checked_isqrt() else { break };
            let last = i32::midpoint(diagonal, half).min(diagonal);
            let (mut at, mut y) = (0, diagonal - last);
            while let Some(gap) = self.gaps.get(at) {
                // A tile is in the gap from where its top left is above the shallow line to where its bottom right
                // is above the steep one.
                let begin = gap.shallow.first_beyond(diagonal + 1, 1) - 1;
                let end = gap.steep.first_beyond(diagonal + 1, 0);
                y = y.max(begin);
                while y < end && y <= last && !visit(diagonal - y, y) {
                    y += 1;
                }
                if y >= end {
                    at += 1;
                    continue;
                }
                if y > last {
                    break;
                }
                self.block(at, (diagonal - y, y));
                y += 1;
            }
        }
    }

    /// Takes from a gap what a wall leaves none of.
    fn block(&mut self, at: usize, (x, y): Corner) {
        let (top_left, bottom_right) = ((x, y + 1), (x + 1, y));
        let gap = self.gaps[at];
        match (gap.shallow.side(bottom_right) < 0, gap.steep.side(top_left) > 0) {
            (true, true) => {
                self.gaps.remove(at);
            }
            (true, false) => {
                self.raise_shallow(at, top_left);
                self.close(at);
            }
            (false, true) => {
                self.lower_steep(at, bottom_right);
                self.close(at);
            }
            (false, false) => {
                self.gaps.insert(at, gap);
                self.raise_shallow(at + 1, top_left);
                self.close(at + 1);
                self.lower_steep(at, bottom_right);
                self.close(at);
            }
        }
    }

    fn raise_shallow(&mut self, at: usize, corner: Corner) {
        let gap = &mut self.gaps[at];
        gap.shallow.far = corner;
        self.bumps.push((corner, gap.shallow_bumps));
        gap.shallow_bumps = Some(self.bumps.len() as u32 - 1);
        let mut next = gap.steep_bumps;
        while let Some(bump) = next {
            let (corner, before) = self.bumps[bump as usize];
            if gap.shallow.side(corner) < 0 {
                gap.shallow.near = corner;
            }
            next = before;
        }
    }

    fn lower_steep(&mut self, at: usize, corner: Corner) {
        let gap = &mut self.gaps[at];
        gap.steep.far = corner;
        self.bumps.push((corner, gap.steep_bumps));
        gap.steep_bumps = Some(self.bumps.len() as u32 - 1);
        let mut next = gap.shallow_bumps;
        while let Some(bump) = next {
            let (corner, before) = self.bumps[bump as usize];
            if gap.steep.side(corner) > 0 {
                gap.steep.near = corner;
            }
            next = before;
        }
    }

    /// Removes a gap of which nothing is left but a line past a corner of the tile that is looked from.
    fn close(&mut self, at: usize) {
        let Gap { shallow, steep, .. } = &self.gaps[at];
        let is_line = shallow.side(steep.near) == 0 && shallow.side(steep.far) == 0;
        if is_line && (shallow.side((0, 1)) == 0 || shallow.side((1, 0)) == 0) {
            self.gaps.remove(at);
        }
    }
}

/// Tiles that a distance reaches over, beyond the tile where it begins.
pub(crate) fn tiles_within(units: u32) -> u32 {
    units.div_ceil(TILE_UNITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sight::first_wall;
    use proptest::prelude::*;

    const SIDE: i64 = 12;

    /// A map from rows; whatever is outside of them is a wall.
    fn map_of(rows: &[&str]) -> TileMap {
        let width = rows[0].len();
        let edge = "#".repeat(width + 2);
        let inner: String = rows.iter().flat_map(|row| ["#", row, "#\n"]).collect();
        TileMap::parse(&format!("{edge}\n{inner}{edge}\n")).unwrap()
    }

    #[test]
    fn tiles_behind_walls_are_not_seen() {
        let map = map_of(&[
            "...........",
            "..#######..",
            "..#.....#..",
            "..#.....#..",
            "..###.###..",
            "...........",
            "...........",
        ]);
        let sees = |from: (u32, u32), to: (u32, u32)| {
            let mut sight = Sight::default();
            let field = sight.from(&map, Pos::tile_centre(from.0, from.1), 20);
            field.shows(Pos::tile_centre(to.0, to.1), 20)
        };
        for (from, to, expected) in [
            ((1, 1), (11, 1), true), // along the corridor
            ((1, 1), (6, 3), false), // into the room, through its wall
            ((1, 1), (1, 7), true),
            ((6, 7), (6, 3), true), // through the door
            ((6, 7), (5, 3), true), // aslant, as far as the door lets
            ((6, 7), (4, 3), false),
            ((6, 7), (4, 4), false),
            ((2, 6), (4, 3), false),
            ((1, 6), (11, 6), true),
            ((4, 3), (8, 4), true), // within the room
            ((6, 1), (6, 7), false),
        ] {
            assert_eq!(sees(from, to), expected, "{from:?} {to:?}");
            assert_eq!(sees(to, from), expected, "{to:?} {from:?}, the other way round");
        }
        let mut sight = Sight::default();
        let field = sight.from(&map, Pos::tile_centre(1, 1), 20);
        assert!(field.shows(Pos::tile_centre(1, 1), 0) && !field.shows(Pos::tile_centre(11, 1), 9));
    }

    #[test]
    fn fields_beyond_the_bound_are_found_anew() {
        let map = TileMap::open(300, 300);
        let mut sight = Sight::default();
        let fields = CACHE_BYTES / 8 / field_words(100);
        for at in 0..fields as u32 + 50 {
            let from = Pos::tile_centre(1 + at % 298, 1 + at / 298);
            assert!(sight.from(&map, from, 100).shows(from, 0));
            assert!(sight.fields.len() <= CACHE_BYTES / 8);
        }
    }

    /// Where a line through two corners lies in a closed square of one tile: fractions of the way between them, over
    /// a denominator common to all squares; for an open square the ends do not belong to it.
    fn span(a: (i64, i64), b: (i64, i64), tile: (i64, i64), open: bool) -> Option<(i64, i64)> {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let whole = dx.abs().max(1) * dy.abs().max(1);
        let (mut first, mut last) = (-1000 * whole, 1000 * whole);
        for (at, by, low) in [(a.0, dx, tile.0), (a.1, dy, tile.1)] {
            if by == 0 {
                if at < low || at > low + 1 || open && (at == low || at == low + 1) {
                    return None;
                }
            } else {
                let ends = [(low - at) * whole / by, (low + 1 - at) * whole / by];
                first = first.max(ends[0].min(ends[1]));
                last = last.min(ends[0].max(ends[1]));
            }
        }
        (first < last || !open && first == last).then_some((first, last))
    }

    /// Whether any line joins two tiles without crossing a wall. If one does, one does that passes two corners.
    fn joined(map: &TileMap, from: (i64, i64), to: (i64, i64)) -> bool {
        let walls: Vec<(i64, i64)> = (0..SIDE)
            .flat_map(|y| (0..SIDE).map(move |x| (x, y)))
            .filter(|&(x, y)| map.is_wall(x as u32, y as u32))
            .collect();
        let corners: Vec<(i64, i64)> = (0..=SIDE).flat_map(|y| (0..=SIDE).map(move |x| (x, y))).collect();
        corners.iter().any(|&a| {
            corners.iter().filter(|&&b| a < b).any(|&b| {
                let (Some(s), Some(t)) = (span(a, b, from, false), span(a, b, to, false)) else {
                    return false;
                };
                let (begin, end) = (s.1.min(t.1), s.0.max(t.0));
                walls.iter().all(|&wall| {
                    span(a, b, wall, true).is_none_or(|(first, last)| last <= begin || end <= first)
                })
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn a_tile_is_seen_if_and_only_if_a_line_joins_it(
            walls in prop::collection::vec((1u32..11, 1u32..11), 0..45),
            from in (1u32..11, 1u32..11),
            within in prop::collection::vec((0..TILE_UNITS / 2, 0..TILE_UNITS / 2), 30),
        ) {
            let mut map = TileMap::open(SIDE as u32, SIDE as u32);
            for (x, y) in walls {
                if (x, y) != from {
                    map.set_wall(x, y);
                }
            }
            let mut sight = Sight::default();
            let field = sight.from(&map, Pos::tile_centre(from.0, from.1), 14);
            let open = (1..11u32).flat_map(|y| (1..11u32).map(move |x| (x, y)));
            for to in open.filter(|&(x, y)| !map.is_wall(x, y)) {
                let seen = field.shows(Pos::tile_centre(to.0, to.1), 14);
                prop_assert!(!seen || field.shows_any_of(Pos::tile_centre(to.0, to.1).cell()));
                let wide = |tile: (u32, u32)| (i64::from(tile.0), i64::from(tile.1));
                if seen {
                    prop_assert!(joined(&map, wide(from), wide(to)), "{from:?} is shown {to:?}");
                }
                // By the rule that shots obey. Odd places are never on a border or a line through corners alone.
                let place = |(x, y): (u32, u32), (dx, dy): (u32, u32)| {
                    Pos { x: x * TILE_UNITS + 2 * dx + 1, y: y * TILE_UNITS + 2 * dy + 1 }
                };
                let mut lines = within.chunks_exact(2).map(|at| (place(from, at[0]), place(to, at[1])));
                let clear = lines.any(|(from, to)| first_wall(&map, from, to).is_none());
                prop_assert!(seen || !clear, "{from:?} is not shown {to:?}");
            }
        }
    }
}
