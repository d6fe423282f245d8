use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use vyuha_protocol::snapshot::{CellKey, Enter, Leave, Member, Name, Snapshot, Update};
use vyuha_protocol::{CellCoord, EntityId, EntityKind, ItemKind, Pos};

use super::script::{BlockScript, GroupScript, SnapshotScript};
use super::world::{Applied, Change, GroupMember, Watch, World};

type Cell = (u16, u16);

fn apply(world: &mut World, script: &SnapshotScript) -> Applied {
    world.apply(&Snapshot::read(&script.payload()).unwrap()).unwrap()
}

fn enter(entity: u32, local: u32) -> Enter {
    Enter { entity, local, kind: 0, state: 0 }
}

fn full(cell: Cell, enters: Vec<Enter>) -> BlockScript {
    BlockScript { cell, full: true, enters, ..BlockScript::default() }
}

fn leave(entity: u32) -> Leave {
    leave_to(entity, None)
}

fn leave_to(entity: u32, to: Option<Cell>) -> Leave {
    Leave { entity, to: to.map_or(CellKey::NOWHERE, |(x, y)| CellKey { x, y }) }
}

#[test]
fn a_walk_into_another_subscribed_cell_is_one_change() {
    let mut world = World::default();
    let first = SnapshotScript { blocks: vec![full((0, 0), vec![enter(7, 5)])], ..SnapshotScript::default() };
    assert_eq!(apply(&mut world, &first), Applied { entered: 1, ..Applied::default() });
    // The old cell's block comes first: its leave must not remove what the new cell's enter states.
    let crossing = SnapshotScript {
        blocks: vec![
            BlockScript { cell: (0, 0), leaves: vec![leave(7)], ..BlockScript::default() },
            BlockScript { cell: (1, 0), enters: vec![enter(7, 9)], ..BlockScript::default() },
        ],
        ..SnapshotScript::default()
    };
    assert_eq!(apply(&mut world, &crossing), Applied { changed: 1, ..Applied::default() });
    assert_eq!(world.changes(), [Change::Changed(EntityId(7))]);
    assert_eq!(world.get(EntityId(7)).unwrap().cell(), CellCoord { x: 1, y: 0 });
}

#[test]
fn whoever_walks_into_a_cell_that_is_told_of_later_stays_in_view() {
    let update =
        |entity| BlockScript { updates: vec![Update { entity, local: 6 }], ..BlockScript::default() };
    let far = |block: BlockScript| BlockScript { cell: (1, 0), ..block };
    for (later, expected) in [
        // Entered there at last; gone by then; on to a third cell that is held, and to one that is not.
        (
            far(BlockScript { enters: vec![enter(7, 9)], ..BlockScript::default() }),
            Some(Pos { x: 65_545, y: 0 }),
        ),
        (far(BlockScript { leaves: vec![leave(7)], ..BlockScript::default() }), None),
        (
            far(BlockScript { leaves: vec![leave_to(7, Some((0, 1)))], ..BlockScript::default() }),
            Some(Pos { x: 5, y: 0 }),
        ),
        (far(BlockScript { leaves: vec![leave_to(7, Some((2, 1)))], ..BlockScript::default() }), None),
        (full((1, 0), vec![]), None),
        // Nothing that is said of the cell that it left concerns it any more.
        (full((0, 0), vec![]), Some(Pos { x: 5, y: 0 })),
        (update(7), Some(Pos { x: 5, y: 0 })),
    ] {
        let mut world = World::default();
        let blocks = vec![full((0, 0), vec![enter(7, 5)]), full((1, 0), vec![]), full((0, 1), vec![])];
        apply(&mut world, &SnapshotScript { blocks, ..SnapshotScript::default() });
        let leaving = BlockScript { leaves: vec![leave_to(7, Some((1, 0)))], ..BlockScript::default() };
        let applied =
            apply(&mut world, &SnapshotScript { blocks: vec![leaving], ..SnapshotScript::default() });
        assert_eq!(applied, Applied::default(), "nothing is known of it but that it went");
        assert_eq!(world.get(EntityId(7)).map(|entity| entity.pos), Some(Pos { x: 5, y: 0 }));
        apply(&mut world, &SnapshotScript { blocks: vec![later.clone()], ..SnapshotScript::default() });
        assert_eq!(world.get(EntityId(7)).map(|entity| entity.pos), expected, "{later:?}");
    }
}

