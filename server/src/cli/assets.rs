//! `vyuha assets`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use vyuha_assets::Version;

use super::{CONFIG_NOTE, config_file, json_flag, key_flags, path};
use crate::assets::AssetsCommand;
use crate::config::KEYS;

const EXAMPLES: &str = "\
Examples:
  vyuha assets publish build/client --version 1.4.0 --store assets
                                           to the folder `assets`, as what clients take from now on
  vyuha assets publish build/client --version 1.5.0 --keep-latest
                                           to assets.store, for clients that ask for it by name
  vyuha assets latest 1.4.0                back to that version
  vyuha serve --assets-store assets        and a node that serves them
  curl http://127.0.0.1:7782/manifests/latest

The store is a folder or s3://BUCKET/PREFIX, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION
and, for other services than Amazon's, AWS_ENDPOINT in the environment. A file is kept under the hash
of its content, so that versions share what they have in common; a version never changes.";

/// The command.
pub(super) fn command() -> Command {
    let version = |id: &'static str| {
        Arg::new(id).value_name("VERSION").required(true).value_parser(value_parser!(Version))
    };
    let store = Arg::new("store")
        .long("store")
        .value_name("FOLDER|URL")
        .conflicts_with("assets.store")
        .help("Where they lie; short for --assets-store");
    let common = |command: Command| {
        command
            .args([store.clone(), config_file(), json_flag("Print JSON")])
            .args(key_flags(KEYS.iter(), true))
            .after_help(CONFIG_NOTE)
    };
    Command::new("assets")
        .about("Publish versions of what clients download")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(EXAMPLES)
        .subcommand(common(
            Command::new("publish").about("Make a version of a folder's files").args([
                Arg::new("folder")
                    .value_name("FOLDER")
                    .required(true)
                    .value_parser(value_parser!(PathBuf))
                    .help("Folder whose files clients are to have"),
                version("version").long("version").help("Name of the version; it never changes afterwards"),
                Arg::new("keep-latest")
                    .long("keep-latest")
                    .action(ArgAction::SetTrue)
                    .help("Let clients go on with the version that they take now"),
            ]),
        ))
        .subcommand(common(
            Command::new("latest")
                .about("Say which version clients take")
                .arg(version("version").help("A version that is published")),
        ))
}

/// What is asked for.
pub(super) fn asked(name: &str, matches: &ArgMatches) -> AssetsCommand {
    let version = matches.get_one::<Version>("version").cloned().expect("it is required");
    match name {
        "publish" => AssetsCommand::Publish {
            folder: path(matches, "folder"),
            version,
            keep_latest: matches.get_flag("keep-latest"),
        },
        _ => AssetsCommand::Latest(version),
    }
}
