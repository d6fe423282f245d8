//! A Redis of a test's own, on a socket in a folder of its own. It keeps nothing on disk, so that it is empty when it is started
//! again, and is gone when it is dropped.

mod line;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use line::Line;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running Redis.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    child: Child,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started: `cargo xtask test` installs it.
    pub fn start() -> RedisServer {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let child = launch(&folder);
        RedisServer { folder, child }
    }

    /// Where it is, as `redis.url` says it.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", socket(&self.folder).display())
    }

    /// A way to it that can be cut without either end being told.
    pub fn line(&self) -> Line {
        Line::to(socket(&self.folder))
    }

    /// Kills it, and waits until it is gone.
    ///
    /// # Panics
    /// If it is gone already.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
    }

    /// Starts it again, empty, once it was killed.
    pub fn start_again(&mut self) {
        self.child = launch(&self.folder);
    }

    /// Lets it stand still: it answers nobody, and its connections stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// What `redis-cli --json` prints for a command.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn cli(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .arg("-s")
            .arg(socket(&self.folder))
            .arg("--json")
            .args(command)
            .output()
            .expect("redis-cli runs: it is installed with redis-server");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it writes UTF-8").trim_end().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be dead already, by the test's own hand.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("redis.sock")
}

fn launch(folder: &TempDir) -> Child {
    let socket = socket(folder);
    // A killed server leaves its socket behind.
    let _ = std::fs::remove_file(&socket);
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .arg("--unixsocket")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server runs: `cargo xtask test` installs it");
    let until = Instant::now() + START_TIMEOUT;
    // The socket is there before anybody listens on it.
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < until, "redis-server did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
