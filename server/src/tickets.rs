//! Resumption tickets: which secret takes up which account's session. Belongs to the control plane's thread, inside the
//! seats. Keeps hashes alone, so that nothing that is logged or dumped here opens a session.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// A ticket as its client gets it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// What the client shows.
    pub secret: [u8; 16],
    /// Tells the tickets of one seat apart; rises.
    pub number: u32,
}

/// A ticket is not to be logged.
impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket {{ number: {} }}", self.number)
    }
}

type Hash = [u8; 32];

/// The tickets of one seat: the newest, and the one that was shown for it until the client is known to have the newest.
#[derive(Debug, Default)]
pub struct SeatTickets {
    number: u32,
    newest: Option<Hash>,
    shown: Option<Hash>,
}

/// Which account each good ticket belongs to.
#[derive(Debug, Default)]
pub struct Tickets {
    accounts: HashMap<Hash, i64>,
}

impl Tickets {
    /// Whose session a ticket takes up.
    pub fn account(&self, secret: &[u8; 16]) -> Option<i64> {
        self.accounts.get(&hash(secret)).copied()
    }

    /// Gives a seat its first ticket.
    pub fn give(&mut self, account: i64, seat: &mut SeatTickets, secret: [u8; 16]) -> Ticket {
        self.forget(seat);
        self.put(account, seat, secret)
    }

    /// Gives a seat a new ticket for the good one that was shown, which stays good until the new one is confirmed.
    pub fn renew(
        &mut self,
        account: i64,
        seat: &mut SeatTickets,
        shown: &[u8; 16],
        secret: [u8; 16],
    ) -> Ticket {
        let shown = hash(shown);
        for other in [seat.newest.take(), seat.shown.take()].into_iter().flatten() {
            if other != shown {
                self.accounts.remove(&other);
            }
        }
        seat.shown = Some(shown);
        self.put(account, seat, secret)
    }

    /// The client has the ticket of this number: if that is the newest, the one before is good no longer.
    pub fn confirm(&mut self, seat: &mut SeatTickets, number: u32) {
        if seat.number == number
            && let Some(shown) = seat.shown.take()
        {
            self.accounts.remove(&shown);
        }
    }

    /// The session is over: none of its tickets is good any longer.
    pub fn forget(&mut self, seat: &mut SeatTickets) {
        for hash in [seat.newest.take(), seat.shown.take()].into_iter().flatten() {
            self.accounts.remove(&hash);
        }
    }

    fn put(&mut self, account: i64, seat: &mut SeatTickets, secret: [u8; 16]) -> Ticket {
        let hash = hash(&secret);
        self.accounts.insert(hash, account);
        seat.newest = Some(hash);
        seat.number = seat.number.wrapping_add(1);
        Ticket { secret, number: seat.number }
    }
}

/// A secret that nobody can guess.
///
/// # Errors
/// If the kernel has no random numbers.
pub fn secret() -> std::io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    let got = rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())?;
    // The kernel gives as few bytes as these at once, or none.
    if got == secret.len() { Ok(secret) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn hash(secret: &[u8; 16]) -> Hash {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_but_until_the_next_has_arrived() {
        let (mut tickets, mut seat) = (Tickets::default(), SeatTickets::default());
        let good = |tickets: &Tickets| -> Vec<u8> {
            (0..9).filter(|n| tickets.account(&[*n; 16]).is_some()).collect()
        };
        let first = tickets.give(7, &mut seat, [1; 16]);
        assert_eq!((tickets.account(&[1; 16]), good(&tickets)), (Some(7), vec![1]));
        // The answer with the second is lost twice over.
        tickets.renew(7, &mut seat, &[1; 16], [2; 16]);
        assert_eq!(good(&tickets), [1, 2]);
        let third = tickets.renew(7, &mut seat, &[1; 16], [3; 16]);
        assert_eq!(good(&tickets), [1, 3]);
        tickets.confirm(&mut seat, first.number);
        assert_eq!(good(&tickets), [1, 3], "that was said of an older one");
        tickets.confirm(&mut seat, third.number);
        assert_eq!(good(&tickets), [3]);
        tickets.renew(7, &mut seat, &[3; 16], [4; 16]);
        // To show the newest proves it, whoever confirmed.
        tickets.renew(7, &mut seat, &[4; 16], [5; 16]);
        assert_eq!(good(&tickets), [4, 5]);
        tickets.forget(&mut seat);
        assert_eq!(good(&tickets), [0; 0]);
    }

    #[test]
    fn a_ticket_is_not_shown_in_logs() {
        let ticket = Ticket { secret: [0xab; 16], number: 3 };
        assert_eq!(format!("{ticket:?}"), "Ticket { number: 3 }");
        assert_ne!(secret().unwrap(), secret().unwrap());
    }
}
