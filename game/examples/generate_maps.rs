//! Draws the three maps of the example world into a folder:
//!
//! ```text
//! cargo run -p vyuha-game --example generate_maps -- content/zones
//! ```
//!
//! The same seed gives the same maps on every machine. They are kept in the repository; run this only to change
//! them. Every open tile can be reached from the zone's spawn point: what cannot is filled in.

use std::path::Path;

use vyuha_game::Rng;

const SEED: u64 = 1859;
const SIDE: i32 = 384;

const GRASS: u8 = b'.';
const ROAD: u8 = b',';
const FLOOR: u8 = b':';
const WALL: u8 = b'#';
const TREE: u8 = b'T';
const WATER: u8 = b'~';

type Point = (i32, i32);

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "content/zones".to_owned());
    for (name, map) in [("nadipura", river_town()), ("aranya", forest()), ("patala", halls())] {
        let path = Path::new(&folder).join(format!("{name}.map"));
        std::fs::write(&path, map.text())?;
        println!("{}: {} of {} tiles open", path.display(), map.open_tiles(), SIDE * SIDE);
    }
    Ok(())
}

/// A village on a river: bridges, houses, a manor, orchards, and woods around.
fn river_town() -> Map {
    let mut map = Map::new(GRASS);
    let mut rng = Rng::new(SEED, 1);
    let centre = (230, 192);
    map.river(0, 7, |y| {
        138.0 + 60.0 * (noise(1, y, 0.0, 70.0) - 0.5) + 24.0 * (noise(2, y, 9.0, 23.0) - 0.5)
    });
    map.blob(3, (300, 292), 21, WATER);

    for (from, to) in [
        ((6, 186), centre),
        (centre, (377, 200)),
        (centre, (236, 6)),
        (centre, (222, 377)),
        ((40, 70), (236, 92)),
        ((34, 316), (224, 300)),
        ((236, 92), (330, 84)),
        ((50, 186), (40, 70)),
        ((60, 190), (34, 316)),
    ] {
        map.winding_path(&mut rng, from, to, 1, ROAD);
    }
    map.disc(centre, 12, ROAD);
    map.disc(centre, 2, WATER);

    manor(&mut map, (300, 120), (46, 38));
    manor(&mut map, (52, 120), (30, 26));
    for (corner, size) in [
        ((262, 214), (40, 27)),
        ((74, 214), (43, 30)),
        ((150, 230), (40, 24)),
        ((262, 24), (48, 30)),
        ((60, 18), (40, 30)),
    ] {
        orchard(&mut map, corner, size);
    }
    houses(&mut map, &mut rng, centre, 110, 40);
    houses(&mut map, &mut rng, (90, 200), 100, 16);
    houses(&mut map, &mut rng, (236, 92), 80, 12);

    map.woods(|x, y, edge| {
        let wild = noise(7, x, y, 34.0) + 0.3 * noise(8, x, y, 7.0);
        wild + 0.8 * (1.0 - edge / 34.0).max(0.0) > 0.83
    });
    map.border(TREE, 4);
    map.close_unreachable(centre_beside(centre), TREE);
    map
}

