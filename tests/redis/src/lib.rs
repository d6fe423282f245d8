//! A Redis of a test's own, on a socket in a folder of its own. It keeps nothing on disk, so that it is empty when it is started
//! again.
//!
//! None outlives the process that started it, however that ends: a watcher kills it by its pid and removes its folder.

mod line;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub use line::Line;

/// How long it may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The file in the folder that has the server's pid, while it runs.
const PID_FILE: &str = "redis.pid";
/// Waits until whoever started it is gone, then kills the server and removes its folder.
const WATCHER: &str = r#"
cat > /dev/null
pid=$(cat "$1/redis.pid" 2> /dev/null) && kill -KILL "$pid" 2> /dev/null
rm -rf "$1"
"#;

/// A running Redis. Killed, and its folder removed, on drop.
#[derive(Debug)]
pub struct RedisServer {
    folder: PathBuf,
    child: Child,
    watcher: Child,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Panics
    /// If it cannot be started: `cargo xtask test` installs it.
    pub fn start() -> RedisServer {
        let folder = tempfile::tempdir().expect("there is room for a folder").keep();
        let watcher = Command::new("sh")
            .args(["-c", WATCHER, "watcher"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the watcher can be started");
        let child = launch(&folder);
        RedisServer { folder, child, watcher }
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
        // Its pid may become another's.
        fs::remove_file(self.folder.join(PID_FILE)).expect("the folder is ours");
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
        drop(self.watcher.stdin.take());
        // It may be dead already, by the test's own hand.
        let _ = self.child.wait();
        let _ = self.watcher.wait();
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

fn launch(folder: &Path) -> Child {
    let socket = socket(folder);
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .arg("--unixsocket")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server runs: `cargo xtask test` installs it");
    fs::write(folder.join(PID_FILE), child.id().to_string()).expect("the folder is ours");
    let until = Instant::now() + START_TIMEOUT;
    // A killed server leaves its socket behind, which nobody answers.
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < until, "redis-server did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
