//! From files to checked content.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use toml::Table;
use vyuha_core::{GROUP_MEMBERS_MAX, HIDING_RADIUS_UNITS_MAX, HYSTERESIS_UNITS, Scope};
use vyuha_protocol::units::{STEP_UNITS_MAX, UNITS_PER_METRE, metres};
use vyuha_protocol::{Pos, TileMap, ZoneId};

use super::faults::{ContentErrors, ContentFault};
use super::items::{ITEMS, ItemContent, Items, read_items};
use super::reader::{Faults, Reader};
use super::{
    Content, GROUND_ITEMS_MAX, Gate, GroundSpawn, NPC_COUNT_MAX, NpcContent, NpcSpawn, SPAWN_STROLL_M_MAX,
    STACK_MAX, ZoneContent, ZoneKind, units_per_step,
};

const WORLD: &str = "world.toml";
const NPCS: &str = "npcs.toml";

/// Speeds that content may name, in centimetres a second. What a step may be is checked besides.
const SPEED_CM_S: std::ops::RangeInclusive<i64> = 1..=10_000;

/// Reads and checks the content whose files `read` hands out.
pub fn load(read: &dyn Fn(&str) -> Result<String, String>) -> Result<Content, ContentErrors> {
    let mut files = Files { read, texts: BTreeMap::new() };
    let mut found = Vec::new();

    let Items { list: items, carry_g_max } = read_items(&mut files, &mut found);
    let npcs = read_npcs(&mut files, &mut found);
    let mut zones = read_world(&mut files, &items, &npcs, &mut found);
    zones.sort_by_key(|zone| zone.id);

    if found.is_empty() {
        let items = items.into_iter().filter_map(|item| item.sound).collect();
        let npcs = npcs.into_iter().filter_map(|npc| npc.sound).collect();
        Ok(Content { zones, items, carry_g_max, npcs, hash: files.hash() })
    } else {
        Err(ContentErrors(found))
    }
}

/// An entry that others may name, though it be faulty.
pub(super) struct Named<T> {
    pub key: String,
    pub sound: Option<T>,
}

/// The entry of a key and its place in the list.
pub(super) fn named<'a, T>(list: &'a [Named<T>], key: &str) -> Option<(usize, &'a Named<T>)> {
    list.iter().enumerate().find(|(_, entry)| entry.key == key)
}

pub(super) struct Files<'a> {
    read: &'a dyn Fn(&str) -> Result<String, String>,
    texts: BTreeMap<String, String>,
}

impl Files<'_> {
    fn text(&mut self, path: &str) -> Result<&str, String> {
        if !self.texts.contains_key(path) {
            let text = (self.read)(path)?;
            self.texts.insert(path.to_owned(), text);
        }
        Ok(&self.texts[path])
    }

    /// A TOML file's fields; none, with the fault noted, if it cannot be read.
    pub fn table(&mut self, path: &str, faults: &mut Faults<'_>) -> Option<Table> {
        match self.text(path).and_then(|text| text.parse().map_err(|fault| format!("is no TOML: {fault}"))) {
            Ok(table) => Some(table),
            Err(problem) => {
                faults.note("", problem);
                None
            }
        }
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (path, text) in &self.texts {
            hash.update((path.len() as u64).to_le_bytes());
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(path);
            hash.update(text);
        }
        hash.finalize().into()
    }
}

/// Notes each value that stands more than once.
pub(super) struct Unique<T> {
    seen: Vec<T>,
    name: &'static str,
}

impl<T: PartialEq + std::fmt::Display> Unique<T> {
    pub fn new(name: &'static str) -> Unique<T> {
        Unique { seen: Vec::new(), name }
    }

    pub fn check(&mut self, entry: &mut Reader<'_, '_>, value: T) {
        if self.seen.contains(&value) {
            entry.fault(self.name, format!("{value} is used twice"));
        }
        self.seen.push(value);
    }
}

