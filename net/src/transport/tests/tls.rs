//! Connections that speak TLS, against rustls' own client.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use rustls::{ClientConnection, ServerConfig, StreamOwned};

use super::traffic::given_away;
use super::*;
use crate::tls::Session;
use crate::tls::tests::{client, identity};

type Client = StreamOwned<ClientConnection, TcpStream>;

on_both_drivers! {
    frames_go_both_ways_in_one_record_a_send,
    close_sends_what_is_queued_and_says_that_it_is_all,
    an_end_is_told_from_a_stream_that_was_cut,
    what_does_not_open_ends_the_connection_with_an_alert,
    many_small_records_are_a_flood,
    a_slow_client_reads_whole_frames_in_order,
    half_a_record_keeps_bounded_memory,
    a_session_goes_from_one_transport_to_another_with_its_socket,
    what_was_sealed_and_not_sent_goes_along_as_it_is,
}

/// A client and its connection; `plain` was read ahead.
fn secured(server: &mut Server, plain: &[u8]) -> (Client, ConnId) {
    let (identity, trust) = identity();
    let (mut client, session) = shaken(identity.players(), client(&trust));
    let (socket, accepted) = server.sockets();
    let stream = Stream { socket: accepted, tls: Some(session) };
    let conn = server.transport.admit(stream, plain).unwrap();
    client.set_buffer_limit(None);
    (StreamOwned::new(client, socket), conn)
}

/// Both ends of a session whose handshake is over.
fn shaken(config: Arc<ServerConfig>, mut client: ClientConnection) -> (ClientConnection, Box<Session>) {
    let mut session = Box::new(Session::new(config).unwrap());
    while client.is_handshaking() || session.is_handshaking() {
        let (mut sent, mut reply) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut sent).unwrap();
        }
        session.open(&mut sent, &mut Vec::new(), &mut reply).unwrap();
        let mut reply = &reply[..];
        while !reply.is_empty() {
            client.read_tls(&mut reply).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    (client, session)
}

fn frames_go_both_ways_in_one_record_a_send(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = secured(&mut server, &frame(1, b"ahead"));
    client.write_all(&[frame(2, b"two"), frame(3, b"three")].concat()).unwrap();
    server.until("frames", |s| s.events.len() == 3);
    let expected = [(1, &b"ahead"[..]), (2, b"two"), (3, b"three")];
    assert_eq!(server.events, expected.map(|(kind, payload)| Event::Frame(conn, kind, payload.into())));

    let (reply, snapshot) = (frame(7, b"reply"), frame(8, &[5; 400]));
    server.transport.queue(conn, &reply);
    server.reap();
    server.transport.flush(&mut |_, out| out.extend_from_slice(&snapshot));
    let mut got = vec![0; reply.len() + snapshot.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, [reply, snapshot].concat());
    let stats = server.transport.stats();
    assert_eq!((stats.sends, stats.snapshots_sent, stats.bytes_out), (1, 1, got.len() as u64 + 22));
    assert_eq!(server.transport.kept_bytes(conn), 0);
}

fn close_sends_what_is_queued_and_says_that_it_is_all(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = secured(&mut server, &[]);
    server.transport.queue(conn, &frame(8, b"farewell"));
    server.transport.close(conn);
    server.tick();
    let mut got = Vec::new();
    // Without the word that it is all this would be an error.
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, frame(8, b"farewell"));
    drop(client);
    server.until("the slot", |s| s.slots_in_use() == 0);
    assert_eq!(server.events, []);
}

fn an_end_is_told_from_a_stream_that_was_cut(driver: Driver) {
    for (says_so, cause) in [(true, CloseCause::Peer), (false, CloseCause::Reset)] {
        let mut server = Server::new(driver, WIDE);
        let (mut client, conn) = secured(&mut server, &[]);
        client.write_all(&frame(1, b"last")).unwrap();
        if says_so {
            client.conn.send_close_notify();
            client.conn.complete_io(&mut client.sock).unwrap();
        }
        client.sock.shutdown(Shutdown::Write).unwrap();
        server.until_closed(conn, cause);
        assert_eq!(server.events[0], Event::Frame(conn, 1, b"last".into()));
        server.until("the slot", |s| s.slots_in_use() == 0);
    }
}

fn what_does_not_open_ends_the_connection_with_an_alert(driver: Driver) {
    let bent = [23, 3, 3, 0, 30].into_iter().chain([9; 30]).collect();
    for bytes in [bent, frame(1, b"in the clear"), vec![0xff; 300]] {
        let mut server = Server::new(driver, WIDE);
        let (mut client, conn) = secured(&mut server, &[]);
        client.sock.write_all(&bytes).unwrap();
        server.until_closed(conn, CloseCause::Tls);
        // Nobody can be told anything any more.
        server.transport.queue(conn, &frame(8, b"farewell"));
        server.tick();
        assert!(client.read(&mut [0]).is_err(), "an alert");
        drop(client);
        server.until("the slot", |s| s.slots_in_use() == 0);
    }
}

fn many_small_records_are_a_flood(driver: Driver) {
    let limits = Limits { frames_per_second_max: 30, tick_hz: 1_000_000, ..WIDE };
    let mut server = Server::new(driver, limits);
    let (mut client, conn) = secured(&mut server, &[]);
    for byte in frame(1, &[0; 100]) {
        client.write_all(&[byte]).unwrap();
    }
    server.until_closed(conn, CloseCause::Flood);
}

