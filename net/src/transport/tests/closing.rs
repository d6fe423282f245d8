//! How connections end.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;

use socket2::SockRef;

use super::*;

on_both_drivers! {
    an_orderly_end_is_reported_once_after_the_last_frame,
    what_a_tick_could_not_take_comes_before_the_end,
    a_peer_that_shut_its_side_still_gets_what_is_queued,
    a_peer_that_shut_its_side_still_gets_more_than_the_kernel_takes_at_once,
    a_reset_ends_the_connection,
    a_reset_during_a_send_is_reported_once,
    close_sends_what_is_queued_and_reports_nothing,
    close_sends_more_than_the_kernel_takes_at_once,
    the_last_frame_outlives_unread_input,
    a_peer_that_never_closes_is_not_waited_for_long,
    an_id_is_not_given_again_while_its_connection_lingers,
}

fn an_orderly_end_is_reported_once_after_the_last_frame(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    client.write_all(&frame(1, b"last words")).unwrap();
    drop(client);
    server.until_closed(conn, CloseCause::Peer);
    assert_eq!(server.events[0], Event::Frame(conn, 1, b"last words".into()));
    server.until("the slot", |s| s.slots_in_use() == 0);
    server.tick();
    assert_eq!(server.events.len(), 2);
}

fn what_a_tick_could_not_take_comes_before_the_end(driver: Driver) {
    let mut server = Server::new(driver, Limits { bytes_per_tick_max: 256, ..WIDE });
    let (mut client, conn) = server.connect();
    client.write_all(&frame(1, &[0; 92]).repeat(40)).unwrap();
    drop(client);
    server.until_closed(conn, CloseCause::Peer);
    assert_eq!(server.events.len(), 41);
    server.until("the slot", |s| s.slots_in_use() == 0);
}

fn a_peer_that_shut_its_side_still_gets_what_is_queued(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    client.shutdown(Shutdown::Write).unwrap();
    server.until("the end", |s| {
        s.reap();
        let over = s.events.last() == Some(&Event::Closed(conn, CloseCause::Peer));
        if over {
            s.transport.queue(conn, &frame(4, b"farewell"));
        }
        over
    });
    server.until("the slot", |s| s.slots_in_use() == 0);
    assert_eq!(read_to_end(&mut client), frame(4, b"farewell"));
}

fn a_peer_that_shut_its_side_still_gets_more_than_the_kernel_takes_at_once(driver: Driver) {
    let mut server = Server::new(driver, Limits { tick_hz: 1000, ..WIDE });
    let (mut client, conn) = server.connect();
    server.reap();
    let snapshot = frame(9, &vec![1; 60_000]);
    server.transport.flush(&mut |_, out| out.extend_from_slice(&snapshot));
    client.shutdown(Shutdown::Write).unwrap();
    server.until_closed(conn, CloseCause::Peer);
    for _ in 0..10 {
        server.tick();
    }
    assert!(server.transport.kept_bytes(conn) > 1000, "the test is to be about a partial send");
    let reader = std::thread::spawn(move || read_to_end(&mut client));
    server.until("the slot", |s| {
        std::thread::sleep(Duration::from_millis(1));
        s.slots_in_use() == 0
    });
    assert_eq!(reader.join().unwrap(), snapshot);
}

fn a_reset_ends_the_connection(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (client, conn) = server.connect();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    server.until_closed(conn, CloseCause::Reset);
    server.until("the slot", |s| s.slots_in_use() == 0);
}

fn a_reset_during_a_send_is_reported_once(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (client, conn) = server.connect();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    server.reap();
    drop(client);
    let begin = Instant::now();
    while server.slots_in_use() > 0 {
        assert!(begin.elapsed() < PATIENCE);
        server.transport.queue(conn, &frame(1, b"into the void"));
        server.transport.flush(&mut |_, out| out.extend(frame(9, b"snapshot")));
        server.reap();
    }
    assert_eq!(server.events, [Event::Closed(conn, CloseCause::Reset)]);
}

