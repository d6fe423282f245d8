//! A broker that threads share. What is done under its lock is short, and waits for nothing; no shard ever takes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::{Broker, Topic};

/// A broker. Clones share it.
#[derive(Clone)]
pub struct Hub(Arc<Mutex<Broker>>);

impl Hub {
    /// Shares a broker.
    pub fn new(broker: Broker) -> Hub {
        Hub(Arc::new(Mutex::new(broker)))
    }

    /// The broker, until what is returned is dropped. Not to be held while something is waited for.
    pub fn lock(&self) -> MutexGuard<'_, Broker> {
        // A panic would have to come from a message that cannot be written, before anything was changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Broker::publish`].
    pub fn publish<T: Serialize>(&self, topic: Topic, data: &T, now_ms: i64) {
        self.lock().publish(topic, data, now_ms);
    }
}
