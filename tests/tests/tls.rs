//! A node that speaks TLS: to the Rust client, to browsers, to those who do not, and with a certificate that changes.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;
use vyuha_bots::LoadOptions;
use vyuha_net::client::{BlockingClient, ClientError, Event, ServerTrust};
use vyuha_protocol::RequestId;
use vyuha_protocol::motion::Heading;
use vyuha_tests::{DEPOT, Node, Options, PASSWORD, PATIENCE, YARD, run_node};

/// Writes a new certificate with its key; the certificate comes back.
fn issue(folder: &Path) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["game.test".to_owned()]).unwrap();
    let pem = certificate.self_signed(&key).unwrap().pem();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("certificate.pem"), &pem).unwrap();
    pem
}

/// A node, the folder of its certificate, and the certificate.
fn node(options: Options) -> (Node, TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let pem = issue(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let options = options.with("tls-certificate", &path("certificate.pem")).with("tls-key", &path("key.pem"));
    (Node::start(&options), folder, pem)
}

fn client(node: &Node, pem: &str) -> Result<BlockingClient, ClientError> {
    let trust = ServerTrust::new(pem.as_bytes(), "game.test").unwrap();
    BlockingClient::connect_tls(node.listen, node.content(), &trust, PATIENCE)
}

/// A request to one of the ports for browsers.
fn get(address: SocketAddr, path: &str, pem: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let name = ServerName::try_from("game.test").unwrap();
    let tls = ClientConnection::new(config, name).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect(address).unwrap());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Passes one connection on; its way to the server comes back once there is one.
fn relay(server: SocketAddr) -> (SocketAddr, JoinHandle<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let to_server = thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(server).unwrap();
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || {
                // How it ends is the client's to see.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        server
    });
    (address, to_server)
}

fn snapshot(client: &mut BlockingClient) {
    client.wait_for(PATIENCE, |event| matches!(event, Event::Snapshot(_)).then_some(())).unwrap();
}

#[test]
fn players_stay_while_the_certificate_is_renewed() {
    let (mut node, folder, first) = node(Options::test_world());
    let mut player = client(&node, &first).unwrap();
    player.register("asha", PASSWORD).unwrap();
    player.log_in("asha", PASSWORD).unwrap();
    player.enter("Asha").unwrap();
    snapshot(&mut player);

    // One that cannot be used changes nothing.
    fs::write(folder.path().join("certificate.pem"), "what?").unwrap();
    node.kill_process(Signal::HUP);
    let deadline = Instant::now() + PATIENCE;
    while !get(node.admin, "/metrics", &first).contains("vyuha_tls_reloads_total{result=\"refused\"}") {
        assert!(Instant::now() < deadline, "{}", node.log());
    }
    client(&node, &first).unwrap();

    let second = issue(folder.path());
    node.kill_process(Signal::HUP);
    while let Err(error) = client(&node, &second) {
        assert!(Instant::now() < deadline, "{error}");
    }
    assert!(
        matches!(client(&node, &first), Err(ClientError::Io(error)) if error.kind() == ErrorKind::InvalidData)
    );
    assert!(get(node.web, "/", &second).starts_with("HTTP/1.1 200"));
    let metrics = get(node.admin, "/metrics", &second);
    let expires = metrics.lines().find_map(|line| line.strip_prefix("vyuha_tls_certificate_expires "));
    assert!(expires.unwrap().parse::<f64>().unwrap() > 1e9, "{metrics}");

    snapshot(&mut player);
    player.log_out().unwrap();
    node.terminate();
}

