//! The WebSocket of a watching page: figures as JSON text, map states as binary, five times a second.
//!
//! A page is sent the newest there is once it has taken what came before; what it misses meanwhile is never
//! queued.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use crate::live::Live;
use crate::metrics::Level;

/// The longest message that a page may send.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256;

/// A page that takes nothing for this long is let go, so that it does not hold a watcher's place.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// What a page may ask: the map of this zone from now on, in place of the one before.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Watch {
    zone: u16,
}

/// One watching page's place among the watchers; makes shards gather marks while it lives.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    watchers: Level,
}

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit, watchers: Level) -> Place {
        watchers.inc();
        Place { _permit: permit, watchers }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watchers.dec();
    }
}

/// Serves one page until it leaves, breaks the rules, takes nothing, or the node stops.
pub(crate) async fn serve_page(
    mut socket: WebSocket,
    live: Arc<Live>,
    mut stop: watch::Receiver<bool>,
    _place: Place,
) {
    let mut stats = live.stats();
    let mut map: Option<watch::Receiver<Bytes>> = None;
    loop {
        let (message, last) = tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => (close(close_code::AWAY, "the node stops"), true),
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => match serde_json::from_str::<Watch>(&text) {
                    Ok(Watch { zone }) => match live.map(zone) {
                        Some(mut states) => {
                            states.mark_changed();
                            map = Some(states);
                            continue;
                        }
                        None => (close(close_code::POLICY, "unknown_zone"), true),
                    },
                    Err(_) => (close(close_code::POLICY, "bad_message: send {\"zone\": id}"), true),
                },
                Some(Ok(Message::Binary(_))) => (close(close_code::UNSUPPORTED, "bad_message: not text"), true),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            text = newest(Some(&mut stats)) => (Message::Text(text), false),
            state = newest(map.as_mut()) => {
                // Nothing is known of the zone since the first page came to watch.
                if state.is_empty() {
                    continue;
                }
                (Message::Binary(state), false)
            }
        };
        let sent = timeout(SEND_TIMEOUT, socket.send(message)).await;
        if last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// The next value that this page has not seen; waits for ever where there is nothing to wait for.
async fn newest<T: Clone>(values: Option<&mut watch::Receiver<T>>) -> T {
    if let Some(values) = values
        && values.changed().await.is_ok()
    {
        return values.borrow_and_update().clone();
    }
    std::future::pending().await
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}
