//! Whether the node can do its work: the named checks behind `/readyz`.

use serde::Serialize;

/// One thing that must hold. Called at each `/readyz`, so it must be quick and must not wait; the error says
/// what is wrong, for a person.
pub type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The checks, in the order they were registered.
#[derive(Default)]
pub(crate) struct Checks(Vec<(&'static str, Check)>);

/// What `/readyz` answers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Readiness {
    pub ready: bool,
    pub failing: Vec<Failing>,
}

/// A check that does not hold.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failing {
    pub check: &'static str,
    pub reason: String,
}

impl Checks {
    pub(crate) fn add(&mut self, name: &'static str, check: Check) {
        self.0.push((name, check));
    }

    /// Runs every check; ready where all hold.
    pub(crate) fn run(&self) -> Readiness {
        let failing: Vec<Failing> = self
            .0
            .iter()
            .filter_map(|(check, holds)| holds().err().map(|reason| Failing { check, reason }))
            .collect();
        Readiness { ready: failing.is_empty(), failing }
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
                ]
            }
        );
    }
}
