//! Who is at the door: the connections that sign in, each in one of a bounded number of places. When all are taken, whoever
//! has kept the node waiting longest has to go, so that clients that say nothing, or little, cannot keep others out. Belongs
//! to the control plane's thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

/// How often it is looked whether everybody has left.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The places.
pub struct Door {
    places_max: usize,
    /// Who is here, the oldest first.
    here: RefCell<VecDeque<Weak<Guest>>>,
    taken: Cell<usize>,
}

/// A place at the door, given back on drop.
pub struct Knocker {
    door: Rc<Door>,
    guest: Rc<Guest>,
}

#[derive(Default)]
struct Guest {
    /// The node waits for it to say something, and nothing of it would be lost.
    is_awaited: Cell<bool>,
    must_go: Notify,
    is_sent_away: Cell<bool>,
}

impl Door {
    /// So many places, none taken.
    pub fn new(places_max: usize) -> Rc<Door> {
        Rc::new(Door { places_max, here: RefCell::default(), taken: Cell::new(0) })
    }

    /// Takes a place, that of somebody else if need be. `None` if all are taken and the node waits for nobody.
    pub fn knock(self: &Rc<Door>) -> Option<Knocker> {
        if self.taken.get() >= self.places_max && !self.send_one_away() {
            return None;
        }
        let mut here = self.here.borrow_mut();
        // Those who left are looked through once in so many that it costs nothing.
        if here.len() >= 2 * self.places_max {
            here.retain(|guest| guest.strong_count() > 0);
        }
        let guest = Rc::<Guest>::default();
        here.push_back(Rc::downgrade(&guest));
        self.taken.set(self.taken.get() + 1);
        Some(Knocker { door: self.clone(), guest })
    }

    /// Waits until nobody is here, looking now and then.
    pub async fn empty(&self) {
        while self.here.borrow().iter().any(|guest| guest.strong_count() > 0) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Sends away the oldest of those whom the node waits for; whether there was one.
    fn send_one_away(&self) -> bool {
        let mut here = self.here.borrow_mut();
        let awaited = |guest: &Weak<Guest>| guest.upgrade().is_some_and(|guest| guest.is_awaited.get());
        let oldest = here.iter().position(awaited).and_then(|at| here.remove(at));
        let Some(guest) = oldest.and_then(|guest| guest.upgrade()) else { return false };
        guest.is_sent_away.set(true);
        guest.must_go.notify_one();
        self.taken.set(self.taken.get() - 1);
        true
    }
}

impl Knocker {
    /// Notes whether the node waits for it to say something, so that it may be sent away.
    pub fn set_awaited(&self, is_awaited: bool) {
        self.guest.is_awaited.set(is_awaited);
    }

    /// Waits until it has to go.
    pub async fn must_go(&self) {
        self.guest.must_go.notified().await;
    }
}

impl Drop for Knocker {
    fn drop(&mut self) {
        // The place of one who was sent away is another's.
        if !self.guest.is_sent_away.get() {
            self.door.taken.set(self.door.taken.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use proptest::prelude::*;

    use super::*;

    /// Looks at a future once.
    fn is_ready(future: impl Future<Output = ()>) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_is_awaited_longest_makes_room_and_nobody_else() {
        let door = Door::new(3);
        let guests: Vec<Knocker> = (0..3).map(|_| door.knock().unwrap()).collect();
        assert!(door.knock().is_none(), "the node waits for nobody");
        guests[1].set_awaited(true);
        guests[2].set_awaited(true);
        let fourth = door.knock().unwrap();
        let gone: Vec<bool> = guests.iter().map(|guest| is_ready(guest.must_go())).collect();
        assert_eq!(gone, [false, true, false]);
        let fifth = door.knock().unwrap();
        assert!(is_ready(guests[2].must_go()));
        assert!(door.knock().is_none());
        // Those who had to go free no second place.
        drop(guests);
        assert!(door.knock().is_some());
        drop((fourth, fifth));
        assert_eq!(door.taken.get(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whoever comes and goes, no more are here than there are places, but for those who are on their way out.
        #[test]
        fn no_more_are_here_than_there_are_places(acts in prop::collection::vec((0..4u8, 0..12usize), 1..200)) {
            let door = Door::new(4);
            let mut guests: Vec<Knocker> = Vec::new();
            for (act, which) in acts {
                match act {
                    0 | 1 => {
                        let before = guests.iter().filter(|guest| !guest.guest.is_sent_away.get()).count();
                        let awaited = guests.iter().any(|guest| guest.guest.is_awaited.get() && !guest.guest.is_sent_away.get());
                        let knocker = door.knock();
                        prop_assert_eq!(knocker.is_some(), before < 4 || awaited);
                        guests.extend(knocker);
                    }
                    2 => if let Some(guest) = guests.get(which) { guest.set_awaited(which % 3 > 0) },
                    _ => if which < guests.len() { drop(guests.remove(which)) },
                }
                let here = guests.iter().filter(|guest| !guest.guest.is_sent_away.get()).count();
                prop_assert_eq!(here, door.taken.get());
                prop_assert!(here <= 4 && door.here.borrow().len() <= 8);
            }
        }
    }
}
