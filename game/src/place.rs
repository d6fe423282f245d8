//! Random places that can be stood on.

use vyuha_protocol::{Pos, TileMap};

use crate::random::Rng;

/// Tiles tried at random before the fallback is taken.
const TRIES_MAX: u32 = 64;

/// The centre of a random open tile. `fallback`, which must be open, is for maps with next to no open tiles.
pub fn random_open_place(map: &TileMap, fallback: Pos, rng: &mut Rng) -> Pos {
    debug_assert!(map.is_open(fallback));
    for _ in 0..TRIES_MAX {
        let (x, y) = (rng.below(map.width()), rng.below(map.height()));
        if !map.is_wall(x, y) {
            return Pos::tile_centre(x, y);
        }
    }
    fallback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_open_and_spread() {
        let mut map = TileMap::open(40, 40);
        (5..30).for_each(|n| map.set_wall(n, 20));
        let mut rng = Rng::new(1, 1);
        let fallback = Pos::tile_centre(1, 1);
        let places: Vec<Pos> = (0..200).map(|_| random_open_place(&map, fallback, &mut rng)).collect();
        assert!(places.iter().all(|&place| map.is_open(place)));
        assert!(
            places.iter().any(|place| place.tile().0 < 15) && places.iter().any(|place| place.tile().0 > 25)
        );
    }
}
