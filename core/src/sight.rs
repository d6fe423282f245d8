//! Lines over the map: whether walls stand between two places, in exact integers.
//!
//! A line touches a tile if any of its points lies in it; a tile has its western and northern edges and not the
//! others. So a line sees the same both ways, and one that runs along an edge touches the tiles of one side.

use std::cmp::Ordering;

use vyuha_protocol::units::TILE_UNITS;
use vyuha_protocol::{Pos, TileMap};

use crate::integrate::is_open_between;
use crate::zone::Zone;

/// Where along a line something is: `part / whole` of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fraction {
    pub part: u64,
    pub whole: u64,
}

impl Zone {
    /// By request, whether no wall touches the line from the first place to the second, both included. Over open
    /// country it costs a look at the cells between them, among walls one at every tile.
    pub fn lines_of_sight(&self, lines: &[(Pos, Pos)], out: &mut Vec<bool>) {
        out.clear();
        out.extend(lines.iter().map(|&(from, to)| {
            is_open_between(&self.walled, self.grid, from, to) || first_wall(&self.map, from, to).is_none()
        }));
    }
}

/// How far along a line its first blocked tile begins.
pub(crate) fn first_wall(map: &TileMap, from: Pos, to: Pos) -> Option<Fraction> {
    let mut x = Axis::new(from.x, to.x);
    let mut y = Axis::new(from.y, to.y);
    if map.is_wall(x.tile, y.tile) {
        return Some(Fraction { part: 0, whole: 1 });
    }
    loop {
        let order = match (x.is_due(), y.is_due()) {
            (false, false) => return None,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // Of two that are due at the same place, the one that goes up enters its tile there, and the one that
            // goes down leaves its own only behind it.
            (true, true) => {
                (x.border * y.length).cmp(&(y.border * x.length)).then(y.back.cmp(&x.back).reverse())
            }
        };
        let at = if order == Ordering::Greater {
            Fraction { part: y.border, whole: y.length }
        } else {
            Fraction { part: x.border, whole: x.length }
        };
        if order != Ordering::Greater {
            x.cross();
        }
        if order != Ordering::Less {
            y.cross();
        }
        if map.is_wall(x.tile, y.tile) {
            return Some(at);
        }
    }
}

/// One axis of a line that walks from tile to tile.
struct Axis {
    tile: u32,
    /// How far the line goes, and how far from its beginning the next tile's border is.
    length: u64,
    border: u64,
    /// Whether it goes down.
    back: bool,
}

impl Axis {
    fn new(from: u32, to: u32) -> Axis {
        let back = to < from;
        let within = from % TILE_UNITS;
        let border = u64::from(if back { within } else { TILE_UNITS - within });
        Axis { tile: from / TILE_UNITS, length: u64::from(from.abs_diff(to)), border, back }
    }

    /// Whether the line comes to the next tile.
    fn is_due(&self) -> bool {
        if self.back { self.border < self.length } else { self.border <= self.length }
    }

