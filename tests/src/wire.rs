//! A connection without a client library: whatever bytes a stranger may send, and what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use rustix::net::{AddressFamily, SocketType};
use vyuha_protocol::frame::{SERVER_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::message::{
    self, CreateCharacter, Hello, Login, Message, RegisterAccount, SelectCharacter, ServerMessage,
};
use vyuha_protocol::snapshot::SNAPSHOT_KIND;
use vyuha_protocol::{ErrorCode, PROTOCOL_VERSION};

use crate::{Node, PASSWORD, PATIENCE};

/// A bare socket to the game port.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
    /// The last request id that was given out.
    request: u32,
}

/// A connection with next to no room for what is received.
pub(crate) fn narrow_socket(address: SocketAddr) -> TcpStream {
    let SocketAddr::V4(_) = address else { panic!("tests listen on IPv4") };
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket can be made");
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).expect("a buffer can be small");
    rustix::net::connect(&socket, &address).expect("the port is open");
    TcpStream::from(socket)
}

/// A connection from one of the addresses of this machine.
pub fn socket_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket can be made");
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0)).expect("it is an address of this machine");
    rustix::net::connect(&socket, &to).expect("the port is open");
    TcpStream::from(socket)
}

/// What was heard next, snapshots left out.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A request was refused; the connection goes on.
    Refused {
        /// The request.
        request: u32,
        /// Why.
        code: ErrorCode,
    },
    /// The server says that it closes the connection.
    Closing(ErrorCode),
    /// Any other message, by its name.
    Message(&'static str),
    /// The connection is closed.
    End,
}

impl Heard {
    /// What a frame says.
    pub(crate) fn of(kind: u16, payload: &[u8]) -> Heard {
        match ServerMessage::decode(kind, payload) {
            Ok(ServerMessage::Error(error)) => {
                let code = ErrorCode::from_number(error.code.into()).expect("a code of the list");
                assert_eq!(error.text.as_str(), code.text());
                if error.closing {
                    Heard::Closing(code)
                } else {
                    Heard::Refused { request: error.request.into(), code }
                }
            }
            Ok(other) => Heard::Message(other.name()),
            Err(error) => panic!("the server sent {error}"),
        }
    }
}

impl Wire {
    /// Connects and says nothing.
    pub fn connect(node: &Node) -> Wire {
        Wire::over(TcpStream::connect(node.listen).expect("the game port is open"))
    }

    /// Connects from one of the addresses of this machine, and says nothing.
    pub fn connect_from(node: &Node, from: Ipv4Addr) -> Wire {
        Wire::over(socket_from(from, node.listen))
    }

    /// Connects with next to no room for what the server sends, and says nothing.
    pub fn connect_narrow(node: &Node) -> Wire {
        Wire::over(narrow_socket(node.listen))
    }

    fn over(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("it is a TCP socket");
        Wire { stream, received: Vec::new(), request: 0 }
    }

    /// Says hello as it should be, and waits for the welcome.
    pub fn greet(&mut self, node: &Node) {
        self.send(&Hello { version: PROTOCOL_VERSION, content_hash: node.content().hash });
        self.expect("Welcome");
    }

    /// Says hello, registers an account of this name and signs in.
    pub fn sign_up(&mut self, node: &Node, account: &str) {
        self.greet(node);
        self.register(account);
    }

    /// Registers an account of this name and signs in.
    pub fn register(&mut self, account: &str) {
        let request = self.next_request();
        self.send(&RegisterAccount { request, account: account.into(), password: PASSWORD.into() });
        self.expect("AccountRegistered");
        let request = self.next_request();
        self.send(&Login { request, account: account.into(), password: PASSWORD.into() });
        self.expect("LoggedIn");
    }

    /// Signs up and enters the world with a character of the account's name.
    pub fn enter(&mut self, node: &Node, account: &str) {
        self.sign_up(node, account);
        let request = self.next_request();
        self.send(&CreateCharacter { request, name: account.into() });
        let character = self.hear_character();
        let request = self.next_request();
        self.send(&SelectCharacter { request, character });
        self.expect("EnteredZone");
    }

    /// A request id that was not used.
    pub fn next_request(&mut self) -> u32 {
        self.request += 1;
        self.request
    }

    /// Sends a message.
    pub fn send<M: Message>(&mut self, message: &M) {
        let mut frame = Vec::new();
        message::append(&mut frame, message);
        self.send_bytes(&frame);
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes bytes");
    }

    /// Sends bytes to a server that may have closed already; whether it took them.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Closes the sending half.
    pub fn stop_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("it can be closed");
    }

    /// Ends the connection without a word, as a crash of the client would.
    pub fn reset(self) {
        let at_once = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.stream, at_once).expect("it is a socket");
    }

    /// The next that is heard, snapshots left out.
    pub fn hear(&mut self) -> Heard {
        self.next_frame(Heard::of).unwrap_or(Heard::End)
    }

    /// Hears this message next.
    pub fn expect(&mut self, message: &'static str) {
        assert_eq!(self.hear(), Heard::Message(message));
    }

    /// Hears next that this request was refused.
    pub fn expect_refused(&mut self, request: u32, code: ErrorCode) {
        assert_eq!(self.hear(), Heard::Refused { request, code });
    }

    /// Hears that the server closes and why, after whatever else, and then nothing more.
    pub fn expect_closed(&mut self, code: ErrorCode) {
        loop {
            match self.hear() {
                Heard::Message(_) | Heard::Refused { .. } => {}
                heard => {
                    assert_eq!(heard, Heard::Closing(code));
                    break;
                }
            }
        }
        assert_eq!(self.hear(), Heard::End);
    }

    fn hear_character(&mut self) -> i64 {
        self.next_frame(|kind, payload| match ServerMessage::decode(kind, payload) {
            Ok(ServerMessage::CharacterCreated(created)) => created.character.into(),
            other => panic!("no character was created: {:?}", other.map(|message| message.name())),
        })
        .expect("the connection goes on")
    }

    fn next_frame<T>(&mut self, read: impl Fn(u16, &[u8]) -> T) -> Option<T> {
        loop {
            let read =
                self.next_raw_frame(|kind, payload| (kind != SNAPSHOT_KIND).then(|| read(kind, payload)))?;
            if read.is_some() {
                return read;
            }
        }
    }

    /// Reads one frame; `None` once the server closed, in good order or, over bytes that it did not take, by a reset.
    fn next_raw_frame<T>(&mut self, read: impl Fn(u16, &[u8]) -> T) -> Option<T> {
        loop {
            let frame =
                first_frame(&self.received, SERVER_PAYLOAD_BYTES_MAX).expect("the server sends frames");
            if let Some(frame) = frame {
                let (bytes, read) = (frame.bytes(), read(frame.kind, frame.payload));
                self.received.drain(..bytes);
                return Some(read);
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(bytes) => self.received.extend_from_slice(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }
}
