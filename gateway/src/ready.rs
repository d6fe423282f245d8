//! Whether the node can do its work: the named checks behind `/readyz`.

use serde::Serialize;

/// One thing that must hold. Called at each `/readyz`, so it must be quick and must not wait; the error says
/// what is wrong, for a person.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks, in the order they were registered.
#[derive(Default)]
pub(crate) struct Checks {
    needed: Vec<(&'static str, Check)>,
    /// What the node can do without.
    comforts: Vec<(&'static str, Check)>,
}

/// What `/readyz` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Readiness {
    pub ready: bool,
    pub failing: Vec<Failing>,
    /// What fails and does not keep the node from its work.
    pub degraded: Vec<Failing>,
}

/// A check that does not hold.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failing {
    pub check: &'static str,
    pub reason: String,
}

impl Checks {
    pub(crate) fn add(&mut self, name: &'static str, check: Check) {
        self.needed.push((name, check));
    }

    pub(crate) fn add_comfort(&mut self, name: &'static str, check: Check) {
        self.comforts.push((name, check));
    }

    /// Runs every check; ready where all hold that are needed.
    pub(crate) fn run(&self) -> Readiness {
        let failing = |checks: &[(&'static str, Check)]| -> Vec<Failing> {
            let run =
                |(check, holds): &(&'static str, Check)| Some(Failing { check, reason: holds().err()? });
            checks.iter().filter_map(run).collect()
        };
        let (failing, degraded) = (failing(&self.needed), failing(&self.comforts));
        Readiness { ready: failing.is_empty(), failing, degraded }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failing_check_is_listed() {
        let mut checks = Checks::default();
        assert!(checks.run().ready, "nothing to fail");
        checks.add("journal", Box::new(|| Ok(())));
        assert!(checks.run().ready);
        checks.add("store", Box::new(|| Err("9,000 frames behind".into())));
        checks.add("shards", Box::new(|| Err("shard 1 stands still".into())));
        let failing = |check, reason: &str| Failing { check, reason: reason.into() };
        assert_eq!(
            checks.run(),
            Readiness {
                ready: false,
                failing: vec![
                    failing("store", "9,000 frames behind"),
                    failing("shards", "shard 1 stands still")
                ],
                degraded: Vec::new(),
            }
        );
    }

    #[test]
    fn what_the_node_can_do_without_is_named_and_leaves_it_ready() {
        let mut checks = Checks::default();
        checks.add("journal", Box::new(|| Ok(())));
        checks.add_comfort("redis", Box::new(|| Err("away".into())));
        let degraded = vec![Failing { check: "redis", reason: "away".into() }];
        assert_eq!(checks.run(), Readiness { ready: true, failing: Vec::new(), degraded });
    }
}