/// A deep forest: glades joined by paths, a lake and its stream, a stone circle, huts.
fn forest() -> Map {
    let mut map = Map::new(GRASS);
    let mut rng = Rng::new(SEED, 2);
    let heart = (196, 204);
    map.blob(11, (112, 128), 40, WATER);
    map.river(128, 3, |y| 112.0 + 80.0 * (noise(12, y, 3.0, 60.0) - 0.5) * ((y - 128.0) / 60.0).min(1.0));

    let mut glades = vec![(heart, 19), ((300, 84), 15), ((70, 300), 14), ((318, 300), 17)];
    while glades.len() < 22 {
        let at = (rng.between(24, SIDE - 25), rng.between(24, SIDE - 25));
        let clear = glades.iter().all(|&(other, radius)| distance(at, other) > (radius + 26) as f32);
        if clear && map.at(at) == GRASS {
            glades.push((at, rng.between(7, 13)));
        }
    }
    map.woods(|x, y, edge| {
        let dense = noise(13, x, y, 70.0);
        let clump = noise(14, x, y, 7.5);
        clump + 0.55 * dense + (1.0 - edge / 14.0).max(0.0) > 0.77
    });
    for &(at, radius) in &glades {
        map.ragged_clearing(15, at, radius);
    }
    for (joined, &(at, _)) in glades.iter().enumerate().skip(1) {
        let nearest = glades[..joined].iter().min_by_key(|(other, _)| distance(at, *other) as i32);
        map.winding_path(&mut rng, at, nearest.expect("the first glade comes before").0, 1, ROAD);
    }
    for (from, to) in [(1, 3), (2, 3), (4, 9), (5, 12), (7, 15), (8, 19)] {
        map.winding_path(&mut rng, glades[from].0, glades[to].0, 1, ROAD);
    }
    for turn in 0..12 {
        let (dx, dy) = [(11, 0), (10, 5), (5, 10), (0, 11), (-5, 10), (-10, 5)][turn % 6];
        let sign = if turn < 6 { 1 } else { -1 };
        map.fill((300 + dx * sign, 84 + dy * sign), (2, 2), WALL);
    }
    map.disc((300, 84), 3, FLOOR);
    for &(at, radius) in glades.iter().skip(4).step_by(3) {
        house(&mut map, (at.0 - 4, at.1 - 4), (8, 7), (at.0, at.1 + radius));
    }
    map.border(TREE, 5);
    map.close_unreachable(heart, TREE);
    map
}

/// Sunken halls: a temple in the middle, chambers of every form around it, caves where the roof has fallen in.
fn halls() -> Map {
    const PITCH: i32 = 54;
    const ROOMS: i32 = 7;
    let mut map = Map::new(WALL);
    let mut rng = Rng::new(SEED, 3);
    let centre = (SIDE / 2, SIDE / 2);
    let middle = |column: i32, row: i32| (PITCH / 2 + 3 + column * PITCH, PITCH / 2 + 3 + row * PITCH);

    caves(&mut map);
    for row in 0..ROOMS {
        for column in 0..ROOMS {
            let at = middle(column, row);
            // Every other link eastward and southward would leave islands; a comb of full rows does not.
            if column + 1 < ROOMS && (row % 2 == 0 || rng.below(10) < 6) {
                map.corridor(at, middle(column + 1, row), rng.between(1, 2));
            }
            if row + 1 < ROOMS && (column % 3 == 0 || rng.below(10) < 5) {
                map.corridor(at, middle(column, row + 1), rng.between(1, 2));
            }
        }
    }
    for row in 0..ROOMS {
        for column in 0..ROOMS {
            let at = middle(column, row);
            if distance(at, centre) > 70.0 {
                chamber(&mut map, &mut rng, at);
            }
        }
    }
    temple(&mut map, centre);
    map.border(WALL, 3);
    map.close_unreachable((centre.0, centre.1 + 14), WALL);
    map
}

fn chamber(map: &mut Map, rng: &mut Rng, at: Point) {
    let (half_width, half_height) = (rng.between(9, 22), rng.between(9, 22));
    let corner = (at.0 - half_width, at.1 - half_height);
    let size = (half_width * 2 + 1, half_height * 2 + 1);
    match rng.below(6) {
        0 => {
            let radius = half_width.min(half_height) + 3;
            map.disc(at, radius, FLOOR);
            map.disc(at, radius / 3, WATER);
        }
        1 => {
            map.fill(corner, (size.0, half_height), FLOOR);
            map.fill((at.0 - half_width / 2, corner.1), (half_width, size.1), FLOOR);
        }
        2 => {
            map.fill(corner, size, FLOOR);
            map.fill((corner.0 + 4, corner.1 + 4), (size.0 - 8, size.1 - 8), WALL);
            map.fill((corner.0 + 6, corner.1 + 6), (size.0 - 12, size.1 - 12), FLOOR);
            map.fill((at.0 - 1, corner.1), (3, size.1), FLOOR);
            map.fill((corner.0, at.1 - 1), (size.0, 3), FLOOR);
        }
        3 => {
            map.fill(corner, size, FLOOR);
            map.fill((corner.0 + 3, at.1 - 2), (half_width - 5, 5), WATER);
            map.fill((at.0 + 3, at.1 - 2), (half_width - 5, 5), WATER);
        }
        _ => {
            map.fill(corner, size, FLOOR);
            for y in (3..size.1 - 3).step_by(6) {
                for x in (3..size.0 - 3).step_by(6) {
                    map.fill((corner.0 + x, corner.1 + y), (2, 2), WALL);
                }
            }
        }
    }
}

