//! A well-behaved player that watches while others misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::{Node, Player, YARD};
use vyuha_protocol::motion::Heading;

/// Snapshots that a witness must still get after the trouble.
const SNAPSHOTS_AFTER: u32 = 10;
/// Most ticks between two snapshots, 10 s: no measure of speed, but what separates a node that is slow from one that
/// stands still.
const TICK_GAP_MAX: u32 = 300;

/// Walks up and down in the yard on a thread of its own, and minds every snapshot.
#[derive(Debug)]
pub struct Witness {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Lets a player of that name watch.
    pub fn start(node: &Node, name: &str) -> Witness {
        let over = Arc::new(AtomicBool::new(false));
        let mut player = Player::sign_up(node, name, YARD);
        player.snapshot();
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                watch(&mut player, 20);
            }
            watch(&mut player, SNAPSHOTS_AFTER);
            player.log_out();
        });
        Witness { over, thread: Some(thread) }
    }

    /// Ends the watch.
    ///
    /// # Panics
    /// If anything was amiss: a snapshot too late or contradictory, a prediction corrected, a disconnect.
    pub fn finish(mut self) {
        if let Some(Err(panic)) = self.join() {
            std::panic::resume_unwind(panic);
        }
    }

    fn join(&mut self) -> Option<std::thread::Result<()>> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // The test has failed already if it comes here: only the thread's end is of interest.
        let _ = self.join();
    }
}

/// Walks some steps away and back.
fn watch(player: &mut Player, steps: u32) {
    for x in [127, -127] {
        let walk = player.walk((0..steps).map(|_| Heading { x, y: 0 }));
        assert_eq!(walk.corrections, 0, "the witness was pushed about");
        for pair in walk.trail.windows(2) {
            assert!(
                pair[1].0 - pair[0].0 <= TICK_GAP_MAX,
                "the witness waited from tick {} to {}",
                pair[0].0,
                pair[1].0
            );
        }
    }
}
