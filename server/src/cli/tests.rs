use super::*;

fn serve_help() -> String {
    let mut command = command().term_width(100);
    command.build();
    let serve = command.find_subcommand_mut("serve").expect("there is such a command");
    serve.render_long_help().to_string()
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

#[test]
fn help_shows_every_key_with_its_names_and_default() {
    let help = serve_help();
    for key in KEYS {
        for part in [format!("--{} <", key.flag()), format!("[env: {}]", key.variable())] {
            assert!(help.contains(&part), "{part} is missing in:\n{help}");
        }
        assert!(help.contains(&format!("[default: {}", key.default)), "{} has no default", key.path);
    }
}

#[test]
fn help_reads_as_it_did() {
    let help = serve_help();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve_help.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &help).expect("the snapshot can be written");
    }
    let snapshot = std::fs::read_to_string(path).expect("the snapshot can be read");
    assert!(help == snapshot, "it differs from {path} (UPDATE_SNAPSHOTS=1 writes it anew):\n{help}");
}

#[test]
fn short_flags_of_the_demonstration_stand_for_keys() {
    let line = "vyuha demo --port 0 --shards 2 --data d --clients 7 --seconds 3 --json --log-level warn \
                --roles crowd=1 --attackers 5";
    let matches = command().try_get_matches_from(line.split(' ')).expect("it is valid");
    let (_, matches) = matches.subcommand().expect("it has a command");
    let flags = demo_layers(matches, Vec::new()).flags;
    let flags: Vec<_> = flags.iter().map(|flag| (flag.key, &*flag.flag, &*flag.text)).collect();
    assert_eq!(
        flags,
        [
            ("log.level", "--log-level", "warn"),
            ("shard.count", "--shards", "2"),
            ("data.dir", "--data", "d"),
            ("listen.address", "--port", "127.0.0.1:0"),
        ]
    );
    let roles = Some(Roles::all(vyuha_bots::Role::Crowd));
    let options = DemoOptions {
        clients: 7,
        seconds: Some(3),
        json: true,
        roles,
        attackers: Some(5),
        data: Some("d".into()),
    };
    assert_eq!(demo_options(matches), options);
}

#[test]
fn a_replay_takes_what_it_needs_of_a_configuration() {
    let line = "vyuha replay rec --until 7 --hash --json --simd scalar --content world";
    let matches = command().try_get_matches_from(line.split(' ')).expect("it is valid");
    let (_, matches) = matches.subcommand().expect("it has a command");
    let flags = layers(matches, Vec::new()).flags;
    let flags: Vec<_> = flags.iter().map(|flag| (flag.key, &*flag.flag, &*flag.text)).collect();
    assert_eq!(flags, [("shard.simd", "--simd", "scalar"), ("content.dir", "--content", "world")]);
    let options = ReplayOptions { recording: "rec".into(), until_tick: Some(7), hash: true, json: true };
    assert_eq!(replay_options(matches), options);
}

#[test]
fn a_wrong_command_line_is_refused() {
    for line in [
        "vyuha",
        "vyuha play",
        "vyuha config",
        "vyuha serve --listen-adress 1.2.3.4:5",
        "vyuha serve --shard-count",
        "vyuha serve --shard-count 1 --shard-count 2",
        "vyuha demo --clients 0",
        "vyuha demo --port 65536",
        "vyuha demo --port 1 --listen-address 127.0.0.1:1",
        "vyuha demo --shards 1 --shard-count 1",
        "vyuha demo --data-dir d",
        "vyuha serve --clients 5",
        "vyuha serve --record a --record-dir b",
        "vyuha replay",
        "vyuha migrate",
        "vyuha migrate down",
        "vyuha migrate up --to x",
        "vyuha journal repair",
        "vyuha replay a b",
        "vyuha replay a --until 0",
        "vyuha replay a --simd scalar --shard-simd scalar",
        "vyuha backup",
        "vyuha backup a b",
        "vyuha backup a --data b --data-dir c",
        "vyuha backup a --verify",
        "vyuha restore",
        "vyuha restore --verify",
    ] {
        assert!(command().try_get_matches_from(line.split(' ')).is_err(), "{line}");
    }
}