fn read_npcs(files: &mut Files<'_>, found: &mut Vec<ContentFault>) -> Vec<Named<NpcContent>> {
    let mut faults = Faults::new(NPCS, found);
    let Some(table) = files.table(NPCS, &mut faults) else { return Vec::new() };
    let mut root = Reader::new(String::new(), table, &mut faults);
    let (mut ids, mut keys) = (Unique::new("id"), Unique::new("key"));
    let mut npcs = root.list("npcs", |entry| {
        let mut key = String::new();
        let sound = entry.sound(|entry| {
            key = entry.text("key");
            keys.check(entry, key.clone());
            let npc = NpcContent {
                id: entry.integer("id", 1..=i64::from(i16::MAX)),
                key: key.clone(),
                name: entry.text("name"),
                walk_speed_cm_s: entry.integer("walk_speed_cm_s", SPEED_CM_S),
                wander_radius: metres(entry.integer("wander_radius_m", 1..=100)),
                sight_radius: metres(entry.integer("sight_radius_m", 0..=50)),
                chase_speed_cm_s: entry.integer("chase_speed_cm_s", SPEED_CM_S),
                chase_time_s: entry.integer("chase_time_s", 1..=60),
                landmark: entry.has("landmark") && entry.flag("landmark"),
            };
            ids.check(entry, npc.id);
            npc
        });
        Named { key, sound }
    });
    npcs.sort_by_key(|npc| npc.sound.as_ref().map(|npc| npc.id));
    root.finish();
    npcs
}

fn read_world(
    files: &mut Files<'_>,
    items: &[Named<ItemContent>],
    npcs: &[Named<NpcContent>],
    found: &mut Vec<ContentFault>,
) -> Vec<ZoneContent> {
    let mut map_faults = Vec::new();
    let mut faults = Faults::new(WORLD, found);
    let Some(table) = files.table(WORLD, &mut faults) else { return Vec::new() };
    let mut root = Reader::new(String::new(), table, &mut faults);

    let mut keys = Unique::new("key");
    let kinds = root.list("zone_kinds", |entry| {
        let key = entry.text("key");
        keys.check(entry, key.clone());
        let sound = entry.sound(|entry| read_zone_kind(entry, key.clone()));
        Named { key, sound }
    });
    let parts = Parts { kinds, items, npcs };
    let mut ids = Unique::new("id");
    let mut starts = 0;
    let zones = root.list("zones", |entry| {
        let id = ZoneId(entry.integer("id", 1..=i64::from(u16::MAX)));
        ids.check(entry, id);
        let start = entry.flag("start");
        starts += u32::from(start);
        read_zone(entry, id, start, &parts, files, &mut map_faults)
    });
    let zones_listed = zones.len();
    if starts == 0 {
        root.fault("zones", "at least one zone must have start = true");
    }
    let zones: Vec<ZoneContent> = zones.into_iter().flatten().collect();
    // Where a zone is missing for a fault of its own, gates to it are not to blame.
    if zones.len() == zones_listed {
        check_gates(&mut root, &zones);
    }
    root.finish();
    found.extend(map_faults);
    zones
}

/// What zones refer to.
struct Parts<'a> {
    kinds: Vec<Named<ZoneKind>>,
    items: &'a [Named<ItemContent>],
    npcs: &'a [Named<NpcContent>],
}

fn read_zone_kind(entry: &mut Reader<'_, '_>, key: String) -> ZoneKind {
    let tick_hz = entry.integer("tick_hz", 1..=120);
    let player_speed_cm_s = entry.integer("player_speed_cm_s", SPEED_CM_S);
    ZoneKind {
        key,
        tick_hz,
        player_speed: step_units(entry, "player_speed_cm_s", player_speed_cm_s, tick_hz),
        view: read_scope(entry),
        hearing_radius: metres(entry.integer("hearing_radius_m", 1..=512)),
        reach: metres(entry.integer("reach_cm", 1..=5000)) / 100,
        ground_items_max: entry.integer("ground_items_max", 0..=i64::from(GROUND_ITEMS_MAX)),
        litter_interval_s: entry.integer("litter_interval_s", 1..=86_400),
    }
}

