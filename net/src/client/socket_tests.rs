//! Over real sockets, against a server that follows a script.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use vyuha_protocol::frame::{CLIENT_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::message::{
    self, AccountRegistered, CharacterCreated, Characters, ClientMessage, Done, LoggedIn, LoggedOut, Welcome,
};
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION, Pos};

use super::core_tests::{content, entered};
use super::script::SnapshotScript;
use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Answers one client, frame by frame, as `answer` says, in pieces of a few bytes; closes when it says nothing more.
fn serve(
    mut answer: impl FnMut(ClientMessage, &mut Vec<u8>) -> bool + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut received = Vec::new();
        loop {
            while let Some(frame) = first_frame(&received, CLIENT_PAYLOAD_BYTES_MAX).unwrap() {
                let mut out = Vec::new();
                let goes_on = answer(ClientMessage::decode(frame.kind, frame.payload).unwrap(), &mut out);
                let bytes = frame.bytes();
                received.drain(..bytes);
                out.chunks(7).for_each(|piece| stream.write_all(piece).unwrap());
                if !goes_on {
                    return linger(stream);
                }
            }
            let mut scratch = [0; 512];
            match stream.read(&mut scratch).unwrap() {
                0 => return,
                bytes => received.extend_from_slice(&scratch[..bytes]),
            }
        }
    });
    (address, server)
}

/// Closes without resetting: what was sent is read first.
fn linger(mut stream: TcpStream) {
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Lets one client sign in, play and leave.
fn play(message: ClientMessage, out: &mut Vec<u8>) -> bool {
    match message {
        ClientMessage::Hello(_) => {
            message::append(out, &Welcome { version: PROTOCOL_VERSION, build: "script".into() });
        }
        ClientMessage::RegisterAccount(m) => {
            message::append(out, &AccountRegistered { request: m.request.into() });
        }
        ClientMessage::Login(m) => {
            message::append(out, &LoggedIn { request: m.request.into(), account: 1 });
        }
        ClientMessage::ListCharacters(m) => {
            message::append(out, &Characters { request: m.request.into(), characters: vec![] });
        }
        ClientMessage::CreateCharacter(m) => {
            message::append(out, &CharacterCreated { request: m.request.into(), character: 5 });
        }
        ClientMessage::SelectCharacter(m) => {
            message::append(out, &entered(m.request.into()));
            let pos = Pos::tile_centre(5, 5);
            for tick in 1..4 {
                SnapshotScript { tick, pos, ..SnapshotScript::default() }.append(out);
            }
        }
        ClientMessage::Say(m) if m.text.len() > 5 => {
            let (code, text) = (ErrorCode::TextInvalid as u16, ErrorCode::TextInvalid.text().to_owned());
            message::append(out, &message::Error { request: m.request.into(), code, closing: false, text });
        }
        ClientMessage::Say(m) => message::append(out, &Done { request: m.request.into() }),
        ClientMessage::Logout(m) => {
            message::append(out, &LoggedOut { request: m.request.into() });
            return false;
        }
        other => panic!("the script has no answer to {}", other.name()),
    }
    true
}

#[test]
fn a_blocking_client_signs_in_plays_and_leaves() {
    let (address, server) = serve(play);
    let mut client = BlockingClient::connect(address, content(), TIMEOUT).unwrap();
    client.register("abe", "12345678").unwrap();
    client.log_in("abe", "12345678").unwrap();
    assert_eq!(client.enter("Abe").unwrap().pos, Pos::tile_centre(5, 5));
    let third = client.wait_for(TIMEOUT, |event| match event {
        Event::Snapshot(snapshot) if snapshot.tick == 3 => Some(snapshot.pos),
        _ => None,
    });
    assert_eq!(third.unwrap(), Pos::tile_centre(5, 5));
    let said = client.core().say("hi").unwrap();
    client.answer(said, |event| matches!(event, Event::Done { .. }).then_some(())).unwrap();
    let said = client.core().say("too long").unwrap();
    let refused = client.answer(said, |event| matches!(event, Event::Done { .. }).then_some(()));
    assert!(matches!(refused, Err(ClientError::Refused { code: Some(ErrorCode::TextInvalid), .. })));
    let short = Duration::from_millis(30);
    let waited = client.wait_for(short, |event| matches!(event, Event::Pong { .. }).then_some(()));
    assert!(matches!(waited, Err(ClientError::TimedOut(timeout)) if timeout == short));
    client.log_out().unwrap();
    server.join().unwrap();
}

#[test]
fn why_a_server_closes_is_told() {
    let (address, server) = serve(|_, out| {
        let (code, text) = (ErrorCode::ContentMismatch as u16, "update".to_owned());
        message::append(out, &message::Error { request: 0, code, closing: true, text });
        false
    });
    let refused = BlockingClient::connect(address, content(), TIMEOUT);
    assert!(matches!(refused, Err(ClientError::Closed { code: Some(ErrorCode::ContentMismatch), .. })));
    server.join().unwrap();

    let (address, server) = serve(|_, _| false);
    assert!(matches!(BlockingClient::connect(address, content(), TIMEOUT), Err(ClientError::Ended)));
    server.join().unwrap();
}

#[test]
fn a_server_that_is_not_there_is_an_error_of_the_socket() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(matches!(BlockingClient::connect(address, content(), TIMEOUT), Err(ClientError::Io(_))));
}

#[test]
fn a_connection_never_blocks() {
    let (address, server) = serve(play);
    let mut connection = Connection::open(address, content()).unwrap();
    let mut scratch = [0; 4096];
    let deadline = std::time::Instant::now() + TIMEOUT;
    let welcome = loop {
        assert!(std::time::Instant::now() < deadline, "no welcome");
        connection.flush().unwrap();
        connection.poll_read(&mut scratch).unwrap();
        if let Some(event) = connection.core_mut().next_event().unwrap() {
            break event;
        }
        std::thread::yield_now();
    };
    assert!(matches!(welcome, Event::Welcome { .. }));
    assert_eq!(connection.poll_read(&mut scratch).unwrap(), Received::Nothing);
    assert_eq!(connection.flush().unwrap(), 0);
    drop(connection);
    server.join().unwrap();
}
