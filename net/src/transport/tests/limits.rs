//! What a connection may not do.

use std::io::Write;

use socket2::SockRef;
use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, FrameError};

use super::*;

on_both_drivers! {
    what_is_no_frame_ends_the_connection_after_the_frames_before_it,
    the_longest_payload_is_accepted,
    a_burst_of_one_second_is_let_through_and_no_more,
    the_stated_rate_goes_on_for_ever,
    silence_ends_a_connection_and_half_a_frame_is_silence,
    a_client_that_never_reads_is_skipped_then_dropped_and_costs_bounded_memory,
    a_client_that_reads_again_goes_on_with_the_newest_state,
    reliable_frames_past_the_bound_drop_a_client_that_does_not_read,
    the_bound_of_reliable_frames_is_exact_and_leaves_room_for_a_farewell,
    the_rest_of_a_snapshot_takes_no_room_from_reliable_frames,
    slots_run_out_and_come_back,
    what_cannot_be_admitted_is_refused,
    an_unknown_id_is_without_effect,
}

fn closed(server: &Server, name: &str) -> u64 {
    server.transport.stats().closed().find(|(cause, _)| *cause == name).unwrap().1
}

fn what_is_no_frame_ends_the_connection_after_the_frames_before_it(driver: Driver) {
    #[track_caller]
    fn check(driver: Driver, head: [u8; 8], error: FrameError) {
        let mut server = Server::new(driver, WIDE);
        let (mut client, conn) = server.connect();
        client.write_all(&[&frame(1, b"good")[..], &head].concat()).unwrap();
        server.until_closed(conn, CloseCause::Malformed(error));
        assert_eq!(server.events.len(), 2);
        assert_eq!(server.events[0], Event::Frame(conn, 1, b"good".into()));
        assert_eq!(closed(&server, "malformed"), 1);
    }
    let bound = CLIENT_PAYLOAD_BYTES_MAX;
    check(driver, [1, 4, 0, 0, 1, 0, 0, 0], FrameError::TooLarge { length: bound + 1, bound });
    check(driver, [255, 255, 255, 255, 1, 0, 0, 0], FrameError::TooLarge { length: u32::MAX, bound });
    check(driver, [4, 0, 0, 0, 1, 0, 1, 0], FrameError::Reserved);
    check(driver, [4, 0, 0, 0, 1, 0, 0, 128], FrameError::Reserved);
}

fn the_longest_payload_is_accepted(driver: Driver) {
    let mut server = Server::new(driver, Limits { bytes_per_tick_max: 256, ..WIDE });
    let (mut client, conn) = server.connect();
    let payload = vec![3; CLIENT_PAYLOAD_BYTES_MAX as usize];
    client.write_all(&frame(1, &payload)).unwrap();
    server.until("the frame", |s| !s.events.is_empty());
    assert_eq!(server.events, [Event::Frame(conn, 1, payload)]);
}

fn a_burst_of_one_second_is_let_through_and_no_more(driver: Driver) {
    let limits = Limits { frames_per_second_max: 20, tick_hz: 10, ..WIDE };
    let mut server = Server::new(driver, limits);
    // All at once, and ahead of admission, so that one reap meets them: 20 of credit.
    let (_client, conn) = server.connect_with(&frame(1, b"").repeat(21));
    server.reap();
    assert_eq!(server.events.len(), 21);
    assert_eq!(server.events[20], Event::Closed(conn, CloseCause::Flood));
    assert_eq!((closed(&server, "flood"), server.transport.stats().frames_in), (1, 20));
}

fn the_stated_rate_goes_on_for_ever(driver: Driver) {
    // 20 a second at 10 ticks a second is 2 a tick; a third exhausts the credit of 20 within 20 ticks.
    for (frames_a_tick, ticks_until_flood) in [(2, None), (3, Some(19))] {
        let mut server = Server::new(driver, Limits { frames_per_second_max: 20, tick_hz: 10, ..WIDE });
        let (mut client, _) = server.connect();
        let mut flooded = None;
        for tick in 1..=200 {
            client.write_all(&frame(1, b"").repeat(frames_a_tick)).unwrap();
            wait_for_input(&server, frames_a_tick * 8);
            server.tick();
            if matches!(server.events.last(), Some(Event::Closed(_, CloseCause::Flood))) {
                flooded = Some(tick);
                break;
            }
            assert_eq!(server.events.len(), frames_a_tick * tick);
        }
        assert_eq!(flooded, ticks_until_flood);
    }
}

