//! Token buckets, judged in this process and settled with other nodes' in the background.
//!
//! A node judges by what it knows. What it let through is told to the store now and then, which answers with what all nodes have
//! left; so nobody waits for the store, and a bucket is emptied by all nodes together, less what they did not know of each other
//! yet. Where the store is away, or there is none, each node judges alone.
//!
//! Memory is bounded: [`BUCKETS_MAX`] buckets, of which those that were used last are never forgotten, and what was spent from
//! as many.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vyuha_hot::{Bucket, BucketRule};

use crate::recent::Recent;

/// Buckets kept at once, of at most about 0.25 KiB each.
pub const BUCKETS_MAX: usize = 65_536;

/// Buckets by name, the same on every node.
#[derive(Debug)]
pub struct Buckets(Mutex<Table>);

#[derive(Debug)]
struct Table {
    known: Recent<String, Level>,
    /// What was spent, or given back, and not told yet; none is kept where it is told to nobody.
    untold: Option<HashMap<String, (BucketRule, i32)>>,
}

/// What is in a bucket, as far as it is known here.
#[derive(Debug, Clone, Copy)]
struct Level {
    at_ms: i64,
    /// In millionths of a token.
    micro: i64,
}

/// What was spent from a bucket, to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// The bucket's name.
    pub bucket: String,
    /// How it fills.
    pub rule: BucketRule,
    /// Tokens; less than none where they were given back.
    pub tokens: i32,
}

/// A bucket of several was empty; nothing was spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Empty {
    /// How long until all of them hold a token.
    pub wait: Duration,
    /// What is in each.
    pub left: Vec<Bucket>,
}

impl Buckets {
    /// None yet. What is spent is kept to be told only where `is_settled`.
    pub fn new(is_settled: bool) -> Buckets {
        let untold = is_settled.then(HashMap::new);
        Buckets(Mutex::new(Table { known: Recent::new(BUCKETS_MAX), untold }))
    }

    /// Takes a token out of each of these buckets, or out of none: what is left in each.
    ///
    /// # Errors
    /// [`Empty`], where one holds none.
    pub fn take(&self, now_ms: i64, wanted: &[(String, BucketRule)]) -> Result<Vec<Bucket>, Empty> {
        let mut table = self.lock();
        let left: Vec<i64> = wanted.iter().map(|(name, rule)| table.level(now_ms, name, *rule)).collect();
        let told = |left: &[i64]| -> Vec<Bucket> {
            wanted.iter().zip(left).map(|((_, rule), micro)| rule.bucket(*micro)).collect()
        };
        if left.iter().any(|micro| *micro < BucketRule::MICRO) {
            let left = told(&left);
            let wait = left.iter().map(|bucket| bucket.next_token).max().unwrap_or_default();
            return Err(Empty { wait, left });
        }
        for (name, rule) in wanted {
            table.spend(now_ms, name, *rule);
        }
        let left: Vec<i64> = left.into_iter().map(|micro| micro - BucketRule::MICRO).collect();
        Ok(told(&left))
    }

    /// Puts a token back into each of these buckets.
    pub fn give_back(&self, given: &[(String, BucketRule)]) {
        let mut table = self.lock();
        for (name, rule) in given {
            // One that was forgotten is full.
            if let Some(level) = table.known.get(name) {
                level.micro = (level.micro + BucketRule::MICRO).min(rule.capacity_micro());
            }
            table.note(name, *rule, -1);
        }
    }

    /// What was spent and not told yet, from `most` buckets at the most; from now on it counts as told.
    pub fn untold(&self, most: usize) -> Vec<Spent> {
        let mut table = self.lock();
        let Some(untold) = &mut table.untold else { return Vec::new() };
        let names: Vec<String> = untold.keys().take(most).cloned().collect();
        let take = |bucket| untold.remove_entry(&bucket);
        let spent = |(bucket, (rule, tokens))| Spent { bucket, rule, tokens };
        names.into_iter().filter_map(take).map(spent).collect()
    }

    /// The store was told, and says that this is left of a bucket.
    pub fn settled(&self, now_ms: i64, Spent { bucket: name, rule, .. }: &Spent, left: Bucket) {
        let mut table = self.lock();
        let since = table
            .untold
            .as_ref()
            .and_then(|untold| untold.get(name))
            .map_or(0, |(_, tokens)| i64::from(*tokens));
        let known = table.level(now_ms, name, *rule);
        // A store tells whole tokens: between those what is known here is as good.
        let (low, high) = match left.next_token {
            Duration::ZERO => (left.tokens * BucketRule::MICRO, (left.tokens + 1) * BucketRule::MICRO - 1),
            wait => {
                let lacking =
                    wait.as_millis() as i64 * rule.capacity_micro() / rule.fills_in.as_millis() as i64;
                (BucketRule::MICRO - lacking, BucketRule::MICRO - lacking)
            }
        };
        let since = since * BucketRule::MICRO;
        let micro =
            known.clamp(low - since, high - since).clamp(-rule.capacity_micro(), rule.capacity_micro());
        table.known.put(name.clone(), Level { at_ms: now_ms, micro });
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic between two of its statements leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// What is in a bucket now.
    fn level(&mut self, now_ms: i64, name: &str, rule: BucketRule) -> i64 {
        let level = self.known.get(name);
        level.map_or(rule.capacity_micro(), |level| rule.after(level.micro, now_ms - level.at_ms, 0))
    }

    /// Takes a token out.
    fn spend(&mut self, now_ms: i64, name: &str, rule: BucketRule) {
        let level = Level { at_ms: now_ms, micro: self.level(now_ms, name, rule) - BucketRule::MICRO };
        match self.known.get(name) {
            Some(known) => *known = level,
            None => self.known.put(name.to_owned(), level),
        }
        self.note(name, rule, 1);
    }

    /// Tokens that were taken out, or put back where they are fewer than none, are to be told.
    fn note(&mut self, name: &str, rule: BucketRule, tokens: i32) {
        let Some(untold) = &mut self.untold else { return };
        let is_full = untold.len() >= BUCKETS_MAX;
        match untold.entry(name.to_owned()) {
            Entry::Occupied(mut entry) => {
                // A store takes no more at once, and no rule lets more through between two turns.
                let sum = (entry.get().1 + tokens).clamp(-1_000_000, 1_000_000);
                if sum == 0 {
                    entry.remove();
                } else {
                    entry.get_mut().1 = sum;
                }
            }
            // What finds no room counts here alone.
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(entry) => drop(entry.insert((rule, tokens))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let rule = BucketRule { capacity: 10, fills_in: Duration::from_mins(1) };
        let buckets = Buckets::new(true);
        for index in 0..BUCKETS_MAX + 100 {
            buckets.take(0, &[(index.to_string(), rule)]).unwrap();
        }
        {
            let table = buckets.lock();
            assert!(table.known.len() <= BUCKETS_MAX && table.untold.as_ref().unwrap().len() == BUCKETS_MAX);
        }
        assert_eq!(buckets.untold(1_000).len(), 1_000);
        let alone = Buckets::new(false);
        alone.take(0, &[("a".into(), rule)]).unwrap();
        assert_eq!(alone.untold(1_000), []);
    }
}
