//! A steady tick allocates nothing: neither the passes with their history nor questions nor snapshots.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vyuha_core::{Circle, Found, Scope, Spawn, Subscriber, View, Warm, Zone};
use vyuha_protocol::units::metres;
use vyuha_protocol::{Displacement, EntityKind, Pos, TileMap};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are this call's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are this call's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are this call's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Everyone walks to and fro over the same ground, some are replaced, and clients look on: one that keeps up, one
/// that skips ticks and one that walks about.
#[test]
fn a_steady_tick_allocates_nothing() {
    const PERIOD_TICKS: u32 = 64;
    let mut zone = Zone::new(Arc::new(TileMap::open(320, 320)));
    zone.keep_history(4);
    zone.watch_pairs(Some(metres(30)));
    let (mut found, mut nearest) = (Found::default(), Vec::new());
    let spawn = |pos| Spawn { pos, kind: EntityKind::npc(1), state: 0, name: "", warm: Warm::default() };
    let place = |i: u32| Pos { x: metres(20 + i * 7 % 280), y: metres(20 + i * 13 % 280) + i };
    let walkers: Vec<_> = (0..5000).map(|i| zone.spawn(spawn(place(i)))).collect();
    let mut brief: Vec<_> = (0..300).map(|i| zone.spawn(spawn(place(i)))).collect();
    let tiers = Scope { half_rate_units: 0, quarter_rate_units: metres(32), ..Scope::every_tick(metres(64)) };
    let hiding = Scope { walls_hide: true, ..Scope::every_tick(metres(30)) };
    let mut views = [
        View::new(metres(64)),
        View::new(metres(64)),
        View::new(metres(20)),
        View::of(tiers),
        View::of(hiding),
    ];
    assert!(views[0].watch(5) && (0..20).all(|member| zone.set_group(walkers[member], 5)));
    let mut out = Vec::new();
    let (mut walks, mut positions) = (Vec::new(), Vec::new());
    let mut allocated = 0;
    // The first rounds bring every buffer to the size that it needs.
    for tick in 0..PERIOD_TICKS * 20 {
        if tick == PERIOD_TICKS * 18 {
            allocated = ALLOCATIONS.load(Ordering::Relaxed);
        }
        let pace = if tick % PERIOD_TICKS < PERIOD_TICKS / 2 { 341 } else { -341 };
        walks.clear();
        walks.extend(walkers.iter().enumerate().map(|(i, &walker)| {
            let by =
                if i % 2 == 0 { Displacement { dx: pace, dy: 0 } } else { Displacement { dx: 0, dy: pace } };
            (walker, by)
        }));
        zone.walk_all(&walks);
        positions.clear();
        zone.positions(&walkers, &mut positions);
        for (i, &walker) in walkers.iter().enumerate().skip(tick as usize % 7).step_by(50) {
            zone.set_hidden(walker, i % 100 < 50);
            zone.warm_mut(walker).expect("walkers stay").health ^= 1;
        }
        for (i, entity) in brief.iter_mut().enumerate() {
            zone.despawn(*entity);
            *entity = zone.spawn(spawn(place(i as u32)));
        }
        let to = place(tick % PERIOD_TICKS * 50);
        zone.place_all(&[(brief[0], to), (brief[1], to), (brief[0], to)]);
        zone.set_state(walkers[0], (tick % 2) as u16);
        zone.step(&mut ());
        assert!(!zone.pair_events().is_empty());
        let circle = Circle { centre: place(7), radius_units: metres(20) };
        let moment = zone.at(zone.tick()).expect("the last step is kept");
        moment.all_within(&[circle], &mut found);
        moment.nearest_within(&[circle], |_, _, _| true, &mut nearest);
        assert!(nearest[0].is_some());
        let wander = metres(20) * (tick % PERIOD_TICKS) / 10;
        for (number, view) in views.iter_mut().enumerate() {
            let number = number as u32;
            let centre = Pos { x: metres(100) + wander * (number / 2).min(1), y: metres(160) };
            if number != 1 || tick % 3 == 0 {
                out.clear();
                zone.write_snapshot(
                    view,
                    &Subscriber { centre, input_ack: 0, bytes_max: 64 << 10 },
                    &mut out,
                );
                assert!(out.len() > 100);
            }
        }
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - allocated, 0);
}
