//! The commands of an operator: `vyuha migrate` and `vyuha journal`.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{CONFIG_NOTE, config_file, json_flag, key_flags};
use crate::config::KEYS;
use crate::upkeep::Migration;

const MIGRATE_EXAMPLES: &str = "\
Examples:
  vyuha migrate status                     what the database has, and what it lacks
  vyuha migrate up                         to the schema of this version; `vyuha serve` does so by itself
                                           unless store.migrate is false
  vyuha migrate down --to 2                back, before an older version is started

No node may run meanwhile. Each step is one transaction, under a lock, and its checksum is kept.";

const JOURNAL_EXAMPLES: &str = "\
Examples:
  vyuha journal inspect                    frames, segments, tables, and how far the database was fed
  vyuha journal verify --json              the same; exit status 1 where anything is damaged

Nothing is changed. While a node writes, its last write may look unfinished.";

/// The commands.
pub(super) fn commands() -> [Command; 2] {
    let version = || {
        Arg::new("to")
            .long("to")
            .value_name("VERSION")
            .value_parser(value_parser!(u32))
            .help("Version to end at")
    };
    let common = |command: Command| {
        command
            .args([config_file(), json_flag("Print JSON")])
            .args(key_flags(KEYS.iter(), true))
            .after_help(CONFIG_NOTE)
    };
    let lose_data = Arg::new("lose-data")
        .long("lose-data")
        .action(ArgAction::SetTrue)
        .help("Go down even where tables or columns with rows are dropped");
    let migrate = Command::new("migrate")
        .about("Bring the database to the schema of a version")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(MIGRATE_EXAMPLES)
        .subcommand(common(Command::new("up").about("Migrate up, without --to to the newest").arg(version())))
        .subcommand(common(
            Command::new("down")
                .about("Migrate down")
                .arg(version().required(true).help("Version to end at; 0 leaves nothing"))
                .arg(lose_data),
        ))
        .subcommand(common(Command::new("status").about("Say what the database has, and what it lacks")));
    let journal = Command::new("journal")
        .about("Look into a node's journal")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(JOURNAL_EXAMPLES)
        .subcommand(common(Command::new("inspect").about("Say what the journal holds")))
        .subcommand(common(Command::new("verify").about("The same, and fail where anything is damaged")));
    [migrate, journal]
}

/// What a subcommand of `vyuha migrate` asks for.
pub(super) fn migration(name: &str, matches: &ArgMatches) -> Migration {
    let to = || matches.get_one::<u32>("to").copied();
    match name {
        "up" => Migration::Up(to()),
        "down" => {
            Migration::Down { to: to().expect("it is required"), lose_data: matches.get_flag("lose-data") }
        }
        _ => Migration::Status,
    }
}
