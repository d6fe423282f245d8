//! A Redis of the test's own, on a socket in a folder of its own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vyuha_hot::{Lifetimes, RedisHot, RedisSettings};

pub struct RedisServer {
    folder: TempDir,
    child: Child,
}

impl RedisServer {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = launch(&folder);
        Self { folder, child }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", socket(&self.folder).display())
    }

    /// Its hot data, under keys that begin with `test`.
    pub fn hot(&self, lifetimes: Lifetimes, timeout: Duration) -> RedisHot {
        hot_at(&self.url(), lifetimes, timeout)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = launch(&self.folder);
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may be dead already, by the test's own hand.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn hot_at(url: &str, lifetimes: Lifetimes, timeout: Duration) -> RedisHot {
    RedisHot::new(RedisSettings::new(url, None, None, timeout).unwrap(), "test", lifetimes)
}

fn socket(folder: &TempDir) -> std::path::PathBuf {
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
    let until = Instant::now() + Duration::from_secs(10);
    while !socket.exists() {
        assert!(Instant::now() < until, "redis-server did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
