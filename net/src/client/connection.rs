//! A non-blocking TCP socket under a [`ClientCore`], for programs that poll many of them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::ClientConnection;

use super::tls;
use super::{ClientContent, ClientCore, ClientError, ServerTrust};

/// A client's connection. Never blocks; whoever owns it polls the socket.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    core: ClientCore,
    /// Of a connection over TLS.
    trust: Option<ServerTrust>,
    tls: Option<Box<ClientConnection>>,
}

/// What one look at the socket brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, now with the core; there are more if the buffer was filled.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The server closed.
    Ended,
}

impl Connection {
    /// Begins to connect, and appends the message that opens the connection. Whether the server is there shows when
    /// the socket becomes writable and [`Connection::flush`] is called.
    pub fn open(server: SocketAddr, content: Arc<ClientContent>) -> Result<Connection, ClientError> {
        Connection::connect(server, content, None)
    }

    /// The same over TLS.
    pub fn open_tls(
        server: SocketAddr,
        content: Arc<ClientContent>,
        trust: &ServerTrust,
    ) -> Result<Connection, ClientError> {
        Connection::connect(server, content, Some(trust.clone()))
    }

    fn connect(
        server: SocketAddr,
        content: Arc<ClientContent>,
        trust: Option<ServerTrust>,
    ) -> Result<Connection, ClientError> {
        let tls = begin_tls(trust.as_ref())?;
        let stream = begin_to_connect(server)?;
        let mut core = ClientCore::new(content);
        core.hello()?;
        Ok(Connection { stream, core, trust, tls })
    }

    /// Begins to connect anew, whatever became of the connection so far, over TLS if that was, and appends what takes up
    /// the session.
    pub fn reopen(&mut self, server: SocketAddr) -> Result<(), ClientError> {
        self.core.resume()?;
        self.tls = begin_tls(self.trust.as_ref())?;
        self.stream = begin_to_connect(server)?;
        Ok(())
    }

    /// Ends the connection in both directions. What is read from then on is [`Received::Ended`].
    pub fn shut_down(&mut self) {
        // One that broke already is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads once into `scratch`, which many connections can share, and hands the bytes to the core; 64 KiB serve
    /// well. Take the events before reading again.
    pub fn poll_read(&mut self, scratch: &mut [u8]) -> Result<Received, ClientError> {
        loop {
            let read = match &mut self.tls {
                Some(tls) => tls::read(tls, &self.stream, scratch),
                None => self.stream.read(scratch),
            };
            return match read {
                Ok(0) => Ok(Received::Ended),
                Ok(bytes) => {
                    self.core.receive(&scratch[..bytes])?;
                    Ok(Received::Bytes(bytes))
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Whether something waits to be sent.
    pub fn wants_write(&self) -> bool {
        !self.core.outgoing().is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends what waits, as far as the socket takes it. Returns how many bytes it took; what is left stands in
    /// [`ClientCore::outgoing`]. Over TLS it is sealed first, and those bytes are counted; what the socket does not take is
    /// kept, up to about 64 KiB.
    pub fn flush(&mut self) -> Result<usize, ClientError> {
        let mut sent = 0;
        if let Some(tls) = &mut self.tls {
            let sealed = tls.writer().write(self.core.outgoing())?;
            self.core.mark_sent(sealed);
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(bytes) => sent += bytes,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(sent);
        }
        while !self.core.outgoing().is_empty() {
            match self.stream.write(self.core.outgoing()) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(bytes) => {
                    self.core.mark_sent(bytes);
                    sent += bytes;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    /// The protocol's state.
    pub fn core(&self) -> &ClientCore {
        &self.core
    }

    /// The protocol's state, to take events and append messages.
    pub fn core_mut(&mut self) -> &mut ClientCore {
        &mut self.core
    }
}

/// The TLS of a new connection, if there is to be any.
fn begin_tls(trust: Option<&ServerTrust>) -> Result<Option<Box<ClientConnection>>, ClientError> {
    let tls = trust.map(ServerTrust::connect).transpose().map_err(io::Error::other)?;
    Ok(tls.map(Box::new))
}

fn begin_to_connect(server: SocketAddr) -> Result<TcpStream, ClientError> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
    // A step is a few bytes that must not wait for the acknowledgement of the last one.
    rustix::net::sockopt::set_tcp_nodelay(&socket, true).map_err(io::Error::from)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(io::Error::from(error).into()),
    }
    Ok(TcpStream::from(socket))
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
