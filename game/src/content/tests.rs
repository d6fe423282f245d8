use std::collections::BTreeSet;

use vyuha_core::Scope;
use vyuha_protocol::units::metres;

use super::*;

const ITEMS: &str = r#"
[[items]]
id = 1
key = "coin"
name = "Coin"
stack_max = 100
"#;

const NPCS: &str = r#"
[[npcs]]
id = 1
key = "dog"
name = "Dog"
walk_speed_cm_s = 100
wander_radius_m = 5
sight_radius_m = 4
chase_speed_cm_s = 300
chase_time_s = 2
"#;

const WORLD: &str = r#"
[[zone_kinds]]
key = "open"
tick_hz = 30
player_speed_cm_s = 500
view_radius_m = 48
view_half_rate_m = 12
hearing_radius_m = 40
reach_cm = 250
ground_items_max = 20
litter_interval_s = 5

[[zones]]
id = 7
name = "Yard"
kind = "open"
map = "yard.map"
spawn = [2, 1]
spawn_stroll_m = 5
start = true
npcs = [{ kind = "dog", count = 2 }]
ground = [{ item = "coin", count = 3, number = 4 }]
"#;

const YARD: &str = "#####\n#...#\n#.#.#\n#####\n";

/// Replaces a piece of one file and lists the faults as they are printed.
fn check(file: &str, from: &str, to: &str, expected: &[&str]) {
    check_all(&[(file, from, to)], expected);
}

fn check_all(changes: &[(&str, &str, &str)], expected: &[&str]) {
    let files = [("items.toml", ITEMS), ("npcs.toml", NPCS), ("world.toml", WORLD), ("yard.map", YARD)];
    let mut changed = files.map(|(name, text)| (name, text.to_owned()));
    for (file, from, to) in changes {
        let (_, text) = changed.iter_mut().find(|(name, _)| name == file).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        *text = text.replacen(from, to, 1);
    }
    let texts: Vec<(&str, &str)> = changed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let faults = Content::from_texts(&texts).err().map_or(Vec::new(), |errors| errors.0);
    let got: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(got, expected, "{changes:?}");
}

#[test]
fn gates_lead_from_open_ground_to_open_ground() {
    let gates = |gates: &str, expected: &[&str]| {
        check("world.toml", "npcs = [{", &format!("gates = [{gates}]\nnpcs = [{{"), expected);
    };
    gates("{ at = [1, 1], to_zone = 7, to = [3, 2] }", &[]);
    let of = |problem: &str| format!("world.toml: zones: gates[0] of Yard: {problem}");
    gates("{ at = [0, 1], to_zone = 7, to = [3, 2] }", &[&of("its tile [0, 1] is blocked or outside")]);
    gates("{ at = [1, 1], to_zone = 8, to = [3, 2] }", &[&of("there is no zone 8")]);
    for to in ["2, 2", "9, 2", "1, 1"] {
        let problem = format!("where it leads, [{to}] of Yard, is blocked, outside, or itself a gate");
        gates(&format!("{{ at = [1, 1], to_zone = 7, to = [{to}] }}"), &[&of(&problem)]);
    }
}