fn temple(map: &mut Map, centre: Point) {
    let (x, y) = centre;
    map.fill((x - 62, y - 50), (125, 101), WALL);
    map.fill((x - 59, y - 47), (119, 95), FLOOR);
    map.fill((x - 38, y - 31), (77, 63), WALL);
    map.fill((x - 35, y - 28), (71, 57), FLOOR);
    for step in (-54..=54).step_by(6) {
        for side in [-40i32, 39] {
            map.fill((x + step, y + side), (2, 2), WALL);
        }
    }
    for step in (-24..=23).step_by(6) {
        for side in [-22i32, -14, 13, 21] {
            map.fill((x + side, y + step), (2, 2), WALL);
        }
    }
    map.disc(centre, 9, WATER);
    map.disc(centre, 5, FLOOR);
    map.fill((x - 1, y - 10), (3, 21), ROAD);
    map.fill((x - 62, y - 2), (27, 5), ROAD);
    map.fill((x + 36, y - 2), (27, 5), ROAD);
    map.fill((x - 2, y - 50), (5, 22), ROAD);
    map.fill((x - 2, y + 29), (5, 22), ROAD);
}

/// Cellular automaton: noise, then each tile becomes what most of its neighbours are.
fn caves(map: &mut Map) {
    let cave = |x: i32, y: i32| noise(21, x as f32, y as f32, 90.0) > 0.6;
    for y in 0..SIDE {
        for x in 0..SIDE {
            if cave(x, y) && lattice(22, x, y) > 0.44 {
                map.set((x, y), GRASS);
            }
        }
    }
    for _ in 0..5 {
        let before = map.tiles.clone();
        for y in 1..SIDE - 1 {
            for x in 1..SIDE - 1 {
                let walls = (0..9)
                    .filter(|n| before[((y + n / 3 - 1) * SIDE + x + n % 3 - 1) as usize] == WALL)
                    .count();
                map.set((x, y), if walls >= 5 { WALL } else { GRASS });
            }
        }
    }
    for y in 0..SIDE {
        for x in 0..SIDE {
            if map.at((x, y)) == GRASS && noise(23, x as f32, y as f32, 22.0) > 0.72 {
                map.set((x, y), WATER);
            }
        }
    }
}

/// A walled court with a hall in it, its gate to the south.
fn manor(map: &mut Map, centre: Point, size: Point) {
    let (x, y) = (centre.0 - size.0 / 2, centre.1 - size.1 / 2);
    map.fill((x, y), size, WALL);
    map.fill((x + 2, y + 2), (size.0 - 4, size.1 - 4), GRASS);
    for corner in
        [(x - 2, y - 2), (x + size.0 - 4, y - 2), (x - 2, y + size.1 - 4), (x + size.0 - 4, y + size.1 - 4)]
    {
        map.fill(corner, (6, 6), WALL);
    }
    let hall = (x + 7, y + 6);
    let hall_size = (size.0 - 14, size.1 / 2 - 3);
    map.fill(hall, hall_size, WALL);
    map.fill((hall.0 + 1, hall.1 + 1), (hall_size.0 - 2, hall_size.1 - 2), FLOOR);
    for step in (4..hall_size.0 - 4).step_by(5) {
        map.set((hall.0 + step, hall.1 + hall_size.1 / 2), WALL);
    }
    let bottom = y + size.1;
    map.fill((centre.0 - 1, hall.1 + hall_size.1 - 1), (3, 1), FLOOR);
    map.fill((centre.0 - 1, hall.1 + hall_size.1), (3, bottom - hall.1 - hall_size.1), ROAD);
    map.path_to_road((centre.0, bottom), (0, 1), 60);
}

