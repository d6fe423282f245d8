//! The links that are open, by account: who is told of an event, and whose link is to be closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::events::Event;
use super::handshake::HandshakeError;

/// Links that are open at once, those in their handshake among them.
pub const LINKS_MAX: usize = 512;
/// Events that wait for one link; one that is further behind is closed, and its device catches up.
pub const QUEUE_MAX: usize = 64;

/// Why a link is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The handshake failed.
    Handshake(HandshakeError),
    /// Too many handshakes from its address failed.
    TooManyAttempts,
    /// The device is banned.
    Banned,
    /// The account is suspended.
    Suspended,
    /// A message is not the other side's next one.
    Forged,
    /// It took its events too slowly.
    Slow,
    /// The device opened another link.
    Replaced,
    /// The device was revoked.
    Revoked,
    /// Its session is over.
    SessionOver,
    /// The database does not answer.
    Unavailable,
}

impl End {
    /// The stable code that the link is closed with.
    pub const fn as_str(self) -> &'static str {
        match self {
            End::Handshake(error) => error.as_str(),
            End::TooManyAttempts => "too_many_attempts",
            End::Banned => "device_banned",
            End::Suspended => "account_suspended",
            End::Forged => "frame_invalid",
            End::Slow => "too_slow",
            End::Replaced => "replaced",
            End::Revoked => "device_revoked",
            End::SessionOver => "session_over",
            End::Unavailable => "unavailable",
        }
    }
}

/// The links that are open.
pub struct Links {
    room: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    accounts: HashMap<i64, Vec<Link>>,
    /// The number of the last link.
    count: u64,
}

struct Link {
    number: u64,
    device: String,
    session: String,
    queue: mpsc::Sender<Arc<Event>>,
    close: Option<oneshot::Sender<End>>,
}

impl Link {
    fn close(&mut self, end: End) {
        if let Some(close) = self.close.take() {
            // One that is gone needs no closing.
            let _ = close.send(end);
        }
    }
}

/// A link's own end.
pub struct Joined {
    /// The events of the account's other devices.
    pub queue: mpsc::Receiver<Arc<Event>>,
    /// Why it is to be closed, once it is.
    pub closing: oneshot::Receiver<End>,
    /// Its place among the links, until this is dropped.
    pub place: Place,
}

/// A link's place among the links.
pub struct Place {
    links: Arc<Links>,
    account: i64,
    number: u64,
}

impl Default for Links {
    fn default() -> Links {
        Links { room: Arc::new(Semaphore::new(LINKS_MAX)), open: Mutex::default() }
    }
}

impl Links {
    /// Room for one more; `None` where there is none.
    pub fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Takes up a device's link; another one of the same device is closed.
    pub fn join(self: &Arc<Links>, account: i64, device: &str, session: &str) -> Joined {
        let ((events, queue), (close, closing)) = (mpsc::channel(QUEUE_MAX), oneshot::channel());
        let mut open = self.lock();
        open.count += 1;
        let number = open.count;
        let links = open.accounts.entry(account).or_default();
        links.iter_mut().filter(|link| link.device == device).for_each(|link| link.close(End::Replaced));
        links.retain(|link| link.device != device);
        let (device, session) = (device.to_owned(), session.to_owned());
        links.push(Link { number, device, session, queue: events, close: Some(close) });
        Joined { queue, closing, place: Place { links: self.clone(), account, number } }
    }

    /// Tells the account's devices but the one that it is of.
    pub fn deliver(&self, account: i64, event: &Arc<Event>) {
        let mut open = self.lock();
        for link in open.accounts.get_mut(&account).into_iter().flatten() {
            if link.device == event.device || link.close.is_none() {
                continue;
            }
            if let Err(TrySendError::Full(_)) = link.queue.try_send(event.clone()) {
                link.close(End::Slow);
            }
        }
    }

    /// Closes the links of these sessions.
    pub fn close_sessions(&self, sessions: &[String]) {
        self.close(End::SessionOver, |link| sessions.contains(&link.session));
    }

    /// Closes a device's link.
    pub fn close_device(&self, device: &str, end: End) {
        self.close(end, |link| link.device == device);
    }

    /// How many are past their handshake.
    pub fn len(&self) -> usize {
        self.lock().accounts.values().map(Vec::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn close(&self, end: End, which: impl Fn(&Link) -> bool) {
        let mut open = self.lock();
        open.accounts.values_mut().flatten().filter(|link| which(link)).for_each(|link| link.close(end));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic between two of its statements leaves it usable.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.links.lock();
        if let Some(links) = open.accounts.get_mut(&self.account) {
            links.retain(|link| link.number != self.number);
            if links.is_empty() {
                open.accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(device: &str, sequence: i64) -> Arc<Event> {
        let (stream, key, body) = ("s".to_owned(), String::new(), String::new());
        let device = device.to_owned();
        Arc::new(Event {
            stream,
            sequence,
            device,
            number: sequence,
            key,
            body,
            created_ms: 0,
            expires_ms: 1,
        })
    }

    #[test]
    fn the_accounts_other_devices_are_told() {
        let links = Arc::new(Links::default());
        let mut one = links.join(7, "a", "sa");
        let mut two = links.join(7, "b", "sb");
        let mut other = links.join(8, "c", "sc");
        links.deliver(7, &event("a", 1));
        assert!(one.queue.try_recv().is_err());
        assert_eq!(two.queue.try_recv().unwrap().sequence, 1);
        assert!(other.queue.try_recv().is_err());
    }

    #[test]
    fn a_link_ends_for_its_reason_and_leaves_nothing() {
        let links = Arc::new(Links::default());
        let check = |joined: &mut Joined, end: End| assert_eq!(joined.closing.try_recv(), Ok(end));
        let mut one = links.join(7, "a", "sa");
        let mut again = links.join(7, "a", "sa");
        check(&mut one, End::Replaced);
        drop(one);
        assert_eq!(links.len(), 1);
        links.close_sessions(&["sb".into()]);
        links.close_device("b", End::Revoked);
        assert!(again.closing.try_recv().is_err());
        links.close_device("a", End::Revoked);
        links.close_sessions(&["sa".into()]);
        check(&mut again, End::Revoked);
        drop(again);
        let mut two = links.join(7, "b", "sb");
        links.close_sessions(&["sb".into()]);
        check(&mut two, End::SessionOver);
        drop(two);
        assert!(links.is_empty() && links.lock().accounts.is_empty());
    }

    #[test]
    fn a_slow_one_is_closed_and_holds_up_nobody() {
        let links = Arc::new(Links::default());
        let mut slow = links.join(7, "a", "sa");
        let mut quick = links.join(7, "b", "sb");
        for sequence in 1..=QUEUE_MAX as i64 + 2 {
            links.deliver(7, &event("c", sequence));
            assert_eq!(quick.queue.try_recv().unwrap().sequence, sequence);
        }
        assert_eq!(slow.closing.try_recv(), Ok(End::Slow));
        assert!(quick.closing.try_recv().is_err());
        assert_eq!(slow.queue.len(), QUEUE_MAX);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let links = Links::default();
        let taken: Vec<_> = (0..LINKS_MAX).map(|_| links.room().unwrap()).collect();
        assert!(links.room().is_none());
        drop(taken);
        assert!(links.room().is_some());
    }
}