fn a_slow_client_reads_whole_frames_in_order(driver: Driver) {
    // So many ticks a second that the time to read lasts, though ticks here follow each other at once.
    let mut server = Server::new(driver, Limits { reliable_bytes_max: 256 << 10, tick_hz: 100_000, ..WIDE });
    let (client, conn) = secured(&mut server, &[]);
    let mut tick: u32 = 0;
    while server.transport.stats().snapshots_skipped < 50 {
        server.transport.queue(conn, &frame(7, &tick.to_le_bytes()));
        server.reap();
        server.transport.flush(&mut |_, out| out.extend(frame(8, &vec![3; 20_000])));
        tick += 1;
        assert!(tick < 5000, "the client's window never fills");
    }
    server.transport.close(conn);
    let reader = std::thread::spawn(move || {
        let (mut client, mut got) = (client, Vec::new());
        client.read_to_end(&mut got).unwrap();
        got
    });
    server.until("all of it", |_| reader.is_finished());
    let got = reader.join().unwrap();
    let (frames, rest) = frames(&got);
    assert_eq!(rest, []);
    let replies: Vec<u32> = frames
        .iter()
        .filter(|(kind, _)| *kind == 7)
        .map(|(_, payload)| u32::from_le_bytes(payload[..].try_into().unwrap()))
        .collect();
    assert_eq!(replies, (0..tick).collect::<Vec<_>>());
    assert!(frames.iter().any(|(kind, payload)| *kind == 8 && payload == &vec![3; 20_000]));
}

fn half_a_record_keeps_bounded_memory(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = secured(&mut server, &[]);
    // A record of 16 KiB whose end does not come.
    client.sock.write_all(&[23, 3, 3, 0x40, 0x11]).unwrap();
    client.sock.write_all(&[0; 16 << 10]).unwrap();
    let taken = |s: &Server| s.transport.stats().bytes_in >= 5 + (16 << 10);
    server.until("half a record", |s| taken(s));
    assert_eq!(server.events, []);
    client.sock.write_all(&[0; 17]).unwrap();
    server.until_closed(conn, CloseCause::Tls);
}

fn a_session_goes_from_one_transport_to_another_with_its_socket(driver: Driver) {
    const FRAMES: u16 = 300;
    // So little at once that records are cut and bytes wait.
    let limits = Limits { bytes_per_tick_max: 50, ..WIDE };
    let mut servers = [Server::new(driver, limits), Server::new(driver, limits)];
    let (mut client, mut conn) = secured(&mut servers[0], &[]);
    let sent: Vec<u8> = (0..FRAMES).flat_map(|nth| frame(nth, &[nth as u8; 21])).collect();
    // Cut anywhere, so that most moves find half a record and half a frame.
    for piece in sent.chunks(170) {
        client.write_all(piece).unwrap();
    }
    let (mut here, mut heard) = (0, Vec::new());
    let begin = Instant::now();
    while heard.len() < usize::from(FRAMES) {
        assert!(begin.elapsed() < PATIENCE, "{heard:?}");
        servers[here].tick();
        let reply = frame(heard.len() as u16, b"to it");
        servers[here].transport.queue(conn, &reply);
        let released = given_away(&mut servers[here], conn);
        for event in servers[here].events.drain(..) {
            let Event::Frame(_, kind, payload) = event else { panic!("{event:?}") };
            assert_eq!(payload, [kind as u8; 21]);
            heard.push(kind);
        }
        here = 1 - here;
        conn = servers[here].transport.readmit(released).unwrap();
        servers[here].tick();
        let mut got = vec![0; reply.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, reply);
    }
    assert_eq!(heard, (0..FRAMES).collect::<Vec<_>>());
}

fn what_was_sealed_and_not_sent_goes_along_as_it_is(driver: Driver) {
    let mut servers = [Server::new(driver, WIDE), Server::new(driver, WIDE)];
    let (client, conn) = secured(&mut servers[0], &[]);
    let mut sent: u32 = 0;
    while servers[0].transport.stats().snapshots_skipped < 3 {
        servers[0].transport.queue(conn, &frame(7, &sent.to_le_bytes()));
        servers[0].reap();
        servers[0].transport.flush(&mut |_, out| out.extend(frame(8, &vec![3; 20_000])));
        sent += 1;
        assert!(sent < 5000, "the client's window never fills");
    }
    // Not sealed yet when it goes.
    servers[0].transport.queue(conn, &frame(7, &sent.to_le_bytes()));
    let released = given_away(&mut servers[0], conn);
    assert!(!released.unsent.is_empty());
    let conn = servers[1].transport.readmit(released).unwrap();
    servers[1].transport.queue(conn, &frame(7, &(sent + 1).to_le_bytes()));
    servers[1].transport.close(conn);
    let reader = std::thread::spawn(move || {
        let (mut client, mut got) = (client, Vec::new());
        client.read_to_end(&mut got).unwrap();
        got
    });
    servers[1].until("all of it", |_| reader.is_finished());
    let got = reader.join().unwrap();
    let (frames, rest) = frames(&got);
    assert_eq!(rest, []);
    let replies = frames.iter().filter(|(kind, _)| *kind == 7);
    let replies: Vec<u32> =
        replies.map(|(_, payload)| u32::from_le_bytes(payload[..].try_into().unwrap())).collect();
    assert_eq!(replies, (0..sent + 2).collect::<Vec<_>>());
}