fn read_scope(entry: &mut Reader<'_, '_>) -> Scope {
    let radius_units = metres(entry.integer("view_radius_m", 8..=512));
    // No cell farther than this is told of at all.
    let end_units = radius_units + HYSTERESIS_UNITS;
    let mut rate = |name, without| {
        if entry.has(name) { metres(entry.integer(name, 0..=512)) } else { without }
    };
    let half_rate_units = rate("view_half_rate_m", end_units);
    let quarter_rate_units = rate("view_quarter_rate_m", end_units.max(half_rate_units));
    if quarter_rate_units < half_rate_units {
        entry.fault("view_quarter_rate_m", "must not be less than view_half_rate_m");
    }
    let walls_hide = entry.has("walls_hide") && entry.flag("walls_hide");
    if walls_hide && radius_units > HIDING_RADIUS_UNITS_MAX {
        let most = HIDING_RADIUS_UNITS_MAX / UNITS_PER_METRE;
        entry.fault("view_radius_m", format!("where walls_hide it is at most {most}"));
    }
    if walls_hide && half_rate_units < end_units {
        entry.fault("view_half_rate_m", "where walls_hide all that is seen is sent every tick");
    }
    Scope { radius_units, half_rate_units, quarter_rate_units, walls_hide }
}

fn read_zone(
    entry: &mut Reader<'_, '_>,
    id: ZoneId,
    start: bool,
    parts: &Parts<'_>,
    files: &mut Files<'_>,
    map_faults: &mut Vec<ContentFault>,
) -> Option<ZoneContent> {
    let name = entry.text("name");
    let kind_key = entry.text("kind");
    let kind = named(&parts.kinds, &kind_key);
    if kind.is_none() {
        entry.fault("kind", format!("no zone kind has the key {kind_key:?}"));
    }
    let kind = kind.and_then(|(_, kind)| kind.sound.as_ref());
    let map_path = entry.text("map");
    let map = read_map(files, &map_path, map_faults);
    let (east, south) = entry.tile("spawn");
    let spawn_stroll_m = entry.integer("spawn_stroll_m", 0..=i64::from(SPAWN_STROLL_M_MAX));
    let begin = entry.tiles("begin");
    let banks = entry.tiles("banks");
    let all = [("spawn", (east, south))].into_iter().chain(begin.iter().map(|tile| ("begin", *tile)));
    let all = all.chain(banks.iter().map(|tile| ("banks", *tile)));
    for (field, (east, south)) in all {
        if let Some((map, _)) = &map
            && map.is_wall(east, south)
        {
            entry.fault(field, format!("tile [{east}, {south}] of {map_path} is blocked or outside"));
        }
    }
    let npcs: Vec<NpcSpawn> =
        entry.list("npcs", |entry| read_npc_spawn(entry, kind, parts.npcs)).into_iter().flatten().collect();
    let landmarks = |spawn: &&NpcSpawn| parts.npcs[spawn.npc].sound.as_ref().is_some_and(|npc| npc.landmark);
    let landmarks: u64 = npcs.iter().filter(landmarks).map(|spawn| u64::from(spawn.count)).sum();
    if landmarks > GROUP_MEMBERS_MAX as u64 {
        entry.fault("npcs", format!("{landmarks} landmarks; a zone has at most {GROUP_MEMBERS_MAX}"));
    }
    let ground: Vec<GroundSpawn> =
        entry.list("ground", |entry| read_ground_spawn(entry, parts.items)).into_iter().flatten().collect();
    let gates = if entry.has("gates") { entry.list("gates", read_gate) } else { Vec::new() };
    let heaps: u64 = ground.iter().map(|spawn| u64::from(spawn.number)).sum();
    if let Some(kind) = kind
        && heaps > u64::from(kind.ground_items_max)
    {
        let bound = kind.ground_items_max;
        entry.fault("ground", format!("{heaps} heaps are over the kind's ground_items_max of {bound}"));
    }
    let (kind, (map, tiles)) = (kind?.clone(), map?);
    let map = Arc::new(map);
    let spawn = Pos::tile_centre(east, south);
    let centres = |tiles: Vec<(u32, u32)>| {
        tiles.into_iter().map(|(east, south)| Pos::tile_centre(east, south)).collect::<Vec<Pos>>()
    };
    let (begins, banks) = (centres(begin), centres(banks));
    Some(ZoneContent {
        id,
        name,
        kind,
        map,
        tiles,
        spawn,
        begins,
        spawn_stroll_m,
        start,
        npcs,
        ground,
        gates,
        banks,
    })
}