fn close_sends_what_is_queued_and_reports_nothing(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    server.reap();
    server.transport.queue(conn, &frame(1, b"logged out"));
    server.transport.close(conn);
    server.transport.close(conn);
    server.transport.queue(conn, &frame(2, b"too late"));
    server.transport.flush(&mut |_, _| panic!("no snapshot for a closed connection"));
    assert_eq!(read_to_end(&mut client), frame(1, b"logged out"));
    assert_eq!(server.slots_in_use(), 1, "held until the peer has closed too");
    drop(client);
    server.until("the slot", |s| s.slots_in_use() == 0);
    assert_eq!(server.events, []);
    let closed: Vec<_> = server.transport.stats().closed().filter(|(_, count)| *count > 0).collect();
    assert_eq!(closed, [("by_server", 1)]);
}

fn close_sends_more_than_the_kernel_takes_at_once(driver: Driver) {
    let mut server = Server::new(driver, Limits { reliable_bytes_max: 1 << 20, tick_hz: 1000, ..WIDE });
    let (mut client, conn) = server.connect();
    let (kind, payload) = (3, vec![5; 64 << 10]);
    for _ in 0..4 {
        server.transport.queue(conn, &frame(kind, &payload));
    }
    server.transport.close(conn);
    let reader = std::thread::spawn(move || read_to_end(&mut client));
    let begin = Instant::now();
    while server.slots_in_use() > 0 {
        assert!(begin.elapsed() < PATIENCE);
        server.tick();
        std::thread::sleep(Duration::from_millis(2));
    }
    let bytes = reader.join().unwrap();
    let (seen, rest) = frames(&bytes);
    assert_eq!((seen.len(), rest.len()), (4, 0));
    assert!(server.transport.stats().short_sends > 0, "the test is to be about partial sends");
}

fn the_last_frame_outlives_unread_input(driver: Driver) {
    // A close over unread input is a reset, which can overtake the last frame.
    let mut server = Server::new(
        driver,
        Limits { frames_per_second_max: 10, bytes_per_tick_max: 512, tick_hz: 100_000, ..WIDE },
    );
    let (mut client, conn) = server.connect();
    client.write_all(&frame(1, &[0; 100]).repeat(400)).unwrap();
    server.until("the end", |s| {
        s.reap();
        matches!(s.events.last(), Some(Event::Closed(..)))
    });
    assert_eq!(server.events.last(), Some(&Event::Closed(conn, CloseCause::Flood)));
    server.transport.queue(conn, &frame(8, b"too many"));
    let reader = std::thread::spawn(move || read_to_end(&mut client));
    server.until("the farewell", |_| reader.is_finished());
    assert_eq!(reader.join().unwrap(), frame(8, b"too many"));
    server.until("the slot", |s| s.slots_in_use() == 0);
}

fn a_peer_that_never_closes_is_not_waited_for_long(driver: Driver) {
    let mut server = Server::new(driver, Limits { tick_hz: 10, ..WIDE });
    let (mut client, conn) = server.connect();
    server.reap();
    server.transport.close(conn);
    let linger_ticks = 10 * LINGER_S;
    for _ in 0..linger_ticks - 1 {
        server.transport.flush(&mut |_, _| {});
        server.reap();
    }
    assert_eq!(server.slots_in_use(), 1);
    server.reap();
    assert_eq!(server.slots_in_use(), 0);
    assert_eq!(read_to_end(&mut client), []);
    // The kernel resets whoever sends on.
    let begin = Instant::now();
    while let Ok(()) = client.write_all(b"x") {
        assert!(begin.elapsed() < PATIENCE);
    }
    assert!(matches!(
        client.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    ));
}

fn an_id_is_not_given_again_while_its_connection_lingers(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (client, conn) = server.connect();
    server.transport.close(conn);
    server.tick();
    let (_other, second) = server.connect();
    assert_ne!(second, conn);
    drop(client);
    server.until("the slot", |s| s.slots_in_use() == 1);
    let (_third, again) = server.connect();
    assert_eq!(again, conn);
}
