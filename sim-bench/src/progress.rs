//! A line a second on the standard error stream, so that nobody wonders whether a long run still runs.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Tells how far something has come, once a second at most; nothing of what is over within one.
pub struct Progress {
    what: String,
    total: usize,
    told: Instant,
}

impl Progress {
    /// Something of `total` steps begins.
    pub fn new(what: impl Into<String>, total: usize) -> Progress {
        Progress { what: what.into(), total, told: Instant::now() }
    }

    /// Step `done` is over. Call it between measurements: printing takes time.
    pub fn at(&mut self, done: usize) {
        if self.told.elapsed() >= EVERY {
            self.told = Instant::now();
            eprintln!("{}: {done} of {}", self.what, self.total);
        }
    }
}
