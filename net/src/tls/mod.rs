//! TLS 1.3 on the players' port: sessions that move between threads, and the certificate that they present.
//!
//! A [`Session`] is the protocol without a socket: bytes in, bytes out. The handshake is spoken on the control plane,
//! where it costs no tick; then the session moves to the shard together with its socket, and the transport opens and
//! seals there what it receives and sends. An [`Identity`] is a certificate and its key, which can be replaced while
//! sessions go on.
//!
//! Nothing older than TLS 1.3 is compiled in, so that nothing can be talked down to it; there is no early data and no
//! resumption. Nothing here touches sockets.

mod identity;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use identity::{Identity, IdentityError};
pub use rustls::ServerConfig;
pub use session::{Opened, PARTIAL_BYTES_MAX, Session, TlsError};
