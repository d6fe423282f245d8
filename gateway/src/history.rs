//! The last two minutes, a second at a time, so that a page that has just been opened shows more than an
//! instant.

use std::collections::VecDeque;

use serde::Serialize;

use crate::feed::{ShardReport, TickUs};

/// Seconds kept. With [`Second`] at about 100 bytes and 12 more a shard, 64 shards take some 100 KiB.
pub(crate) const SECONDS_MAX: usize = 120;

/// Figures since the start, of which a [`Second`] holds the increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub ticks: u64,
    pub late_ticks: u64,
    pub shed_ticks: u64,
    pub syncs: u64,
    pub sync_us: u64,
    pub store_rows: u64,
}

/// Figures as they stand when a second ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Levels {
    pub sessions: u64,
    pub players: u64,
    pub npcs: u64,
    pub items: u64,
    pub store_lag_frames: u64,
}

/// One second of the node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Second {
    /// Which second, counted from the gateway's start.
    pub at_s: u64,
    /// For each shard `[p50, p99, max]` of its ticks in microseconds: the middle window's median and the
    /// worst window's p99 and maximum. `null` where the shard reported nothing.
    pub tick_us: Vec<Option<[u32; 3]>>,
    #[serde(flatten)]
    pub levels: Levels,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub ticks: u64,
    pub late_ticks: u64,
    pub shed_ticks: u64,
    pub syncs: u64,
    /// The mean sync of the journal in microseconds; `null` where there was none.
    pub sync_us: Option<u64>,
    pub store_rows: u64,
}

/// The seconds kept, oldest first, and the one being gathered.
#[derive(Debug)]
pub(crate) struct History {
    seconds: VecDeque<Second>,
    /// For each shard, the windows that ended in the current second.
    windows: Vec<Vec<TickUs>>,
    current_s: u64,
    before: Totals,
}

/// Windows of a shard that a second takes in; a shard publishes far fewer.
const WINDOWS_MAX: usize = 64;

impl History {
    pub(crate) fn new(shards: u16) -> History {
        History {
            seconds: VecDeque::with_capacity(SECONDS_MAX),
            windows: vec![Vec::new(); usize::from(shards)],
            current_s: 0,
            before: Totals::default(),
        }
    }

    /// Takes in one report; its shard must be one of the node's.
    pub(crate) fn record(&mut self, report: &ShardReport) {
        let windows = &mut self.windows[usize::from(report.shard)];
        if windows.len() < WINDOWS_MAX {
            windows.push(report.tick_us);
        }
    }

    /// Ends the current second where `now_s` is past it. Seconds in which nobody called leave a gap.
    pub(crate) fn advance(&mut self, now_s: u64, totals: Totals, levels: Levels) {
        if now_s <= self.current_s {
            return;
        }
        if self.seconds.len() == SECONDS_MAX {
            self.seconds.pop_front();
        }
        // A total never falls while a node runs; saturating keeps a wrong one from ending the control plane.
        let gain = |of: fn(&Totals) -> u64| of(&totals).saturating_sub(of(&self.before));
        let (syncs, sync_us) = (gain(|t| t.syncs), gain(|t| t.sync_us));
        self.seconds.push_back(Second {
            at_s: self.current_s,
            tick_us: self.windows.iter_mut().map(|windows| summarise(windows)).collect(),
            levels,
            bytes_in: gain(|t| t.bytes_in),
            bytes_out: gain(|t| t.bytes_out),
            ticks: gain(|t| t.ticks),
            late_ticks: gain(|t| t.late_ticks),
            shed_ticks: gain(|t| t.shed_ticks),
            syncs,
            sync_us: sync_us.checked_div(syncs),
            store_rows: gain(|t| t.store_rows),
        });
        self.windows.iter_mut().for_each(Vec::clear);
        self.before = totals;
        self.current_s = now_s;
    }

    /// The newest whole second.
    pub(crate) fn newest(&self) -> Option<&Second> {
        self.seconds.back()
    }

    /// All seconds kept, oldest first.
    pub(crate) fn seconds(&self) -> &VecDeque<Second> {
        &self.seconds
    }
}

fn summarise(windows: &mut [TickUs]) -> Option<[u32; 3]> {
    windows.sort_unstable_by_key(|window| window.p50);
    let p50 = windows.get(windows.len() / 2)?.p50;
    let p99 = windows.iter().map(|window| window.p99).max()?;
    let max = windows.iter().map(|window| window.max).max()?;
    Some([p50, p99, max])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report(shard: u16, p50: u32, p99: u32, max: u32) -> ShardReport {
        ShardReport { shard, tick_us: TickUs { p50, p99, max }, ..ShardReport::default() }
    }

    #[test]
    fn a_second_takes_the_middle_median_and_the_worst_peaks() {
        let mut history = History::new(2);
        for window in [report(0, 5, 9, 30), report(0, 1, 8, 10), report(0, 3, 20, 21)] {
            history.record(&window);
        }
        let levels = Levels { sessions: 3, ..Levels::default() };
        let totals = Totals { bytes_out: 100, syncs: 4, sync_us: 1000, ..Totals::default() };
        history.advance(0, totals, levels);
        assert!(history.newest().is_none(), "the second is not over");
        history.advance(1, totals, levels);
        let second = history.newest().unwrap();
        assert_eq!((second.at_s, second.bytes_out, second.sync_us), (0, 100, Some(250)));
        assert_eq!(second.tick_us, [Some([3, 20, 30]), None]);
        assert_eq!(second.levels, levels);
        history.advance(2, totals, levels);
        let second = history.newest().unwrap();
        assert_eq!((second.at_s, second.bytes_out, second.sync_us), (1, 0, None));
        assert_eq!(second.tick_us, [None, None], "windows count in one second only");
    }

    proptest! {
        #[test]
        fn seconds_add_up_to_the_totals_and_stay_bounded(
            steps in prop::collection::vec((0u64..3, 0u64..1000), 1..300),
        ) {
            let mut history = History::new(1);
            let (mut now_s, mut totals, mut counted) = (0, Totals::default(), 0);
            let mut seen = None;
            for (elapsed_s, bytes) in steps {
                now_s += elapsed_s;
                totals.bytes_in += bytes;
                history.record(&report(0, 1, 1, 1));
                history.advance(now_s, totals, Levels::default());
                let newest = history.newest();
                if newest.map(|second| second.at_s) != seen {
                    seen = newest.map(|second| second.at_s);
                    counted += newest.unwrap().bytes_in;
                }
                prop_assert!(history.seconds().len() <= SECONDS_MAX);
                prop_assert!(history.windows[0].len() <= WINDOWS_MAX);
                prop_assert!(history.seconds().iter().is_sorted_by(|a, b| a.at_s < b.at_s));
            }
            history.advance(now_s + 1, totals, Levels::default());
            counted += history.newest().unwrap().bytes_in;
            prop_assert_eq!(counted, totals.bytes_in);
        }
    }
}