/// A group and its members: id, place along x, name.
type Told = (u32, Vec<(u32, u32, String)>);

#[test]
fn a_groups_members_are_those_told_last_and_no_part_of_the_view() {
    let mut world = World::default();
    let member = |entity, x| Member { entity, x, y: 4, kind: 0, state: 2 };
    let group = |group, members: Vec<Member>| {
        let names = vec![Name::new(1, "Abe")];
        SnapshotScript { groups: vec![GroupScript { group, members, names }], ..SnapshotScript::default() }
    };
    assert_eq!(apply(&mut world, &group(3, vec![member(1, 9), member(2, 8)])), Applied::default());
    apply(&mut world, &group(5, vec![member(4, 1)]));
    apply(&mut world, &SnapshotScript::default());
    let told = |world: &World| -> Vec<Told> {
        let members = |members: &[GroupMember]| {
            members.iter().map(|member| (member.id.0, member.pos.x, member.name.clone())).collect()
        };
        world.groups().map(|(group, all)| (group, members(all))).collect()
    };
    let named = |name: &str| name.to_owned();
    assert_eq!(
        told(&world),
        [(3, vec![(1, 9, named("Abe")), (2, 8, named(""))]), (5, vec![(4, 1, named(""))])]
    );
    assert!(world.is_empty());
    apply(&mut world, &group(3, vec![member(2, 7)]));
    apply(&mut world, &group(5, vec![]));
    assert_eq!(told(&world), [(3, vec![(2, 7, named(""))])]);
}

#[test]
fn what_contradicts_the_view_is_counted_and_changes_nothing() {
    let mut world = World::default();
    let first = SnapshotScript { blocks: vec![full((0, 0), vec![enter(7, 5)])], ..SnapshotScript::default() };
    apply(&mut world, &first);
    let stray = SnapshotScript {
        blocks: vec![BlockScript {
            cell: (1, 0),
            updates: vec![Update { entity: 7, local: 1 }, Update { entity: 8, local: 1 }],
            names: vec![Name::new(9, "Nobody")],
            ..BlockScript::default()
        }],
        ..SnapshotScript::default()
    };
    assert_eq!(apply(&mut world, &stray), Applied { strays: 3, ..Applied::default() });
    assert_eq!(world.get(EntityId(7)).unwrap().pos, Pos { x: 5, y: 0 });
    assert_eq!(world.len(), 1);
}

#[test]
fn queries_find_by_distance_and_kind() {
    let mut world = World::default();
    let local = |x: u32, y: u32| x | y << 16;
    let item =
        |entity, x, y| Enter { entity, local: local(x, y), kind: EntityKind::item(ItemKind(4)).0, state: 30 };
    let blocks = vec![BlockScript {
        names: vec![Name::new(1, "Abe")],
        ..full((0, 0), vec![enter(1, local(100, 100)), item(2, 103, 104), item(3, 104, 104), item(4, 900, 0)])
    }];
    apply(&mut world, &SnapshotScript { blocks, ..SnapshotScript::default() });
    let found: BTreeSet<u32> = world.items_near(Pos { x: 100, y: 100 }, 5).map(|e| e.id.0).collect();
    assert_eq!(found, BTreeSet::from([2]));
    assert_eq!(world.near(Pos { x: 100, y: 100 }, 6).count(), 3);
    assert_eq!(world.players().map(|e| e.name().into_owned()).collect::<Vec<_>>(), ["Abe"]);
    assert_eq!(world.get(EntityId(2)).unwrap().state, 30);
    assert_eq!(world.get(EntityId(2)).unwrap().name(), "");
}

/// What a view holds of an entity: place, kind, state, name.
type Held = (Pos, u16, u16, String);

#[test]
fn a_view_of_items_passes_over_all_else() {
    let (mut all, mut items) = (World::default(), World::watching(Watch::Items));
    let item = |entity| Enter { kind: EntityKind::item(ItemKind(3)).0, ..enter(entity, 5) };
    let first = SnapshotScript {
        blocks: vec![BlockScript {
            names: vec![Name::new(1, "Abe")],
            ..full((0, 0), vec![enter(1, 5), item(2), item(3)])
        }],
        ..SnapshotScript::default()
    };
    let then = SnapshotScript {
        blocks: vec![BlockScript {
            updates: vec![Update { entity: 1, local: 6 }],
            leaves: vec![leave(2)],
            ..BlockScript::default()
        }],
        ..SnapshotScript::default()
    };
    for world in [&mut all, &mut items] {
        apply(world, &first);
        assert_eq!(apply(world, &then).strays, 0);
    }
    let held = |world: &World| world.iter().map(|e| e.id.0).collect::<BTreeSet<_>>();
    assert_eq!((held(&all), held(&items)), (BTreeSet::from([1, 3]), BTreeSet::from([3])));
}