/// Waits until the kernel holds so many bytes for the server's only connection.
fn wait_for_input(server: &Server, bytes: usize) {
    let socket = server.transport.socket(ConnId(0));
    let mut buffer = vec![std::mem::MaybeUninit::uninit(); bytes];
    let begin = Instant::now();
    while SockRef::from(socket).peek(&mut buffer).unwrap_or(0) < bytes {
        assert!(begin.elapsed() < PATIENCE);
    }
}

fn silence_ends_a_connection_and_half_a_frame_is_silence(driver: Driver) {
    let mut server = Server::new(driver, Limits { idle_ticks: 10, ..WIDE });
    let (mut client, conn) = server.connect();
    for _ in 0..9 {
        server.tick();
    }
    assert_eq!(server.events, []);
    client.write_all(&frame(1, b"")).unwrap();
    wait_for_input(&server, 8);
    server.tick();
    assert_eq!(server.events.len(), 1, "heard in the tenth tick");

    // A byte a tick, of a frame that never ends.
    let endless = frame(2, &[0; 1000]);
    for byte in &endless[..9] {
        client.write_all(&[*byte]).unwrap();
        wait_for_input(&server, 1);
        server.tick();
    }
    assert_eq!(server.events.len(), 1);
    server.tick();
    assert_eq!(server.events[1..], [Event::Closed(conn, CloseCause::Idle)]);
}

fn a_client_that_never_reads_is_skipped_then_dropped_and_costs_bounded_memory(driver: Driver) {
    const SNAPSHOT_BYTES: usize = 60_000;
    let limits = Limits { stalled_ticks: 50, reliable_bytes_max: 8192, ..WIDE };
    let mut server = Server::new(driver, limits);
    let (client, conn) = server.connect();
    let snapshot = frame(9, &vec![1; SNAPSHOT_BYTES]);
    let mut ticks = 0;
    while server.events.is_empty() {
        server.reap();
        server.transport.flush(&mut |_, out| out.extend_from_slice(&snapshot));
        assert!(server.transport.kept_bytes(conn) <= snapshot.len());
        ticks += 1;
        assert!(ticks < 10_000);
    }
    assert_eq!(server.events, [Event::Closed(conn, CloseCause::Slow)]);
    let stats = server.transport.stats();
    assert!(stats.snapshots_skipped >= 49, "{stats:?}");
    // The client's window and what the kernel takes ahead, which is more where it is not bounded.
    assert!(stats.bytes_out < 64 << 10, "{stats:?}");
    drop(client);
    server.until("the slot", |s| s.slots_in_use() == 0);
}

fn a_client_that_reads_again_goes_on_with_the_newest_state(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, _) = server.connect();
    let mut number = 0u32;
    let mut tick = |server: &mut Server| {
        number += 1;
        server.reap();
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(60_000, 0);
        server.transport.flush(&mut |_, out| out.extend(frame(9, &payload)));
        number
    };
    while server.transport.stats().snapshots_skipped < 1000 {
        tick(&mut server);
    }
    // What the kernel took before it was full, then at once something recent.
    let (mut last, mut newest) = (0, 0);
    client.set_nonblocking(true).unwrap();
    let mut bytes = Vec::new();
    let begin = Instant::now();
    while newest < 1000 {
        assert!(begin.elapsed() < PATIENCE, "snapshot {newest} is the newest");
        let now = tick(&mut server);
        let _ = client.read_to_end(&mut bytes);
        let (seen, rest) = frames(&bytes);
        for (_, payload) in seen {
            newest = u32::from_le_bytes(payload[..4].try_into().unwrap());
            assert!(newest > last && newest <= now);
            last = newest;
        }
        bytes = rest.to_vec();
    }
}

fn reliable_frames_past_the_bound_drop_a_client_that_does_not_read(driver: Driver) {
    let mut server = Server::new(driver, Limits { reliable_bytes_max: 8192, ..WIDE });
    let (client, conn) = server.connect();
    let big = frame(1, &[7; 1000]);
    let mut ticks = 0;
    while server.events.is_empty() {
        server.transport.queue(conn, &big);
        assert!(server.transport.kept_bytes(conn) <= 8192);
        server.transport.flush(&mut |_, _| {});
        server.reap();
        ticks += 1;
        assert!(ticks < 100_000);
    }
    assert_eq!(server.events, [Event::Closed(conn, CloseCause::Slow)]);
    drop(client);
}

