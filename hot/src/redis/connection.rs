//! The connection to Redis: made when it is needed, given up when it fails, and not tried again too soon.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisResult, ScriptInvocation};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use vyuha_breaker::{Breaker, BreakerState};

use super::{RedisSettings, hot_error};
use crate::{HotError, Subscription};

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How Redis is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedisStats {
    /// Whether it is asked.
    pub breaker: BreakerState,
    /// Questions that it answered, a batch counting as one.
    pub answered: u64,
    /// Questions that failed, those that were not asked among them.
    pub failed: u64,
    /// Times that it was connected: after each, what it held may be gone.
    pub connections: u64,
}

pub(super) struct Connection {
    client: Client,
    config: AsyncConnectionConfig,
    timeout: Duration,
    state: Mutex<State>,
    /// Held by who connects: one try at a time.
    connecting: tokio::sync::Mutex<()>,
    answered: AtomicU64,
    failed: AtomicU64,
    connections: AtomicU64,
}

struct State {
    /// With its number: what an older one still has to say is nothing about this one.
    open: Option<(u64, MultiplexedConnection)>,
    breaker: Breaker,
}

impl fmt::Debug for Connection {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(RedisSettings { client, timeout }: RedisSettings) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let breaker = Breaker::new(FIRST_WAIT, LONGEST_WAIT);
        let state = Mutex::new(State { open: None, breaker });
        let connecting = tokio::sync::Mutex::new(());
        let [answered, failed, connections] = [0; 3].map(AtomicU64::new);
        Self { client, config, timeout, state, connecting, answered, failed, connections }
    }

    pub(super) fn stats(&self) -> RedisStats {
        RedisStats {
            breaker: self.state().breaker.state(Instant::now()),
            answered: self.answered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.state().breaker.failure().map(str::to_owned)
    }

    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, HotError> {
        self.ask(async |mut connection| command.query_async(&mut connection).await).await
    }

    /// Runs a pipeline whose answers do not matter; one without commands does nothing.
    pub(super) async fn pipe(&self, pipe: &Pipeline) -> Result<(), HotError> {
        if pipe.is_empty() {
            return Ok(());
        }
        self.ask(async |mut connection| pipe.query_async(&mut connection).await).await
    }

    pub(super) async fn script<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, HotError> {
        self.ask(async |mut connection| call.invoke_async(&mut connection).await).await
    }

    pub(super) async fn subscribe(&self, channel: String) -> Result<Subscription, HotError> {
        // The connection of its own is made only where the other one stands, so that the breaker guards it too.
        self.command::<()>(&::redis::cmd("PING")).await?;
        let connect = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(channel).await?;
            RedisResult::Ok(pubsub)
        };
        let connected = tokio::time::timeout(self.timeout, connect).await;
        let pubsub = connected
            .map_err(|_| HotError::Away("it does not answer".to_owned()))?
            .map_err(|error| hot_error(&error))?;
        let (sender, messages) = mpsc::channel(Subscription::MESSAGES_MAX);
        tokio::spawn(async move {
            let mut incoming = pubsub.into_on_message();
            loop {
                let message = tokio::select! {
                    message = incoming.next() => message,
                    () = sender.closed() => None,
                };
                let Some(message) = message else { break };
                // Full or closed: either way the subscription is over.
                if sender.try_send(message.get_payload_bytes().to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Subscription { messages })
    }

    async fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, HotError> {
        let answer = match self.connection().await {
            Ok((number, connection)) => ask(connection).await.map_err(|error| {
                let error = hot_error(&error);
                if let HotError::Away(reason) = &error {
                    self.broke(number, reason);
                }
                error
            }),
            Err(error) => Err(error),
        };
        match &answer {
            Ok(_) | Err(HotError::Refused(_)) => self.answered.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.failed.fetch_add(1, Ordering::Relaxed),
        };
        answer
    }

    /// The connection that is open, or a new one if the breaker allows it.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), HotError> {
        if let Some(open) = self.state().open.clone() {
            return Ok(open);
        }
        let _turn = self.connecting.lock().await;
        // Whoever had the turn before may have connected, or failed.
        if let Some(open) = self.state().open.clone() {
            return Ok(open);
        }
        let may_ask = self.state().breaker.ask(Instant::now());
        may_ask.map_err(|refused| HotError::Away(refused.reason))?;
        let connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await;
        let connection = connection.map_err(|error| {
            let reason = error.to_string();
            is_away(self.state(), &reason);
            HotError::Away(reason)
        })?;
        let mut state = self.state();
        state.breaker.succeeded();
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let open = state.open.insert((number, connection)).clone();
        drop(state);
        tracing::info!("Redis is there");
        Ok(open)
    }

    /// Gives a connection up. Of several questions that fail together the first one counts; the others, and those on a connection
    /// that was given up before, say nothing of the one that is open now.
    fn broke(&self, number: u64, reason: &str) {
        let mut state = self.state();
        if state.open.take_if(|(open, _)| *open == number).is_some() {
            is_away(state, reason);
        }
    }

    /// Every change is whole before anything can panic, so a poisoned lock guards sound state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_away(mut state: MutexGuard<'_, State>, reason: &str) {
    state.breaker.failed(Instant::now(), reason.to_owned(), rand::random());
    drop(state);
    tracing::warn!(reason, "Redis is away: hot data is not shared until it is back");
}
