//! Moves the zones of a node back and forth between its shards while others play.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use serde_json::{Value, json};

use crate::{Node, http_post};

/// Longest pause between two orders.
const PAUSE_MS_MAX: u64 = 60;

/// Gives orders by the admin port on a thread of its own, until it is told to stop or the node is gone.
#[derive(Debug)]
pub struct Mover {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<f64>>>,
}

impl Mover {
    /// Begins; the order of what it does follows the seed.
    pub fn start(node: &Node, seed: u64) -> Mover {
        let (admin, over) = (node.admin, Arc::new(AtomicBool::new(false)));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            let (mut rng, mut gaps) = (Pcg64Mcg::seed_from_u64(seed), Vec::new());
            while !ends.load(Ordering::Relaxed) {
                // Nobody answers once the node is killed.
                let Ok(gap) = move_one(admin, &mut rng) else { break };
                gaps.extend(gap);
                std::thread::sleep(Duration::from_millis(rng.random_range(0..PAUSE_MS_MAX)));
            }
            gaps
        });
        Mover { over, thread: Some(thread) }
    }

    /// Ends it: the ticks from each zone's last tick where it was to its first where it went, sorted.
    ///
    /// # Panics
    /// If the node refused an order that it had no reason to refuse.
    pub fn finish(mut self) -> Vec<f64> {
        self.over.store(true, Ordering::Relaxed);
        let moved = self.thread.take().expect("it is taken here only").join();
        let mut gaps = moved.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        gaps.sort_by(f64::total_cmp);
        gaps
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Lets any zone go to any other shard; none while the node ends.
fn move_one(admin: SocketAddr, rng: &mut Pcg64Mcg) -> std::io::Result<Option<f64>> {
    let (zone, shard) = (rng.random_range(1..=3), rng.random_range(0..2));
    let body = json!({ "shard": shard });
    let (status, answer) = http_post(admin, &format!("/api/zones/{zone}/move"), &body)?;
    let answer: Value = serde_json::from_str(&answer)?;
    match (status, answer["error"]["code"].as_str()) {
        (200, None) => {
            assert_eq!((&answer["zone"], &answer["to"]), (&json!(zone), &json!(shard)));
            Ok(answer["gap_ticks"].as_f64())
        }
        (_, Some("already_there" | "journal_busy" | "stopping")) => Ok(None),
        other => panic!("zone {zone} to shard {shard}: {other:?}"),
    }
}
