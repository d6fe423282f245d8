//! One seat an account: who plays, on which shard. A newer session takes the seat only after the older one is over and
//! all it did is in the database, so that no character is ever read from rows older than what was acknowledged.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::tickets::{SeatTickets, Ticket, Tickets};

/// How long to wait before a shard whose door is full is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// The seats of a node. Belongs to the control plane's thread.
#[derive(Default)]
pub struct Seats {
    taken: RefCell<HashMap<i64, Seat>>,
    tickets: RefCell<Tickets>,
    number_last: Cell<u64>,
}

struct Seat {
    number: u64,
    holder: Holder,
    freed: Rc<Notify>,
    tickets: SeatTickets,
    /// Who plays, once that is known.
    character: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    /// Signing in: rows are being read.
    Entering,
    /// On a shard, to which it came by so many moves.
    Playing { shard: u16, moves: u32 },
}

/// Which session of an account it is, and how often it went from one shard to another: what is told of a session may come
/// when another one has its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stay {
    /// The session's seat, by a number that is given once.
    pub seat: u64,
    /// How often it went.
    pub moves: u32,
}

impl Stay {
    /// The same session on the next shard.
    #[must_use]
    pub fn next(self) -> Stay {
        Stay { moves: self.moves + 1, ..self }
    }
}

/// A seat taken for somebody who signs in; given back on drop unless [`Claim::play`] was called.
pub struct Claim {
    seats: Rc<Seats>,
    account: i64,
    number: u64,
    kept: bool,
}

impl Seats {
    /// Takes the account's seat. While another session holds it, `end` asks that session's shard to end it (`false`: it
    /// could not be asked just now), and the seat is awaited.
    pub async fn claim(self: &Rc<Self>, account: i64, mut end: impl FnMut(u16) -> bool) -> Claim {
        // Whose end was asked for: another may take the seat first, and then that one's end must be asked for too.
        let mut asked: Option<Rc<Notify>> = None;
        loop {
            let (freed, shard) = match self.taken.borrow_mut().entry(account) {
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    let number = self.number_last.get() + 1;
                    self.number_last.set(number);
                    vacant.insert(Seat {
                        number,
                        holder: Holder::Entering,
                        freed: Rc::default(),
                        tickets: SeatTickets::default(),
                        character: None,
                    });
                    return Claim { seats: self.clone(), account, number, kept: false };
                }
                std::collections::hash_map::Entry::Occupied(seat) => match seat.get().holder {
                    Holder::Entering => (seat.get().freed.clone(), None),
                    Holder::Playing { shard, .. } => (seat.get().freed.clone(), Some(shard)),
                },
            };
            // Nothing else runs on this thread between here and the first poll of the wait below.
            let wait = freed.notified();
            if let Some(shard) = shard
                && !asked.as_ref().is_some_and(|asked| Rc::ptr_eq(asked, &freed))
            {
                if !end(shard) {
                    tokio::time::sleep(ASK_AGAIN).await;
                    continue;
                }
                asked = Some(freed.clone());
            }
            wait.await;
        }
    }

    /// Frees the seat of a session that is over; whoever waits for it goes on.
    pub fn free(&self, account: i64) {
        if let Some(mut seat) = self.taken.borrow_mut().remove(&account) {
            self.tickets.borrow_mut().forget(&mut seat.tickets);
            seat.freed.notify_waiters();
        }
    }

    /// The session that a ticket takes up: its account, its shard, and a new ticket made of `fresh`. `None` if the ticket is
    /// not good, or its session plays on no shard.
    pub fn resume(&self, shown: &[u8; 16], fresh: [u8; 16]) -> Option<(i64, u16, Ticket)> {
        let mut tickets = self.tickets.borrow_mut();
        let account = tickets.account(shown)?;
        let mut taken = self.taken.borrow_mut();
        let seat = taken.get_mut(&account)?;
        let Holder::Playing { shard, .. } = seat.holder else { return None };
        Some((account, shard, tickets.renew(account, &mut seat.tickets, shown, fresh)))
    }

    /// The account's session went on to another shard; what is told late, of earlier moves or of a session before, changes
    /// nothing. A shard that a session has just left hands on what it is asked for it.
    pub fn moved(&self, account: i64, to: u16, stay: Stay) {
        if let Some(seat) = self.taken.borrow_mut().get_mut(&account)
            && let Holder::Playing { shard, moves } = &mut seat.holder
            && seat.number == stay.seat
            && *moves < stay.moves
        {
            (*shard, *moves) = (to, stay.moves);
        }
    }

    /// The shard on which the account plays, if it does.
    pub fn shard_of(&self, account: i64) -> Option<u16> {
        match self.taken.borrow().get(&account)?.holder {
            Holder::Playing { shard, .. } => Some(shard),
            Holder::Entering => None,
        }
    }

    /// The character that plays with the account, or is about to.
    pub fn character_of(&self, account: i64) -> Option<i64> {
        self.taken.borrow().get(&account)?.character
    }

    /// The account's client has its newest ticket, by number.
    pub fn confirm(&self, account: i64, ticket: u32) {
        if let Some(seat) = self.taken.borrow_mut().get_mut(&account) {
            self.tickets.borrow_mut().confirm(&mut seat.tickets, ticket);
        }
    }

    /// Whether an account holds a seat.
    pub fn is_taken(&self, account: i64) -> bool {
        self.taken.borrow().contains_key(&account)
    }

    /// Accounts that hold a seat.
    pub fn count(&self) -> usize {
        self.taken.borrow().len()
    }
}