fn orchard(map: &mut Map, corner: Point, size: Point) {
    if !map.all(corner, size, GRASS) {
        return;
    }
    for x in 0..size.0 {
        for y in 0..size.1 {
            let hedge = x == 0 || y == 0 || x == size.0 - 1 || y == size.1 - 1;
            let gate = (x - size.0 / 2).abs() < 3 || (y - size.1 / 2).abs() < 3;
            let row = x % 4 == 2 && y % 4 == 2;
            if hedge && !gate || row {
                map.set((corner.0 + x, corner.1 + y), TREE);
            }
        }
    }
}

/// Up to `count` houses near a place, none on what was drawn before.
fn houses(map: &mut Map, rng: &mut Rng, near: Point, spread: i32, count: usize) {
    let mut built = 0;
    for _ in 0..count * 60 {
        let size = (rng.between(7, 13), rng.between(7, 11));
        let corner = (
            near.0 + i32::midpoint(rng.between(-spread, spread), rng.between(-spread, spread)),
            near.1 + i32::midpoint(rng.between(-spread, spread), rng.between(-spread, spread)),
        );
        let free = map.all((corner.0 - 3, corner.1 - 3), (size.0 + 6, size.1 + 6), GRASS);
        let Some(road) = map.nearest_road((corner.0 + size.0 / 2, corner.1 + size.1 / 2), 22) else {
            continue;
        };
        if free {
            house(map, corner, size, road);
            built += 1;
            if built == count {
                return;
            }
        }
    }
}

/// One house whose door looks toward a place.
fn house(map: &mut Map, corner: Point, size: Point, toward: Point) {
    let (x, y) = corner;
    map.fill(corner, size, WALL);
    map.fill((x + 1, y + 1), (size.0 - 2, size.1 - 2), FLOOR);
    if size.0 >= 10 {
        map.fill((x + size.0 / 2 + 2, y), (1, size.1), WALL);
        map.fill((x + size.0 / 2 + 2, y + 3), (1, 2), FLOOR);
    }
    let (dx, dy) = (toward.0 - (x + size.0 / 2), toward.1 - (y + size.1 / 2));
    let (door, out): (Point, Point) = if dx.abs() > dy.abs() {
        ((if dx > 0 { x + size.0 - 1 } else { x }, y + size.1 / 2), (dx.signum(), 0))
    } else {
        ((x + size.0 / 2, if dy > 0 { y + size.1 - 1 } else { y }), (0, if dy >= 0 { 1 } else { -1 }))
    };
    let side = (out.1.abs(), out.0.abs());
    map.set(door, FLOOR);
    map.set((door.0 + side.0, door.1 + side.1), FLOOR);
    map.path_to_road((door.0 + out.0, door.1 + out.1), out, 24);
}

/// Where the centre is a fountain, the place beside it.
fn centre_beside(centre: Point) -> Point {
    (centre.0, centre.1 + 6)
}

struct Map {
    tiles: Vec<u8>,
}

impl Map {
    fn new(tile: u8) -> Map {
        Map { tiles: vec![tile; (SIDE * SIDE) as usize] }
    }

    fn at(&self, (x, y): Point) -> u8 {
        let inside = (0..SIDE).contains(&x) && (0..SIDE).contains(&y);
        if inside { self.tiles[(y * SIDE + x) as usize] } else { WALL }
    }

    fn set(&mut self, (x, y): Point, tile: u8) {
        if (0..SIDE).contains(&x) && (0..SIDE).contains(&y) {
            self.tiles[(y * SIDE + x) as usize] = tile;
        }
    }

    fn all(&self, corner: Point, size: Point, tile: u8) -> bool {
        points(corner, size).all(|at| self.at(at) == tile)
    }

    fn fill(&mut self, corner: Point, size: Point, tile: u8) {
        for at in points(corner, size) {
            self.set(at, tile);
        }
    }

    fn disc(&mut self, centre: Point, radius: i32, tile: u8) {
        for at in points((centre.0 - radius, centre.1 - radius), (radius * 2 + 1, radius * 2 + 1)) {
            if distance(at, centre) <= radius as f32 + 0.4 {
                self.set(at, tile);
            }
        }
    }

