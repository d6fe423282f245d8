//! A zone's tile map: which square metres can be walked on.
//!
//! The text form has one line a row and one character a tile: `.` grass, `,` road, `:` floor can be walked on;
//! `#` wall, `T` tree, `~` water cannot. The outermost tiles must all be blocked, so that nothing ever leaves
//! the map and no pass has to look for its edge.

use crate::units::{CELL_TILES, CellCoord, Pos};
use thiserror::Error;

/// Longest side of a map, in tiles (65.5 km): 2,048 cells of 32 m.
pub const MAP_TILES_MAX: u32 = 65_536;
/// Shortest side of a map, in tiles.
pub const MAP_TILES_MIN: u32 = 3;

/// Which tiles of a zone are blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileMap {
    width: u32,
    height: u32,
    words_per_row: usize,
    walls: Vec<u64>,
}

/// Why a map's text is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MapError {
    /// A side is too short or too long.
    #[error("the map is {width} x {height} tiles; each side must have {MAP_TILES_MIN} to {MAP_TILES_MAX}")]
    Size {
        /// Tiles from west to east.
        width: usize,
        /// Tiles from north to south.
        height: usize,
    },
    /// A row is not as long as the first.
    #[error("line {line} has {found} tiles; the first line has {expected}")]
    Ragged {
        /// Line number, from 1.
        line: usize,
        /// Its tiles.
        found: usize,
        /// The first line's tiles.
        expected: usize,
    },
    /// A character that stands for no tile.
    #[error("line {line}, column {column}: {found:?} is no tile; tiles are . , : (open) and # T ~ (blocked)")]
    Glyph {
        /// Line number, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The character.
        found: char,
    },
    /// An open tile on the outermost ring.
    #[error("line {line}, column {column}: the outermost tiles must be blocked")]
    OpenEdge {
        /// Line number, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

impl TileMap {
    /// An open field of `width` x `height` tiles inside a ring of walls.
    ///
    /// # Panics
    /// If a side is outside [`MAP_TILES_MIN`]..=[`MAP_TILES_MAX`].
    pub fn open(width: u32, height: u32) -> TileMap {
        let sides = MAP_TILES_MIN..=MAP_TILES_MAX;
        assert!(sides.contains(&width) && sides.contains(&height), "map of {width} x {height} tiles");
        let words_per_row = width.div_ceil(64) as usize;
        let mut map =
            TileMap { width, height, words_per_row, walls: vec![0; words_per_row * height as usize] };
        for x in 0..width {
            map.set_wall(x, 0);
            map.set_wall(x, height - 1);
        }
        for y in 0..height {
            map.set_wall(0, y);
            map.set_wall(width - 1, y);
        }
        map
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<TileMap, MapError> {
        let rows: Vec<&str> = text.lines().collect();
        let width = rows.first().map_or(0, |row| row.chars().count());
        let height = rows.len();
        let sides = MAP_TILES_MIN as usize..=MAP_TILES_MAX as usize;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(MapError::Size { width, height });
        }
        let words_per_row = width.div_ceil(64);
        let mut map = TileMap {
            width: width as u32,
            height: height as u32,
            words_per_row,
            walls: vec![0; words_per_row * height],
        };
        for (y, row) in rows.iter().enumerate() {
            let found = row.chars().count();
            if found != width {
                return Err(MapError::Ragged { line: y + 1, found, expected: width });
            }
            for (x, glyph) in row.chars().enumerate() {
                match glyph {
                    '#' | 'T' | '~' => map.set_wall(x as u32, y as u32),
                    '.' | ',' | ':' => {
                        if x == 0 || y == 0 || x == width - 1 || y == height - 1 {
                            return Err(MapError::OpenEdge { line: y + 1, column: x + 1 });
                        }
                    }
                    found => return Err(MapError::Glyph { line: y + 1, column: x + 1, found }),
                }
            }
        }
        Ok(map)
    }

    /// Blocks a tile.
    ///
    /// # Panics
    /// If the tile is outside the map.
    pub fn set_wall(&mut self, x: u32, y: u32) {
        assert!(x < self.width && y < self.height, "tile {x},{y} is outside the map");
        self.walls[y as usize * self.words_per_row + (x / 64) as usize] |= 1 << (x % 64);
    }

    /// Whether a tile is blocked; every tile outside the map is.
    #[inline]
    pub fn is_wall(&self, x: u32, y: u32) -> bool {
        if x >= self.width || y >= self.height {
            return true;
        }
        self.walls[y as usize * self.words_per_row + (x / 64) as usize] >> (x % 64) & 1 == 1
    }

    /// Whether a place can be stood on.
    #[inline]
    pub fn is_open(&self, pos: Pos) -> bool {
        let (x, y) = pos.tile();
        !self.is_wall(x, y)
    }

    /// Tiles from west to east.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Tiles from north to south.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Cells from west to east and from north to south; the last may reach past the map's edge.
    pub fn cells(&self) -> CellCoord {
        CellCoord { x: self.width.div_ceil(CELL_TILES) as u16, y: self.height.div_ceil(CELL_TILES) as u16 }
    }

    /// One bit a tile, row by row without gaps, least significant bit first, 1 = blocked.
    pub fn wall_bits(&self) -> Vec<u8> {
        let tiles = self.width as usize * self.height as usize;
        let mut bits = vec![0; tiles.div_ceil(8)];
        let all = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        for (tile, (x, y)) in all.enumerate() {
            bits[tile / 8] |= u8::from(self.is_wall(x, y)) << (tile % 8);
        }
        bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_tile_by_tile() {
        let map = TileMap::parse("#####\n#.,:#\n#T~.#\n#####\n").unwrap();
        assert_eq!((map.width(), map.height()), (5, 4));
        let open: Vec<(u32, u32)> =
            (0..4).flat_map(|y| (0..5).map(move |x| (x, y))).filter(|&(x, y)| !map.is_wall(x, y)).collect();
        assert_eq!(open, [(1, 1), (2, 1), (3, 1), (3, 2)]);
        assert!(map.is_wall(5, 1) && map.is_wall(1, 4) && map.is_wall(u32::MAX, u32::MAX));
        assert_eq!(map.wall_bits(), [0b0011_1111, 0b1101_1110, 0b0000_1111]);
    }

    #[test]
    fn faults_name_their_place() {
        for (text, fault) in [
            ("", MapError::Size { width: 0, height: 0 }),
            ("##\n##\n", MapError::Size { width: 2, height: 2 }),
            ("###\n##\n###\n", MapError::Ragged { line: 2, found: 2, expected: 3 }),
            ("###\n#x#\n###\n", MapError::Glyph { line: 2, column: 2, found: 'x' }),
            ("###\n#..\n###\n", MapError::OpenEdge { line: 2, column: 3 }),
        ] {
            assert_eq!(TileMap::parse(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn an_open_map_is_what_its_text_says() {
        assert_eq!(TileMap::parse("####\n#..#\n####\n").unwrap(), TileMap::open(4, 3));
        let wide = TileMap::open(130, 3);
        assert!(wide.is_wall(129, 1) && !wide.is_wall(128, 1) && !wide.is_wall(64, 1));
    }
}
