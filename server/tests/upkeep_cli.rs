//! `vyuha migrate` and `vyuha journal` as an operator runs them, on both engines.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use vyuha_test_postgres::Postgres;

fn vyuha(data: &Path, url: &str, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vyuha"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VYUHA_")) {
        command.env_remove(name);
    }
    command.args(arguments.split(' ')).arg("--data-dir").arg(data).args(["--store-url", url]);
    command.output().expect("the program starts")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}; {output:?}"))
}

#[test]
fn a_database_is_migrated_up_and_down_and_asks_before_it_loses_anything() {
    let postgres = Postgres::start();
    for url in ["sqlite", &postgres.database()] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let status = json(&vyuha(data, url, "migrate status --json"));
        assert_eq!((&status["version"], &status["fault"]), (&0.into(), &Value::Null), "{url}");
        let done = vyuha(data, url, "migrate up");
        assert!(done.status.success(), "{done:?}");
        let text = String::from_utf8_lossy(&done.stdout);
        assert!(text.contains("applied  0001 create_world") && !text.contains("pending"), "{text}");

        let insert = "INSERT INTO account (id, name, password_hash, created_ms) VALUES (1, 'n', 'p', 0)";
        if url == "sqlite" {
            let database = rusqlite::Connection::open(data.join("world.sqlite")).unwrap();
            database.execute(insert, ()).unwrap();
        } else {
            postgres.psql(url, insert);
        }
        let refused = vyuha(data, url, "migrate down --to 0");
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && text.contains("--lose-data"), "{text}");
        let done = vyuha(data, url, "migrate down --to 0 --lose-data --json");
        assert_eq!(json(&done)["version"], 0, "{done:?}");
        let refused = vyuha(data, url, "serve --store-migrate false --listen-address 127.0.0.1:0");
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && text.contains("vyuha migrate up"), "{text}");
    }
}

#[test]
fn a_node_on_the_database_is_named_instead() {
    let postgres = Postgres::start();
    let (url, folder) = (postgres.database(), tempfile::tempdir().unwrap());
    assert!(vyuha(folder.path(), &url, "migrate up").status.success());
    postgres.psql(
        &url,
        "INSERT INTO position VALUES ('tokyo', 1, 0, 'process 7 on host h', 'x', 0, 9000000000000)",
    );
    for command in ["migrate down --to 1 --lose-data", "migrate up"] {
        let refused = vyuha(folder.path(), &url, command);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(text.contains("tokyo, process 7 on host h"), "{command}: {text}");
    }
}

#[test]
fn a_journal_is_looked_into() {
    let folder = tempfile::tempdir().unwrap();
    let none = vyuha(folder.path(), "sqlite", "journal inspect");
    let text = String::from_utf8_lossy(&none.stderr);
    assert!(none.status.code() == Some(1) && text.contains("no journal in"), "{text}");

    let journal = folder.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let looked = json(&vyuha(folder.path(), "sqlite", "journal inspect --json"));
    assert_eq!((&looked["last_seq"], looked["segments"].as_array().map(Vec::len)), (&Value::Null, Some(0)));
    std::fs::write(journal.join("000000000001.segment"), "nonsense").unwrap();
    let damaged = vyuha(folder.path(), "sqlite", "journal inspect --json");
    assert!(damaged.status.success(), "{damaged:?}");
    assert_eq!(json(&damaged)["faults"].as_array().map(Vec::len), Some(1));
    let refused = vyuha(folder.path(), "sqlite", "journal verify");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stdout).contains("FAULT: "), "{refused:?}");
}