    /// A disc with a shore that wanders in and out.
    fn blob(&mut self, seed: u32, centre: Point, radius: i32, tile: u8) {
        for at in points((centre.0 - radius * 2, centre.1 - radius * 2), (radius * 4, radius * 4)) {
            let shore =
                radius as f32 * (0.55 + 0.9 * noise(seed, at.0 as f32, at.1 as f32, radius as f32 * 0.7));
            if distance(at, centre) <= shore {
                self.set(at, tile);
            }
        }
    }

    /// The road tile nearest to a place, if one is within a distance.
    fn nearest_road(&self, near: Point, within: i32) -> Option<Point> {
        points((near.0 - within, near.1 - within), (within * 2 + 1, within * 2 + 1))
            .filter(|&at| self.at(at) == ROAD)
            .min_by_key(|&at| (at.0 - near.0).pow(2) + (at.1 - near.1).pow(2))
    }

    /// Takes the trees, and only them, from a ragged disc.
    fn ragged_clearing(&mut self, seed: u32, centre: Point, radius: i32) {
        for at in points((centre.0 - radius * 2, centre.1 - radius * 2), (radius * 4, radius * 4)) {
            let shore = radius as f32 * (0.7 + 0.6 * noise(seed, at.0 as f32, at.1 as f32, 9.0));
            if distance(at, centre) <= shore && self.at(at) == TREE {
                self.set(at, GRASS);
            }
        }
    }

    /// Water from a row to the southern edge, its middle given row by row.
    fn river(&mut self, from: i32, width: i32, middle: impl Fn(f32) -> f32) {
        for y in from..SIDE {
            let (here, next) = (middle(y as f32), middle(y as f32 + 1.0));
            let half = width as f32 / 2.0 + 2.0 * noise(31, y as f32, 5.0, 30.0) + (next - here).abs();
            for x in 0..SIDE {
                if (x as f32 - here).abs() <= half {
                    self.set((x, y), WATER);
                }
            }
        }
    }

    /// A path that strays a little on its way; over water it is a bridge and runs straight.
    fn winding_path(&mut self, rng: &mut Rng, from: Point, to: Point, half_width: i32, tile: u8) {
        let (mut x, mut y) = (from.0 as f32, from.1 as f32);
        let stray = rng.below(1000);
        loop {
            let (dx, dy) = (to.0 as f32 - x, to.1 as f32 - y);
            let left = (dx * dx + dy * dy).sqrt();
            let at = (x as i32, y as i32);
            self.fill((at.0 - half_width, at.1 - half_width), (half_width * 2 + 1, half_width * 2 + 1), tile);
            if left < 1.0 {
                return;
            }
            let over_water =
                self.at((at.0 + (3.0 * dx / left) as i32, at.1 + (3.0 * dy / left) as i32)) == WATER;
            let sway = if over_water {
                0.0
            } else {
                (noise(40 + stray, x, y, 17.0) - 0.5) * 2.6 * (left / 20.0).min(1.0)
            };
            let (ex, ey) = (dx / left - sway * dy / left, dy / left + sway * dx / left);
            let length = (ex * ex + ey * ey).sqrt();
            (x, y) = (x + ex / length, y + ey / length);
        }
    }

    /// A straight way from a door until it meets a road.
    fn path_to_road(&mut self, from: Point, out: Point, length_max: i32) {
        let step = |n: i32| (from.0 + out.0 * n, from.1 + out.1 * n);
        let Some(length) = (0..length_max).find(|&n| self.at(step(n)) == ROAD) else {
            self.set(from, ROAD);
            return;
        };
        if (0..length).all(|n| matches!(self.at(step(n)), GRASS | ROAD)) {
            (0..length).for_each(|n| self.set(step(n), ROAD));
        } else {
            self.set(from, ROAD);
        }
    }

    /// A passage along x, then along y.
    fn corridor(&mut self, from: Point, to: Point, half_width: i32) {
        let (left, top) = (from.0.min(to.0), from.1.min(to.1));
        let size = ((from.0 - to.0).abs() + half_width * 2 + 1, (from.1 - to.1).abs() + half_width * 2 + 1);
        self.fill((left - half_width, top - half_width), size, ROAD);
    }

