//! Tables of layers, and what becomes of them.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use vyuha_core::SimdLevel;

use super::value::Setting;
use super::*;

/// Loads `file` (as TOML text), `variables` and `flags` on top of each other.
fn load_layers(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Effective, Faults> {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("test.toml");
    fs::write(&path, file).expect("the file can be written");
    let environment = variables.iter().map(|(name, text)| (name.into(), text.into())).collect();
    let flags =
        flags.iter().map(|(key, text)| FlagValue { key, flag: format!("--{key}"), text: (*text).into() });
    load(&Layers { file: Some(path), environment, flags: flags.collect() })
}

/// The faults of these layers, each in words.
fn faults(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Vec<String> {
    match load_layers(file, variables, flags) {
        Ok(_) => Vec::new(),
        Err(Faults(faults)) => faults.iter().map(Fault::to_string).collect(),
    }
}

fn find(path: &str) -> &'static Key {
    Key::find(path).expect("there is such a key")
}

/// A level that no machine has on which these tests run.
const FOREIGN_LEVEL: &str = if cfg!(target_arch = "x86_64") { "neon" } else { "avx512" };

#[test]
fn the_table_is_consistent() {
    let mut config = Config::default();
    for (index, key) in KEYS.iter().enumerate() {
        (key.set)(&mut config, key, key.default).unwrap_or_else(|why| panic!("{}: default: {why}", key.path));
        if let Some((low, high)) = key.range {
            for bound in [low, high] {
                (key.set)(&mut config, key, bound)
                    .unwrap_or_else(|why| panic!("{}: {bound}: {why}", key.path));
            }
        }
        assert!(key.doc.ends_with('.') && key.section_doc.ends_with('.'), "{} is not a sentence", key.path);
        for other in &KEYS[..index] {
            assert_ne!(key.variable(), other.variable());
            assert_ne!(key.flag(), other.flag());
        }
    }
    let effective = load(&Layers::default()).expect("the defaults are valid");
    assert_eq!(effective.config, Config::default());
}

#[test]
fn names_follow_from_the_path() {
    let key = find("net.bytes_per_tick_max");
    assert_eq!(key.variable(), "VYUHA_NET_BYTES_PER_TICK_MAX");
    assert_eq!(key.flag(), "net-bytes-per-tick-max");
    assert_eq!(key.parts(), ("net", "bytes_per_tick_max"));
    assert_eq!(find("shard.simd").variable(), "VYUHA_SIMD");
}

#[test]
fn values_are_read() {
    fn check<T: Setting + std::fmt::Debug>(text: &str, expected: T) {
        assert_eq!(T::parse(text), Ok(expected), "{text:?}");
    }
    check("7", 7_u32);
    check("true", true);
    check("[::1]:80", "[::1]:80".parse::<std::net::SocketAddr>().expect("it is an address"));
    check("250ms", Duration::from_millis(250));
    check("1m 30s", Duration::from_secs(90));
    check("64KiB", Size::of_bytes(65_536));
    check("64 KB", Size::of_bytes(64_000));
    check("1.5MiB", Size::of_bytes(1_572_864));
    check("auto", Count::Auto);
    check("3", Count::Exactly(3));
    check("auto", Simd::Auto);
    for level in SimdLevel::supported() {
        check(level.name(), Simd::Exactly(level));
        assert_eq!(Simd::Exactly(level).level(), level);
    }
    assert_eq!(Simd::Auto.level(), SimdLevel::detect());
    check("debug", LogLevel::Debug);
    check("json", LogFormat::Json);
}

#[test]
fn a_password_in_a_url_is_kept_and_not_shown() {
    for (url, shown) in [
        ("postgres://u:s3:cr@t@h:5432/d?sslmode=disable", "postgres://u@h:5432/d?sslmode=disable"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgres://u:p@%2Frun/d", "postgres://u@%2Frun/d"),
        ("sqlite", "sqlite"),
        ("redis://:s3:cr@t@h:6379/1", "redis://@h:6379/1"),
        ("rediss://u:s3:cr@t@h", "rediss://u@h"),
        ("redis+unix:///run/redis.sock", "redis+unix:///run/redis.sock"),
        ("", ""),
    ] {
        let is_store = url.starts_with("postgres") || url == "sqlite";
        let key = find(if is_store { "store.url" } else { "redis.url" });
        let mut config = Config::default();
        (key.set)(&mut config, key, url).unwrap_or_else(|why| panic!("{url}: {why}"));
        assert_eq!((key.value)(&config), shown.into());
        assert!(!format!("{config:?}").contains("s3:cr@t"), "{url}");
    }
}

#[test]
fn wrong_values_are_refused_with_the_reason() {
    for (path, text, why) in [
        ("listen.address", "", "no IP address with a port"),
        ("listen.address", "127.0.0.1", "the port is missing"),
        ("redis.url", "http://h", "it is no URL of Redis"),
        ("listen.address", "::1", "the port is missing"),
        ("listen.address", "127.0.0.1:65536", "no port from 0 to 65535"),
        ("listen.address", "localhost:80", "names are not looked up"),
        ("data.dir", "a\0b", "no zero byte"),
        ("shard.count", "many", "not a whole number"),
        ("shard.count", "0", "less than 1"),
        ("shard.count", "65", "more than 64"),
        ("shard.pin", "yes", "neither true nor false"),
        ("shard.tick_hz", "-1", "negative"),
        ("shard.tick_hz", "99999999999", "too large"),
        ("shard.tick_hz", "121", "more than 120"),
        ("shard.tick_hz", "30.5", "not a whole number"),
        ("shard.tick_hz", "", "not a whole number"),
        ("shard.memory", "8388608", "needs a unit"),
        ("shard.memory", "8 parsecs", "not a size"),
        ("shard.memory", "-8MiB", "not a size"),
        ("shard.memory", "2GiB", "more than 1GiB"),
        ("shard.simd", "avx3", "no such level; this processor supports scalar"),
        ("shard.simd", FOREIGN_LEVEL, "this processor does not support"),
        ("net.idle_timeout", "30", "needs a unit"),
        ("net.idle_timeout", "soon", "not a duration"),
        ("net.idle_timeout", "2h", "more than 1h"),
        ("net.idle_timeout", "10ms", "less than 1s"),
        ("character.save_interval", "6s", "more than 5s"),
        ("node.name", "", "0 characters"),
        ("node.name", "Tokyo 1", "characters that a name cannot have"),
        ("store.url", "mysql://u@h/d", "neither sqlite nor"),
        ("store.url", "postgres://h/d", "names no user"),
        ("log.level", "INFO", "no such choice"),
        ("log.format", "xml", "no such choice"),
    ] {
        let key = find(path);
        let error = (key.set)(&mut Config::default(), key, text).expect_err("it is wrong");
        assert!(error.contains(why), "{path} = {text:?}: {error}");
    }
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let file = "[net]\nidle_timeout = \"2s\"\nconnections_max = 400\nhandshakes_max = 40\n";
    let variables =
        [("VYUHA_NET_IDLE_TIMEOUT", "3s"), ("VYUHA_NET_CONNECTIONS_MAX", "500"), ("PATH", "/bin")];
    let flags = [("net.idle_timeout", "4s")];
    let effective = load_layers(file, &variables, &flags).expect("it is valid");
    assert_eq!(effective.config.net.idle_timeout, Duration::from_secs(4));
    assert_eq!(effective.config.net.connections_max, 500);
    assert_eq!(effective.config.net.handshakes_max, 40);
    assert_eq!(effective.config.net.handshake_timeout, Duration::from_secs(10));

    let json = effective.to_json();
    let source = |path: &str| json[path]["source"].as_str().expect("it has a source").to_owned();
    assert_eq!(source("net.idle_timeout"), "flag --net.idle_timeout");
    assert_eq!(source("net.connections_max"), "environment variable VYUHA_NET_CONNECTIONS_MAX");
    assert!(source("net.handshakes_max").ends_with("test.toml:4"), "{}", source("net.handshakes_max"));
    assert_eq!(source("net.handshake_timeout"), "default");
}

#[test]
fn a_variable_names_the_file_unless_a_flag_does() {
    let folder = tempfile::tempdir().expect("there is room for files");
    let [by_flag, by_variable] = ["flag.toml", "variable.toml"].map(|name| folder.path().join(name));
    fs::write(&by_flag, "shard.tick_hz = 11").expect("the file can be written");
    fs::write(&by_variable, "shard.tick_hz = 12").expect("the file can be written");
    let environment = vec![(OsString::from(CONFIG_VARIABLE), by_variable.into_os_string())];
    let mut layers = Layers { file: None, environment, flags: Vec::new() };
    assert_eq!(load(&layers).expect("it is valid").config.shard.tick_hz, 12);
    layers.file = Some(by_flag);
    assert_eq!(load(&layers).expect("it is valid").config.shard.tick_hz, 11);
}

#[test]
fn all_faults_of_all_layers_are_listed_at_once() {
    let file = "tick_hz = 30\n[net]\nidle_timout = \"3s\"\nidle_timeout = 30\nreliable_bytes_max = [1]\n\
                frames_per_second_max = 10\n[shard]\npin = \"yes\"\n";
    let variables = [("VYUHA_SHARD_TICKHZ", "3"), ("VYUHA_LOG_LEVEL", "loud"), ("VYUHA_WEATHER", "rain")];
    let flags = [("net.idle_timeout", "4s"), ("journal.segment", "1")];
    let faults = faults(file, &variables, &flags);
    let expected = [
        ["tick_hz (", "test.toml:1)", "no such key", "did you mean shard.tick_hz?"],
        ["net.idle_timout (", "test.toml:3)", "no such key", "did you mean net.idle_timeout?"],
        // Wrong in the file, though a flag overrides it.
        [
            "net.idle_timeout = \"30\" (",
            "test.toml:4)",
            "needs a unit",
            "such as \"30s\" or \"250ms\", from 1s to 1h",
        ],
        ["net.reliable_bytes_max = \"[1]\" (", "test.toml:5)", "not a single value", "from 4KiB to 16MiB"],
        ["shard.pin = \"yes\" (", "test.toml:8)", "neither true nor false", "write true or false"],
        ["log.level = \"loud\" (", "variable VYUHA_LOG_LEVEL)", "no such choice", "one of error, warn, info"],
        ["VYUHA_SHARD_TICKHZ (", "VYUHA_SHARD_TICKHZ)", "no such key", "did you mean VYUHA_SHARD_TICK_HZ?"],
        ["VYUHA_WEATHER (", "VYUHA_WEATHER)", "no such key", "`vyuha config show` lists every key"],
        ["journal.segment = \"1\" (", "flag --journal.segment)", "needs a unit", "such as \"64KiB\""],
        [
            "net.frames_per_second_max = \"10\" (",
            "shard.tick_hz = \"30\" (default)",
            "as a flood",
            "to 30 or more",
        ],
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, parts) in faults.iter().zip(expected) {
        for part in parts {
            assert!(fault.contains(part), "{part:?} is missing in: {fault}");
        }
    }
}

#[test]
fn a_file_that_is_not_toml_is_told_by_line() {
    let faults =
        faults("[net]\nidle_timeout = \n[shard]\ncount = = 2\n", &[("VYUHA_LOG_LEVEL", "loud")], &[]);
    assert!(faults.iter().any(|fault| fault.contains("test.toml:2")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("test.toml:4")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("VYUHA_LOG_LEVEL")), "{faults:#?}");
}

#[test]
fn a_file_that_is_missing_is_told_by_who_named_it() {
    let layers = Layers { file: Some("no/such.toml".into()), ..Layers::default() };
    let faults = load(&layers).expect_err("there is no such file").to_string();
    assert!(faults.contains("configuration file = \"no/such.toml\" (flag --config)"), "{faults}");
}

#[test]
fn a_variable_that_is_not_utf_8_is_a_fault() {
    use std::os::unix::ffi::OsStringExt;
    let environment = vec![("VYUHA_DATA_DIR".into(), OsString::from_vec(vec![b'a', 0xff]))];
    let faults = load(&Layers { environment, ..Layers::default() }).expect_err("it is wrong").to_string();
    assert!(faults.contains("VYUHA_DATA_DIR") && faults.contains("not UTF-8"), "{faults}");
}

#[test]
fn keys_that_cannot_stand_together_are_faults() {
    for (file, fault) in [
        (
            "listen.address = \"0.0.0.0:5\"\nadmin.address = \"127.0.0.1:5\"\ntls.mode = \"off\"",
            "share port 5",
        ),
        ("listen.address = \"127.0.0.1:7778\"", "players and browsers cannot share port 7778"),
        ("api.enabled = true\napi.address = \"127.0.0.1:7780\"", "console and API cannot share port 7780"),
        (
            "assets.store = \"a\"\nassets.address = \"127.0.0.1:7777\"",
            "players and assets cannot share port 7777",
        ),
        ("web.address = \"[::]:7780\"\ntls.mode = \"off\"", "console and browsers cannot share port 7780"),
        ("listen.address = \"0.0.0.0:7777\"", "in the clear"),
        ("web.address = \"[::]:7778\"", "in the clear"),
        ("admin.address = \"10.0.0.1:7780\"", "in the clear"),
        ("tls.mode = \"required\"", "needs a certificate"),
        ("tls.certificate = \"c.pem\"", "needs a certificate"),
        ("tls = { mode = \"required\", key = \"k.pem\" }", "needs a certificate"),
        ("data.dir = \"\"", "need a folder"),
        ("data.dir = \"/dev/null\"", "something else of that name"),
        ("content.dir = \"no/such\"", "no such folder"),
        ("record.dir = \"/dev/null\"", "something else of that name"),
        ("net = { connections_max = 10 }", "lower net.handshakes_max to 10"),
        ("shard.tick_hz = 1\ncharacter.save_interval = \"999ms\"", "raise character.save_interval to 1000ms"),
        ("shard.tick_hz = 120\nnet.frames_per_second_max = 119", "to 120 or more"),
    ] {
        let faults = faults(file, &[], &[]);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{file}: {faults:#?}");
    }
    for file in [
        "listen.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"",
        "listen.address = \"127.0.0.1:5\"\nadmin.address = \"127.0.0.2:5\"",
        "listen.address = \"0.0.0.0:7777\"\ntls = { certificate = \"c.pem\", key = \"k.pem\" }",
        "listen.address = \"0.0.0.0:7777\"\ntls.mode = \"off\"",
        "tls = { mode = \"off\", certificate = \"c.pem\" }",
        "shard = { pin = false, count = 64 }",
        "[net]",
    ] {
        assert_eq!(faults(file, &[], &[]), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn shards_and_ticks_follow_from_the_keys() {
    let mut config = Config::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(config.shards(), cores.min(64));
    config.shard.count = Count::Exactly(7);
    assert_eq!(config.shards(), 7);
    config.shard.tick_hz = 40;
    assert_eq!(config.tick(), Duration::from_millis(25));
}

#[test]
fn more_pinned_shards_than_cores_are_a_fault() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = |count: usize, pin| faults(&format!("shard = {{ pin = {pin}, count = {count} }}"), &[], &[]);
    assert_eq!(count(cores.min(64), true), Vec::<String>::new());
    if cores < 64 {
        assert!(count(cores + 1, true)[0].contains("set shard.pin to false"));
        assert_eq!(count(cores + 1, false), Vec::<String>::new());
    }
}

/// Text for a key: valid for some, wrong for most.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..200_u32).prop_map(|number| number.to_string()),
        (0..200_u32, "[a-zA-Z]{1,3}").prop_map(|(number, unit)| format!("{number}{unit}")),
        (0..5000_u32).prop_map(|number| format!("{number}ms")),
        (0..2000_u32).prop_map(|number| format!("{number}KiB")),
        Just("auto".to_owned()),
        Just("true".to_owned()),
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is accepted is shown so that it is accepted again and means the same; nothing panics.
    #[test]
    fn what_is_shown_reads_back_the_same(texts in proptest::collection::vec((0..KEYS.len(), any_text()), 0..30)) {
        let mut effective = load(&Layers::default()).expect("the defaults are valid");
        for (index, text) in texts {
            let key = &KEYS[index];
            let flags = vec![FlagValue { key: key.path, flag: String::new(), text }];
            if let Ok(one) = load(&Layers { flags, ..Layers::default() }) {
                let value = match (key.value)(&one.config) {
                    toml::Value::String(text) => text,
                    other => other.to_string(),
                };
                (key.set)(&mut effective.config, key, &value).expect("what was written reads back");
            }
        }
        // Together the values may conflict; by themselves they are as they were.
        match load_layers(&effective.to_toml(), &[], &[]) {
            Ok(again) => prop_assert_eq!(again.config, effective.config),
            Err(Faults(faults)) => prop_assert!(faults.iter().all(|fault| fault.places.len() > 1), "{:?}", faults),
        }
    }
}
