//! One page that listens to topics: what comes over its WebSocket, and what goes out.
//!
//! One task each. It reads the next request when all that is queued has been sent; so what it costs is bounded, and who does not
//! read is let go by the broker. Whose a topic is, is asked of the database when it is asked for and once a minute after that.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use vyuha_store::sql::SqlTransaction;
use vyuha_topics::message::{
    Authenticate, ClientMessage, Heartbeat, Refused, Subscribe, Unsubscribe, Welcome, encode,
};
use vyuha_topics::{Claims, CloseReason, ConnectionId, Crowded, Identity, Refusal, Taken, Topic, authorise};

use crate::http::{App, identify_token};
use crate::problem::Problem;
use crate::sessions;

/// How often it is looked whether time is up for something.
const LOOK: Duration = Duration::from_secs(1);
/// How long nobody has to say who they are.
const AUTHENTICATE_MS_MAX: i64 = 10_000;
/// How often something is sent, whatever happens.
const HEARTBEAT_MS: i64 = 20_000;
/// How long nothing may come; browsers answer each heartbeat.
const SILENCE_MS_MAX: i64 = 60_000;
/// How often it is asked whether the session lasts, and whether the topics are still its account's.
const RECHECK_MS: i64 = 60_000;
/// How long a close may take, from our side and then from theirs.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A page that listens. It counts until it is dropped.
pub struct Listener {
    app: App,
    id: ConnectionId,
    wake: Arc<Notify>,
    opened_ms: i64,
    heard_ms: i64,
    beaten_ms: i64,
    checked_ms: i64,
}

/// The connection is over.
struct Over;

impl Drop for Listener {
    fn drop(&mut self) {
        self.app.topics.lock().remove(self.id, self.app.now_ms());
    }
}

impl Listener {
    /// A page from this site, and whose it is if it has said so.
    pub fn new(app: App, site: &str, identity: Option<Identity>) -> Result<Listener, Crowded> {
        let (wake, now_ms) = (Arc::new(Notify::new()), app.now_ms());
        let waken = wake.clone();
        let id = app.topics.lock().open(site, now_ms, Box::new(move || waken.notify_one()))?;
        let listener = Listener {
            app,
            id,
            wake,
            opened_ms: now_ms,
            heard_ms: now_ms,
            beaten_ms: now_ms,
            checked_ms: now_ms,
        };
        if let Some(identity) = identity {
            listener.welcome(identity);
        }
        Ok(listener)
    }

