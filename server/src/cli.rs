//! The command line: it finds out what is asked for, and hands it on. The flags of the configuration are made
//! from its table of keys; nothing is decided here.

mod assets;
#[cfg(test)]
mod tests;
mod upkeep;

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use vyuha_bots::Roles;

use crate::backup::{self, BackupOptions, RestoreOptions};
use crate::config::{CONFIG_VARIABLE, Effective, Faults, FlagValue, KEYS, Key, Layers, load};
use crate::demo::{self, DemoOptions};
use crate::hot;
use crate::replay::{self, ReplayOptions};
use crate::zones::{self, ZonesCommand};
use crate::{VERSION, node};

/// Exit status of a command line or a configuration that is wrong.
const EXIT_USAGE: u8 = 2;

const ABOUT: &str = "Vyuha, a game server for open-world zones and match lobbies.";

const EXAMPLES: &str = "\
Examples:
  vyuha demo                              a server and 500 bots; watch it on http://127.0.0.1:7780
  vyuha config show > vyuha.toml          a configuration file with every key explained
  vyuha config check --config vyuha.toml  everything that is wrong with it, at once
  vyuha serve --config vyuha.toml         a server
  vyuha serve --record DIR                a server whose inputs are recorded
  vyuha replay DIR                        the same ticks again, compared with the recording
  vyuha backup FILE                       a copy of the data, also while the server runs
  vyuha restore FILE --data DIR           a folder of data made of such a copy
  vyuha zones                             where the zones of a running server are, and what they cost
  vyuha nodes                             which nodes live, of those that share a Redis
  vyuha migrate status                    the database's schema, and what it lacks
  vyuha journal verify                    whether a node's journal is whole
  vyuha assets publish DIR --version 1.0  what clients download

Every key of the file is also a flag and an environment variable: net.idle_timeout is
--net-idle-timeout and VYUHA_NET_IDLE_TIMEOUT. A flag wins over the environment, the environment
over the file, the file over the default. `vyuha serve --help` explains them all.";

const SERVE_EXAMPLES: &str = "\
Examples:
  vyuha serve                                      everything at its default, data in ./data
  vyuha serve --config vyuha.toml                  as the file says
  vyuha serve --listen-address 0.0.0.0:7777 --tls-certificate fullchain.pem --tls-key key.pem
                                                   players from outside
  VYUHA_LOG_FORMAT=json vyuha serve                for a log collector
  vyuha serve --record rec/monday                  for `vyuha replay rec/monday`

Exit status: 0 stopped as asked, 1 failed, 2 the command line or the configuration is wrong.";

const DEMO_EXAMPLES: &str = "\
Examples:
  vyuha demo                                       500 bots until Ctrl-C
  vyuha demo --clients 2000 --seconds 20 --json    a measurement, as JSON on the last line
  vyuha demo --clients 10000 --seconds 60 --shards 1 --json
                                                   how many one core carries
  vyuha demo --clients 1000 --roles crowd=1        all in one place
  vyuha demo --port 0 --admin-address 127.0.0.1:0  beside another server

It takes every flag of `vyuha serve` as well, but for --data-dir: without --data it plays in a
temporary folder and removes it. More than 2000 bots play in rooms of eight, unless --content-dir
says where. The bots have the last core to themselves if the shards leave one. Passwords of bots are hashed cheaply (1 MiB, one pass), whatever
the configuration says.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  vyuha replay rec/monday                          every shard to the end of its recording
  vyuha replay rec/monday --until 5000 --hash      the state after tick 5000, by zone and column
  VYUHA_SIMD=scalar vyuha replay rec/monday        without vector instructions: the same states
  vyuha replay rec/monday --content world          a recording of a world of your own

After each tick the state is compared with the recorded hashes. A shard whose state differs says
at which tick, in which zones and columns, and goes no further. It takes every flag of
`vyuha serve` as well; only the content and the vector instructions matter to it.
docs/recording.md has the details.

Exit status: 0 every state was as recorded, 1 one differed or a recording cannot be replayed,
2 the command line or the configuration is wrong.";

