//! What goes through: framing whatever the cuts, order, and random traffic against a model.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

on_both_drivers! {
    a_frame_cut_at_any_byte_arrives_whole,
    a_part_as_long_as_the_part_before_it_is_not_taken_for_it,
    many_frames_in_one_segment_are_read_within_the_bound_of_a_tick,
    bytes_read_ahead_come_first_and_need_no_more_to_follow,
    reliable_frames_go_ahead_of_the_snapshot_in_one_send,
    a_unix_stream_is_served_as_tcp_is,
    a_sign_of_life_keeps_no_memory,
    a_connection_goes_from_one_transport_to_another_and_nothing_is_lost,
    one_that_ends_while_it_is_given_away_is_reported,
    random_traffic_agrees_with_the_model,
}

/// Ticks until a connection is given away.
pub(super) fn given_away(server: &mut Server, conn: ConnId) -> Released {
    let mut released = None;
    server.until("it is given away", |server| {
        released = released.take().or_else(|| server.transport.release(conn));
        released.is_some()
    });
    released.unwrap()
}

fn a_connection_goes_from_one_transport_to_another_and_nothing_is_lost(driver: Driver) {
    const FRAMES: u16 = 400;
    let mut servers = [Server::new(driver, WIDE), Server::new(driver, WIDE)];
    let (client, mut conn) = servers[0].connect();
    let mut writing = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..FRAMES).flat_map(|nth| frame(nth, &[nth as u8; 21])).collect();
        // Cut anywhere, so that most moves find half a frame.
        for piece in bytes.chunks(17) {
            writing.write_all(piece).unwrap();
            std::thread::yield_now();
        }
    });
    // One end stays open when both threads are through.
    let mut reading = client.try_clone().unwrap();
    let reader =
        std::thread::spawn(move || read(&mut reading, usize::from(FRAMES) * frame(0, b"to it").len()));
    let (mut here, mut told) = (0, 0);
    let mut heard: Vec<u16> = Vec::new();
    let begin = Instant::now();
    while heard.len() < usize::from(FRAMES) {
        assert!(begin.elapsed() < PATIENCE, "{heard:?}");
        for _ in 0..3 {
            for _ in 0..7 {
                if told < FRAMES {
                    servers[here].transport.queue(conn, &frame(told, b"to it"));
                    told += 1;
                }
            }
            servers[here].tick();
        }
        let released = given_away(&mut servers[here], conn);
        assert_eq!(servers[here].transport.release(conn).map(|_| ()), None, "it is gone");
        for event in servers[here].events.drain(..) {
            let Event::Frame(_, kind, payload) = event else { panic!("{event:?}") };
            assert_eq!(payload, [kind as u8; 21]);
            heard.push(kind);
        }
        here = 1 - here;
        conn = servers[here].transport.readmit(released).unwrap();
    }
    assert_eq!(heard, (0..FRAMES).collect::<Vec<_>>());
    while told < FRAMES {
        servers[here].transport.queue(conn, &frame(told, b"to it"));
        told += 1;
    }
    servers[here].until("all is sent", |_| reader.is_finished());
    let (got, rest) = (reader.join().unwrap(), writer.join());
    rest.unwrap();
    let (got, rest) = frames(&got);
    assert_eq!((got.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), rest.len()), (heard, 0));
    assert_eq!(servers.each_ref().map(Server::slots_in_use).iter().sum::<usize>(), 1);
    drop(client);
}

fn one_that_ends_while_it_is_given_away_is_reported(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    server.tick();
    client.write_all(&frame(1, b"last")).unwrap();
    drop(client);
    let mut released = None;
    server.until("its end", |server| {
        released = server.transport.release(conn);
        released.is_some() || server.events.len() == 2
    });
    match released {
        // Whoever takes it over finds all of it.
        Some(released) => {
            server.events.clear();
            let conn = server.transport.readmit(released).unwrap();
            server.until_closed(conn, CloseCause::Peer);
            assert_eq!(server.events[0], Event::Frame(conn, 1, b"last".into()));
        }
        None => assert_eq!(
            server.events,
            [Event::Frame(conn, 1, b"last".into()), Event::Closed(conn, CloseCause::Peer)]
        ),
    }
}

fn a_frame_cut_at_any_byte_arrives_whole(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    client.set_nodelay(true).unwrap();
    let bytes = [frame(7, b"hello"), frame(8, b"")].concat();
    for cut in 1..bytes.len() {
        server.events.clear();
        let received = server.transport.stats().bytes_in;
        client.write_all(&bytes[..cut]).unwrap();
        server.until("the first part", |s| s.transport.stats().bytes_in == received + cut as u64);
        client.write_all(&bytes[cut..]).unwrap();
        server.until("two frames", |s| s.events.len() == 2);
        assert_eq!(
            server.events,
            [Event::Frame(conn, 7, b"hello".into()), Event::Frame(conn, 8, vec![])],
            "cut {cut}"
        );
    }
    assert_eq!(server.transport.stats().frames_in, 2 * (bytes.len() as u64 - 1));
}

