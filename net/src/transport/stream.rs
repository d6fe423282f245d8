//! What a connection is made of when it comes from elsewhere.

use std::os::fd::OwnedFd;

use crate::tls::Session;

/// A client's stream: its socket and, where it speaks TLS, the session, whose handshake is over.
#[derive(Debug)]
pub struct Stream {
    /// The socket.
    pub socket: OwnedFd,
    /// The session.
    pub tls: Option<Box<Session>>,
}

/// A stream without TLS.
impl From<OwnedFd> for Stream {
    fn from(socket: OwnedFd) -> Stream {
        Stream { socket, tls: None }
    }
}
