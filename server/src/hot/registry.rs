//! Tells the other nodes that this one lives, and how much it has to do.

use std::time::{Duration, Instant};

use vyuha_gateway::{LoadProbe, NodeBeat};

use super::Hot;
use crate::clock;

/// How often the node says that it lives: three times before it is taken for dead.
const BEAT: Duration = Duration::from_secs(10);
/// How often it looks whether Redis was connected anew, and may have forgotten it.
const LOOK: Duration = Duration::from_secs(1);

/// Beats until it is dropped. `beat` is what does not change of what the node says.
pub async fn beat(hot: Hot, mut beat: NodeBeat, load: LoadProbe) {
    let mut told: Option<(Instant, u64)> = None;
    loop {
        let is_due =
            told.is_none_or(|(at, connections)| at.elapsed() >= BEAT || connections != hot.connections());
        if is_due {
            (beat.load, beat.told_unix_ms) = (load.read(), clock::unix_ms());
            let text = serde_json::to_vec(&beat).expect("names and numbers can be written as JSON");
            // What fails is said again at the next look.
            let beaten = hot.store.beat(&beat.name, &text).await;
            told = beaten.ok().map(|()| (Instant::now(), hot.connections()));
        }
        tokio::time::sleep(LOOK).await;
    }
}
