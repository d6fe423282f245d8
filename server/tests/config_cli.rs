//! The program's own answers: exit status, stdout and stderr of `vyuha config` and of help and version.

use std::fs;
use std::process::{Command, Output};

/// Runs `vyuha` in an empty folder with this environment and nothing else.
fn vyuha(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_vyuha"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(&folder)
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_shown_configuration_passes_the_check_and_shows_the_same() {
    let flags =
        ["config", "show", "--net-idle-timeout", "45s", "--shard-memory", "1500KiB", "--data-dir", "a \"b\""];
    let (code, shown, _) = vyuha(&flags, &[("VYUHA_SHARD_TICK_HZ", "20")]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("# from: flag --net-idle-timeout\nidle_timeout = \"45s\""), "{shown}");
    assert!(shown.contains("# from: environment variable VYUHA_SHARD_TICK_HZ\ntick_hz = 20"), "{shown}");

    let folder = tempfile::tempdir().expect("there is room for a file");
    let path = folder.path().join("shown.toml");
    fs::write(&path, &shown).expect("the file can be written");
    let path = path.to_str().expect("the path is UTF-8");
    assert_eq!(vyuha(&["config", "check", "--config", path], &[]), (Some(0), "ok\n".into(), String::new()));

    let (_, again, _) = vyuha(&["config", "show"], &[("VYUHA_CONFIG", path)]);
    let values = |text: &str| -> toml::Table { text.parse().expect("it is TOML") };
    assert_eq!(values(&again), values(&shown));
}

#[test]
fn shown_as_json_it_names_value_and_source() {
    let (code, shown, _) = vyuha(&["config", "show", "--json"], &[("VYUHA_SHARD_PIN", "false")]);
    assert_eq!(code, Some(0));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
    assert_eq!(shown["shard.pin"]["value"], false);
    assert_eq!(shown["shard.pin"]["source"], "environment variable VYUHA_SHARD_PIN");
    assert_eq!(shown["net.snapshot_bytes_max"]["value"], "16KiB");
}

#[test]
fn faults_are_listed_and_the_exit_status_says_so() {
    let environment = [("VYUHA_SHARD_COUNT", "none"), ("VYUHA_NET_IDLE_TIMOUT", "1s")];
    for command in [&["config", "check"][..], &["config", "show"], &["serve"], &["demo"]] {
        let (code, stdout, stderr) = vyuha(command, &environment);
        assert_eq!((code, &*stdout), (Some(2), ""), "{command:?}");
        assert!(stderr.starts_with("error: 2 faults in the configuration"), "{command:?}: {stderr}");
        assert!(stderr.contains("shard.count = \"none\""), "{command:?}: {stderr}");
        assert!(stderr.contains("did you mean VYUHA_NET_IDLE_TIMEOUT?"), "{command:?}: {stderr}");
    }
}

#[test]
fn version_names_the_commit() {
    let (code, stdout, _) = vyuha(&["--version"], &[]);
    assert_eq!(code, Some(0));
    let commit =
        stdout.trim().strip_prefix(concat!("vyuha ", env!("CARGO_PKG_VERSION"), " (")).expect("it is first");
    let commit = commit.strip_suffix(')').expect("it is in brackets");
    let digits = commit.strip_suffix("-dirty").unwrap_or(commit);
    let is_commit = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_commit || commit == "unknown", "{stdout}");
}

#[test]
fn a_wrong_flag_is_refused_with_a_suggestion() {
    let (code, _, stderr) = vyuha(&["serve", "--net-idle-timout", "3s"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--net-idle-timeout"), "{stderr}");
}

#[test]
fn what_cargo_run_puts_into_the_environment_is_no_fault() {
    // `cargo run` and `cargo test` hand on what the build script set for the compiler.
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let mut check = Command::new(env!("CARGO_BIN_EXE_vyuha"));
    check.args(["config", "check"]).current_dir(&folder);
    let Output { status, stderr, .. } = check.output().expect("the program starts");
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}