fn a_part_as_long_as_the_part_before_it_is_not_taken_for_it(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    client.set_nodelay(true).unwrap();
    let (one, two) = (frame(1, b"one"), frame(2, b"two"));
    client.write_all(&one[..5]).unwrap();
    server.until("the first part", |s| s.transport.stats().bytes_in == 5);
    client.write_all(&[&one[5..], &two[..5]].concat()).unwrap();
    server.until("the first frame", |s| s.events.len() == 1);
    client.write_all(&two[5..]).unwrap();
    server.until("the second frame", |s| s.events.len() == 2);
    assert_eq!(server.events, [Event::Frame(conn, 1, b"one".into()), Event::Frame(conn, 2, b"two".into())]);
}

fn many_frames_in_one_segment_are_read_within_the_bound_of_a_tick(driver: Driver) {
    let mut server = Server::new(driver, Limits { bytes_per_tick_max: 256, ..WIDE });
    let (mut client, _) = server.connect();
    let bytes: Vec<u8> = (0..100).flat_map(|kind| frame(kind, &[kind as u8; 4])).collect();
    client.write_all(&bytes).unwrap();
    let mut before = 0;
    server.until("100 frames", |s| {
        let bytes_in = s.transport.stats().bytes_in;
        assert!(bytes_in - before <= 256, "{} bytes in one tick", bytes_in - before);
        before = bytes_in;
        s.events.len() == 100
    });
    let kinds: Vec<u16> =
        server.events.iter().map(|e| if let Event::Frame(_, kind, _) = e { *kind } else { 999 }).collect();
    assert_eq!(kinds, (0..100).collect::<Vec<u16>>());
}

fn bytes_read_ahead_come_first_and_need_no_more_to_follow(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let cut = frame(3, b"cut in two");
    let (mut client, conn) = server.connect_with(&[&frame(2, b"whole"), &cut[..9]].concat());
    server.tick();
    assert_eq!(server.events, [Event::Frame(conn, 2, b"whole".into())]);
    client.write_all(&cut[9..]).unwrap();
    server.until("the rest", |s| s.events.len() == 2);
    assert_eq!(server.events[1], Event::Frame(conn, 3, b"cut in two".into()));
}

fn reliable_frames_go_ahead_of_the_snapshot_in_one_send(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    server.reap();
    server.transport.queue(conn, &frame(1, b"first"));
    server.transport.queue(conn, &frame(2, b"second"));
    server.transport.flush(&mut |asked, out| {
        assert_eq!(asked, conn);
        out.extend(frame(9, b"snapshot"));
    });
    let expected = [frame(1, b"first"), frame(2, b"second"), frame(9, b"snapshot")].concat();
    assert_eq!(read(&mut client, expected.len()), expected);
    let stats = server.transport.stats();
    assert_eq!((stats.sends, stats.short_sends, stats.snapshots_sent), (1, 0, 1));
    assert_eq!(stats.bytes_out, expected.len() as u64);
    // Nothing to say costs no send.
    server.tick();
    assert_eq!(server.transport.stats().sends, 1);
}

fn a_unix_stream_is_served_as_tcp_is(driver: Driver) {
    let mut server = Server::new(driver, Limits { stalled_ticks: 50, ..WIDE });
    let (mut client, socket) = UnixStream::pair().unwrap();
    let conn = server.transport.admit(OwnedFd::from(socket).into(), &frame(1, b"ahead")).unwrap();
    client.write_all(&frame(2, b"there")).unwrap();
    server.until("two frames", |s| s.events.len() == 2);
    server.transport.queue(conn, &frame(3, b"and back"));
    server.tick();
    let mut back = vec![0; frame(3, b"and back").len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, frame(3, b"and back"));

    // Its other end stops reading.
    let snapshot = frame(9, &[1; 16_000]);
    server.events.clear();
    while server.events.is_empty() {
        server.reap();
        server.transport.flush(&mut |_, out| out.extend_from_slice(&snapshot));
    }
    assert_eq!(server.events, [Event::Closed(conn, CloseCause::Slow)]);
    let sent = server.transport.stats().bytes_out;
    assert!(sent < 64 << 10, "the kernel took {sent} bytes that can no longer be skipped");
    drop(client);
    server.until("the slot", |s| s.slots_in_use() == 0);
}

fn a_sign_of_life_keeps_no_memory(driver: Driver) {
    let mut server = Server::new(driver, WIDE);
    let (mut client, conn) = server.connect();
    client.write_all(&frame(1, &[5; 700])).unwrap();
    server.until("the frame", |s| !s.events.is_empty());
    server.transport.queue(conn, &frame(1, &[5; 700]));
    server.tick();
    assert_eq!(server.transport.kept_bytes(conn), 0);
}

