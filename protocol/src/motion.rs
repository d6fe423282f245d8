//! The law of motion. Server and client run this very code, so that a client can predict its own steps and
//! agree with the server to the bit: integers only, one step a call.

use crate::map::TileMap;
use crate::units::{Displacement, Pos, STEP_UNITS_MAX, TILE_UNITS};

/// Full deflection of a [`Heading`] axis.
pub const HEADING_FULL: i32 = 127;

/// Where a client steers: a vector in the unit disc, ±127 an axis. Longer vectors are shortened to full
/// deflection, so no client gains speed on a diagonal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Heading {
    /// Eastward.
    pub x: i8,
    /// Southward.
    pub y: i8,
}

/// The displacement of one step in a heading at a speed in units a tick, at most [`STEP_UNITS_MAX`].
///
/// Each axis is `heading * speed / max(|heading|, 127)` rounded toward zero, with an integer square root.
pub fn displacement(heading: Heading, speed: u16) -> Displacement {
    debug_assert!(speed <= STEP_UNITS_MAX);
    let (x, y) = (heading.x as i32, heading.y as i32);
    let length = ((x * x + y * y) as u32).isqrt() as i32;
    // The root is rounded down; one more keeps the result within the disc.
    let divisor = if length >= HEADING_FULL {
        length + i32::from(length * length < x * x + y * y)
    } else {
        HEADING_FULL
    };
    Displacement { dx: (x * speed as i32 / divisor) as i16, dy: (y * speed as i32 / divisor) as i16 }
}

/// One step from an open place: along x, then along y, each stopping at the edge of a blocked tile, so that a
/// walker slides along walls. The result is open whenever the start is.
#[inline]
pub fn step(map: &TileMap, from: Pos, by: Displacement) -> Pos {
    debug_assert!(by.dx.unsigned_abs() <= STEP_UNITS_MAX && by.dy.unsigned_abs() <= STEP_UNITS_MAX);
    let (tile_x, tile_y) = from.tile();
    let mut x = from.x.wrapping_add_signed(by.dx as i32);
    if x / TILE_UNITS != tile_x && map.is_wall(x / TILE_UNITS, tile_y) {
        x = if by.dx > 0 { tile_x * TILE_UNITS + (TILE_UNITS - 1) } else { tile_x * TILE_UNITS };
    }
    let mut y = from.y.wrapping_add_signed(by.dy as i32);
    if y / TILE_UNITS != tile_y && map.is_wall(x / TILE_UNITS, y / TILE_UNITS) {
        y = if by.dy > 0 { tile_y * TILE_UNITS + (TILE_UNITS - 1) } else { tile_y * TILE_UNITS };
    }
    Pos { x, y }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(map: &str, from: (u32, u32), by: (i16, i16), to: (u32, u32)) {
        let map = TileMap::parse(map).unwrap();
        let got = step(&map, Pos { x: from.0, y: from.1 }, Displacement { dx: by.0, dy: by.1 });
        assert_eq!(got, Pos { x: to.0, y: to.1 });
    }

    #[test]
    fn steps_stop_and_slide_at_walls() {
        let room = "#####\n#..##\n#...#\n#####\n";
        check(room, (2100, 2100), (500, 0), (2600, 2100)); // free
        check(room, (6000, 2100), (500, 0), (6143, 2100)); // into the wall east of (2,1)
        check(room, (2050, 2100), (-500, 300), (2048, 2400)); // slides south along the western wall
        check(room, (6000, 4000), (500, 500), (6143, 4500)); // x is stopped before y moves into the lower row
        check(room, (6000, 4200), (500, -500), (6500, 4096)); // x free in the lower row, then y is stopped
        check(room, (2048, 2048), (-2047, -2047), (2048, 2048)); // a corner
    }

    #[test]
    fn headings_are_confined_to_the_disc() {
        for (heading, speed, dx, dy) in [
            ((127, 0), 341, 341, 0),
            ((-127, 0), 341, -341, 0),
            ((-128, 0), 341, -341, 0),
            ((127, 127), 341, 240, 240),
            ((0, 64), 341, 0, 171),
            ((0, 0), 341, 0, 0),
            ((127, 0), 0, 0, 0),
        ] {
            let got = displacement(Heading { x: heading.0, y: heading.1 }, speed);
            assert_eq!(got, Displacement { dx, dy }, "{heading:?} at {speed}");
        }
    }

    fn maze() -> impl Strategy<Value = TileMap> {
        proptest::collection::vec((1u32..11, 1u32..11), 0..40).prop_map(|walls| {
            let mut map = TileMap::open(12, 12);
            for (x, y) in walls {
                map.set_wall(x, y);
            }
            map
        })
    }

    proptest! {
        #[test]
        fn no_walk_ever_ends_in_a_wall(map in maze(), start in (1u32..11, 1u32..11), steps in
            proptest::collection::vec((-2047i16..=2047, -2047i16..=2047), 1..60)) {
            let mut pos = Pos::tile_centre(start.0, start.1);
            prop_assume!(map.is_open(pos));
            for (dx, dy) in steps {
                let next = step(&map, pos, Displacement { dx, dy });
                prop_assert!(map.is_open(next), "{pos:?} -> {next:?}");
                prop_assert!(next.x.abs_diff(pos.x) <= dx.unsigned_abs() as u32);
                prop_assert!(next.y.abs_diff(pos.y) <= dy.unsigned_abs() as u32);
                pos = next;
            }
        }

        #[test]
        fn no_heading_outruns_the_speed(x: i8, y: i8, speed in 0u16..=STEP_UNITS_MAX) {
            let d = displacement(Heading { x, y }, speed);
            let length_squared = i64::from(d.dx).pow(2) + i64::from(d.dy).pow(2);
            prop_assert!(length_squared <= i64::from(speed).pow(2));
        }
    }
}
