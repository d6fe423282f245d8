//! Many connections at once: more than a batch, more than there are buffers, floods among them, and slots used again.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

on_both_drivers! {
    more_connections_than_a_batch_are_served_in_one_tick,
    more_arrives_at_once_than_there_is_room_for,
    a_flood_costs_others_no_tick_and_itself_bounded_memory,
    a_transport_with_everything_in_flight_is_dropped,
    a_slot_used_again_never_hears_of_who_had_it_before,
}

fn crowd(server: &mut Server, connections: usize) -> Vec<UnixStream> {
    let connect = |_| {
        let (client, socket) = UnixStream::pair().unwrap();
        server.transport.admit(OwnedFd::from(socket).into(), &[]).unwrap();
        client
    };
    (0..connections).map(connect).collect()
}

fn more_connections_than_a_batch_are_served_in_one_tick(driver: Driver) {
    const CONNECTIONS: usize = 1100;
    let mut server = Server::new(driver, Limits { connections_max: CONNECTIONS as u32, ..WIDE });
    let mut clients = crowd(&mut server, CONNECTIONS);
    for tick in 0..3 {
        for (number, client) in (0..).zip(&mut clients) {
            client.write_all(&frame(number, &[tick; 16])).unwrap();
        }
        server.events.clear();
        server.reap();
        server.events.sort_unstable_by_key(|event| match event {
            Event::Frame(conn, ..) | Event::Closed(conn, _) => *conn,
        });
        let expected: Vec<_> =
            (0..CONNECTIONS).map(|n| Event::Frame(ConnId(n as u32), n as u16, vec![tick; 16])).collect();
        assert_eq!(server.events, expected);
        server.transport.flush(&mut |conn, out| out.extend(frame(conn.0 as u16, &[tick; 400])));
        for (number, client) in (0..).zip(&mut clients) {
            let expected = frame(number, &[tick; 400]);
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, expected);
        }
    }
    assert_eq!(server.transport.stats().sends, 3 * CONNECTIONS as u64);
}

fn more_arrives_at_once_than_there_is_room_for(driver: Driver) {
    const CONNECTIONS: usize = 200;
    const FRAMES: u16 = 60;
    let limits = Limits { connections_max: CONNECTIONS as u32, bytes_per_tick_max: 1 << 20, ..WIDE };
    let mut server = Server::new(driver, limits);
    let mut clients = crowd(&mut server, CONNECTIONS);
    let bytes: Vec<u8> = (0..FRAMES).flat_map(|kind| frame(kind, &[7; 500])).collect();
    for client in &mut clients {
        client.write_all(&bytes).unwrap();
    }
    server.until("every frame", |s| s.events.len() == CONNECTIONS * usize::from(FRAMES));
    let mut next = [0; CONNECTIONS];
    for event in &server.events {
        let Event::Frame(conn, kind, payload) = event else { panic!("{event:?}") };
        assert_eq!((*kind, payload.len()), (next[conn.0 as usize], 500));
        next[conn.0 as usize] += 1;
    }
}

fn a_flood_costs_others_no_tick_and_itself_bounded_memory(driver: Driver) {
    const OTHERS: usize = 50;
    let limits = Limits { connections_max: 60, bytes_per_tick_max: 256, ..WIDE };
    let mut server = Server::new(driver, limits);
    let (mut flooder, flooded) = server.connect();
    let mut others = crowd(&mut server, OTHERS);
    let flood = std::thread::spawn(move || {
        let bytes = frame(1, &[0; 1000]).repeat(20);
        while flooder.write_all(&bytes).is_ok() {}
    });
    server.until("the flood", |s| !s.events.is_empty());
    for tick in 0..200 {
        for other in &mut others {
            other.write_all(&frame(2, &[tick; 8])).unwrap();
        }
        server.events.clear();
        let before = server.transport.stats().bytes_in;
        server.tick();
        let heard = server.events.iter().filter(|event| matches!(event, Event::Frame(_, 2, _))).count();
        assert_eq!(heard, OTHERS, "tick {tick}");
        assert!(server.transport.stats().bytes_in - before <= OTHERS as u64 * 16 + 256);
        // It may have been too much altogether.
        let is_over = server.events.contains(&Event::Closed(flooded, CloseCause::Flood));
        assert_eq!(server.events.len(), heard + flood_frames(&server) + usize::from(is_over));
        let kept = server.transport.kept_bytes(flooded);
        assert!(kept <= 1032 + uring::WAITING_BYTES_MAX, "{kept} bytes are kept of the flood");
    }
    drop(server);
    flood.join().unwrap();
}

