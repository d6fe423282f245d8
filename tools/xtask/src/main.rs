//! The workspace's own chores. `cargo xtask test` is everything that must hold before a commit, and all that
//! `.ci/run` runs; `cargo xtask tidy` is the part of it that reads the source, `cargo xtask loom` that which models
//! threads, `cargo xtask web` the web client, `cargo xtask api` the HTTP API.

mod api;
mod campaign;
mod fuzz;
mod licences;
mod loom;
mod machine;
mod test;
mod tidy;
mod web;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  test          Format, clippy, tidy, every test of the workspace, loom, web client, API, dependencies and their licences
  test --quick  The same without the whole-node tests, loom, web client, API and the dependencies
  fuzz          The decoders that libFuzzer can search
  fuzz NAME [SECONDS]
                Searches one of them, for a minute unless told otherwise; needs nightly and cargo-fuzz
  crash [ARGUMENTS]
                A release node, and its database, killed again and again under 200 trading bots: --rounds N,
                --store sqlite|postgres, --seed N, --json; --help says all
  simulate [ARGUMENTS]
                A node with faults planted by a seed: --seed N, --seeds A..B, --minutes M, --ticks N; --help says all
  tidy          Rules of the house that no compiler checks, each fault with its line
  loom          Protocols between threads, in every order in which they can run
  api           Accounts over HTTP, held against their document by schemathesis
  web           Types and tests of the web client, where there is npm
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => root().and_then(|root| test::run(&root, test::Extent::Whole)),
        ["test", "--quick"] => root().and_then(|root| test::run(&root, test::Extent::Quick)),
        ["fuzz"] => root().and_then(|root| fuzz::list(&root)),
        ["fuzz", target] => root().and_then(|root| fuzz::run(&root, target, fuzz::SECONDS_DEFAULT)),
        ["fuzz", target, seconds] => root().and_then(|root| fuzz::run(&root, target, seconds)),
        ["crash", ref arguments @ ..] => root().and_then(|root| campaign::crash(&root, arguments)),
        ["simulate", ref arguments @ ..] => root().and_then(|root| campaign::simulate(&root, arguments)),
        ["tidy"] => root().and_then(|root| tidy::run(&root)).map(|summary| println!("{summary}")),
        ["loom"] => root().and_then(|root| loom::run(&root)).map(drop),
        ["api"] => root().and_then(|root| api::run(&root)).map(|summary| println!("{summary}")),
        ["web"] => root().and_then(|root| web::run(&root)).map(|summary| println!("{summary}")),
        ["--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> anyhow::Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = PathBuf::from(own).join("../..");
    root.canonicalize().with_context(|| format!("cannot find the workspace at {}", root.display()))
}
