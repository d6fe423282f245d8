use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What came of each slot.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
    failed: Option<ErrorKind>,
}

fn on_both_drivers(test: fn(Sockets)) {
    on_both_drivers_over(None, test);
}

fn on_both_drivers_over(trust: Option<ServerTrust>, test: impl Fn(Sockets)) {
    test(Sockets::polled(8, trust.clone()).unwrap());
    let best = Sockets::new(8, trust).unwrap();
    assert!(["io_uring", "epoll"].contains(&best.driver()));
    test(best);
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Turns until it is so.
fn until(sockets: &mut Sockets, heard: &mut [Heard; 8], mut done: impl FnMut(&[Heard; 8]) -> bool) {
    let began = Instant::now();
    while !done(heard) {
        assert!(began.elapsed() < Duration::from_secs(20), "{heard:?}");
        turn(sockets, heard);
    }
}

fn turn(sockets: &mut Sockets, heard: &mut [Heard; 8]) {
    let sink = &mut |links: &mut Links, slot: u32, arrived: Arrived<'_>| {
        let heard = &mut heard[slot as usize];
        match arrived {
            Arrived::Bytes(bytes) => heard.bytes.extend_from_slice(bytes),
            Arrived::Ended => {
                heard.ended = true;
                links.close(slot);
            }
            Arrived::Failed(kind) => {
                heard.failed = Some(kind);
                links.close(slot);
            }
        }
    };
    sockets.turn(Duration::from_millis(5), &mut || {}, sink).unwrap();
}

/// Sends back all that it gets, each connection on a thread of its own.
fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
}

/// The same over TLS; what a client must trust.
fn echo_over_tls(listener: TcpListener) -> ServerTrust {
    let made = rcgen::generate_simple_self_signed(vec!["game.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let tls = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || {
                let (mut stream, mut bytes) = (StreamOwned::new(tls, stream), vec![0; 5000]);
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..length]).unwrap();
                }
            });
        }
    });
    ServerTrust::new(made.cert.pem().as_bytes(), "game.test").unwrap()
}

#[test]
fn what_is_sent_comes_back_whole_and_in_order() {
    let (plain, address) = listener();
    echo(plain);
    on_both_drivers_over(None, |sockets| all_comes_back(sockets, address));
    let (sealed, address) = listener();
    on_both_drivers_over(Some(echo_over_tls(sealed)), |sockets| all_comes_back(sockets, address));
}

#[test]
fn who_is_not_the_server_that_is_trusted_fails() {
    let (trusted, _) = listener();
    on_both_drivers_over(Some(echo_over_tls(trusted)), |mut sockets| {
        let (impostor, address) = listener();
        echo_over_tls(impostor);
        let (no_tls, plain_address) = listener();
        echo(no_tls);
        let mut heard = <[Heard; 8]>::default();
        sockets.links.open(0, address).unwrap();
        sockets.links.open(1, plain_address).unwrap();
        until(&mut sockets, &mut heard, |heard| heard[0].failed.is_some() && heard[1].failed.is_some());
        for heard in &heard[..2] {
            assert_eq!((heard.failed, heard.bytes.len()), (Some(ErrorKind::InvalidData), 0));
        }
    });
}

fn all_comes_back(mut sockets: Sockets, address: SocketAddr) {
    let (mut heard, mut sent) = (<[Heard; 8]>::default(), vec![Vec::new(); 8]);
    for slot in 0..8 {
        sockets.links.open(slot, address).unwrap();
    }
    for round in 0..60_u32 {
        for (slot, sent) in (0..8).zip(&mut sent) {
            // Several a turn, some before the connection is there, some long.
            for part in 0..=slot % 3 {
                let length = if round % 20 == 10 { 9000 } else { 14 };
                let bytes = vec![(round * 8 + slot + part) as u8; length];
                assert_eq!(sockets.links.send(slot, |out| out.extend_from_slice(&bytes)), Some(length));
                sent.extend_from_slice(&bytes);
            }
        }
        turn(&mut sockets, &mut heard);
    }
    until(&mut sockets, &mut heard, |heard| {
        sent.iter().zip(heard).all(|(sent, heard)| heard.bytes.len() >= sent.len())
    });
    for (sent, heard) in sent.iter().zip(&heard) {
        assert!(heard.bytes == *sent && !heard.ended && heard.failed.is_none());
    }
}