#[test]
fn every_fault_names_its_file_and_field() {
    check("items.toml", "id = 1", "id = 0", &["items.toml: items[0].id: 0 is not from 1 to 32767"]);
    check(
        "items.toml",
        "id = 1",
        "id = 1.5",
        &["items.toml: items[0].id: expected an integer from 1 to 32767, found float 1.5"],
    );
    check(
        "items.toml",
        "name = \"Coin\"",
        "",
        &["items.toml: items[0].name: expected a text that is not empty, found nothing"],
    );
    check(
        "items.toml",
        "name = ",
        "nmae = \"\"\nname = ",
        &["items.toml: items[0].nmae: there is no such field"],
    );
    check(
        "items.toml",
        "stack_max = 100",
        "stack_max = 100\n[extra]",
        &["items.toml: extra: there is no such field"],
    );
    check(
        "npcs.toml",
        "sight_radius_m = 4",
        "sight_radius_m = 51",
        &["npcs.toml: npcs[0].sight_radius_m: 51 is not from 0 to 50"],
    );
    check(
        "npcs.toml",
        "chase_speed_cm_s = 300",
        "chase_speed_cm_s = 9000",
        &["world.toml: zones[0].npcs[0].kind: 9000 cm/s at 30 Hz are 6144 units a step, not from 1 to 2047"],
    );
    check(
        "world.toml",
        "player_speed_cm_s = 500",
        "player_speed_cm_s = 3000",
        &[
            "world.toml: zone_kinds[0].player_speed_cm_s: 3000 cm/s at 30 Hz are 2048 units a step, not from 1 to 2047",
        ],
    );
    check(
        "world.toml",
        "view_half_rate_m = 12",
        "view_half_rate_m = 12\nview_quarter_rate_m = 11",
        &["world.toml: zone_kinds[0].view_quarter_rate_m: must not be less than view_half_rate_m"],
    );
    check(
        "world.toml",
        "view_half_rate_m = 12",
        "view_half_rate_m = 12\nwalls_hide = true",
        &["world.toml: zone_kinds[0].view_half_rate_m: where walls_hide all that is seen is sent every tick"],
    );
    check(
        "world.toml",
        "view_radius_m = 48\nview_half_rate_m = 12",
        "view_radius_m = 129\nwalls_hide = true",
        &["world.toml: zone_kinds[0].view_radius_m: where walls_hide it is at most 128"],
    );
    let crowd = NPCS.replace("dog", "idol").replace("id = 1", "id = 2") + "landmark = true";
    check_all(
        &[
            ("npcs.toml", NPCS, &(NPCS.to_owned() + &crowd)),
            ("world.toml", "\"dog\", count = 2", "\"idol\", count = 101"),
        ],
        &["world.toml: zones[0].npcs: 101 landmarks; a zone has at most 100"],
    );
    check(
        "npcs.toml",
        "sight_radius_m = 4",
        "sight_radius_m = 4\nlandmark = 1",
        &["npcs.toml: npcs[0].landmark: expected true or false, found integer 1"],
    );
    check(
        "world.toml",
        "view_half_rate_m = 12",
        "view_half_rate_m = 513",
        &["world.toml: zone_kinds[0].view_half_rate_m: 513 is not from 0 to 512"],
    );
    check(
        "world.toml",
        "kind = \"open\"",
        "kind = \"shut\"",
        &["world.toml: zones[0].kind: no zone kind has the key \"shut\""],
    );
    check(
        "world.toml",
        "kind = \"dog\"",
        "kind = \"cat\"",
        &["world.toml: zones[0].npcs[0].kind: npcs.toml has no \"cat\""],
    );
    check(
        "world.toml",
        "item = \"coin\"",
        "item = \"gem\"",
        &["world.toml: zones[0].ground[0].item: items.toml has no \"gem\""],
    );
    check(
        "world.toml",
        "count = 3, number = 4",
        "count = 101, number = 21",
        &[
            "world.toml: zones[0].ground[0].count: 101 are over the stack_max of \"coin\", 100",
            "world.toml: zones[0].ground: 21 heaps are over the kind's ground_items_max of 20",
        ],
    );
    check(
        "world.toml",
        "spawn = [2, 1]",
        "spawn = [2, 2]",
        &["world.toml: zones[0].spawn: tile [2, 2] of yard.map is blocked or outside"],
    );
    check(
        "world.toml",
        "spawn = [2, 1]",
        "spawn = [2, -1]",
        &[
            "world.toml: zones[0].spawn: expected two tile coordinates [east, south], found array [2, -1]",
            "world.toml: zones[0].spawn: tile [0, 0] of yard.map is blocked or outside",
        ],
    );
    check(
        "world.toml",
        "spawn = [2, 1]",
        "spawn = [2, 1]\nbegin = [[2, 1], [2, 2], [99, 1]]",
        &[
            "world.toml: zones[0].begin: tile [2, 2] of yard.map is blocked or outside",
            "world.toml: zones[0].begin: tile [99, 1] of yard.map is blocked or outside",
        ],
    );
    check(
        "world.toml",
        "spawn = [2, 1]",
        "spawn = [2, 1]\nbegin = [[2, 1], 2]",
        &[
            "world.toml: zones[0].begin: expected a list of tiles [[east, south], ...], found array [[2, 1], 2]",
        ],
    );
    check(
        "world.toml",
        "start = true",
        "start = false",
        &["world.toml: zones: at least one zone must have start = true"],
    );
    check(
        "world.toml",
        "\"yard.map\"",
        "\"../yard.map\"",
        &["../yard.map: lies outside the content's folder"],
    );
    check("world.toml", "\"yard.map\"", "\"none.map\"", &["none.map: the file is missing"]);
    check(
        "yard.map",
        "#...#",
        "#..x#",
        &["yard.map: line 2, column 4: 'x' is no tile; tiles are . , : (open) and # T ~ (blocked)"],
    );
    check(
        "world.toml",
        "[[zone_kinds]]",
        "[[zone_kinds]]\nkey = \"open\"\n[[zone_kinds]]",
        &[
            "world.toml: zone_kinds[0].tick_hz: expected an integer from 1 to 120, found nothing",
            "world.toml: zone_kinds[0].player_speed_cm_s: expected an integer from 1 to 10000, found nothing",
            "world.toml: zone_kinds[0].view_radius_m: expected an integer from 8 to 512, found nothing",
            "world.toml: zone_kinds[0].hearing_radius_m: expected an integer from 1 to 512, found nothing",
            "world.toml: zone_kinds[0].reach_cm: expected an integer from 1 to 5000, found nothing",
            "world.toml: zone_kinds[0].ground_items_max: expected an integer from 0 to 100000, found nothing",
            "world.toml: zone_kinds[0].litter_interval_s: expected an integer from 1 to 86400, found nothing",
            "world.toml: zone_kinds[1].key: open is used twice",
        ],
    );
}

