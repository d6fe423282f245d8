//! The scripts of `deploy/postgres`: a base backup, archived log, a database that is lost, and back to a moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use vyuha_test_postgres::Postgres;

/// Runs a command to its end; what it printed.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text").trim().to_owned()
}

/// The scripts, where the server's user can run them.
fn scripts(postgres: &Postgres) -> impl Fn(&str) -> String + use<> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/postgres");
    let to = postgres.folder().to_owned();
    for script in ["archive-wal.sh", "base-backup.sh", "restore-to.sh"] {
        // The mode is copied as well.
        fs::copy(from.join(script), to.join(script)).expect("the script is there");
    }
    move |script| to.join(script).to_str().expect("it is UTF-8").to_owned()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_lost_database_is_brought_back_to_a_moment_or_to_its_end() {
    let mut postgres = Postgres::start();
    let script = scripts(&postgres);
    let folder = postgres.folder().to_owned();
    let wal = folder.join("wal");
    run(postgres.command("mkdir").arg(&wal));
    let command = format!("{} %p {}/%f", script("archive-wal.sh"), wal.display());
    for setting in ["wal_level = replica", "archive_mode = on", &format!("archive_command = '{command}'")] {
        postgres.psql("postgres", &format!("ALTER SYSTEM SET {setting}"));
    }
    postgres.stop();
    postgres.start_again();

    let add = |number: u32| postgres.psql("postgres", &format!("INSERT INTO kept VALUES ({number})"));
    postgres.psql("postgres", "CREATE TABLE kept (number INT)");
    add(1);
    let base = PathBuf::from(run(postgres.command(&script("base-backup.sh")).arg(folder.join("base"))));
    add(2);
    let moment = postgres.psql("postgres", "SELECT clock_timestamp()");
    add(3);
    let last = postgres.psql("postgres", "SELECT pg_walfile_name(pg_switch_wal())");
    wait_until("the last segment is not archived", || wal.join(&last).exists());
    // The same segment again is fine, another one of its name is not.
    let archive = |from: &Path| {
        let status = postgres.command(&script("archive-wal.sh")).arg(from).arg(wal.join(&last)).output();
        status.expect("it can be started").status.success()
    };
    assert!(archive(&wal.join(&last)) && !archive(&base.join("PG_VERSION")));

    postgres.stop();
    fs::rename(folder.join("data"), folder.join("lost")).unwrap();
    for (moment, expected) in [(moment.as_str(), "1\n2"), ("latest", "1\n2\n3")] {
        let restore = || {
            let mut restore = postgres.command(&script("restore-to.sh"));
            restore.args([&base, &wal, &folder.join("data")]).arg(moment);
            restore
        };
        run(&mut restore());
        let again = restore().output().unwrap();
        assert!(!again.status.success(), "a data directory that is there was overwritten");
        postgres.start_again();
        wait_until("it does not end its recovery", || {
            postgres.psql("postgres", "SELECT pg_is_in_recovery()") == "f"
        });
        assert_eq!(
            postgres.psql("postgres", "SELECT number FROM kept ORDER BY number"),
            expected,
            "{moment}"
        );
        // It can be written to again.
        postgres.psql("postgres", "INSERT INTO kept VALUES (4)");
        postgres.stop();
        fs::remove_dir_all(folder.join("data")).unwrap();
    }

    // A copy that was changed is refused.
    fs::write(base.join("PG_VERSION"), "15 ").unwrap();
    let mut restore = postgres.command(&script("restore-to.sh"));
    let refused = restore.args([&base, &wal, &folder.join("data")]).arg("latest").output().unwrap();
    assert!(!refused.status.success() && !folder.join("data").exists());
}
