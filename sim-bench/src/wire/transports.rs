//! The server's own transports, called as its driver calls them.

use std::os::fd::OwnedFd;

use vyuha_net::transport::{Limits, Received, Stream, SyscallTransport, Transport, UringTransport};

use super::clients::Clients;
use super::{Snapshots, tls};

/// As the server's configuration has them by default.
fn limits(connections: usize) -> Limits {
    Limits {
        connections_max: connections as u32,
        frames_per_second_max: 120,
        bytes_per_tick_max: 4 << 10,
        reliable_bytes_max: 64 << 10,
        idle_ticks: 900,
        stalled_ticks: 900,
        tick_hz: 30,
    }
}

pub fn serve_vyuha(clients: &mut Clients, sockets: Vec<OwnedFd>) -> Result<u64, String> {
    let transport = UringTransport::new(limits(clients.count()));
    let streams = sockets.into_iter().map(Stream::from);
    serve(clients, streams, transport.map_err(|error| format!("io_uring is not to be had: {error}"))?)
}

pub fn serve_vyuha_tls(clients: &mut Clients, sockets: Vec<OwnedFd>) -> Result<u64, String> {
    let transport = UringTransport::new(limits(clients.count()));
    let (ends, sessions) = tls::sessions(clients.count())?;
    clients.speak_tls(ends);
    let secured = |(socket, session)| Stream { socket, tls: Some(Box::new(session)) };
    let streams = sockets.into_iter().zip(sessions).map(secured);
    serve(clients, streams, transport.map_err(|error| format!("io_uring is not to be had: {error}"))?)
}

pub fn serve_plain(clients: &mut Clients, sockets: Vec<OwnedFd>) -> Result<u64, String> {
    let transport = SyscallTransport::new(limits(clients.count()));
    serve(clients, sockets.into_iter().map(Stream::from), transport)
}

fn serve(
    clients: &mut Clients,
    streams: impl Iterator<Item = Stream>,
    mut transport: impl Transport,
) -> Result<u64, String> {
    for stream in streams {
        transport.admit(stream, &[]).map_err(|error| error.to_string())?;
    }
    let (mut snapshots, mut tick) = (Snapshots::new(), 0);
    let (mut inputs, mut closed) = (0, None);
    while clients.turn()?.wait() {
        transport.reap(&mut |_, received| match received {
            Received::Frame { .. } => inputs += 1,
            Received::Closed(cause) => closed = Some(cause),
        });
        transport.flush(&mut |conn, out| out.extend_from_slice(snapshots.make(conn.0 as usize, tick)));
        tick += 1;
    }
    clients.leave();
    match closed {
        Some(cause) => Err(format!("a connection was closed: {}", cause.name())),
        None => Ok(inputs),
    }
}