impl Claim {
    /// The session as it begins.
    pub fn stay(&self) -> Stay {
        Stay { seat: self.number, moves: 0 }
    }

    /// Says who is about to play: from then on the others know, before it is read whether it may.
    pub fn enters(&self, character: i64) {
        if let Some(seat) = self.seats.taken.borrow_mut().get_mut(&self.account) {
            seat.character = Some(character);
        }
    }

    /// Gives the session its first ticket.
    pub fn ticket(&self, secret: [u8; 16]) -> Option<Ticket> {
        let mut taken = self.seats.taken.borrow_mut();
        let seat = taken.get_mut(&self.account)?;
        Some(self.seats.tickets.borrow_mut().give(self.account, &mut seat.tickets, secret))
    }

    /// The session plays on a shard from now on; its seat is freed by [`Seats::free`]. Those who wait are woken, so that
    /// the newest of them can ask for its end.
    pub fn play(mut self, shard: u16) {
        self.kept = true;
        if let Some(seat) = self.seats.taken.borrow_mut().get_mut(&self.account) {
            seat.holder = Holder::Playing { shard, moves: 0 };
            seat.freed.notify_waiters();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.kept {
            self.seats.free(self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs tasks on one thread, as the control plane does.
    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_newer_session_ends_the_older_one_and_waits_for_it() {
        run(async {
            let seats = Rc::new(Seats::default());
            seats.claim(7, |_| panic!("the seat was free")).await.play(3);
            let (ended, entered) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(false)));
            let (e, n, s) = (ended.clone(), entered.clone(), seats.clone());
            let newer = tokio::task::spawn_local(async move {
                let claim = s.claim(7, |shard| e.replace(Some(shard)).is_none()).await;
                n.set(true);
                claim.play(1);
            });
            settle().await;
            assert_eq!((ended.get(), entered.get()), (Some(3), false));
            seats.free(7);
            newer.await.unwrap();
            assert!(entered.get());
            assert_eq!(seats.count(), 1);
        });
    }

    #[test]
    fn of_many_who_wait_each_ends_the_one_before() {
        run(async {
            let seats = Rc::new(Seats::default());
            seats.claim(7, |_| panic!("the seat was free")).await.play(0);
            let ends = Rc::new(Cell::new(0));
            let waiting: Vec<_> = (1..=5)
                .map(|shard| {
                    let (seats, ends) = (seats.clone(), ends.clone());
                    tokio::task::spawn_local(async move {
                        // A session that is asked to end is over a moment later.
                        let over = seats.clone();
                        let claim = seats
                            .claim(7, |_| {
                                let (over, ends) = (over.clone(), ends.clone());
                                tokio::task::spawn_local(async move {
                                    tokio::task::yield_now().await;
                                    ends.set(ends.get() + 1);
                                    over.free(7);
                                });
                                true
                            })
                            .await;
                        claim.play(shard);
                    })
                })
                .collect();
            for waits in waiting {
                waits.await.unwrap();
            }
            assert!(ends.get() >= 5, "each but the last was ended: {}", ends.get());
        });
    }

    #[test]
    fn a_ticket_finds_the_shard_of_its_session_while_that_plays() {
        run(async {
            let seats = Rc::new(Seats::default());
            let claim = seats.claim(7, |_| panic!("the seat was free")).await;
            let first = claim.ticket([1; 16]).unwrap();
            assert_eq!(seats.resume(&[1; 16], [2; 16]), None, "it has not entered");
            claim.play(3);
            let (account, shard, second) = seats.resume(&[1; 16], [2; 16]).unwrap();
            assert_eq!((account, shard, second.secret), (7, 3, [2; 16]));
            seats.confirm(7, first.number);
            assert!(seats.resume(&[1; 16], [3; 16]).is_some(), "the second may be lost");
            let (_, _, last) = seats.resume(&[3; 16], [4; 16]).unwrap();
            seats.confirm(7, last.number);
            assert_eq!(seats.resume(&[3; 16], [5; 16]), None, "it was used");
            seats.free(7);
            assert_eq!(seats.resume(&[4; 16], [5; 16]), None, "the session is over");
        });
    }

    #[test]
    fn a_seat_follows_its_session_and_old_news_do_not_move_it_back() {
        run(async {
            let seats = Rc::new(Seats::default());
            let claim = seats.claim(7, |_| panic!("the seat was free")).await;
            claim.ticket([1; 16]).unwrap();
            assert_eq!(seats.character_of(7), None);
            claim.enters(40);
            let stay = |moves| Stay { moves, ..claim.stay() };
            let (first, second) = (stay(1), stay(2));
            seats.moved(7, 9, first);
            claim.play(3);
            let shard = |shown: u8, fresh: u8| seats.resume(&[shown; 16], [fresh; 16]).unwrap().1;
            assert_eq!((shard(1, 2), seats.shard_of(7)), (3, Some(3)));
            assert_eq!((seats.character_of(7), seats.character_of(8)), (Some(40), None));
            seats.moved(7, 5, second);
            seats.moved(7, 4, first);
            assert_eq!((shard(2, 3), seats.shard_of(7), seats.shard_of(8)), (5, Some(5), None));
            seats.moved(8, 5, second);
            assert_eq!(seats.count(), 1);
            // News of a session that is over say nothing of the next one.
            seats.free(7);
            let claim = seats.claim(7, |_| panic!("the seat was free")).await;
            assert_eq!(seats.character_of(7), None);
            claim.ticket([6; 16]).unwrap();
            claim.play(2);
            seats.moved(7, 5, second.next());
            assert_eq!(shard(6, 7), 2);
        });
    }

    #[test]
    fn a_failed_sign_in_gives_the_seat_back() {
        run(async {
            let seats = Rc::new(Seats::default());
            drop(seats.claim(7, |_| panic!("the seat was free")).await);
            assert_eq!(seats.count(), 0);
        });
    }

    #[test]
    fn one_who_waits_for_an_entering_session_ends_it_once_it_plays() {
        run(async {
            let seats = Rc::new(Seats::default());
            let first = seats.claim(7, |_| panic!("the seat was free")).await;
            let ended = Rc::new(Cell::new(None));
            let (e, s) = (ended.clone(), seats.clone());
            let second = tokio::task::spawn_local(async move {
                s.claim(7, |shard| e.replace(Some(shard)).is_none()).await.play(5);
            });
            settle().await;
            assert_eq!(ended.get(), None);
            first.play(4);
            settle().await;
            assert_eq!(ended.get(), Some(4));
            seats.free(7);
            second.await.unwrap();
        });
    }
}