#[test]
fn a_session_is_taken_up_over_tls_and_goes_from_shard_to_shard() {
    let (mut node, _folder, pem) = node(Options::test_world().with("session-grace", "20s"));
    let (way, on_the_way) = relay(node.listen);
    let trust = ServerTrust::new(pem.as_bytes(), "game.test").unwrap();
    let mut player = BlockingClient::connect_tls(way, node.content(), &trust, PATIENCE).unwrap();
    let mut on_the_way = on_the_way.join().unwrap();
    player.register("asha", PASSWORD).unwrap();
    player.log_in("asha", PASSWORD).unwrap();
    let entered = player.enter("Asha").unwrap();
    // The gate of each zone leads to the other, which is another shard's.
    let (heading, other) = if entered.zone == DEPOT {
        (Heading { x: 0, y: 127 }, YARD)
    } else {
        (Heading { x: 0, y: -127 }, DEPOT)
    };
    snapshot(&mut player);
    // Whoever is on the way can end the connection so, and nothing else.
    on_the_way.write_all(&[0xff; 600]).unwrap();
    assert!(player.wait_for(PATIENCE, |_| None::<()>).is_err());
    let metrics = get(node.admin, "/metrics", &pem);
    assert!(metrics.contains("vyuha_connections_closed_total{reason=\"tls\"} 1"), "{metrics}");
    player.resume(node.listen).expect("it goes on");
    snapshot(&mut player);
    player.shut_down();
    player.resume(node.listen).expect("and once more");
    snapshot(&mut player);

    let deadline = Instant::now() + PATIENCE;
    let there = loop {
        assert!(Instant::now() < deadline, "{}", node.log());
        // One that is too far ahead waits for the next snapshot.
        let _ = player.core().input(heading);
        let entered = player.wait_for(PATIENCE, |event| match event {
            Event::Snapshot(_) => Some(None),
            Event::EnteredZone(entered) => Some(Some(entered.clone())),
            _ => None,
        });
        if let Some(entered) = entered.expect("it goes on") {
            break entered;
        }
    };
    assert_eq!((there.zone, there.request), (other, RequestId(0)));
    snapshot(&mut player);
    player.shut_down();
    player.resume(node.listen).expect("it goes on there too");
    snapshot(&mut player);
    player.log_out().unwrap();
    node.terminate();
}

#[test]
fn whoever_speaks_no_tls_is_let_go_and_nobody_waits_for_the_slow() {
    let (mut node, _folder, pem) = node(Options::test_world().with("net-handshake-timeout", "3s"));
    let plain = BlockingClient::connect(node.listen, node.content(), PATIENCE);
    assert!(
        matches!(plain, Err(ClientError::Fault(_) | ClientError::Ended | ClientError::Io(_))),
        "{plain:?}"
    );
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 600], &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]] {
        let mut stream = TcpStream::connect(node.listen).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(garbage).unwrap();
        let mut got = Vec::new();
        // It may be reset over what it sent too much.
        let _ = stream.read_to_end(&mut got);
        assert!(got.is_empty() || got[0] == 21, "an alert: {got:?}");
    }
    // The first byte of a handshake, and no more.
    let mut slow = TcpStream::connect(node.listen).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(&[22]).unwrap();
    let begun = Instant::now();
    assert!(matches!(slow.read(&mut [0]), Ok(0)), "it is closed");
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(2), "{waited:?}");

    let metrics = get(node.admin, "/metrics", &pem);
    assert!(metrics.contains("vyuha_connections_closed_total{reason=\"tls\"} 4"), "{metrics}");
    assert!(metrics.contains("vyuha_handshakes_in_progress 0"), "{metrics}");
    client(&node, &pem).unwrap();
    node.terminate();
}

#[test]
fn plain_tcp_leaves_this_machine_only_where_it_was_asked_for() {
    let outside = Options::test_world().with("listen-address", "0.0.0.0:0");
    let (status, _, stderr) = run_node(&outside);
    assert!(status != Some(0) && stderr.contains("tls.mode"), "{status:?}: {stderr}");
    let mut node = Node::start(&outside.with("tls-mode", "off"));
    node.terminate();

    let (status, _, stderr) = run_node(&Options::test_world().with("tls-mode", "required"));
    assert!(status != Some(0) && stderr.contains("certificate"), "{status:?}: {stderr}");
    let missing = Options::test_world().with("tls-certificate", "no/such").with("tls-key", "no/such");
    let (status, _, stderr) = run_node(&missing);
    assert!(status != Some(0) && stderr.contains("no/such"), "{status:?}: {stderr}");
}

#[test]
fn a_load_of_bots_is_played_over_tls() {
    let (mut node, _folder, pem) = node(Options::test_world());
    let load = LoadOptions {
        trust: Some(ServerTrust::new(pem.as_bytes(), "game.test").unwrap()),
        duration: Some(Duration::from_secs(2)),
        roles: "trader=3,wanderer=2,lagger=1".parse().unwrap(),
        watchers: 2,
        item_pause: Duration::from_millis(300),
        ..LoadOptions::new(node.listen, 6, node.content())
    };
    let report = vyuha_bots::run(&load, |_| {}, &AtomicBool::new(false)).unwrap();
    assert!(report.succeeded() && report.connected == 6, "{report:?}\n{}", node.log());
    let metrics = get(node.admin, "/metrics", &pem);
    assert!(!metrics.contains("reason=\"tls\""), "{metrics}");
    node.terminate();
}