    /// Trees on grass wherever the rule says so, but not within two tiles of anything built.
    fn woods(&mut self, wooded: impl Fn(f32, f32, f32) -> bool) {
        let before = Map { tiles: self.tiles.clone() };
        for y in 0..SIDE {
            for x in 0..SIDE {
                let edge = x.min(y).min(SIDE - 1 - x).min(SIDE - 1 - y) as f32;
                let near_built =
                    points((x - 2, y - 2), (5, 5)).any(|at| matches!(before.at(at), ROAD | FLOOR | WALL));
                if before.at((x, y)) == GRASS && !near_built && wooded(x as f32, y as f32, edge) {
                    self.set((x, y), TREE);
                }
            }
        }
    }

    /// A closed rim, a little ragged inside.
    fn border(&mut self, tile: u8, depth: i32) {
        for at in points((0, 0), (SIDE, SIDE)) {
            let edge = at.0.min(at.1).min(SIDE - 1 - at.0).min(SIDE - 1 - at.1);
            let ragged = 1 + (noise(51, at.0 as f32, at.1 as f32, 6.0) * depth as f32) as i32;
            if edge < ragged.max(1) && (self.at(at) != WATER || edge == 0) {
                self.set(at, if self.at(at) == WATER { WATER } else { tile });
            }
        }
    }

    /// Blocks every open tile that cannot be walked to.
    fn close_unreachable(&mut self, from: Point, tile: u8) {
        let open = |tile: u8| matches!(tile, GRASS | ROAD | FLOOR);
        assert!(open(self.at(from)), "the spawn point {from:?} is blocked");
        let mut reached = vec![false; self.tiles.len()];
        let mut edge = vec![from];
        while let Some((x, y)) = edge.pop() {
            let seen = &mut reached[(y * SIDE + x) as usize];
            if open(self.at((x, y))) && !std::mem::replace(seen, true) {
                edge.extend([(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]);
            }
        }
        for (at, reached) in self.tiles.iter_mut().zip(reached) {
            if open(*at) && !reached {
                *at = tile;
            }
        }
    }

    fn open_tiles(&self) -> usize {
        self.tiles.iter().filter(|tile| matches!(**tile, GRASS | ROAD | FLOOR)).count()
    }

    fn text(&self) -> String {
        let rows = self.tiles.chunks_exact(SIDE as usize);
        rows.map(|row| row.iter().map(|&tile| tile as char).chain(['\n']).collect::<String>()).collect()
    }
}

fn points(corner: Point, size: Point) -> impl Iterator<Item = Point> {
    (0..size.1).flat_map(move |y| (0..size.0).map(move |x| (corner.0 + x, corner.1 + y)))
}

fn distance(a: Point, b: Point) -> f32 {
    let (dx, dy) = ((a.0 - b.0) as f32, (a.1 - b.1) as f32);
    (dx * dx + dy * dy).sqrt()
}

/// A number from 0 to 1 for each point of a lattice.
fn lattice(seed: u32, x: i32, y: i32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x9e37_79b1)
        ^ (y as u32).wrapping_mul(0x85eb_ca77)
        ^ seed.wrapping_mul(0xc2b2_ae3d);
    h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ (h >> 12)).wrapping_mul(0x297a_2d39);
    ((h ^ (h >> 15)) >> 8) as f32 / (1 << 24) as f32
}

/// Value noise in three octaves, 0 to 1, with features of about `scale` tiles. Only + - x /: the same everywhere.
fn noise(seed: u32, x: f32, y: f32, scale: f32) -> f32 {
    let octave = |octave: u32, scale: f32| {
        let (x, y) = (x / scale + 100.0, y / scale + 100.0);
        let (cell_x, cell_y) = (x as i32, y as i32);
        let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
        let (u, v) = (smooth(x - cell_x as f32), smooth(y - cell_y as f32));
        let corner = |dx, dy| lattice(seed * 8 + octave, cell_x + dx, cell_y + dy);
        let north = corner(0, 0) * (1.0 - u) + corner(1, 0) * u;
        let south = corner(0, 1) * (1.0 - u) + corner(1, 1) * u;
        north * (1.0 - v) + south * v
    };
    (octave(0, scale) * 4.0 + octave(1, scale / 2.0) * 2.0 + octave(2, scale / 4.0)) / 7.0
}
