//! The grids that peers keep, and the comparisons made on them: one for each style, shared by all engines.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use vyuha_protocol::units::CELL_UNITS;
use vyuha_protocol::{Pos, TileMap};

use super::{Event, is_near};

/// Cells by their coordinates in a hash map, with handles in them: [`super::Style::Idiomatic`].
pub struct HashedGrid<E> {
    cells: HashMap<(u32, u32), Vec<E>>,
}

impl<E: Copy + Eq + Hash> HashedGrid<E> {
    pub fn new() -> HashedGrid<E> {
        HashedGrid { cells: HashMap::new() }
    }

    pub fn clear(&mut self) {
        for cell in self.cells.values_mut() {
            cell.clear();
        }
    }

    pub fn put(&mut self, pos: Pos, entity: E) {
        self.cells.entry((pos.x / CELL_UNITS, pos.y / CELL_UNITS)).or_default().push(entity);
    }

    /// Who is near, the engine being asked for places.
    pub fn near(&self, pos: Pos, me: E, mut place: impl FnMut(E) -> Option<Pos>) -> HashSet<E> {
        let (x, y) = (pos.x / CELL_UNITS, pos.y / CELL_UNITS);
        let mut near = HashSet::new();
        for y in y.saturating_sub(1)..=y + 1 {
            for x in x.saturating_sub(1)..=x + 1 {
                for &other in self.cells.get(&(x, y)).into_iter().flatten() {
                    if other != me && place(other).is_some_and(|at| is_near(pos, at)) {
                        near.insert(other);
                    }
                }
            }
        }
        near
    }
}

/// What became different between two sets.
pub fn compare_sets<E: Copy + Eq + Hash>(
    observer: E,
    before: &HashSet<E>,
    now: &HashSet<E>,
    events: &mut Vec<Event<E>>,
) {
    events.extend(now.difference(before).map(|&other| Event { observer, other, entered: true }));
    events.extend(before.difference(now).map(|&other| Event { observer, other, entered: false }));
}

/// Cells in a row-major array with a ring of empty ones around, so that a cell's neighbours need no test.
pub struct DenseGrid<T> {
    stride: usize,
    cells: Vec<Vec<T>>,
}

impl<T> DenseGrid<T> {
    pub fn new(map: &TileMap) -> DenseGrid<T> {
        let stride = usize::from(map.cells().x) + 2;
        let count = stride * (usize::from(map.cells().y) + 2);
        DenseGrid { stride, cells: (0..count).map(|_| Vec::new()).collect() }
    }

    pub fn clear(&mut self) {
        for cell in &mut self.cells {
            cell.clear();
        }
    }

    #[inline]
    fn index(&self, pos: Pos) -> usize {
        (pos.y as usize / CELL_UNITS as usize + 1) * self.stride + pos.x as usize / CELL_UNITS as usize + 1
    }

    #[inline]
    pub fn put(&mut self, pos: Pos, item: T) {
        let index = self.index(pos);
        self.cells[index].push(item);
    }

    /// The nine cells around a place.
    #[inline]
    fn around(&self, pos: Pos) -> impl Iterator<Item = &[T]> {
        let index = self.index(pos);
        let rows = [index - self.stride, index, index + self.stride];
        rows.into_iter().flat_map(|middle| &self.cells[middle - 1..=middle + 1]).map(Vec::as_slice)
    }
}

impl<E: Copy + Ord> DenseGrid<(E, Pos)> {
    /// Replaces `near` by who is near, in order: [`super::Style::Tuned`].
    #[inline]
    pub fn near(&self, pos: Pos, me: E, near: &mut Vec<E>) {
        let mut found = 0;
        for cell in self.around(pos) {
            near.resize(found + cell.len(), me);
            for &(other, at) in cell {
                // Written whether it is near or not: a third are, and no branch foresees which.
                near[found] = other;
                found += usize::from(is_near(pos, at)) & usize::from(other != me);
            }
        }
        near.truncate(found);
        near.sort_unstable();
    }
}

/// What became different between two ordered lists.
#[inline]
pub fn compare_lists<E: Copy + Ord>(
    observer: E,
    mut before: &[E],
    mut now: &[E],
    events: &mut Vec<Event<E>>,
) {
    let left = |other| Event { observer, other, entered: false };
    let entered = |other| Event { observer, other, entered: true };
    while let (Some((&old, old_rest)), Some((&new, new_rest))) = (before.split_first(), now.split_first()) {
        match old.cmp(&new) {
            Ordering::Less => events.push(left(old)),
            Ordering::Equal => {}
            Ordering::Greater => events.push(entered(new)),
        }
        before = if old <= new { old_rest } else { before };
        now = if new <= old { new_rest } else { now };
    }
    events.extend(before.iter().copied().map(left));
    events.extend(now.iter().copied().map(entered));
}

/// Where somebody is and was a tick ago.
#[derive(Clone, Copy)]
pub struct Track<E> {
    pub entity: E,
    pub now: Pos,
    pub before: Pos,
}

impl<E: Copy + Eq> DenseGrid<Track<E>> {
    /// Appends who came into or left the range of one: [`super::Style::Stateless`]. None walks as far in a tick
    /// as a range falls short of a cell, so all who were near are in the cells around.
    #[inline]
    pub fn changes(&self, me: Track<E>, events: &mut Vec<Event<E>>) {
        for cell in self.around(me.now) {
            for other in cell {
                let entered = is_near(me.now, other.now);
                if entered != is_near(me.before, other.before) && other.entity != me.entity {
                    events.push(Event { observer: me.entity, other: other.entity, entered });
                }
            }
        }
    }
}

const _: () = assert!(
    super::NEIGHBOUR_UNITS + 2 * vyuha_protocol::units::STEP_UNITS_MAX as u32 <= CELL_UNITS,
    "who is a tick out of range stands in a cell around"
);