#[test]
fn ends_and_failures_are_told_and_a_slot_can_be_used_again() {
    on_both_drivers(|mut sockets| {
        let (listener, address) = listener();
        let (gone, nobody) = self::listener();
        drop(gone);
        let mut heard = <[Heard; 8]>::default();
        sockets.links.open(1, nobody).unwrap();
        until(&mut sockets, &mut heard, |heard| heard[1].failed.is_some());
        assert_eq!(heard[1].failed, Some(ErrorKind::ConnectionRefused));
        assert_eq!(sockets.links.send(1, |out| out.push(1)), None, "it has no connection");

        sockets.links.open(1, address).unwrap();
        turn(&mut sockets, &mut heard);
        let mut first = listener.accept().unwrap().0;
        first.write_all(b"for the first").unwrap();
        // Another connection in the slot: what was for the first is not for it.
        sockets.links.open(1, address).unwrap();
        turn(&mut sockets, &mut heard);
        let mut second = listener.accept().unwrap().0;
        second.write_all(b"for the second").unwrap();
        heard[1] = Heard::default();
        until(&mut sockets, &mut heard, |heard| heard[1].bytes.len() >= 14);
        assert_eq!(heard[1].bytes, b"for the second");
        let mut rest = Vec::new();
        let _ = first.read_to_end(&mut rest);
        assert!(rest.is_empty());
        drop(second);
        until(&mut sockets, &mut heard, |heard| heard[1].ended);
    });
}

#[test]
fn a_peer_that_does_not_read_is_sent_no_more_than_waits() {
    on_both_drivers(|mut sockets| {
        let (listener, address) = listener();
        let mut heard = <[Heard; 8]>::default();
        sockets.links.open(0, address).unwrap();
        turn(&mut sockets, &mut heard);
        let mut peer: TcpStream = listener.accept().unwrap().0;
        let (mut sent, mut refused) = (Vec::new(), false);
        for round in 0..20_000_u32 {
            let bytes = vec![round as u8; 4000];
            if sockets.links.send(0, |out| out.extend_from_slice(&bytes)).is_none() {
                refused = true;
                break;
            }
            sent.extend_from_slice(&bytes);
            turn_at_once(&mut sockets, &mut heard);
        }
        assert!(refused, "all was taken");
        let expected = sent.len();
        let reading = std::thread::spawn(move || {
            let mut bytes = vec![0; expected];
            peer.read_exact(&mut bytes).unwrap();
            bytes
        });
        while !reading.is_finished() {
            sockets.links.resend(0);
            turn(&mut sockets, &mut heard);
        }
        assert!(reading.join().unwrap() == sent, "it came in another order");
    });
}

fn turn_at_once(sockets: &mut Sockets, heard: &mut [Heard; 8]) {
    sockets.turn(Duration::ZERO, &mut || {}, &mut |_, slot, _| heard[slot as usize].ended = true).unwrap();
}

#[test]
fn a_slow_connection_reads_when_it_is_told_to() {
    on_both_drivers(|mut sockets| {
        let (listener, address) = listener();
        let mut heard = <[Heard; 8]>::default();
        sockets.links.open(3, address).unwrap();
        turn(&mut sockets, &mut heard);
        let mut peer = listener.accept().unwrap().0;
        peer.write_all(b"a").unwrap();
        until(&mut sockets, &mut heard, |heard| heard[3].bytes == b"a");
        sockets.links.set_slow(3, true).unwrap();
        turn(&mut sockets, &mut heard);
        peer.write_all(&[b'b'; 3000]).unwrap();
        for _ in 0..10 {
            turn(&mut sockets, &mut heard);
        }
        assert_eq!(heard[3].bytes.len(), 1);
        sockets.links.read_once(3);
        until(&mut sockets, &mut heard, |heard| heard[3].bytes.len() > 1);
        let once = heard[3].bytes.len();
        assert!(once <= 2049, "{once}");
        for _ in 0..10 {
            turn(&mut sockets, &mut heard);
        }
        assert_eq!(heard[3].bytes.len(), once);
        sockets.links.set_slow(3, false).unwrap();
        until(&mut sockets, &mut heard, |heard| heard[3].bytes.len() == 3001);
    });
}
