//! `cargo xtask test`: everything that must hold, step by step, until the first that does not.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};

use crate::{api, licences, loom, machine, tidy, web};

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What takes seconds: neither whole-node tests nor loom nor dependencies.
    Quick,
}

/// A check in this program: a line for the summary, or an error that lists the faults.
type Check = dyn Fn(&Path) -> anyhow::Result<String>;

/// What a step does.
enum Action {
    /// Runs cargo with these arguments.
    Cargo(Vec<&'static str>),
    /// Runs cargo with these arguments, and counts the tests in what it writes.
    CargoTest(Vec<&'static str>),
    /// Runs a part of this program; `cargo xtask` with this argument repeats it.
    Own(&'static str, Box<Check>),
}

impl Action {
    fn command(&self) -> String {
        match self {
            Self::Cargo(arguments) | Self::CargoTest(arguments) => format!("cargo {}", arguments.join(" ")),
            Self::Own(argument, _) => format!("cargo xtask {argument}"),
        }
    }
}

/// A step that has passed.
struct Passed {
    heading: &'static str,
    time: Duration,
    summary: String,
}

/// The program that runs cargo: the one that runs this.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs every step in the workspace at `root`.
pub fn run(root: &Path, extent: Extent) -> anyhow::Result<()> {
    let mut passed = Vec::new();
    for (heading, action) in steps(root, extent) {
        println!("\n=== {heading}: {}", action.command());
        let start = Instant::now();
        let summary = perform(root, &action).map_err(|error| {
            anyhow!("{error:#}\n\n{heading} failed; to repeat it alone: {}", action.command())
        })?;
        passed.push(Passed { heading, time: start.elapsed(), summary });
    }
    println!("\n{}", table(&passed));
    Ok(())
}

fn steps(root: &Path, extent: Extent) -> Vec<(&'static str, Action)> {
    let test = match extent {
        // Whole-node tests are a package of their own, and the folders tests/ of the others.
        Extent::Quick => vec!["--lib", "--bins", "--exclude", "vyuha-tests"],
        Extent::Whole => Vec::new(),
    };
    let test = [vec!["test", "--workspace", "--locked", "--no-fail-fast"], test].concat();
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    let mut steps = vec![
        ("machine", Action::Own("test", Box::new(move |_| machine::check(extent)))),
        ("format", Action::Cargo(vec!["fmt", "--all", "--check"])),
        ("tidy", Action::Own("tidy", Box::new(tidy::run))),
        ("clippy", Action::Cargo(clippy.to_vec())),
        ("test", Action::CargoTest(test)),
    ];
    if extent == Extent::Whole {
        steps.push(("loom", Action::Own("loom", Box::new(loom::run))));
        steps.push(("web client", Action::Own("web", Box::new(web::run))));
        steps.push(("API", Action::Own("api", Box::new(api::run))));
        let action = match licences::cargo_deny(root) {
            Ok(()) => {
                let advisories = licences::has_advisories().then_some("advisories");
                let checks = licences::DENY_CHECKS.iter().copied().chain(advisories);
                Action::Cargo(["deny", "--offline", "check"].into_iter().chain(checks).collect())
            }
            Err(reason) => Action::Own("test", Box::new(move |root| licences::check(root, reason))),
        };
        steps.push(("dependencies", action));
    }
    steps
}

/// Performs one step: what it has to say for itself at the end.
fn perform(root: &Path, action: &Action) -> anyhow::Result<String> {
    match action {
        Action::Own(_, run) => {
            let summary = run(root)?;
            println!("{summary}");
            Ok(summary)
        }
        Action::Cargo(arguments) => {
            let status = Command::new(cargo()).args(arguments).current_dir(root).status();
            let status = status.context("cannot run cargo")?;
            ensure!(status.success(), "{status}");
            Ok(String::new())
        }
        Action::CargoTest(arguments) => {
            let mut command = Command::new(cargo());
            command.args(arguments).current_dir(root);
            counted(command)
        }
    }
}

/// Runs tests, and counts them in what they write: the counts, or an error if one failed.
pub fn counted(mut command: Command) -> anyhow::Result<String> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut counts = Counts::default();
    for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
        let line = line.context("cannot read what the tests write")?;
        counts.add(&line);
        println!("{line}");
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "{counts} ({status})");
    Ok(counts.to_string())
}

/// How many tests there were.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds what a line says, such as "test result: ok. 3 passed; 0 failed; 1 ignored; ...".
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

fn table(passed: &[Passed]) -> String {
    let row = |heading: &str, time: Duration, summary: &str| {
        format!("{heading:<14}{:>8.1} s  {summary}", time.as_secs_f64()).trim_end().to_owned()
    };
    let rows = passed.iter().map(|step| row(step.heading, step.time, &step.summary));
    let total = row("all passed", passed.iter().map(|step| step.time).sum(), "");
    rows.chain([total]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_over_every_program() {
        let mut counts = Counts::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.31s",
            "test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "said by a test: test result: ok. 100 passed;",
        ] {
            counts.add(line);
        }
        assert_eq!(counts, Counts { passed: 5, failed: 5, ignored: 1 });
        assert_eq!(counts.to_string(), "5 passed, 5 failed, 1 ignored");
    }

    #[test]
    fn a_step_that_fails_says_how() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let refuse = Action::Own("tidy", Box::new(|_| anyhow::bail!("3 faults")));
        let error = perform(root, &refuse).expect_err("it fails");
        assert_eq!(error.to_string(), "3 faults");
        perform(root, &Action::Cargo(vec!["no-such-command"])).expect_err("it fails");
    }

    #[test]
    fn the_quick_steps_are_some_of_the_whole() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let headings =
            |extent| steps(root, extent).into_iter().map(|(heading, _)| heading).collect::<Vec<_>>();
        assert_eq!(headings(Extent::Quick), ["machine", "format", "tidy", "clippy", "test"]);
        assert_eq!(
            headings(Extent::Whole),
            ["machine", "format", "tidy", "clippy", "test", "loom", "web client", "API", "dependencies"]
        );
    }

    #[test]
    fn the_table_has_a_row_a_step_and_the_sum() {
        let step = |heading, time_ms, summary: &str| Passed {
            heading,
            time: Duration::from_millis(time_ms),
            summary: summary.to_owned(),
        };
        let table = table(&[step("format", 500, ""), step("test", 61_000, "9 passed")]);
        let rows: Vec<_> = table.lines().collect();
        assert_eq!(
            rows,
            ["format             0.5 s", "test              61.0 s  9 passed", "all passed        61.5 s",]
        );
    }
}
