//! A browser's connection without a browser: MessagePack over WebSocket, whatever may be sent over it; and a way for the
//! Rust client to play by it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::JoinHandle;

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream as AsyncStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::{self, Message as WebMessage, WebSocket};
use vyuha_protocol::ErrorCode;
use vyuha_protocol::frame::{SERVER_PAYLOAD_BYTES_MAX, first_frame};
use vyuha_protocol::message::Message;
use vyuha_protocol::msgpack::{self, SUBPROTOCOL};
use vyuha_protocol::snapshot::SNAPSHOT_KIND;

use crate::wire::{narrow_socket, socket_from};
use crate::{Heard, Node, PATIENCE};

/// The request that a browser opens a game's WebSocket with.
pub fn play_request(web: SocketAddr) -> Request {
    let mut request = format!("ws://{web}/play").into_client_request().expect("it is an address");
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", SUBPROTOCOL.parse().expect("it is a header's value"));
    headers.insert("Origin", format!("http://{web}").parse().expect("it is a header's value"));
    request
}

/// A WebSocket to the game.
#[derive(Debug)]
pub struct WebWire {
    socket: WebSocket<TcpStream>,
}

impl WebWire {
    /// Connects and says nothing.
    pub fn connect(node: &Node) -> WebWire {
        WebWire::over(node, TcpStream::connect(node.web).expect("the web port is open"))
    }

    /// Connects from one of the addresses of this machine, and says nothing.
    pub fn connect_from(node: &Node, from: Ipv4Addr) -> WebWire {
        WebWire::over(node, socket_from(from, node.web))
    }

    /// Connects with next to no room for what the server sends, and says nothing.
    pub fn connect_narrow(node: &Node) -> WebWire {
        WebWire::over(node, narrow_socket(node.web))
    }

    fn over(node: &Node, stream: TcpStream) -> WebWire {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let (socket, answer) =
            tungstenite::client::client(play_request(node.web), stream).expect("the node upgrades");
        let chosen = answer.headers().get("Sec-WebSocket-Protocol").map(|value| value.as_bytes().to_vec());
        assert_eq!(chosen, Some(SUBPROTOCOL.into()));
        WebWire { socket }
    }

    /// Sends a message.
    pub fn send<M: Message + Serialize>(&mut self, message: &M) {
        assert!(self.try_send(message), "the server takes messages");
    }

    /// Sends a message to a server that may have closed already; whether it took it.
    pub fn try_send<M: Message + Serialize>(&mut self, message: &M) -> bool {
        let mut bytes = Vec::new();
        msgpack::append(&mut bytes, message);
        self.socket.send(WebMessage::binary(bytes)).is_ok()
    }

    /// Sends whatever a WebSocket can carry.
    pub fn send_web(&mut self, message: WebMessage) {
        self.socket.send(message).expect("the server takes messages");
    }

    /// Sends bytes below the WebSocket.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("the server takes bytes");
    }

    /// The next that is heard, snapshots left out.
    pub fn hear(&mut self) -> Heard {
        loop {
            let Some((kind, frame)) = self.next_frame() else { return Heard::End };
            if kind != SNAPSHOT_KIND {
                let frame = first_frame(&frame, SERVER_PAYLOAD_BYTES_MAX).ok().flatten();
                let frame = frame.expect("it was just made");
                return Heard::of(frame.kind, frame.payload);
            }
        }
    }

    /// The next snapshot's payload.
    pub fn snapshot(&mut self) -> Vec<u8> {
        loop {
            let (kind, frame) = self.next_frame().expect("the connection goes on");
            if kind == SNAPSHOT_KIND {
                return frame[vyuha_protocol::frame::FRAME_HEAD_BYTES..].to_vec();
            }
        }
    }

    /// Hears this message next.
    pub fn expect(&mut self, message: &'static str) {
        assert_eq!(self.hear(), Heard::Message(message));
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

    /// Reads whatever comes until the server ends the connection, in good order or by a reset.
    pub fn read_to_end(mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.socket.get_mut().read(&mut bytes) {
                Ok(1..) => {}
                Ok(0) => return,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection goes on: {error}"),
            }
        }
    }

    /// The next message as a frame; `None` once the server closed.
    fn next_frame(&mut self) -> Option<(u16, Vec<u8>)> {
        loop {
            match self.socket.read() {
                Ok(WebMessage::Binary(bytes)) => {
                    let mut frame = Vec::new();
                    msgpack::append_server_frame(&mut frame, &bytes).expect("the server sends messages");
                    return Some((u16::from_le_bytes([frame[4], frame[5]]), frame));
                }
                Ok(WebMessage::Pong(_)) => {}
                Ok(WebMessage::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return None,
                Ok(other) => panic!("the server sent {other:?}"),
                Err(error) => panic!("nothing was heard: {error}"),
            }
        }
    }
}

/// A port for the Rust client, whose every connection goes on as a browser's: over WebSocket, in MessagePack.
#[derive(Debug)]
pub struct WebProxy {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WebProxy {
    /// A proxy to a node's web port.
    pub fn start(web: SocketAddr) -> WebProxy {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("there is room for a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            loop {
                let (client, _) = listener.accept().await.expect("there is room for a connection");
                tokio::spawn(async move {
                    // A connection that breaks ends both halves; the test that holds the other end notices.
                    let _ = pass_on(client, web).await;
                });
            }
        };
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = stopped => {}
                }
            });
        });
        WebProxy { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for WebProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A proxy that panicked has failed its test already.
            let _ = thread.join();
        }
    }
}

/// Passes frames on as MessagePack, and back.
async fn pass_on(client: AsyncStream, web: SocketAddr) -> Result<(), tungstenite::Error> {
    client.set_nodelay(true)?;
    let stream = AsyncStream::connect(web).await?;
    stream.set_nodelay(true)?;
    let (socket, _) = tokio_tungstenite::client_async(play_request(web), stream).await?;
    let (mut to_web, mut from_web) = socket.split();
    let (mut from_client, mut to_client) = client.into_split();
    let up = async {
        let mut received = Vec::new();
        loop {
            while let Some(frame) =
                first_frame(&received, SERVER_PAYLOAD_BYTES_MAX).expect("the client sends frames")
            {
                let mut message = Vec::new();
                msgpack::append_of_client(&mut message, frame).expect("the client sends messages");
                let bytes = frame.bytes();
                to_web.send(WebMessage::binary(message)).await?;
                received.drain(..bytes);
            }
            if from_client.read_buf(&mut received).await? == 0 {
                return to_web.close().await;
            }
        }
    };
    let down = async {
        while let Some(message) = from_web.next().await {
            if let WebMessage::Binary(bytes) = message? {
                let mut frame = Vec::new();
                msgpack::append_server_frame(&mut frame, &bytes).expect("the server sends messages");
                to_client.write_all(&frame).await?;
            }
        }
        Ok(to_client.shutdown().await?)
    };
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}