    fn cross(&mut self) {
        self.tile = if self.back { self.tile - 1 } else { self.tile + 1 };
        self.border += u64::from(TILE_UNITS);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use proptest::prelude::*;

    /// Whether a line touches a tile, by the part of the line that lies within the tile's bounds on each axis:
    /// between two fractions, each of which belongs to it or not.
    fn touches(from: Pos, to: Pos, tile: (u32, u32)) -> bool {
        // Fractions are brought to one denominator; twice that leaves room for "just after" and "just before".
        let (dx, dy) = (i128::from(to.x) - i128::from(from.x), i128::from(to.y) - i128::from(from.y));
        let whole = 2 * dx.abs().max(1) * dy.abs().max(1);
        let (mut first, mut last) = (0, whole);
        for (at, by, tile) in [(from.x, dx, tile.0), (from.y, dy, tile.1)] {
            let low = i128::from(tile * TILE_UNITS) - i128::from(at);
            let high = low + i128::from(TILE_UNITS);
            if by == 0 {
                if low > 0 || high <= 0 {
                    return false;
                }
            } else {
                let scale = whole / by.abs();
                let (begin, end) =
                    if by > 0 { (low * scale, high * scale - 1) } else { (-high * scale + 1, -low * scale) };
                (first, last) = (first.max(begin), last.min(end));
            }
        }
        first <= last
    }

    fn place() -> impl Strategy<Value = Pos> {
        // Many on the borders and corners of tiles, where the rules differ.
        let axis = || {
            prop_oneof![
                0u32..12 * TILE_UNITS,
                (0u32..12).prop_map(|tile| tile * TILE_UNITS),
                (0u32..12).prop_map(|tile| tile * TILE_UNITS + TILE_UNITS - 1),
                (0u32..48).prop_map(|quarter| quarter * TILE_UNITS / 4),
            ]
        };
        (axis(), axis()).prop_map(|(x, y)| Pos { x, y })
    }

    #[test]
    fn lines_at_the_corners() {
        let mut map = TileMap::open(6, 6);
        map.set_wall(2, 3);
        map.set_wall(3, 2);
        let corner = |x, y| Pos { x: x * TILE_UNITS, y: y * TILE_UNITS };
        for (from, to, sees) in [
            ((2, 2), (4, 4), true),  // between two walls that touch at the corner, downward
            ((4, 4), (2, 2), true),  // and back
            ((2, 4), (4, 2), false), // across them: the corner belongs to the tile south-east of it, then a wall
            ((3, 1), (3, 5), false), // along the edge, on the side of the wall
            ((1, 3), (5, 3), false),
            ((1, 1), (1, 1), true),
            ((1, 1), (0, 1), false),
        ] {
            let mut out = Vec::new();
            Zone::new(Arc::new(map.clone()))
                .lines_of_sight(&[(corner(from.0, from.1), corner(to.0, to.1))], &mut out);
            assert_eq!(out, [sees], "{from:?} to {to:?}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_blocked_by_the_first_wall_that_it_touches(from in place(), to in place(), walls in
            prop::collection::vec((1u32..11, 1u32..11), 0..25)) {
            let mut map = TileMap::open(12, 12);
            for (x, y) in walls {
                map.set_wall(x, y);
            }
            let tiles = (0..12).flat_map(|y| (0..12).map(move |x| (x, y)));
            let blocked = tiles.filter(|&(x, y)| map.is_wall(x, y)).any(|tile| touches(from, to, tile));
            let mut out = Vec::new();
            Zone::new(Arc::new(map.clone())).lines_of_sight(&[(from, to), (to, from)], &mut out);
            prop_assert_eq!(&out, &[!blocked, !blocked]);
            if let Some(at) = first_wall(&map, from, to) {
                // Up to where the wall begins the line is free; a unit further it is not.
                let along = |from: u32, to: u32, part: u64| {
                    let by = (i64::from(to) - i64::from(from)) * part as i64 / at.whole as i64;
                    from.wrapping_add_signed(by as i32)
                };
                prop_assert!(at.part <= at.whole);
                let end = Pos { x: along(from.x, to.x, at.part), y: along(from.y, to.y, at.part) };
                let near = (end.x.abs_diff(from.x)).max(end.y.abs_diff(from.y));
                let touched = (0..12u32).flat_map(|y| (0..12u32).map(move |x| (x, y)))
                    .filter(|&(x, y)| map.is_wall(x, y) && touches(from, to, (x, y)))
                    .map(|(x, y)| {
                        let axis = |at: u32, tile: u32| {
                            let low = tile * TILE_UNITS;
                            low.saturating_sub(at).max(at.saturating_sub(low + TILE_UNITS - 1))
                        };
                        axis(from.x, x).max(axis(from.y, y))
                    })
                    .min();
                prop_assert!(touched.unwrap() <= near + 1, "{touched:?} {near}");
            }
        }
    }
}