const BACKUP_EXAMPLES: &str = "\
Examples:
  vyuha backup backup/monday.sqlite                of the data in ./data
  vyuha backup monday.sqlite --data /srv/vyuha     of a server's data, which may be running
  sha256sum -c monday.sqlite.sha256                is the copy whole?

The file is an SQLite database, the state as of one moment; its checksum goes to FILE.sha256. The
server goes on meanwhile. Nothing is ever overwritten. What was acknowledged after the copy began
is not in it. This is for the embedded database; deploy/postgres has what to do with PostgreSQL.

Exit status: 0 the copy is made, 1 it is not, 2 the command line or the configuration is wrong.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  vyuha restore monday.sqlite --verify             can it be restored? (it is, to a temporary folder)
  vyuha restore monday.sqlite --data new           make the folder of data `new` of it
  vyuha serve --data-dir new                       and play on

The copy's checksum is compared, SQLite checks it, it is brought to this version's schema and every
row is read once. A folder that holds data already is not touched: move it away first.

Exit status: 0 it is restored (or could be), 1 it is not, 2 the command line or the configuration
is wrong.";
const ZONES_EXAMPLES: &str = "\
Examples:
  vyuha zones                                      every zone with its shard, players and cost
  vyuha zones move 2 0                             zone 2 to shard 0, with all who play in it
  vyuha zones list --json --admin-address 127.0.0.1:7790
                                                   of another node, as JSON

It asks the node at admin.address, and takes every flag of `vyuha serve` as well. Who plays in a
zone that moves stays connected and waits a tick or two. Where a zone is, is not kept: a node that
starts deals its zones out anew.

Exit status: 0 done, 1 refused or no node answers, 2 the command line or the configuration is
wrong.";

const NODES_EXAMPLES: &str = "\
Examples:
  vyuha nodes                                      every node that lives, with its load and ports
  vyuha nodes --json --admin-address 127.0.0.1:7790
                                                   as another node knows, as JSON

It asks the node at admin.address, and takes every flag of `vyuha serve` as well. Nodes know of each
other by Redis (redis.url); without it a node knows only of itself. docs/redis.md has the details.

Exit status: 0 done, 1 no node answers or Redis is away, 2 the command line or the configuration is
wrong.";

const CONFIG_NOTE: &str =
    "It takes every flag of `vyuha serve` as well, and reads the same environment variables.";

/// Runs the program with these arguments (the program's own name first) and this environment.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        // Help and version arrive as errors too; clap knows which of them are.
        Err(error) => error.exit(),
    };
    let environment = environment.into_iter().collect();
    match matches.subcommand() {
        Some(("serve", matches)) => start(load(&layers(matches, environment)), |config| node::serve(&config)),
        Some(("demo", matches)) => {
            let options = demo_options(matches);
            start(load(&demo_layers(matches, environment)), |config| demo::run(config, &options))
        }
        Some(("replay", matches)) => {
            let options = replay_options(matches);
            start(load(&layers(matches, environment)), |config| replay::run(&config, &options))
        }
        Some(("backup", matches)) => {
            let options = BackupOptions { file: path(matches, "file"), json: matches.get_flag("json") };
            start(load(&layers(matches, environment)), |config| backup::back_up(&config, &options))
        }
        Some(("restore", matches)) => {
            let options = RestoreOptions {
                file: path(matches, "file"),
                verify: matches.get_flag("verify"),
                json: matches.get_flag("json"),
            };
            start(load(&layers(matches, environment)), |config| backup::restore(&config, &options))
        }
        Some(("zones", matches)) => {
            let (command, json) = zones_command(matches);
            start(load(&layers(matches, environment)), |config| zones::run(&config, command, json))
        }
        Some(("nodes", matches)) => {
            let json = matches.get_flag("json");
            start(load(&layers(matches, environment)), |config| hot::command::run(&config, json))
        }
        Some(("migrate", matches)) => {
            let (name, matches) = matches.subcommand().expect("clap demands one");
            let (migration, json) = (upkeep::migration(name, matches), matches.get_flag("json"));
            start(load(&layers(matches, environment)), |config| {
                crate::upkeep::migrate(&config, migration, json)
            })
        }
        Some(("assets", matches)) => {
            let (name, matches) = matches.subcommand().expect("clap demands one");
            let (command, json) = (assets::asked(name, matches), matches.get_flag("json"));
            start(load(&layers(matches, environment)), |config| crate::assets::run(&config, command, json))
        }
        Some(("journal", matches)) => {
            let (name, matches) = matches.subcommand().expect("clap demands one");
            let (verify, json) = (name == "verify", matches.get_flag("json"));
            start(load(&layers(matches, environment)), |config| crate::upkeep::journal(&config, verify, json))
        }
        Some(("config", matches)) => match matches.subcommand() {
            Some(("check", matches)) => show(load(&layers(matches, environment)), |_| "ok\n".to_owned()),
            Some(("show", matches)) => show(load(&layers(matches, environment)), |effective| {
                if matches.get_flag("json") {
                    format!("{:#}\n", effective.to_json())
                } else {
                    effective.to_toml()
                }
            }),
            _ => unreachable!("clap demands one of the commands above"),
        },
        _ => unreachable!("clap demands one of the commands above"),
    }
}

