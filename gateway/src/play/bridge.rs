//! The bridge between a WebSocket and the game: MessagePack on one side, frames on the other, and nothing kept.
//!
//! Each direction takes the next message only when the other side took the one before. A browser that does not read
//! fills the Unix socket's small buffer, and the shard treats it like any slow client: snapshots are skipped, and in the
//! end it is closed.
//!
//! What cannot be translated is passed on as a frame that is broken in the same way: so the game refuses it, counts it
//! and closes as it does for everybody, and there is one set of rules.

use std::io::{self, ErrorKind};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite;
use vyuha_protocol::frame::{SERVER_PAYLOAD_BYTES_MAX, append_frame, first_frame};
use vyuha_protocol::message::{Message as _, Ping};
use vyuha_protocol::msgpack::{self, CLIENT_MESSAGE_BYTES_MAX, MsgpackError};

use super::PlayConfig;

/// What the kernel may hold between the game and the bridge, each way. The kernel counts its own overhead in it too.
pub(super) const PAIR_BUFFER_BYTES: usize = 16 << 10;
/// Bytes read from the game at once. A longer frame is gathered.
const READ_BYTES: usize = 4 << 10;
/// How long a browser is waited for to take the last message.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// What ends a connection in the same way as what came by WebSocket.
#[derive(Clone, Copy)]
enum Broken {
    Malformed,
    UnknownKind,
    TooLarge,
}

/// Both ends of a bridge's Unix socket: the bridge's own, and the game's.
pub(super) fn pair() -> io::Result<(UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    for end in [&ours, &theirs] {
        end.set_nonblocking(true)?;
        SockRef::from(end).set_send_buffer_size(PAIR_BUFFER_BYTES)?;
    }
    Ok((UnixStream::from_std(ours)?, theirs))
}

/// Passes messages both ways until one side is gone.
pub(super) async fn run(web: WebSocket, game: UnixStream, config: PlayConfig) {
    let (mut to_web, mut from_web) = web.split();
    let (from_game, to_game) = game.into_split();
    let mut unreadable = false;
    let closed_by_game = tokio::select! {
        () = up(&mut from_web, to_game, config.control_frames_per_second_max, &mut unreadable) => false,
        closed = down(from_game, &mut to_web, config.stall_max) => closed,
    };
    if closed_by_game {
        let farewell = async {
            to_web
                .send(Message::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "".into() })))
                .await?;
            // A socket that is closed over unread input takes the last message with it.
            while let Some(Ok(_)) = from_web.next().await {}
            if unreadable {
                std::future::pending::<()>().await;
            }
            Ok::<(), axum::Error>(())
        };
        // A browser that does not take these few bytes has nobody to tell.
        let _ = timeout(FAREWELL_TIMEOUT, farewell).await;
    }
}

/// From the browser to the game, until the browser is gone or misuses the connection. The game's end is told by the other
/// direction. `unreadable` is set where the rest of what the browser sent cannot be read.
async fn up(
    from_web: &mut SplitStream<WebSocket>,
    mut to_game: OwnedWriteHalf,
    control_frames_per_second_max: u32,
    unreadable: &mut bool,
) {
    let mut frame = Vec::new();
    let (mut second, mut control_frames) = (Instant::now(), 0);
    loop {
        frame.clear();
        let broken = match from_web.next().await {
            Some(Ok(Message::Binary(bytes))) => match msgpack::append_client_frame(&mut frame, &bytes) {
                Ok(()) => None,
                Err(MsgpackError::UnknownName) => Some(Broken::UnknownKind),
                Err(MsgpackError::Shape | MsgpackError::Fields(_)) => Some(Broken::Malformed),
            },
            Some(Ok(Message::Text(_))) => Some(Broken::Malformed),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                if second.elapsed() >= Duration::from_secs(1) {
                    (second, control_frames) = (Instant::now(), 0);
                }
                control_frames += 1;
                if control_frames > control_frames_per_second_max {
                    return;
                }
                continue;
            }
            Some(Ok(Message::Close(_))) | None => return,
            Some(Err(error)) => {
                *unreadable = true;
                match error.into_inner().downcast_ref::<tungstenite::Error>() {
                    Some(tungstenite::Error::Capacity(_)) => Some(Broken::TooLarge),
                    Some(tungstenite::Error::Utf8(_) | tungstenite::Error::Protocol(_)) => {
                        Some(Broken::Malformed)
                    }
                    _ => return,
                }
            }
        };
        if let Some(broken) = broken {
            append_broken(&mut frame, broken);
        }
        // It fails where the game has closed.
        if to_game.write_all(&frame).await.is_err() || broken.is_some() {
            std::future::pending::<()>().await;
        }
    }
}

/// Appends a frame that the game refuses for the same reason.
fn append_broken(frame: &mut Vec<u8>, broken: Broken) {
    match broken {
        Broken::Malformed => append_frame(frame, Ping::KIND, |_| {}),
        Broken::UnknownKind => append_frame(frame, 0, |_| {}),
        Broken::TooLarge => {
            append_frame(frame, Ping::KIND, |out| out.resize(out.len() + CLIENT_MESSAGE_BYTES_MAX, 0));
        }
    }
}

/// From the game to the browser; whether the game closed, and all was passed on.
async fn down(
    from_game: OwnedReadHalf,
    to_web: &mut SplitSink<WebSocket, Message>,
    stall_max: Duration,
) -> bool {
    let mut received = Vec::new();
    loop {
        let mut taken = 0;
        loop {
            let frame = match first_frame(&received[taken..], SERVER_PAYLOAD_BYTES_MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the game sent a browser what is no frame");
                    return false;
                }
            };
            taken += frame.bytes();
            let mut message = Vec::with_capacity(frame.bytes() + 16);
            if let Err(error) = msgpack::append_of_server(&mut message, frame) {
                tracing::error!(%error, "the game sent a browser what is no message");
                return false;
            }
            match timeout(stall_max, to_web.feed(Message::Binary(message.into()))).await {
                Ok(Ok(())) => {}
                _ => return false,
            }
        }
        if taken > 0 {
            match timeout(stall_max, to_web.flush()).await {
                Ok(Ok(())) => {}
                _ => return false,
            }
            received.drain(..taken);
            // While nothing comes, nothing is held.
            if received.is_empty() {
                received = Vec::new();
            }
        }
        if from_game.readable().await.is_err() {
            return true;
        }
        received.reserve(READ_BYTES);
        match from_game.try_read_buf(&mut received) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The game closed over what it did not take.
            Err(_) => return true,
        }
    }
}
