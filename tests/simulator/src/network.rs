//! The network: streams whose bytes arrive late, in pieces, and not at all once they are cut. What was sent over one stream
//! arrives in order; streams know nothing of each other's delays.
//!
//! The node's end of each is one of a pair of Unix sockets, so that the real transport, and whoever hands sockets on, have
//! what they handle. The other end is read and written here, at the moments that the seed says.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rand::RngExt as _;
use rand_pcg::Pcg64;

/// A stream's number; never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(u32);

/// All streams.
pub struct Network {
    links: BTreeMap<LinkId, Link>,
    next: u32,
    delay_ticks_max: u64,
}

struct Link {
    /// The end of it that is not the node's; gone once the node is to see that the stream ended.
    socket: Option<UnixStream>,
    up: Way,
    down: Way,
    /// Bytes for the client.
    arrived: Vec<u8>,
    has_ended: bool,
}

/// One direction: what is on the way, each piece with the tick when it arrives.
#[derive(Default)]
struct Way {
    pieces: VecDeque<(u64, Piece)>,
    last_tick: u64,
    /// Nothing follows.
    is_closed: bool,
}

enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Way {
    fn push(&mut self, piece: Piece, at: u64) {
        if self.is_closed {
            return;
        }
        self.is_closed = matches!(piece, Piece::End);
        self.last_tick = self.last_tick.max(at);
        self.pieces.push_back((self.last_tick, piece));
    }

    fn due(&mut self, tick: u64) -> Option<Piece> {
        let is_due = self.pieces.front().is_some_and(|(at, _)| *at <= tick);
        is_due.then(|| self.pieces.pop_front()).flatten().map(|(_, piece)| piece)
    }
}

impl Network {
    /// A network without streams.
    pub fn new(delay_ticks_max: u64) -> Network {
        Network { links: BTreeMap::new(), next: 0, delay_ticks_max }
    }

    /// Lets everything arrive soon from now on.
    pub fn heal(&mut self) {
        self.delay_ticks_max = 1;
    }

    /// A new stream; the node's end of it comes back.
    pub fn open(&mut self) -> (LinkId, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("the process may open sockets");
        ours.set_nonblocking(true).expect("a socket can be told not to block");
        theirs.set_nonblocking(true).expect("a socket can be told not to block");
        let id = LinkId(self.next);
        self.next += 1;
        let link = Link {
            socket: Some(ours),
            up: Way::default(),
            down: Way::default(),
            arrived: Vec::new(),
            has_ended: false,
        };
        self.links.insert(id, link);
        (id, theirs)
    }

    /// The client sends.
    pub fn send(&mut self, id: LinkId, mut bytes: &[u8], tick: u64, rng: &mut Pcg64) {
        while !bytes.is_empty() {
            let whole = rng.random_bool(0.8);
            let length = if whole { bytes.len() } else { rng.random_range(1..=bytes.len()) };
            let (piece, rest) = bytes.split_at(length);
            let at = tick + rng.random_range(0..=self.delay_ticks_max);
            if let Some(link) = self.links.get_mut(&id) {
                link.up.push(Piece::Bytes(piece.to_vec()), at);
            }
            bytes = rest;
        }
    }

    /// What arrived for the client since it looked last, and whether nothing follows.
    pub fn receive(&mut self, id: LinkId) -> (Vec<u8>, bool) {
        match self.links.get_mut(&id) {
            Some(link) => (std::mem::take(&mut link.arrived), link.has_ended),
            None => (Vec::new(), true),
        }
    }

    /// The client closes its end and looks at it no more; what it sent before still arrives.
    pub fn close(&mut self, id: LinkId, tick: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.down.is_closed = true;
            link.down.pieces.clear();
            link.up.push(Piece::End, tick);
        }
    }

    /// The stream breaks: what is on the way is lost, and each side learns of it when it does.
    pub fn cut(&mut self, id: LinkId, tick: u64, rng: &mut Pcg64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for way in [&mut link.up, &mut link.down] {
            let kept = rng.random_range(0..=way.pieces.len());
            way.pieces.truncate(kept);
            way.push(Piece::End, tick + rng.random_range(0..60));
            way.is_closed = true;
        }
    }

    /// One of the streams that there are.
    pub fn any(&self, rng: &mut Pcg64) -> Option<LinkId> {
        let number = self.links.len();
        (number > 0).then(|| self.links.keys().copied().nth(rng.random_range(0..number))).flatten()
    }

    /// Moves everything on: what the node wrote is on its way, what is due arrives.
    pub fn step(&mut self, tick: u64, rng: &mut Pcg64) {
        for link in self.links.values_mut() {
            let delay = rng.random_range(0..=self.delay_ticks_max);
            link.read(tick + delay);
            link.deliver(tick);
        }
        self.links.retain(|_, link| {
            link.socket.is_some() || !link.down.pieces.is_empty() || !link.arrived.is_empty()
        });
    }
}

impl Link {
    /// Takes what the node wrote.
    fn read(&mut self, arrives_at: u64) {
        let mut buffer = [0; 16 << 10];
        while let Some(socket) = &mut self.socket {
            match socket.read(&mut buffer) {
                Ok(bytes @ 1..) => self.down.push(Piece::Bytes(buffer[..bytes].to_vec()), arrives_at),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.down.push(Piece::End, arrives_at);
                    self.socket = None;
                }
            }
        }
    }

    fn deliver(&mut self, tick: u64) {
        while let Some(piece) = self.up.due(tick) {
            match piece {
                // What the node has closed takes nothing; it is told with the next read.
                Piece::Bytes(bytes) => {
                    let _ = self.socket.as_mut().map(|socket| socket.write_all(&bytes));
                }
                Piece::End => self.socket = None,
            }
        }
        while let Some(piece) = self.down.due(tick) {
            match piece {
                Piece::Bytes(bytes) => self.arrived.extend(bytes),
                Piece::End => self.has_ended = true,
            }
        }
    }
}