fn start(
    loaded: Result<Effective, Faults>,
    run: impl FnOnce(crate::config::Config) -> anyhow::Result<()>,
) -> ExitCode {
    match loaded.map(|effective| run(effective.config)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(faults) => refuse(&faults),
    }
}

fn show(loaded: Result<Effective, Faults>, text: impl FnOnce(&Effective) -> String) -> ExitCode {
    let text = match loaded {
        Ok(effective) => text(&effective),
        Err(faults) => return refuse(&faults),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough: `vyuha config show | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(faults: &Faults) -> ExitCode {
    eprintln!("error: {faults}");
    ExitCode::from(EXIT_USAGE)
}

/// The whole command line.
fn command() -> Command {
    let json = json_flag;
    Command::new("vyuha")
        .about(ABOUT)
        .version(VERSION)
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(100)
        .subcommand(
            Command::new("serve")
                .about("Run a node until SIGTERM or Ctrl-C")
                .args([config_file(), record_dir()])
                .args(key_flags(KEYS.iter(), false))
                .next_line_help(true)
                .after_help(SERVE_EXAMPLES),
        )
        .subcommand(
            Command::new("demo")
                .about("Run a node with bots that play on it, and measure both")
                .args([
                    Arg::new("clients")
                        .long("clients")
                        .value_name("NUMBER")
                        .value_parser(value_parser!(u32).range(1..=100_000))
                        .default_value("500")
                        .help("Bots, each a TCP client of its own"),
                    Arg::new("seconds")
                        .long("seconds")
                        .value_name("NUMBER")
                        .value_parser(value_parser!(u64).range(1..=86_400))
                        .help("How long they play; without it until Ctrl-C"),
                    Arg::new("roles")
                        .long("roles")
                        .value_name("ROLE=WEIGHT,...")
                        .value_parser(value_parser!(Roles))
                        .help("What the bots do: wanderer, crowd, chatter, trader, reconnecter, lagger, resumer, idle"),
                    Arg::new("attackers")
                        .long("attackers")
                        .value_name("NUMBER")
                        .value_parser(value_parser!(u32).range(1..=20_000))
                        .help("Clients that mean no good, for ten seconds out of each twenty; see --json"),
                    Arg::new("shards")
                        .long("shards")
                        .value_name("COUNT")
                        .conflicts_with("shard.count")
                        .help("Number of shards; short for --shard-count"),
                    Arg::new("port")
                        .long("port")
                        .value_name("PORT")
                        .value_parser(value_parser!(u16))
                        .conflicts_with("listen.address")
                        .help("Port on 127.0.0.1 for the bots; short for --listen-address, 0 takes any"),
                    Arg::new("data").long("data").value_name("DIR").help("Keep the data in this folder"),
                    record_dir(),
                    json("End with the summary as one JSON object on the last line of stdout"),
                    config_file(),
                ])
                .args(key_flags(KEYS.iter().filter(|key| key.path != "data.dir"), true))
                .after_help(DEMO_EXAMPLES),
        )
        .subcommand(
            Command::new("replay")
                .about("Run a recording again without sockets, and compare every tick's state with it")
                .args([
                    Arg::new("recording")
                        .value_name("DIR")
                        .required(true)
                        .value_parser(value_parser!(PathBuf))
                        .help("Folder that `vyuha serve --record` wrote"),
                    Arg::new("until")
                        .long("until")
                        .value_name("TICK")
                        .value_parser(value_parser!(u64).range(1..))
                        .help("Last tick to run; without it to the end of the recording"),
                    Arg::new("hash")
                        .long("hash")
                        .action(ArgAction::SetTrue)
                        .help("Print the last state's hash by zone and column as well"),
                    Arg::new("simd").long("simd").value_name("LEVEL").conflicts_with("shard.simd").help(
                        "Vector instructions of the zones' passes; short for --shard-simd [env: VYUHA_SIMD]",
                    ),
                    Arg::new("content")
                        .long("content")
                        .value_name("DIR")
                        .conflicts_with("content.dir")
                        .help("Folder of the content that was played; short for --content-dir"),
                    json("End with the result as one JSON object on the last line of stdout"),
                    config_file(),
                ])
                .args(key_flags(KEYS.iter(), true))
                .after_help(REPLAY_EXAMPLES),
        )
        .subcommands(upkeep::commands())
        .subcommand(assets::command())
        .subcommand(
            Command::new("backup")
                .about("Copy the data of a node to a file, also while it runs")
                .args([
                    file("File for the copy; it must not be there yet"),
                    data_dir("Folder of the node's data; short for --data-dir"),
                    json("End with the result as one JSON object on the last line of stdout"),
                    config_file(),
                ])
                .args(key_flags(KEYS.iter(), true))
                .after_help(BACKUP_EXAMPLES),
        )
        .subcommand(
            Command::new("restore")
                .about("Make a folder of data of a copy, or see whether that could be done")
                .args([
                    file("File that `vyuha backup` wrote"),
                    data_dir("Folder for the data, which holds none yet; short for --data-dir"),
                    Arg::new("verify")
                        .long("verify")
                        .action(ArgAction::SetTrue)
                        .help("Restore to a temporary folder beside the file, and remove that again"),
                    json("End with the result as one JSON object on the last line of stdout"),
                    config_file(),
                ])
                .args(key_flags(KEYS.iter(), true))
                .after_help(RESTORE_EXAMPLES),
        )
        .subcommand(
            Command::new("zones")
                .about("Show which shard each zone of a running node is on, or move one")
                .arg(json("Print the node's answer as JSON").global(true))
                .arg(config_file().global(true))
                .args(key_flags(KEYS.iter(), true).into_iter().map(|flag| flag.global(true)))
                .subcommand(
                    Command::new("list").about("Every zone with its shard, players and cost (the default)"),
                )
                .subcommand(
                    Command::new("move").about("Move a zone to another shard, with all who play in it").args(
                        [
                            Arg::new("zone")
                                .value_name("ZONE")
                                .required(true)
                                .value_parser(value_parser!(u16))
                                .help("The zone's id"),
                            Arg::new("shard")
                                .value_name("SHARD")
                                .required(true)
                                .value_parser(value_parser!(u16))
                                .help("The shard's number, from 0"),
                        ],
                    ),
                )
                .after_help(ZONES_EXAMPLES),
        )
        .subcommand(
            Command::new("nodes")
                .about("Show which nodes live, of those that share a Redis, and what they have to do")
                .arg(json("Print the node's answer as JSON"))
                .arg(config_file())
                .args(key_flags(KEYS.iter(), true))
                .after_help(NODES_EXAMPLES),
        )
        .subcommand(
            Command::new("config")
                .about("Check or show the configuration")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    Command::new("check")
                        .about("Say ok (exit status 0), or list every fault at once (exit status 2)")
                        .arg(config_file())
                        .args(key_flags(KEYS.iter(), true))
                        .after_help(CONFIG_NOTE),
                )
                .subcommand(
                    Command::new("show")
                        .about("Print every key with its value and where that came from, as TOML")
                        .arg(config_file())
                        .arg(json("Print JSON"))
                        .args(key_flags(KEYS.iter(), true))
                        .after_help(CONFIG_NOTE),
                ),
        )
}

fn json_flag(help: &'static str) -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help(help)
}

fn config_file() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!("Configuration file (TOML) [env: {CONFIG_VARIABLE}]"))
}

fn file(help: &'static str) -> Arg {
    Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help(help)
}

fn data_dir(help: &'static str) -> Arg {
    Arg::new("data").long("data").value_name("DIR").conflicts_with("data.dir").help(help)
}

fn record_dir() -> Arg {
    Arg::new("record")
        .long("record")
        .value_name("DIR")
        .conflicts_with("record.dir")
        .help("Record every shard's inputs there for `vyuha replay`; short for --record-dir")
}

/// A flag for each of `keys`. Their values are read with those of the other layers, not by clap, so that every
/// fault is listed at once.
fn key_flags<'a>(keys: impl Iterator<Item = &'a Key>, hide: bool) -> Vec<Arg> {
    let flag = |key: &'a Key| {
        let range = key.range.map_or(String::new(), |(low, high)| format!(" [{low} to {high}]"));
        let default = if key.default.is_empty() { "empty" } else { key.default };
        let help = format!("{}\n[default: {default}]{range} [env: {}]", key.doc, key.variable());
        Arg::new(key.path)
            .long(key.flag())
            .value_name(key.placeholder)
            .allow_negative_numbers(true)
            .help_heading(key.section_doc.trim_end_matches('.'))
            .help(help)
            .hide(hide)
    };
    keys.map(flag).collect()
}

/// Short flags, and the keys that they stand for.
const SHORT_FLAGS: &[(&str, &str)] = &[
    ("shards", "shard.count"),
    ("data", "data.dir"),
    ("record", "record.dir"),
    ("simd", "shard.simd"),
    ("content", "content.dir"),
    ("store", "assets.store"),
];

fn layers(matches: &ArgMatches, environment: Vec<(OsString, OsString)>) -> Layers {
    let flags = KEYS.iter().filter_map(|key| {
        // `vyuha demo` lacks the flags that it has a shorter name for.
        let text = matches.try_get_one::<String>(key.path).ok().flatten()?;
        Some(FlagValue { key: key.path, flag: format!("--{}", key.flag()), text: text.clone() })
    });
    // Not every command has every short flag.
    let short = SHORT_FLAGS.iter().filter_map(|(id, key)| {
        let text = matches.try_get_one::<String>(id).ok().flatten()?;
        Some(FlagValue { key, flag: format!("--{id}"), text: text.clone() })
    });
    let file = matches.get_one::<PathBuf>("config").cloned();
    Layers { file, environment, flags: flags.chain(short).collect() }
}

/// The layers of `vyuha demo`, whose port stands for an address.
fn demo_layers(matches: &ArgMatches, environment: Vec<(OsString, OsString)>) -> Layers {
    let mut layers = layers(matches, environment);
    layers.flags.extend(matches.get_one::<u16>("port").map(|port| FlagValue {
        key: "listen.address",
        flag: "--port".to_owned(),
        text: format!("127.0.0.1:{port}"),
    }));
    layers
}

fn zones_command(matches: &ArgMatches) -> (ZonesCommand, bool) {
    let command = match matches.subcommand() {
        Some(("move", matches)) => {
            let number = |id| *matches.get_one::<u16>(id).expect("it is required");
            ZonesCommand::Move { zone: number("zone"), to: number("shard") }
        }
        _ => ZonesCommand::List,
    };
    (command, matches.get_flag("json"))
}

fn demo_options(matches: &ArgMatches) -> DemoOptions {
    DemoOptions {
        clients: *matches.get_one("clients").expect("it has a default"),
        seconds: matches.get_one("seconds").copied(),
        json: matches.get_flag("json"),
        roles: matches.get_one("roles").copied(),
        attackers: matches.get_one("attackers").copied(),
        data: matches.get_one::<String>("data").map(PathBuf::from),
    }
}

/// The value of a path that is required.
fn path(matches: &ArgMatches, id: &str) -> PathBuf {
    matches.get_one::<PathBuf>(id).cloned().expect("it is required")
}

fn replay_options(matches: &ArgMatches) -> ReplayOptions {
    ReplayOptions {
        recording: path(matches, "recording"),
        until_tick: matches.get_one("until").copied(),
        hash: matches.get_flag("hash"),
        json: matches.get_flag("json"),
    }
}
