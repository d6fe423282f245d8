use super::line::Line;
use super::*;
use proptest::prelude::*;
use rand_pcg::Pcg32;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

const ANY_PORT: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn conditions(lag_ms: u64, jitter_ms: u64, loss: f64) -> Conditions {
    Conditions { lag: Duration::from_millis(lag_ms), jitter: Duration::from_millis(jitter_ms), loss }
}

proptest! {
    #[test]
    fn a_line_keeps_every_byte_in_order_and_none_comes_too_soon(
        lag_ms in 0_u64..200,
        jitter_ms in 0_u64..50,
        loss in 0.0..0.5,
        puts in proptest::collection::vec((0_u64..30, 1_usize..4000), 1..30),
        takes in 1_usize..5000,
    ) {
        let mut line = Line::new(&conditions(lag_ms, jitter_ms, loss), Pcg32::new(1, 2));
        let (mut now_ns, mut next) = (0_u64, 0_u64);
        // When each byte that was put may arrive at the soonest.
        let (mut sent, mut soonest_ns, mut received) = (Vec::new(), Vec::new(), Vec::new());
        for (pause_ms, length) in puts {
            now_ns += pause_ms * 1_000_000;
            let length = length.min(line.room());
            let bytes: Vec<u8> = (next..next + length as u64).map(|n| (n % 251) as u8).collect();
            next += length as u64;
            line.put(&bytes, now_ns);
            soonest_ns.extend(std::iter::repeat_n(now_ns + lag_ms * 500_000, length));
            sent.extend(bytes);
            prop_assert!(line.room() <= LINE_BYTES_MAX);
            let arrived = line.arrived(now_ns).to_vec();
            let taken = arrived.len().min(takes);
            let soonest_ns = &soonest_ns[received.len()..][..taken];
            prop_assert!(soonest_ns.iter().all(|&soonest_ns| soonest_ns <= now_ns));
            received.extend_from_slice(&arrived[..taken]);
            line.take(taken);
        }
        while let Some(next_ns) = line.next_ns() {
            now_ns = now_ns.max(next_ns);
            let arrived = line.arrived(now_ns).to_vec();
            prop_assert!(!arrived.is_empty());
            received.extend_from_slice(&arrived);
            line.take(arrived.len());
        }
        prop_assert_eq!(received, sent);
        prop_assert_eq!(line.room(), LINE_BYTES_MAX);
    }
}

#[test]
fn a_lost_segment_stalls_what_comes_behind_it() {
    let mut line = Line::new(&conditions(80, 0, 0.2), Pcg32::new(7, 7));
    let mut stalls = 0;
    for n in 0..1000 {
        let now_ns = n * 2_000_000_000;
        line.put(&[1], now_ns);
        line.put(&[2], now_ns + 1);
        let ways_ns: Vec<u64> = (0..2)
            .map(|_| {
                let arrives_ns = line.next_ns().unwrap();
                line.take(1);
                arrives_ns - now_ns
            })
            .collect();
        assert!(ways_ns[1] >= ways_ns[0], "the second overtook the first");
        if ways_ns[0] > 40_000_000 {
            stalls += 1;
            let timeouts = (ways_ns[0] - 40_000_000) / 280_000_000;
            assert!((timeouts + 1).is_power_of_two(), "280, 840, 1960 ms: {ways_ns:?}");
        }
    }
    assert!((150..250).contains(&stalls), "{stalls} of 1000");
}

#[test]
fn impossible_conditions_are_refused() {
    assert_eq!(conditions(10_000, 10_000, 0.99).check(), Ok(()));
    assert!(conditions(10_001, 0, 0.0).check().is_err());
    assert!(conditions(0, 10_001, 0.0).check().is_err());
    for (text, loss) in [("1%", Some(0.01)), ("0.25", Some(0.25)), ("0", Some(0.0))] {
        assert_eq!(Conditions::parse_loss(text).ok(), loss, "{text}");
    }
    for text in ["", "%", "100%", "1", "-1%", "NaN", "two"] {
        assert!(Conditions::parse_loss(text).is_err(), "{text}");
    }
}

/// A server that sends back what it gets, and ends when its client does.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    address
}

#[test]
fn what_passes_is_delayed_and_comes_whole_and_ends() {
    let proxy = LagProxy::start(ANY_PORT.into(), echo(), conditions(60, 5, 0.0), 1).unwrap();
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        times.push(began.elapsed());
    }
    times.sort();
    assert!(times[0] >= Duration::from_millis(60), "{times:?}");
    assert!(times[0] < Duration::from_millis(600), "{times:?}");

    // More than the lines hold: whoever sends has to wait for who reads.
    let sent: Vec<u8> = (0..400_000_u32).map(|n| (n % 253) as u8).collect();
    let mut writer = client.try_clone().unwrap();
    let bytes = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert!(!proxy.has_ended());
}

#[test]
fn where_nobody_listens_behind_it_the_connection_ends() {
    let gone = TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap();
    let proxy = LagProxy::start(ANY_PORT.into(), gone, conditions(0, 0, 0.0), 1).unwrap();
    for _ in 0..3 {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
    assert!(!proxy.has_ended());
}