fn read_gate(entry: &mut Reader<'_, '_>) -> Gate {
    let at = entry.tile("at");
    let to_zone = ZoneId(entry.integer("to_zone", 1..=i64::from(u16::MAX)));
    let (east, south) = entry.tile("to");
    Gate { at, to_zone, to: Pos::tile_centre(east.min(u32::from(u16::MAX)), south.min(u32::from(u16::MAX))) }
}

/// Notes each gate that cannot be reached or leads where nobody can stand.
fn check_gates(root: &mut Reader<'_, '_>, zones: &[ZoneContent]) {
    for zone in zones {
        for (nth, gate) in zone.gates.iter().enumerate() {
            let field = format!("zones: gates[{nth}] of {}", zone.name);
            let (east, south) = gate.at;
            if zone.map.is_wall(east, south) {
                root.fault(&field, format!("its tile [{east}, {south}] is blocked or outside"));
            }
            let Some(other) = zones.iter().find(|other| other.id == gate.to_zone) else {
                root.fault(&field, format!("there is no zone {}", gate.to_zone));
                continue;
            };
            let to = gate.to.tile();
            if other.map.is_wall(to.0, to.1) || other.gates.iter().any(|other| other.at == to) {
                let problem = "is blocked, outside, or itself a gate";
                root.fault(
                    &field,
                    format!("where it leads, [{}, {}] of {}, {problem}", to.0, to.1, other.name),
                );
            }
        }
    }
}

fn read_map(
    files: &mut Files<'_>,
    path: &str,
    found: &mut Vec<ContentFault>,
) -> Option<(TileMap, Arc<[u8]>)> {
    if path.is_empty() {
        return None;
    }
    let inside =
        std::path::Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let text = if inside { files.text(path) } else { Err("lies outside the content's folder".to_owned()) };
    let read = text.and_then(|text| match TileMap::parse(text) {
        Ok(map) => Ok((map, text.lines().flat_map(str::bytes).collect())),
        Err(fault) => Err(fault.to_string()),
    });
    match read {
        Ok(map) => Some(map),
        Err(problem) => {
            Faults::new(path, found).note("", problem);
            None
        }
    }
}

fn read_npc_spawn(
    entry: &mut Reader<'_, '_>,
    zone_kind: Option<&ZoneKind>,
    npcs: &[Named<NpcContent>],
) -> Option<NpcSpawn> {
    let key = entry.text("kind");
    let count = entry.integer("count", 1..=i64::from(NPC_COUNT_MAX));
    let Some((at, npc)) = named(npcs, &key) else {
        entry.fault("kind", format!("{NPCS} has no {key:?}"));
        return None;
    };
    if let (Some(zone_kind), Some(npc)) = (zone_kind, &npc.sound) {
        step_units(entry, "kind", npc.walk_speed_cm_s, zone_kind.tick_hz);
        step_units(entry, "kind", npc.chase_speed_cm_s, zone_kind.tick_hz);
    }
    Some(NpcSpawn { npc: at, count })
}

fn read_ground_spawn(entry: &mut Reader<'_, '_>, items: &[Named<ItemContent>]) -> Option<GroundSpawn> {
    let key = entry.text("item");
    let count = entry.integer("count", 1..=i64::from(STACK_MAX));
    let number = entry.integer("number", 1..=i64::from(GROUND_ITEMS_MAX));
    let Some((_, item)) = named(items, &key) else {
        entry.fault("item", format!("{ITEMS} has no {key:?}"));
        return None;
    };
    let item = item.sound.as_ref()?;
    if count > item.stack_max {
        let bound = item.stack_max;
        entry.fault("count", format!("{count} are over the stack_max of {key:?}, {bound}"));
    }
    Some(GroundSpawn { kind: item.id, count, number })
}

/// The units a step of a speed, which must be at least 1 and less than a tile.
fn step_units(entry: &mut Reader<'_, '_>, field: &str, speed_cm_s: u32, tick_hz: u16) -> u16 {
    let units = units_per_step(speed_cm_s, tick_hz);
    if units == 0 || units > u32::from(STEP_UNITS_MAX) {
        entry.fault(
            field,
            format!(
                "{speed_cm_s} cm/s at {tick_hz} Hz are {units} units a step, not from 1 to {STEP_UNITS_MAX}"
            ),
        );
    }
    units.min(u32::from(STEP_UNITS_MAX)) as u16
}
