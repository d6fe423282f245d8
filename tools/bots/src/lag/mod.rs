//! A TCP proxy that makes this machine's loopback as slow and lossy as a player's way to a server.
//!
//! It delays what passes, each way by half of the lag. Loss on TCP is never seen as missing bytes but as a stall: the
//! sender's kernel waits out a retransmission timeout and sends again, and what came behind waits with it. That is what
//! a lost segment does here: a stall of 200 ms and the round trip, twice as long if the retransmission is lost too, and so
//! on. Faster repairs, by duplicate acknowledgements, need more traffic in flight than a game's few bytes a tick.
//!
//! Nothing here looks at the bytes. Memory: two lines of at most [`LINE_BYTES_MAX`] a connection; when one is full, its
//! sender has to wait.

mod line;
mod proxy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;

pub use line::LINE_BYTES_MAX;

/// Longest lag, and most jitter.
pub const LAG_MAX: Duration = Duration::from_secs(10);

/// What lies between two ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// What is added to the round trip, at most [`LAG_MAX`]; half of it each way.
    pub lag: Duration,
    /// By how much a segment's way may take longer than that, at random; at most [`LAG_MAX`]. Order is kept.
    pub jitter: Duration,
    /// The share of segments that are lost, 0 to 1, that excluded.
    pub loss: f64,
}

/// Conditions that there cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum ConditionsError {
    /// A time is too long.
    #[error("{0:?} of lag or jitter are more than the {LAG_MAX:?} that can be made")]
    Lag(Duration),
    /// The loss is no share.
    #[error("a loss of {0} is no share of at least 0 and less than 1 (100%)")]
    Loss(f64),
}

impl Conditions {
    /// Whether there can be such.
    pub fn check(&self) -> Result<(), ConditionsError> {
        if let Some(time) = [self.lag, self.jitter].into_iter().find(|time| *time > LAG_MAX) {
            return Err(ConditionsError::Lag(time));
        }
        if (0.0..1.0).contains(&self.loss) { Ok(()) } else { Err(ConditionsError::Loss(self.loss)) }
    }

    /// Reads a share: `1%` or `0.01`.
    pub fn parse_loss(text: &str) -> Result<f64, String> {
        let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let loss: f64 =
            number.trim().parse().map_err(|_| format!("{text:?} is no share such as 1% or 0.01"))?;
        let loss = loss / scale;
        if (0.0..1.0).contains(&loss) { Ok(loss) } else { Err(ConditionsError::Loss(loss).to_string()) }
    }
}

/// A proxy on a thread of its own. Dropping it ends it, and every connection through it.
pub struct LagProxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LagProxy {
    /// Listens, and passes what comes on to `target`.
    ///
    /// # Errors
    /// If it cannot listen there, or the conditions cannot be.
    pub fn start(
        listen: SocketAddr,
        target: SocketAddr,
        conditions: Conditions,
        seed: u64,
    ) -> std::io::Result<LagProxy> {
        conditions.check().map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        let mut proxy = proxy::Proxy::new(listen, target, conditions, seed)?;
        let address = proxy.address()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new().name("lag".into()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                if let Err(error) = proxy.turn() {
                    eprintln!("the lag proxy cannot go on: {error}");
                    return;
                }
            }
        })?;
        Ok(LagProxy { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for LagProxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within a turn; should it have panicked, that was said.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