fn the_bound_of_reliable_frames_is_exact_and_leaves_room_for_a_farewell(driver: Driver) {
    let mut server = Server::new(driver, Limits { reliable_bytes_max: 100, ..WIDE });
    let (mut client, conn) = server.connect();
    server.reap();
    server.transport.queue(conn, &frame(1, &[0; 92]));
    server.tick();
    assert_eq!(server.events, []);
    server.transport.queue(conn, &frame(2, &[0; 60]));
    server.transport.queue(conn, &frame(3, &[0; 60]));
    server.transport.queue(conn, &frame(4, b"after a gap"));
    server.reap();
    assert_eq!(server.events, [Event::Closed(conn, CloseCause::Slow)]);
    server.transport.queue(conn, &frame(5, &[0; 60]));
    server.transport.flush(&mut |_, _| panic!("no snapshot for a closed connection"));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let bytes = read_to_end(&mut client);
    let kinds: Vec<u16> = frames(&bytes).0.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 2, 5], "what was sent is a prefix of what was queued, and then the farewell");
}

fn the_rest_of_a_snapshot_takes_no_room_from_reliable_frames(driver: Driver) {
    let mut server = Server::new(driver, Limits { reliable_bytes_max: 100, ..WIDE });
    let (mut client, conn) = server.connect();
    let snapshot = frame(9, &vec![1; 60_000]);
    server.reap();
    server.transport.flush(&mut |_, out| out.extend_from_slice(&snapshot));
    assert!(server.transport.kept_bytes(conn) > 1000, "the test is to be about a partial send");
    let full = frame(1, &[0; 92]);
    server.transport.queue(conn, &full);
    server.reap();
    assert_eq!(server.events, []);
    // Once all is sent, the bound is what it was.
    let reader = std::thread::spawn(move || {
        read(&mut client, snapshot.len() + full.len());
        client
    });
    server.until("all to be sent", |s| s.transport.kept_bytes(conn) == 0);
    server.transport.queue(conn, &frame(1, &[0; 93]));
    server.reap();
    assert_eq!(server.events, [Event::Closed(conn, CloseCause::Slow)]);
    drop(reader.join().unwrap());
}

fn slots_run_out_and_come_back(driver: Driver) {
    let mut server = Server::new(driver, Limits { connections_max: 2, ..WIDE });
    let (first, first_id) = server.connect();
    let (_second, second_id) = server.connect();
    assert_eq!((first_id, second_id), (ConnId(0), ConnId(1)));
    let (_third, socket) = server.sockets();
    let Err(AdmitError::Full { stream, connections_max: 2 }) = server.transport.admit(socket.into(), &[])
    else {
        panic!("a third of two was admitted")
    };
    drop(first);
    server.until("the slot", |s| s.slots_in_use() == 1);
    assert_eq!(server.transport.admit(stream, &[]).unwrap(), first_id);
}

fn what_cannot_be_admitted_is_refused(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (_client, socket) = server.sockets();
    let long = vec![0; READ_AHEAD_BYTES_MAX + 1];
    assert!(matches!(
        server.transport.admit(socket.into(), &long),
        Err(AdmitError::ReadAhead { bytes }) if bytes == long.len()
    ));
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(
        server.transport.admit(OwnedFd::from(datagrams).into(), &[]),
        Err(AdmitError::Socket(_))
    ));
    let (datagrams, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    assert!(matches!(
        server.transport.admit(OwnedFd::from(datagrams).into(), &[]),
        Err(AdmitError::Socket(_))
    ));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(server.transport.admit(OwnedFd::from(file).into(), &[]), Err(AdmitError::Socket(_))));
    assert_eq!(server.slots_in_use(), 0);
    let (_client, conn) = server.connect();
    assert_eq!(conn, ConnId(0));
}

fn an_unknown_id_is_without_effect(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    server.transport.queue(ConnId(5), b"bytes");
    server.transport.close(ConnId(5));
    server.tick();
    assert_eq!(server.events, []);
}