fn a_transport_with_everything_in_flight_is_dropped(driver: Driver) {
    for ticks in 0..3 {
        let mut server = Server::new(driver, WIDE);
        let (mut unread, socket) = server.sockets();
        unread.write_all(&frame(1, &[1; 1000]).repeat(20)).unwrap();
        server.transport.admit(socket.into(), &frame(2, b"ahead")).unwrap();
        let (mut silent, _) = server.connect();
        let (mut over, conn) = server.connect();
        server.transport.close(conn);
        for _ in 0..ticks {
            server.tick();
        }
        drop(server);
        assert_eq!(silent.read(&mut [0; 8]).unwrap_or(0), 0);
        assert_eq!(over.read(&mut [0; 8]).unwrap_or(0), 0);
        let begin = Instant::now();
        while unread.write_all(b"x").is_ok() {
            assert!(begin.elapsed() < PATIENCE, "the socket outlived its transport");
        }
    }
}

fn flood_frames(server: &Server) -> usize {
    server.events.iter().filter(|event| matches!(event, Event::Frame(_, 1, _))).count()
}

/// A step of a random coming and going. Who is named is counted among those who are there.
#[derive(Debug, Clone)]
enum Step {
    Come,
    /// A client sends this many frames, which tell who it is.
    Send(usize, usize),
    /// A client closes in good order, or resets.
    Go(usize, bool),
    /// The owner closes a connection.
    Close(usize),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Come),
        6 => (0usize..8, 1usize..60).prop_map(|(who, frames)| Step::Send(who, frames)),
        1 => (0usize..8, any::<bool>()).prop_map(|(who, reset)| Step::Go(who, reset)),
        2 => (0usize..8).prop_map(Step::Close),
        4 => Just(Step::Tick),
    ]
}

fn a_slot_used_again_never_hears_of_who_had_it_before(driver: Driver) {
    let steps = proptest::collection::vec(step(), 1..150);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(48));
    runner.run(&steps, |steps| coming_and_going(driver, steps)).unwrap();
}

/// Whoever comes, goes, floods and is thrown out: each frame is told of the connection that sent it, in order, and none
/// of a connection that is over.
fn coming_and_going(driver: Driver, steps: Vec<Step>) -> Result<(), TestCaseError> {
    // A tick of a second, so that nobody lingers for long; and so little a tick that much is left waiting.
    let mut server =
        Server::new(driver, Limits { tick_hz: 1, bytes_per_tick_max: 100, connections_max: 4, ..WIDE });
    let mut clients: Vec<(u16, TcpStream)> = Vec::new();
    let mut owners: HashMap<ConnId, (u16, u8)> = HashMap::new();
    let mut come = 0;
    let mut sent: HashMap<u16, u8> = HashMap::new();
    for step in steps {
        let present = clients.len();
        match step {
            Step::Come => {
                let (client, socket) = server.sockets();
                client.set_nonblocking(true).unwrap();
                let Ok(conn) = server.transport.admit(socket.into(), &[]) else { continue };
                prop_assert_eq!(owners.insert(conn, (come, 0)), None, "the slot is not free");
                clients.push((come, client));
                come += 1;
            }
            Step::Send(who, frames) if present > 0 => {
                let (name, client) = &mut clients[who % present];
                let sent = sent.entry(*name).or_default();
                for _ in 0..frames {
                    match client.write(&frame(*name, &[*sent; 30])) {
                        Ok(38) => *sent = sent.wrapping_add(1),
                        Ok(part) => return Err(TestCaseError::fail(format!("{part} bytes were written"))),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(_) => break,
                    }
                }
            }
            Step::Go(who, reset) if present > 0 => {
                let (_, client) = clients.swap_remove(who % present);
                if reset {
                    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
            Step::Close(who) if !owners.is_empty() => {
                let mut conns: Vec<_> = owners.keys().copied().collect();
                conns.sort_unstable();
                let conn = conns[who % conns.len()];
                server.transport.close(conn);
                owners.remove(&conn);
            }
            Step::Tick => {
                server.tick();
                for event in server.events.drain(..) {
                    match event {
                        Event::Frame(conn, name, payload) => {
                            let owner = owners.get_mut(&conn);
                            prop_assert_eq!(owner.as_ref().map(|o| (o.0, o.1)), Some((name, payload[0])));
                            let (_, next) = owner.unwrap();
                            *next = next.wrapping_add(1);
                        }
                        Event::Closed(conn, _) => {
                            prop_assert!(owners.remove(&conn).is_some());
                        }
                    }
                }
            }
            Step::Send(..) | Step::Go(..) | Step::Close(_) => {}
        }
    }
    Ok(())
}
