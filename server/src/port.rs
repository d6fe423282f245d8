//! A port that is served on a thread of its own, so that whoever calls there takes time from neither shards nor sign-in.

use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::node::yield_to_shards;

/// The thread.
pub struct PortThread {
    /// What is served, as messages name it.
    what: &'static str,
    stop: watch::Sender<bool>,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl PortThread {
    /// Runs what `serve` makes, on a thread of this name, until it ends. It is given what completes once it is to stop.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start<F>(
        name: &str,
        what: &'static str,
        runtime: Runtime,
        serve: impl FnOnce(Stopping) -> F,
    ) -> anyhow::Result<PortThread>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (stop, stopping) = watch::channel(false);
        let run = serve(Stopping(stopping));
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                yield_to_shards();
                runtime.block_on(run)
            })
            .with_context(|| format!("the thread of {what} cannot be started"))?;
        Ok(PortThread { what, stop, thread })
    }

    /// A runtime for such a thread.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn runtime() -> anyhow::Result<Runtime> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("the runtime of a port cannot be started")
    }

    /// Lets what is under way finish, for a moment, and ends the thread.
    ///
    /// # Errors
    /// Why it ended before it was told to.
    pub fn end(self) -> anyhow::Result<()> {
        // A thread that has ended needs no telling.
        let _ = self.stop.send(true);
        self.thread.join().unwrap_or_else(|_| bail!("{} panicked: see the log", self.what))
    }
}

/// Completes once a port is to stop.
pub struct Stopping(watch::Receiver<bool>);

impl Stopping {
    /// Waits for it.
    pub async fn stopped(mut self) {
        // An error means that the node is gone, which is a stop as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
