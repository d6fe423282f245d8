//! A client's stream while it signs in: TCP or a browser's Unix socket, with TLS or without.
//!
//! The TLS session is spoken here from its handshake on, and moves on to the shard together with the socket.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vyuha_net::tls::Session;
use vyuha_net::transport::Stream;

/// Bytes taken from the socket at once.
const READ_BYTES: usize = 2048;

/// A connected stream.
pub struct ClientStream {
    tcp: TcpStream,
    tls: Option<Box<Session>>,
}

impl ClientStream {
    /// A stream that speaks TLS where there is a session, whose handshake may still be to come.
    pub fn new(tcp: TcpStream, tls: Option<Box<Session>>) -> ClientStream {
        ClientStream { tcp, tls }
    }

    /// Speaks until the handshake is over, if there is one. What the client has said beyond it is appended to `plain`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if the client speaks no TLS 1.3; or why the socket failed.
    pub async fn shake_hands(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            if !self.read(plain).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Waits for bytes and appends what they say to `plain`, which may be nothing yet: at most 2 KiB, or the 16 KiB of a
    /// TLS record. `false` once the client has ended its stream.
    pub async fn read(&mut self, plain: &mut Vec<u8>) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok((&mut self.tcp).take(READ_BYTES as u64).read_buf(plain).await? > 0);
        };
        let mut sealed = [0; READ_BYTES];
        let bytes = self.tcp.read(&mut sealed).await?;
        let mut reply = Vec::new();
        let opened = tls.open(&mut sealed[..bytes], plain, &mut reply);
        // An alert that cannot be sent has nobody to tell.
        let replied = self.tcp.write_all(&reply).await;
        let opened = opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        replied?;
        Ok(bytes > 0 && !opened.is_closed_by_peer)
    }

    /// Sends all of it.
    pub async fn write_all(&mut self, plain: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.tcp.write_all(plain).await };
        let mut sealed = Vec::new();
        tls.seal(plain, &mut sealed).map_err(io::Error::other)?;
        self.tcp.write_all(&sealed).await
    }

    /// Says that nothing follows, and drops what the client still sends until it closes.
    pub async fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            let mut sealed = Vec::new();
            tls.close(&mut sealed).map_err(io::Error::other)?;
            self.tcp.write_all(&sealed).await?;
        }
        self.tcp.shutdown().await?;
        // A socket that is closed over unread input takes the last frame with it.
        let mut dropped = [0; READ_BYTES];
        while self.tcp.read(&mut dropped).await? > 0 {}
        Ok(())
    }

    /// Takes the stream from the control plane.
    pub fn into_stream(self) -> io::Result<Stream> {
        Ok(Stream { socket: OwnedFd::from(self.tcp.into_std()?), tls: self.tls })
    }

    /// Gives it back to the control plane.
    pub fn from_stream(stream: Stream) -> io::Result<ClientStream> {
        let tcp = TcpStream::from_std(std::net::TcpStream::from(stream.socket))?;
        Ok(ClientStream { tcp, tls: stream.tls })
    }
}