#[test]
fn files_that_are_missing_or_no_toml_are_faults_of_their_own() {
    let got = Content::from_texts(&[("items.toml", "= 1")]).unwrap_err();
    let files: Vec<(&str, bool)> =
        got.0.iter().map(|fault| (fault.file.as_str(), fault.field.is_empty())).collect();
    assert_eq!(files, [("items.toml", true), ("npcs.toml", true), ("world.toml", true)]);
    assert!(got.0[0].problem.starts_with("is no TOML: "), "{got}");
}

#[test]
fn sound_content_says_what_its_files_say() {
    let texts = [("items.toml", ITEMS), ("npcs.toml", NPCS), ("world.toml", WORLD), ("yard.map", YARD)];
    let content = Content::from_texts(&texts).unwrap();
    let zone = content.zone(ZoneId(7)).unwrap();
    let view = Scope {
        half_rate_units: metres(12),
        quarter_rate_units: metres(52),
        ..Scope::every_tick(metres(48))
    };
    assert_eq!((zone.kind.player_speed, zone.kind.reach, zone.kind.view), (341, 5120, view));
    assert_eq!((zone.spawn, zone.litter_target()), (Pos::tile_centre(2, 1), 4));
    assert_eq!((zone.begin(0), zone.begin(5)), (zone.spawn, zone.spawn));
    let with_begins = WORLD.replace("spawn = [2, 1]", "spawn = [2, 1]\nbegin = [[1, 1], [2, 1]]");
    let texts = [texts[0], texts[1], ("world.toml", &with_begins), texts[3]];
    let content_with_begins = Content::from_texts(&texts).unwrap();
    let begins = [0, 1, 2].map(|turn| content_with_begins.zones[0].begin(turn).tile());
    assert_eq!(begins, [(1, 1), (2, 1), (1, 1)]);
    assert_eq!(content.start_zones().map(|zone| zone.id).collect::<Vec<_>>(), [ZoneId(7)]);
    assert_eq!(content.item(ItemKind(1)).unwrap().stack_max, 100);
    assert!(content.item(ItemKind(2)).is_none() && content.zone(ZoneId(6)).is_none());
}

#[test]
fn the_hash_depends_on_every_file() {
    let texts = [("items.toml", ITEMS), ("npcs.toml", NPCS), ("world.toml", WORLD), ("yard.map", YARD)];
    let mut hashes = BTreeSet::from([Content::from_texts(&texts).unwrap().hash]);
    for changed in 0..texts.len() {
        let mut texts = texts;
        let text = match texts[changed].0 {
            "yard.map" => texts[changed].1.replace("#...#", "#..,#"),
            _ => format!("{}\n# a remark", texts[changed].1),
        };
        texts[changed].1 = &text;
        assert!(hashes.insert(Content::from_texts(&texts).unwrap().hash), "{}", texts[changed].0);
    }
}

