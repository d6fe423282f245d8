//! The listening socket.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {addr}: {source}; choose another address or port, or stop what listens there")]
pub struct ListenError {
    /// The address.
    pub addr: SocketAddr,
    /// What the system says.
    pub source: std::io::Error,
}

/// Listens on an address, in non-blocking mode. Port 0 takes a free port.
///
/// `backlog` connections may wait to be accepted; the system's own bound (`net.core.somaxconn`) holds too. An address
/// whose last server has just stopped can be listened on at once.
pub fn listen(addr: SocketAddr, backlog: u32) -> Result<TcpListener, ListenError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    };
    bound().map_err(|source| ListenError { addr, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::net::TcpStream;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn clients_connect_and_accept_never_waits() {
        let listener = listen(ANY_PORT, 16).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_taken_address_is_named_and_a_left_one_is_free_at_once() {
        let first = listen(ANY_PORT, 16).unwrap();
        let addr = first.local_addr().unwrap();
        let error = listen(addr, 16).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");

        // The server's side closes first, so the address lingers in TIME_WAIT.
        let mut client = TcpStream::connect(addr).unwrap();
        drop(first.accept().unwrap());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop((client, first));
        listen(addr, 16).unwrap();
    }
}
