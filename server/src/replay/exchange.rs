//! Where zones are between shards that are replayed, each in a thread of its own: one to which a zone comes waits until the one
//! that it left has got there.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vyuha_game::shard::MovingZone;
use vyuha_game::shard::log::ZoneExchange;
use vyuha_protocol::ZoneId;

/// A zone, on one of its moves.
type Move = (ZoneId, u32);

/// The zones between shards, and who waits for one.
pub struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    zones: HashMap<Move, Box<MovingZone>>,
    wanted: HashSet<Move>,
    /// Shards that run: that have not ended and do not wait. When there is none, nothing more comes.
    running: usize,
}

/// One shard's side of the exchange; its shard has ended when it is dropped.
pub struct Side<'a> {
    exchange: &'a Exchange,
    /// It waited in vain, and counts as ended already.
    gave_up: bool,
}

impl Exchange {
    /// The exchange of so many shards.
    pub fn new(shards: usize) -> Exchange {
        let state = State { zones: HashMap::new(), wanted: HashSet::new(), running: shards };
        Exchange { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The side of one of the shards.
    pub fn side(&self) -> Side<'_> {
        Side { exchange: self, gave_up: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is made whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ZoneExchange for Side<'_> {
    fn put(&mut self, zone: Box<MovingZone>) {
        let mut state = self.exchange.lock();
        let key = (zone.id(), zone.moves());
        if state.wanted.remove(&key) {
            state.running += 1;
        }
        state.zones.insert(key, zone);
        self.exchange.changed.notify_all();
    }

    fn take(&mut self, zone: ZoneId, moves: u32) -> Option<Box<MovingZone>> {
        let key = (zone, moves);
        let mut state = self.exchange.lock();
        if let Some(zone) = state.zones.remove(&key) {
            return Some(zone);
        }
        state.wanted.insert(key);
        state.running -= 1;
        self.exchange.changed.notify_all();
        let nothing_yet = |state: &mut State| state.running > 0 && !state.zones.contains_key(&key);
        let waited = self.exchange.changed.wait_while(state, nothing_yet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = state.zones.remove(&key);
        if taken.is_none() {
            state.wanted.remove(&key);
            self.gave_up = true;
        }
        taken
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        if !self.gave_up {
            self.exchange.lock().running -= 1;
            self.exchange.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vyuha_core::SimdLevel;
    use vyuha_game::Content;
    use vyuha_game::shard::{Outbox, Shard, ShardConfig};

    use super::*;

    /// A zone on its first move.
    fn moving() -> Box<MovingZone> {
        let content = Content::example();
        let id = content.zones[0].id;
        let config = ShardConfig {
            zones: vec![id],
            tick_hz: 30,
            save_interval_ticks: 1,
            snapshot_bytes_max: 1024,
            requests_per_second_max: 30,
            patience: vyuha_game::presence::Patience { away_ticks: 0, leave_ticks: 0 },
            began_ms: 0,
            seed: 1,
            next_item_id: 1,
            item_id_stride: 1,
            simd: SimdLevel::SCALAR,
        };
        let mut shard = Shard::new(config, Arc::new(content), &[], &[]).unwrap();
        shard.detach(id, &mut Outbox::default()).unwrap()
    }

    #[test]
    fn who_waits_gets_the_zone_and_nobody_waits_in_vain() {
        let zone = moving();
        let id = zone.id();
        let exchange = Exchange::new(3);
        std::thread::scope(|scope| {
            let takes = |moves| {
                let mut side = exchange.side();
                scope.spawn(move || side.take(id, moves).map(|zone| zone.moves()))
            };
            let (gets, gets_none) = (takes(1), takes(2));
            let mut side = exchange.side();
            scope.spawn(move || side.put(zone));
            assert_eq!((gets.join().unwrap(), gets_none.join().unwrap()), (Some(1), None));
        });
        let state = exchange.lock();
        assert_eq!((state.running, state.zones.len(), state.wanted.len()), (0, 0, 0));
    }
}