fn held(world: &World) -> BTreeMap<u32, Held> {
    world.iter().map(|e| (e.id.0, (e.pos, e.kind.0, e.state, e.name().into_owned()))).collect()
}

fn cell_of(cell: Cell) -> CellCoord {
    CellCoord { x: cell.0, y: cell.1 }
}

/// A client by the word: what it holds of each entity and in which cell it holds it, and the cells that it holds.
#[derive(Default)]
struct ByTheWord {
    view: BTreeMap<u32, Held>,
    held_in: BTreeMap<u32, Cell>,
    cells: BTreeSet<Cell>,
}

/// The rule of `protocol::snapshot`, word for word.
fn apply_by_the_word(client: &mut ByTheWord, script: &SnapshotScript) -> BTreeSet<u32> {
    let ByTheWord { view, held_in, cells } = client;
    let mut named = BTreeSet::new();
    cells.retain(|cell| !script.dropped.contains(cell));
    cells.extend(script.blocks.iter().filter(|block| block.full).map(|block| block.cell));
    for block in &script.blocks {
        for update in &block.updates {
            if let Some(held) = view.get_mut(&update.entity)
                && held_in[&update.entity] == block.cell
            {
                held.0 = Pos::from_cell(cell_of(block.cell), update.local);
                named.insert(update.entity);
            }
        }
        for enter in &block.enters {
            let pos = Pos::from_cell(cell_of(block.cell), enter.local);
            view.insert(enter.entity, (pos, enter.kind, enter.state, String::new()));
            held_in.insert(enter.entity, block.cell);
            named.insert(enter.entity);
        }
        for name in &block.names {
            if let Some(held) = view.get_mut(&name.entity) {
                held.3 = name.text();
            }
        }
    }
    for block in &script.blocks {
        for leave in &block.leaves {
            if view.contains_key(&leave.entity) && held_in[&leave.entity] == block.cell {
                let to = (leave.to.x, leave.to.y);
                if cells.contains(&to) && !script.blocks.iter().any(|block| block.full && block.cell == to) {
                    held_in.insert(leave.entity, to);
                } else {
                    view.remove(&leave.entity);
                }
            }
        }
    }
    for block in &script.blocks {
        if block.full {
            let stated: BTreeSet<u32> =
                block.enters.iter().map(|e| e.entity).chain(block.updates.iter().map(|u| u.entity)).collect();
            view.retain(|id, _| held_in[id] != block.cell || stated.contains(id));
        }
    }
    view.retain(|id, _| !script.dropped.contains(&held_in[id]));
    named
}

fn cell() -> impl Strategy<Value = Cell> {
    (0u16..3, 0u16..2)
}

prop_compose! {
    fn block()(
        cell in cell(),
        full: bool,
        updates in vec((0u32..12, any::<u32>()), 0..4),
        enters in vec((0u32..12, any::<u32>(), 0u16..3, 0u16..3), 0..4),
        names in vec((0u32..12, "[A-Z][a-z]{2,5}"), 0..3),
        leaves in vec((0u32..12, prop::option::of(cell())), 0..4),
    ) -> BlockScript {
        BlockScript {
            cell,
            full,
            updates: updates.into_iter().map(|(entity, local)| Update { entity, local }).collect(),
            enters: enters
                .into_iter()
                .map(|(entity, local, kind, state)| Enter { entity, local, kind, state })
                .collect(),
            names: names.into_iter().map(|(entity, name)| Name::new(entity, &name)).collect(),
            leaves: leaves.into_iter().map(|(entity, to)| leave_to(entity, to)).collect(),
        }
    }
}

fn snapshot() -> impl Strategy<Value = SnapshotScript> {
    (vec(cell(), 0..2), vec(block(), 0..5)).prop_map(|(dropped, mut blocks)| {
        let mut cells = BTreeSet::new();
        blocks.retain(|block| cells.insert(block.cell));
        SnapshotScript { dropped, blocks, ..SnapshotScript::default() }
    })
}

