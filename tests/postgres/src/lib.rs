//! A PostgreSQL of a test's own: the real program on a temporary folder and a port of its own, which tests may stop,
//! pause and kill as they like.
//!
//! None outlives the process that started it, however that ends: a watcher stops it by its pid and removes its folder.
//! It keeps what is committed through the death of its processes, not of the machine (`fsync=off`).

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Uid, chown};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};

/// How long anything is waited for before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);
/// Who the server lets in, without a password.
const USER: &str = "vyuha";
/// Run by root, the server runs as this user, which its Debian package makes: it refuses to run as root.
const SERVER_USER: &str = "postgres";
/// Waits until whoever started it is gone, then stops the server and removes its folder.
const WATCHER: &str = r#"
cat > /dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null)
if [ -n "$pid" ]; then
    for child in $(cat /proc/"$pid"/task/*/children 2> /dev/null) "$pid"; do kill -CONT "$child"; done
    kill -QUIT "$pid"
    for _ in $(seq 100); do kill -0 "$pid" || break; sleep 0.05; done
fi 2> /dev/null
rm -rf "$1"
"#;

/// A server. Stopped, and its folder removed, on drop.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    server: Option<Child>,
    watcher: Child,
    databases: AtomicU32,
    settings: Vec<String>,
}

impl Postgres {
    /// Makes a server and starts it.
    ///
    /// # Panics
    /// Where that fails; with the server's log.
    pub fn start() -> Postgres {
        let folder = tempfile::tempdir().expect("there is room for a folder").keep();
        give_away(&folder);
        let watcher = Command::new("sh")
            .args(["-c", WATCHER, "watcher"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the watcher can be started");
        let mut postgres = Postgres {
            folder,
            port: free_port(),
            server: None,
            watcher,
            databases: AtomicU32::new(0),
            settings: Vec::new(),
        };
        let made = as_server_user("initdb")
            .arg("--pgdata")
            .arg(postgres.data())
            .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"])
            .args(["--no-sync", "--no-instructions"])
            .output()
            .expect("initdb can be started");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        postgres.start_again();
        postgres
    }

    /// The server that all tests of this program share, each in a database of its own.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// Sets one of the server's settings, as `name=value`, from its next start on.
    pub fn set(&mut self, setting: impl Into<String>) {
        self.settings.push(setting.into());
    }

    /// Writes a file that only the server can read, and says where it is.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.join(name);
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .expect("the folder is ours");
        file.write_all(content.as_bytes()).expect("there is room for a file");
        give_away(&path);
        path
    }

    /// Processor time that the server's processes have taken since it started, those included that have ended.
    pub fn cpu(&self) -> Duration {
        let server = self.pid();
        let stat = fs::read_to_string(format!("/proc/{}/stat", server.as_raw_nonzero())).unwrap_or_default();
        // Of the fields after the name, the 14th and 15th: user and system time of children that were waited for.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ended = fields.iter().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        let ended = Duration::from_millis(ended * 1000 / clock_ticks_per_second());
        children(server).into_iter().chain([server]).map(cpu_of).sum::<Duration>() + ended
    }

    /// Starts the server again after it ended, on the port it had.
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "the server still runs");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = File::options().create(true).append(true).open(self.log_path()).expect("the log opens");
            let socket_folder = format!("unix_socket_directories={}", self.folder.display());
            let port = format!("port={}", self.port);
            let settings = [
                &socket_folder,
                &port,
                "listen_addresses=127.0.0.1",
                "fsync=off",
                "shared_buffers=16MB",
                "max_connections=40",
                "max_wal_size=512MB",
                "log_min_messages=warning",
            ];
            let mut server = as_server_user("postgres")
                .arg("-D")
                .arg(self.data())
                .args(settings.iter().flat_map(|setting| ["-c", setting]))
                .args(self.settings.iter().flat_map(|setting| ["-c", setting.as_str()]))
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("the log can be shared"))
                .stderr(log)
                .spawn()
                .expect("the server can be started");
            loop {
                let late = Instant::now() > deadline;
                assert!(!late, "PostgreSQL does not start; its log:\n{}", self.log());
                if server.try_wait().expect("it is our child").is_some() {
                    // What is left of one that was killed may be in the way for a moment, or its port taken.
                    break;
                }
                if self.is_ready() {
                    self.server = Some(server);
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Makes an empty database, and says where it is.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Where a database is.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL with the stock tool in the database at `url`, or of that name: a line for each row, `|` between columns.
    ///
    /// # Panics
    /// Where it fails.
    pub fn psql(&self, url: &str, sql: &str) -> String {
        let database = url.rsplit('/').next().expect("it has at least one part");
        let output = self
            .tool("psql")
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--dbname", database])
            .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
            .output()
            .expect("psql can be started");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it writes UTF-8").trim_end().to_owned()
    }

    /// A command that runs as the server's user, with its programs to be found, and its clients told where it is.
    pub fn command(&self, name: &str) -> Command {
        let mut command = as_server_user(name);
        let found = std::env::var("PATH").unwrap_or_default();
        let path = program("postgres").parent().map(|folder| format!("{}:{found}", folder.display()));
        command.env("PATH", path.unwrap_or(found)).current_dir(&self.folder);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", USER);
        command
    }

    /// Ends the server at once, with what it was doing (SIGQUIT); it recovers from its log when it starts again.
    pub fn stop(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Kills the server's processes (SIGKILL).
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Stops every process of the server where it is (SIGSTOP), until [`Postgres::resume`].
    pub fn pause(&self) {
        // The one that starts others first: none is added while the rest is stopped.
        let server = self.pid();
        signal(server, Signal::STOP);
        for child in children(server) {
            signal(child, Signal::STOP);
        }
    }

    /// Lets the server go on.
    pub fn resume(&self) {
        let server = self.pid();
        for process in children(server).into_iter().chain([server]) {
            signal(process, Signal::CONT);
        }
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A folder that the server can read and write.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn end(&mut self, how: Signal) {
        let mut server = self.server.take().expect("the server runs");
        let pid = Pid::from_child(&server);
        let children = children(pid);
        signal(pid, how);
        if how == Signal::KILL {
            for child in &children {
                signal(*child, how);
            }
        }
        server.wait().expect("it is our child");
        let deadline = Instant::now() + PATIENCE;
        while children.iter().any(|child| is_running(*child)) {
            assert!(Instant::now() < deadline, "PostgreSQL does not end; its log:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.server.as_ref().expect("the server runs"))
    }

    fn is_ready(&self) -> bool {
        let asked = self.tool("pg_isready").arg("--quiet").status();
        asked.expect("pg_isready can be started").success()
    }

    /// A client program that is to talk to this server.
    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--username", USER]);
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The end of its input is the watcher's sign.
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
        if let Some(server) = &mut self.server {
            let _ = server.wait();
        }
    }
}

/// One of the server's programs: from the newest version that Debian installed, or by the search path.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let installed =
        newest.map(|version| Path::new("/usr/lib/postgresql").join(format!("{version}/bin/{name}")));
    installed.filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// A command that runs one of the server's programs, as another user where this one is root.
fn as_server_user(name: &str) -> Command {
    if !geteuid().is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", SERVER_USER, "--regid", SERVER_USER, "--clear-groups", "--"]).arg(program(name));
    command
}

/// Lets the server write in a folder that this process made.
fn give_away(folder: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let user = users.lines().find(|line| line.split(':').next() == Some(SERVER_USER));
    let user = user.expect("there is a user `postgres`: apt-get install postgresql");
    let ids: Vec<u32> =
        user.split(':').skip(2).take(2).map(|id| id.parse().expect("ids are numbers")).collect();
    let (uid, gid) = (Uid::from_raw(ids[0]), Gid::from_raw(ids[1]));
    chown(folder, Some(uid), Some(gid)).expect("root may give a folder away");
}

fn free_port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    taken.local_addr().expect("it is bound").port()
}

fn children(parent: Pid) -> Vec<Pid> {
    let lists = format!("/proc/{}/task/{0}/children", parent.as_raw_nonzero());
    let list = fs::read_to_string(lists).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// None of a process that has ended meanwhile.
fn cpu_of(process: Pid) -> Duration {
    let times =
        fs::read_to_string(format!("/proc/{}/schedstat", process.as_raw_nonzero())).unwrap_or_default();
    let nanoseconds = times.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// A process that has ended meanwhile needs no signal.
fn signal(process: Pid, signal: Signal) {
    let _ = kill_process(process, signal);
}

fn is_running(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    test_kill_process(process).is_ok() && state.is_some_and(|state| state != 'Z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_goes_through_anything_and_leaves_nothing() {
        let mut postgres = Postgres::start();
        let url = postgres.database();
        postgres.psql(&url, "CREATE TABLE kept (id BIGINT); INSERT INTO kept VALUES (7)");
        postgres.kill();
        postgres.start_again();
        assert_eq!(postgres.psql(&url, "SELECT id FROM kept"), "7");
        postgres.pause();
        assert!(!postgres.is_ready());
        postgres.resume();
        postgres.stop();
        postgres.start_again();
        assert_eq!(postgres.psql(&url, "SELECT count(*) FROM kept"), "1");
        let (folder, pid) = (postgres.folder.clone(), postgres.pid());
        postgres.pause();
        drop(postgres);
        assert!(!folder.exists() && !is_running(pid));
    }
}