#[test]
fn a_folder_gives_what_the_program_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../content");
    assert_eq!(Content::load(&folder).unwrap().hash, Content::example().hash);
    let empty = tempfile::tempdir().unwrap();
    let faults = Content::load(empty.path()).unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
}

#[test]
fn the_example_world_can_be_walked_all_over() {
    let content = Content::example();
    assert_eq!(content.zones.len(), 3);
    for zone in &content.zones {
        let open = (0..zone.map.height()).flat_map(|y| (0..zone.map.width()).map(move |x| (x, y)));
        let open = open.filter(|&(x, y)| !zone.map.is_wall(x, y)).count();
        let mut reached = BTreeSet::new();
        let mut edge = vec![zone.spawn.tile()];
        while let Some((x, y)) = edge.pop() {
            if !zone.map.is_wall(x, y) && reached.insert((x, y)) {
                edge.extend([(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]);
            }
        }
        assert!(reached.len() * 100 >= open * 95, "{}: {} of {open} tiles", zone.name, reached.len());
        let npcs: u32 = zone.npcs.iter().map(|spawn| spawn.count).sum();
        assert!((1000..=1500).contains(&npcs), "{}: {npcs} NPCs", zone.name);
    }
}

/// What an entry beside the coin is at fault in.
fn check_item(fields: &str, expected: &[&str]) {
    let sword = format!("[[items]]\nid = 2\nkey = \"sword\"\nname = \"Sword\"\nstack_max = 1\n{fields}\n");
    check("items.toml", "[[items]]", &format!("{sword}\n[[items]]"), expected);
}

#[test]
fn what_is_worn_says_where_and_what_it_does() {
    check_item("slot = \"weapon\"\nattack = 3\nreach_cm = 200\ndurability = 5\ntwo_handed = true", &[]);
    check_item("weight_g = 7\ntradeable = false", &[]);
    let slots = "weapon, shield, head, body, legs, hands, feet, neck, ring, ammunition, back";
    check_item(
        "slot = \"nose\"",
        &[&format!("items.toml: items[0].slot: there is no \"nose\"; there are {slots}")],
    );
    check_item("attack = 3", &["items.toml: items[0].attack: there is no such field"]);
    check_item("weight_g = -1", &["items.toml: items[0].weight_g: -1 is not from 0 to 1000000"]);
    check_item(
        "slot = \"back\"\ndurability = 0",
        &["items.toml: items[0].durability: 0 is not from 1 to 65535"],
    );
    check_item(
        "slot = \"shield\"\ntwo_handed = true",
        &["items.toml: items[0].two_handed: the shield's slot cannot keep itself free"],
    );
    check_item(
        "slot = \"back\"\nneeds_worn = \"bow\"",
        &["items.toml: items: needs_worn of sword: items.toml has no \"bow\""],
    );
    check_item(
        "slot = \"back\"\nneeds_worn = \"coin\"",
        &["items.toml: items: needs_worn of sword: \"coin\" cannot be worn"],
    );
    check(
        "items.toml",
        "stack_max = 100",
        "stack_max = 100\nslot = \"neck\"\ndurability = 5",
        &["items.toml: items[0].durability: only what does not stack wears out"],
    );
    check(
        "items.toml",
        "[[items]]",
        "carry_g_max = 0\n[[items]]",
        &["items.toml: carry_g_max: 0 is not from 1 to 4294967295"],
    );
}

#[test]
fn what_is_needed_needs_nothing_itself() {
    let chain = "[[items]]\nid = 2\nkey = \"bow\"\nname = \"Bow\"\nstack_max = 1\nslot = \"weapon\"\nneeds_worn = \"bow\"\n";
    check(
        "items.toml",
        "[[items]]",
        &format!("{chain}[[items]]"),
        &["items.toml: items: needs_worn of bow: \"bow\" itself needs another"],
    );
}

#[test]
fn banks_are_on_open_ground() {
    let banks = |banks: &str, expected: &[&str]| {
        check("world.toml", "npcs = [{", &format!("banks = {banks}\nnpcs = [{{"), expected);
    };
    banks("[[2, 1], [1, 2]]", &[]);
    banks("[[2, 2]]", &["world.toml: zones[0].banks: tile [2, 2] of yard.map is blocked or outside"]);
    banks(
        "7",
        &["world.toml: zones[0].banks: expected a list of tiles [[east, south], ...], found integer 7"],
    );
}
