//! Quantised space. One unit is 1/2048 m; a tile is 1 m; a cell, the grain of storage and of interest, is
//! 32 m, so that a position within its cell is exactly 16 bits an axis.

/// Position units in a metre.
pub const UNITS_PER_METRE: u32 = 2048;
/// Position units along the side of a map tile (1 m).
pub const TILE_UNITS: u32 = UNITS_PER_METRE;
/// Position units along the side of a cell (32 m).
pub const CELL_UNITS: u32 = 1 << 16;
/// Map tiles along the side of a cell.
pub const CELL_TILES: u32 = CELL_UNITS / TILE_UNITS;
/// Largest displacement of one step, an axis: less than a tile, so that one look at the map decides a step.
pub const STEP_UNITS_MAX: u16 = (TILE_UNITS - 1) as u16;

const _: () = assert!(CELL_UNITS.is_multiple_of(TILE_UNITS));
const _: () = assert!(STEP_UNITS_MAX < i16::MAX as u16);

/// A place in a zone, in units of 1/2048 m from the zone's north-west corner; y grows southward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Pos {
    /// Units east of the western edge.
    pub x: u32,
    /// Units south of the northern edge.
    pub y: u32,
}

impl Pos {
    /// The centre of a tile.
    pub fn tile_centre(tile_x: u32, tile_y: u32) -> Pos {
        Pos { x: tile_x * TILE_UNITS + TILE_UNITS / 2, y: tile_y * TILE_UNITS + TILE_UNITS / 2 }
    }

    /// The tile that this place lies in, as (x, y).
    pub fn tile(self) -> (u32, u32) {
        (self.x / TILE_UNITS, self.y / TILE_UNITS)
    }

    /// The cell that this place lies in.
    pub fn cell(self) -> CellCoord {
        CellCoord { x: (self.x >> 16) as u16, y: (self.y >> 16) as u16 }
    }

    /// The place within its cell, x in the low half and y in the high half.
    pub fn local(self) -> u32 {
        (self.x & 0xffff) | (self.y << 16)
    }

    /// The place whose cell and cell-relative part are given: the inverse of [`Pos::cell`] and [`Pos::local`].
    pub fn from_cell(cell: CellCoord, local: u32) -> Pos {
        Pos { x: (cell.x as u32) << 16 | (local & 0xffff), y: (cell.y as u32) << 16 | (local >> 16) }
    }

    /// Square of the distance to another place, in units squared.
    pub fn distance_squared(self, other: Pos) -> u64 {
        let dx = i64::from(self.x) - i64::from(other.x);
        let dy = i64::from(self.y) - i64::from(other.y);
        (dx * dx + dy * dy) as u64
    }
}

/// A cell of a zone's grid, counted in cells from the north-west corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CellCoord {
    /// Cells east of the western edge.
    pub x: u16,
    /// Cells south of the northern edge.
    pub y: u16,
}

/// A step: how far to go in one tick, in units an axis, each within ±[`STEP_UNITS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Displacement {
    /// Units eastward.
    pub dx: i16,
    /// Units southward.
    pub dy: i16,
}

/// Units of a whole number of metres.
pub const fn metres(metres: u32) -> u32 {
    metres * UNITS_PER_METRE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cell_and_local_rebuild_the_place(x: u32, y: u32) {
            let pos = Pos { x, y };
            prop_assert_eq!(Pos::from_cell(pos.cell(), pos.local()), pos);
        }
    }
}
