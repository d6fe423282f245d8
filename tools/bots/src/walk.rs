//! Where a bot walks: to a place on open ground or to an item, straight, and elsewhere when something is in the way.

use rand::RngExt as _;
use rand_pcg::Pcg32;
use vyuha_net::client::Predictor;
use vyuha_protocol::motion::{HEADING_FULL, Heading};
use vyuha_protocol::units::TILE_UNITS;
use vyuha_protocol::{Pos, TileMap};

use crate::play::CROWD_RADIUS;

/// How far off the next place may be, in tiles an axis.
const STROLL_TILES: i32 = 48;
/// Places that are tried before the bot stands still for a step.
const TRIES: u32 = 16;
/// A place is reached within this distance.
const REACHED_UNITS: u64 = TILE_UNITS as u64;
/// Steps after which the way to a place is given up: 20 s at 30 Hz.
const PATIENCE_STEPS: u32 = 600;

/// A bot's way.
#[derive(Debug, Default)]
pub struct Walker {
    target: Option<Pos>,
    steps_left: u32,
}

impl Walker {
    /// Goes to a place.
    pub fn go_to(&mut self, target: Pos) {
        self.target = Some(target);
        self.steps_left = PATIENCE_STEPS;
    }

    /// Stays where a crowd gathers, or goes there.
    pub fn gather(&mut self, place: Pos, pos: Pos, rng: &mut Pcg32) {
        let radius = CROWD_RADIUS as i32;
        let is_near = |target: Pos| target.distance_squared(place) <= 2 * u64::from(CROWD_RADIUS).pow(2);
        let stays = self.target.is_some_and(|target| is_near(target) && !self.is_done(pos));
        if !stays {
            let mut axis = |at: u32| at.saturating_add_signed(rng.random_range(-radius..=radius));
            self.go_to(Pos { x: axis(place.x), y: axis(place.y) });
        }
    }

    fn is_done(&self, pos: Pos) -> bool {
        self.steps_left == 0
            || self.target.is_none_or(|target| pos.distance_squared(target) <= REACHED_UNITS * REACHED_UNITS)
    }

    /// Where to steer in this step; chooses another place when the old one is reached, too far or behind a wall.
    pub fn steer(&mut self, map: &TileMap, predictor: &Predictor, rng: &mut Pcg32) -> Heading {
        let pos = predictor.pos();
        self.steps_left = self.steps_left.saturating_sub(1);
        if let Some(target) = self.target.filter(|_| !self.is_done(pos)) {
            let heading = toward(pos, target);
            if predictor.look(heading).distance_squared(target) < pos.distance_squared(target) {
                return heading;
            }
        }
        match stroll(map, pos, rng) {
            Some(target) => {
                self.go_to(target);
                toward(pos, target)
            }
            None => Heading::default(),
        }
    }
}

/// An open tile not too far away.
fn stroll(map: &TileMap, pos: Pos, rng: &mut Pcg32) -> Option<Pos> {
    let (x, y) = pos.tile();
    (0..TRIES).find_map(|_| {
        let x = x.checked_add_signed(rng.random_range(-STROLL_TILES..=STROLL_TILES))?;
        let y = y.checked_add_signed(rng.random_range(-STROLL_TILES..=STROLL_TILES))?;
        (!map.is_wall(x, y)).then(|| Pos::tile_centre(x, y))
    })
}

/// Full deflection toward a place.
fn toward(from: Pos, to: Pos) -> Heading {
    let (dx, dy) = (f64::from(to.x) - f64::from(from.x), f64::from(to.y) - f64::from(from.y));
    let scale = f64::from(HEADING_FULL) / dx.hypot(dy).max(1.0);
    Heading { x: (dx * scale) as i8, y: (dy * scale) as i8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn headings_point_at_the_target() {
        let at = |x, y| Pos { x, y };
        for (to, x, y) in [
            (at(9000, 5000), 127, 0),
            (at(1000, 5000), -127, 0),
            (at(5000, 9000), 0, 127),
            (at(8000, 8000), 89, 89),
            (at(5000, 5000), 0, 0),
        ] {
            assert_eq!(toward(at(5000, 5000), to), Heading { x, y }, "{to:?}");
        }
    }

    #[test]
    fn a_walker_gets_about_and_does_not_stand_at_walls() {
        let mut map = TileMap::open(60, 60);
        (1..55).for_each(|y| map.set_wall(30, y));
        let map = Arc::new(map);
        let mut predictor = Predictor::new(map.clone(), 341, Pos::tile_centre(5, 5)).unwrap();
        let (mut walker, mut rng) = (Walker::default(), Pcg32::new(7, 1));
        walker.go_to(Pos::tile_centre(50, 5));
        let (mut tiles, mut stood) = (std::collections::BTreeSet::new(), 0);
        for _ in 0..3000 {
            let before = predictor.pos();
            let heading = walker.steer(&map, &predictor, &mut rng);
            let (sequence, pos) = predictor.step(heading).unwrap();
            predictor.reconcile(sequence, pos).unwrap();
            tiles.insert(pos.tile());
            stood += u32::from(pos == before);
        }
        assert!(tiles.len() > 150, "{} tiles", tiles.len());
        assert!(stood < 300, "stood {stood} of 3000 steps");
    }
}