proptest! {
    #[test]
    fn any_snapshots_are_applied_by_the_word(snapshots in vec(snapshot(), 1..12)) {
        let (mut world, mut client) = (World::default(), ByTheWord::default());
        for script in &snapshots {
            let before: BTreeSet<u32> = client.view.keys().copied().collect();
            let named = apply_by_the_word(&mut client, script);
            let after: BTreeSet<u32> = client.view.keys().copied().collect();
            let applied = apply(&mut world, script);
            prop_assert_eq!(held(&world), client.view.clone());

            let mut wanted: Vec<(u32, u8)> = after.difference(&before).map(|&id| (id, 0)).collect();
            wanted.extend(before.intersection(&after).filter(|id| named.contains(id)).map(|&id| (id, 1)));
            wanted.extend(before.difference(&after).map(|&id| (id, 2)));
            wanted.sort_unstable();
            let mut changes: Vec<(u32, u8)> = world.changes().iter().map(|change| match change {
                Change::Entered(id) => (id.0, 0),
                Change::Changed(id) => (id.0, 1),
                Change::Left(id) => (id.0, 2),
            }).collect();
            changes.sort_unstable();
            prop_assert_eq!(&changes, &wanted);
            prop_assert_eq!((applied.entered + applied.changed + applied.left) as usize, changes.len());
        }
    }

    /// A server that states and drops cells as a client walks, and now and then skips a snapshot.
    #[test]
    fn the_view_is_what_is_in_the_subscribed_cells(
        starts in vec((0u32..4, 0u32..4), 1..16),
        steps in vec((vec((0usize..16, 0u32..4, 0u32..4), 0..6), 0u16..4, 0u16..4, prop::bool::weighted(0.2)), 1..25),
    ) {
        let place = |x: u32, y: u32, salt: u32| Pos { x: (x << 16) + salt % 65_536, y: (y << 16) + 77 };
        let mut entities: Vec<Pos> = starts.iter().map(|&(x, y)| place(x, y, 0)).collect();
        let mut stated: BTreeSet<Cell> = BTreeSet::new();
        let (mut world, mut behind) = (World::default(), false);
        for (salt, (moves, centre_x, centre_y, skipped)) in steps.into_iter().enumerate() {
            let before = entities.clone();
            for (entity, x, y) in moves {
                let count = entities.len();
                entities[entity % count] = place(x, y, salt as u32 * 97 + 1);
            }
            if skipped {
                // The client does not learn of this tick: the next snapshot states every cell anew.
                behind = true;
                continue;
            }
            let wanted: BTreeSet<Cell> = (0..4u16)
                .flat_map(|x| (0..4u16).map(move |y| (x, y)))
                .filter(|cell| cell.0.abs_diff(centre_x) <= 1 && cell.1.abs_diff(centre_y) <= 1)
                .collect();
            let key = |pos: Pos| (pos.cell().x, pos.cell().y);
            let blocks = wanted.iter().map(|&cell| {
                let mut block = BlockScript { cell, full: behind || !stated.contains(&cell), ..BlockScript::default() };
                for (id, (&was, &is)) in before.iter().zip(&entities).enumerate() {
                    let id = id as u32;
                    if key(is) == cell && (block.full || key(was) != cell) {
                        block.enters.push(enter(id, is.local()));
                    } else if key(is) == cell && was != is {
                        block.updates.push(Update { entity: id, local: is.local() });
                    } else if key(was) == cell && key(is) != cell && !block.full {
                        block.leaves.push(leave(id));
                    }
                }
                block
            }).collect();
            let dropped = stated.difference(&wanted).copied().collect();
            let applied = apply(&mut world, &SnapshotScript { dropped, blocks, ..SnapshotScript::default() });
            prop_assert_eq!(applied.strays, 0);
            (stated, behind) = (wanted, false);
            let in_view: BTreeMap<u32, Pos> = (0..).zip(&entities).filter(|(_, pos)| stated.contains(&key(**pos))).map(|(id, pos)| (id, *pos)).collect();
            let seen: BTreeMap<u32, Pos> = world.iter().map(|entity| (entity.id.0, entity.pos)).collect();
            prop_assert_eq!(seen, in_view);
        }
    }
}