/// One step of a random run.
#[derive(Debug, Clone)]
enum Step {
    /// The client sends a frame with a payload of so many bytes; the stream is cut before its last `cut` bytes.
    Send { payload: usize, cut: usize },
    /// The client reads at most so many bytes.
    Read(usize),
    /// The owner queues a frame with a payload of so many bytes.
    Queue(usize),
    /// A tick, with a snapshot of so many bytes.
    Tick(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0usize..1000, 0usize..40).prop_map(|(payload, cut)| Step::Send { payload, cut }),
        1 => (0usize..200_000).prop_map(Step::Read),
        2 => (4usize..3000).prop_map(Step::Queue),
        6 => (4usize..60_000).prop_map(Step::Tick),
    ]
}

const RELIABLE: u16 = 1;
const SNAPSHOT: u16 = 2;

/// Whatever the cuts and however slowly the client reads: the server sees every frame of the client in order; the
/// client sees whole frames, every reliable one in order, and snapshots that only ever get newer; and a snapshot
/// comes after every reliable frame that was queued before it.
fn random_traffic_agrees_with_the_model(driver: Driver) {
    let steps = proptest::collection::vec(step(), 1..120);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    runner.run(&steps, |steps| random_traffic(driver, steps)).unwrap();
}

fn random_traffic(driver: Driver, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut server = Server::new(driver, Limits { reliable_bytes_max: 1 << 20, ..WIDE });
    let (mut client, conn) = server.connect();
    client.set_nodelay(true).unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut pending, mut sent) = (Vec::new(), Vec::new());
    let (mut queued, mut snapshots, mut asked) = (0u32, 0u32, 0u64);
    let (mut got, mut tick) = (Vec::new(), 0u32);

    for step in steps {
        match step {
            Step::Send { payload, cut } => {
                let payload = vec![sent.len() as u8; payload];
                pending.extend(frame(sent.len() as u16, &payload));
                sent.push(Event::Frame(conn, sent.len() as u16, payload));
                let now = pending.len().saturating_sub(cut);
                write_some(&mut client, &mut pending, now);
            }
            Step::Read(bytes) => read_some(&mut client, &mut got, bytes),
            Step::Queue(bytes) => {
                let mut payload = queued.to_le_bytes().to_vec();
                payload.resize(bytes, 0);
                server.transport.queue(conn, &frame(RELIABLE, &payload));
                queued += 1;
            }
            Step::Tick(bytes) => {
                tick += 1;
                server.reap();
                server.transport.flush(&mut |_, out| {
                    let mut payload = [tick.to_le_bytes(), queued.to_le_bytes()].concat();
                    payload.resize(bytes + 4, 0);
                    out.extend(frame(SNAPSHOT, &payload));
                    asked += 1;
                });
                snapshots += 1;
            }
        }
    }
    // Both sides finish: the client sends what it held back and reads on.
    server.transport.queue(conn, &frame(RELIABLE, &queued.to_le_bytes()));
    server.until("all to arrive", |server| {
        let now = pending.len();
        write_some(&mut client, &mut pending, now);
        read_some(&mut client, &mut got, usize::MAX);
        server.events.len() == sent.len() && server.transport.kept_bytes(conn) == 0 && {
            let (seen, rest) = frames(&got);
            rest.is_empty() && seen.iter().filter(|(kind, _)| *kind == RELIABLE).count() > queued as usize
        }
    });

    prop_assert_eq!(&server.events, &sent);
    let (seen, rest) = frames(&got);
    prop_assert!(rest.is_empty());
    let (mut reliable, mut newest) = (0, 0);
    for (kind, payload) in seen {
        let number = u32::from_le_bytes(payload[..4].try_into().unwrap());
        if kind == RELIABLE {
            prop_assert_eq!(number, reliable);
            reliable += 1;
        } else {
            prop_assert!(number > newest);
            newest = number;
            let queued_before = u32::from_le_bytes(payload[4..8].try_into().unwrap());
            prop_assert_eq!(queued_before, reliable);
        }
    }
    prop_assert_eq!(reliable, queued + 1);
    let stats = server.transport.stats();
    prop_assert_eq!(stats.snapshots_sent, asked);
    prop_assert!(stats.snapshots_sent + stats.snapshots_skipped >= u64::from(snapshots));
    prop_assert_eq!(stats.bytes_out, got.len() as u64);
    Ok(())
}

fn write_some(client: &mut TcpStream, pending: &mut Vec<u8>, bytes: usize) {
    match client.write(&pending[..bytes]) {
        Ok(written) => drop(pending.drain(..written)),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

fn read_some(client: &mut TcpStream, got: &mut Vec<u8>, bytes: usize) {
    match client.take(bytes as u64).read_to_end(got) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}