    /// Listens and tells until either side closes.
    pub async fn serve(mut self, mut socket: WebSocket) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.send_queued(&mut socket).await.is_ok() {
            tokio::select! {
                () = self.wake.notified() => {}
                _ = look.tick() => self.look(&mut socket).await,
                received = socket.recv() => match received {
                    Some(Ok(message)) => self.hear(message).await,
                    // Too long, or against RFC 6455. Nobody hears of it where the connection is gone.
                    Some(Err(_)) => self.close(CloseReason::Malformed),
                    None => return,
                },
            }
        }
        let Some(reason) = self.app.topics.lock().closing(self.id) else { return };
        let frame = CloseFrame { code: reason.status(), reason: reason.code().into() };
        if let Ok(Ok(())) = timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await {
            // What is read no more would be answered with a reset, which may overtake the reason.
            let _ = timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = socket.recv().await {} }).await;
        }
    }

    /// Sends all that waits.
    async fn send_queued(&self, socket: &mut WebSocket) -> Result<(), Over> {
        loop {
            let next = self.app.topics.lock().take(self.id);
            match next {
                Taken::Nothing => return Ok(()),
                Taken::Close(_) => return Err(Over),
                Taken::Message(message) => self.send(socket, Message::Binary(message)).await?,
            }
        }
    }

    /// Sends a message, unless it is to be closed before the other side takes it.
    async fn send(&self, socket: &mut WebSocket, message: Message) -> Result<(), Over> {
        let mut sent = std::pin::pin!(socket.send(message));
        loop {
            tokio::select! {
                sent = &mut sent => return sent.map_err(|_| Over),
                () = self.wake.notified() => {
                    if self.app.topics.lock().closing(self.id).is_some() {
                        return Err(Over);
                    }
                }
            }
        }
    }

    /// Does what it is time for.
    async fn look(&mut self, socket: &mut WebSocket) {
        let now_ms = self.app.now_ms();
        let identity = self.app.topics.lock().identity(self.id).cloned();
        if now_ms - self.heard_ms > SILENCE_MS_MAX {
            return self.close(CloseReason::Silent);
        }
        let Some(identity) = identity else {
            if now_ms - self.opened_ms > AUTHENTICATE_MS_MAX {
                self.close(CloseReason::Unauthorized);
            }
            return;
        };
        if identity.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms) {
            return self.close(CloseReason::TokenExpired);
        }
        if now_ms - self.checked_ms >= RECHECK_MS {
            self.checked_ms = now_ms;
            self.recheck(identity).await;
        }
        if now_ms - self.beaten_ms >= HEARTBEAT_MS {
            self.beaten_ms = now_ms;
            self.answer(encode("Heartbeat", &Heartbeat { at_ms: now_ms }));
            // A browser answers this by itself, and shows it to no script. What fails is found out by what is sent next.
            let _ = self.send(socket, Message::Ping(Bytes::new())).await;
        }
    }

    async fn hear(&mut self, message: Message) {
        self.heard_ms = self.app.now_ms();
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(_) => return self.close(CloseReason::Malformed),
            // The next read says that it is over.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return,
        };
        let Ok(message) = ClientMessage::decode(&bytes) else {
            return self.close(CloseReason::Malformed);
        };
        self.app.topics.lock().count_request(self.id, self.heard_ms);
        match message {
            ClientMessage::Authenticate(Authenticate { token }) => match identify_token(&token, &self.app) {
                Ok(identity) => self.welcome(identity),
                Err(_) => self.close(CloseReason::Unauthorized),
            },
            ClientMessage::Subscribe(wanted) => self.subscribe(wanted).await,
            ClientMessage::Unsubscribe(Unsubscribe { request, topic }) => {
                let left = topic.parse().map_err(|_| Refusal::TopicUnknown).and_then(|topic: Topic| {
                    self.app.topics.lock().unsubscribe(self.id, request, topic, self.heard_ms)
                });
                self.refuse(request, left);
            }
        }
    }

    fn welcome(&self, identity: Identity) {
        let Identity { account, expires_ms, .. } = identity;
        let mut topics = self.app.topics.lock();
        if topics.identify(self.id, identity).is_ok() {
            let heartbeat_ms = HEARTBEAT_MS as u32;
            topics.push(self.id, encode("Welcome", &Welcome { account, expires_ms, heartbeat_ms }));
        }
    }

    async fn subscribe(&self, Subscribe { request, topic, after }: Subscribe) {
        let identity = self.app.topics.lock().identity(self.id).cloned();
        let Some(Identity { account, .. }) = identity else {
            return self.close(CloseReason::Unauthorized);
        };
        let subscribed = match topic.parse() {
            Err(_) => Err(Refusal::TopicUnknown),
            Ok(topic) => {
                let asked = self.app.sql.transaction(move |tx| authorise(topic, account, &mut Rows(tx)));
                match asked.await {
                    Ok(true) => {
                        self.app.topics.lock().subscribe(self.id, request, topic, after, self.app.now_ms())
                    }
                    Ok(false) => Err(Refusal::Forbidden),
                    Err(_) => Err(Refusal::Unavailable),
                }
            }
        };
        self.refuse(request, subscribed);
    }

    /// Ends what the account may not hear any more. Where the database is away, all stays until the next time.
    async fn recheck(&self, Identity { account, session, .. }: Identity) {
        let (topics, now_ms) = (self.app.topics.lock().topics(self.id), self.app.now_ms());
        let judged = self.app.sql.transaction(move |tx| {
            let lasts = sessions::lasts(tx, account, &session, now_ms)?;
            let mut lost = Vec::new();
            for &topic in &topics {
                if !authorise(topic, account, &mut Rows(tx))? {
                    lost.push(topic);
                }
            }
            Ok::<_, Problem>((lasts, lost))
        });
        let Ok((lasts, lost)) = judged.await else { return };
        let mut topics = self.app.topics.lock();
        for topic in lost {
            topics.end(self.id, topic, Refusal::Forbidden, now_ms);
        }
        if !lasts {
            topics.close(self.id, CloseReason::SessionEnded);
        }
    }

    fn refuse(&self, request: u32, done: Result<(), Refusal>) {
        if let Err(refusal) = done {
            self.answer(encode("Refused", &Refused { request, code: refusal.code().to_owned() }));
        }
    }

    fn answer(&self, message: Bytes) {
        self.app.topics.lock().push(self.id, message);
    }

    fn close(&self, reason: CloseReason) {
        self.app.topics.lock().close(self.id, reason);
    }
}

/// What belongs to whom, as the database has it.
struct Rows<'t>(&'t mut dyn SqlTransaction);

impl Claims for Rows<'_> {
    type Error = Problem;

    fn has_character(&mut self, account: i64, character: i64) -> Result<bool, Problem> {
        let sql = "SELECT id FROM character WHERE id = ?1 AND account = ?2";
        Ok(!self.0.query(sql, &[character.into(), account.into()])?.is_empty())
    }

    fn is_in_party(&mut self, _account: i64, _party: i64) -> Result<bool, Problem> {
        // There are no parties yet.
        Ok(false)
    }

    fn is_in_guild(&mut self, _account: i64, _guild: i64) -> Result<bool, Problem> {
        // There are no guilds yet.
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    #[test]
    fn characters_are_their_accounts_and_nobody_is_in_a_party() {
        with_tx(|tx| {
            let sql = "INSERT INTO character (id, account, name, name_key, zone, x, y, created_ms)
                       VALUES (12, 7, 'Asha', 'asha', 1, 0, 0, 0)";
            tx.execute(sql, &[])?;
            let mut check = |name: &str, account: i64, expected: bool| {
                let topic: Topic = name.parse().unwrap();
                assert_eq!(authorise(topic, account, &mut Rows(tx))?, expected, "{name} of {account}");
                Ok::<_, Problem>(())
            };
            check("character/12/position", 7, true)?;
            check("character/12/inventory", 8, false)?;
            check("character/13/inventory", 7, false)?;
            check("character/7/combat", 7, false)?;
            check("player/7/mail", 7, true)?;
            check("player/7/mail", 8, false)?;
            check("party/1/chat", 7, false)?;
            check("guild/1/chat", 7, false)?;
            check("world/events", 7, true)
        });
    }
}
