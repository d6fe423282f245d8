//! A node as a child process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;
use vyuha_game::content::Content;
use vyuha_net::client::{BlockingClient, ClientContent};

use crate::confinement::Confinement;
use crate::{Metrics, PATIENCE, WebProxy, client_content, http_get, program, test_world, test_world_folder};

/// How much of the end of a log a failed test shows.
const LOG_SHOWN_BYTES: usize = 16 << 10;

/// What a node is to be started with.
#[derive(Debug, Clone)]
pub struct Options {
    flags: Vec<(String, String)>,
    by_web: bool,
    content: Arc<ClientContent>,
    confinement: Confinement,
}

impl Options {
    /// Two shards, ports of the system's choice, password hashing that costs nothing, no idle timeout within a test,
    /// no waiting for clients that broke off, and the tests' own small world.
    pub fn test_world() -> Options {
        let folder = test_world_folder();
        let folder = folder.to_str().expect("the project's path is UTF-8");
        Options::bare(test_world()).with("content-dir", folder)
    }

    /// The same with the example world that is part of the program.
    pub fn example_world() -> Options {
        Options::bare(&Content::example())
    }

    /// Adds a flag, without its dashes; a later one of a name replaces the earlier.
    #[must_use]
    pub fn with(mut self, flag: &str, value: &str) -> Options {
        self.flags.retain(|(known, _)| known != flag);
        self.flags.push((flag.to_owned(), value.to_owned()));
        self
    }

    /// Lets players come as browsers do, over WebSocket: [`Node::listen`] is a port that goes on to the web port.
    #[must_use]
    pub fn by_web(mut self) -> Options {
        self.by_web = true;
        self
    }

    fn bare(content: &Content) -> Options {
        let flags = [
            ("listen-address", "127.0.0.1:0"),
            ("admin-address", "127.0.0.1:0"),
            ("web-address", "127.0.0.1:0"),
            ("shard-count", "2"),
            ("shard-pin", "false"),
            ("net-handshake-timeout", "5m"),
            ("net-idle-timeout", "10m"),
            ("session-grace", "0s"),
            ("accounts-hash-memory", "64KiB"),
            ("accounts-hash-iterations", "1"),
        ];
        let flags = flags.map(|(flag, value)| (flag.to_owned(), value.to_owned()));
        let (flags, content) = (flags.into(), client_content(content));
        let options = Options { flags, by_web: false, content, confinement: Confinement::default() };
        if on_syscalls() { options.with("net-driver", "syscalls") } else { options }
    }

    /// The same, confined as a container might be.
    #[must_use]
    pub fn confined(mut self, confinement: Confinement) -> Options {
        self.confinement = confinement;
        self
    }

    fn arguments(&self, data: &Path) -> Vec<String> {
        let flags = self.flags.iter().map(|(flag, value)| format!("--{flag}={value}"));
        let data = format!("--data-dir={}", data.display());
        ["serve".to_owned(), data].into_iter().chain(flags).collect()
    }
}

/// A running node, on data that lasts as long as this value. Killed on drop; a test that panics shows its log.
#[derive(Debug)]
pub struct Node {
    options: Options,
    folder: TempDir,
    child: Child,
    /// Where players connect to.
    pub listen: SocketAddr,
    /// Where the admin port is.
    pub admin: SocketAddr,
    /// What drives its sockets, as it says.
    pub driver: String,
    /// Where browsers play.
    pub web: SocketAddr,
    /// Where the HTTP API is, if it is on.
    pub api: Option<SocketAddr>,
    /// Where client assets are, if they are served.
    pub assets: Option<SocketAddr>,
    proxy: Option<WebProxy>,
    /// From the start of the process to its ready line.
    pub ready_after: Duration,
}

/// How a node ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status.
    pub status: ExitStatus,
    /// From the signal to the end.
    pub took: Duration,
}

impl Node {
    /// Starts a node on new data and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get there, with its log.
    pub fn start(options: &Options) -> Node {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        fs::create_dir(folder.path().join("data")).expect("there is room for a folder");
        let Launched { child, listen, admin, driver, web, api, assets, proxy, ready_after } =
            launch(options, folder.path());
        Node {
            options: options.clone(),
            folder,
            child,
            listen,
            admin,
            web,
            api,
            assets,
            proxy,
            driver,
            ready_after,
        }
    }

    /// Starts the node again on the same data, once it has ended.
    pub fn start_again(&mut self) {
        assert!(self.child.try_wait().expect("the child can be asked").is_some(), "the node still runs");
        let Launched { child, listen, admin, driver, web, api, assets, proxy, ready_after } =
            launch(&self.options, self.folder.path());
        self.child = child;
        (self.listen, self.admin, self.web, self.api, self.assets) = (listen, admin, web, api, assets);
        (self.proxy, self.driver, self.ready_after) = (proxy, driver, ready_after);
    }

    /// The same with one flag set otherwise from now on.
    pub fn start_again_with(&mut self, flag: &str, value: &str) {
        self.options = self.options.clone().with(flag, value);
        self.start_again();
    }

    /// Ends the node as a power cut would end it, as far as a process can, and waits until it is gone.
    pub fn kill_9(&mut self) {
        self.kill_process(Signal::KILL);
        self.child.wait().expect("the child can be waited for");
    }

    /// Ends the node in good order, and expects it to say that all went well.
    pub fn terminate(&mut self) -> Exit {
        let begun = Instant::now();
        self.kill_process(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "after SIGTERM; its log:\n{}", self.log());
        Exit { status, took: begun.elapsed() }
    }

    /// Sends a signal and does not wait.
    pub fn kill_process(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the node still runs");
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets every write fail from now on that goes past so many bytes of a file, as on a disk that is full.
    pub fn limit_files(&self, bytes: u64) {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(self.pid()), Resource::Fsize, limit).expect("the node still runs");
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be asked") {
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not end; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }

    /// Its data.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Leaves its folder (data and log) where it is once this value is dropped, and says where.
    pub fn keep_folder(&mut self, keep: bool) -> PathBuf {
        self.folder.disable_cleanup(keep);
        self.folder.path().to_owned()
    }

    /// The end of what it logged.
    pub fn log(&self) -> String {
        log_end(self.folder.path())
    }

    /// What a client must hold to play here.
    pub fn content(&self) -> Arc<ClientContent> {
        self.options.content.clone()
    }

    /// A client that was welcomed and has said nothing else.
    pub fn client(&self) -> BlockingClient {
        BlockingClient::connect(self.listen, self.content(), PATIENCE).expect("the node welcomes a client")
    }

    /// `/metrics` as it stands.
    pub fn metrics(&self) -> Metrics {
        let (status, text) = http_get(self.admin, "/metrics");
        assert_eq!(status, 200, "{text}");
        Metrics::parse(&text)
    }

    /// Waits until `/metrics` says so; figures of a shard are told once a tick and may come a moment late.
    ///
    /// # Panics
    /// If it never does.
    pub fn await_metrics(&self, what: &str, holds: impl Fn(&Metrics) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics();
            if holds(&metrics) {
                return;
            }
            assert!(Instant::now() < deadline, "the metrics never showed {what}: {metrics:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the node's log ---\n{}--- its end ---", self.log());
        }
    }
}

/// A node that the tests of one file share while any of them runs.
#[derive(Debug, Default)]
pub struct SharedNode(Mutex<Weak<Node>>);

impl SharedNode {
    /// A place for a node, none started.
    pub const fn new() -> SharedNode {
        SharedNode(Mutex::new(Weak::new()))
    }

    /// The node, which is started if no test holds it.
    pub fn get(&self, options: impl FnOnce() -> Options) -> Arc<Node> {
        // Poisoned by a test that failed to start it: the next one tries again.
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let node = Arc::new(Node::start(&options()));
            *shared = Arc::downgrade(&node);
            node
        })
    }
}

/// Runs the program to its end in a folder of its own: exit status, stdout and stderr.
///
/// # Panics
/// If it does not end.
pub fn run_program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    run_confined(&arguments, &Confinement::default())
}

/// Starts a node that is to end by itself, and waits for that: exit status, stdout and stderr.
///
/// # Panics
/// If it does not end.
pub fn run_node(options: &Options) -> (Option<i32>, String, String) {
    run_confined(&options.arguments(Path::new("data")), &options.confinement)
}

fn run_confined(arguments: &[String], confinement: &Confinement) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let mut child = command(folder.path(), confinement)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let read = |stream: Option<Box<dyn Read + Send>>| {
        let mut stream = stream.expect("it is piped");
        std::thread::spawn(move || {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("it writes UTF-8");
            text
        })
    };
    let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as _));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be asked") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |reader: std::thread::JoinHandle<String>| reader.join().expect("its output can be read");
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("{arguments:?} does not end: {stderr}"));
    (status.code(), stdout, stderr)
}

struct Launched {
    child: Child,
    listen: SocketAddr,
    admin: SocketAddr,
    driver: String,
    web: SocketAddr,
    api: Option<SocketAddr>,
    assets: Option<SocketAddr>,
    proxy: Option<WebProxy>,
    ready_after: Duration,
}

/// Whether this is a test of nodes that plain system calls drive: those have it in their names.
fn on_syscalls() -> bool {
    std::env::args_os().next().is_some_and(|test| test.to_string_lossy().contains("_on_syscalls"))
}

/// The program in a folder, without what the tests' own environment would tell it. Begun by a shell that leaves it a write
/// past [`Node::limit_files`] as an error and not as a signal.
fn command(folder: &Path, confinement: &Confinement) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(program());
    command.current_dir(folder).stdin(Stdio::null());
    confinement.apply(&mut command);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VYUHA_")) {
        command.env_remove(name);
    }
    command
}

/// Starts the process and waits for its ready line.
fn launch(options: &Options, folder: &Path) -> Launched {
    let log =
        File::options().create(true).append(true).open(folder.join("log")).expect("there is room for a log");
    let begun = Instant::now();
    let mut child = command(folder, &options.confinement)
        .args(options.arguments(&folder.join("data")))
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("the program starts");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, lines) = mpsc::channel();
    // Reads on to the end, so that the node never waits for a reader.
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // Nobody listens after the ready line.
            let _ = sender.send(line);
        }
    });
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => match read_ready(&line) {
            Some(([listen, admin, web], [api, assets], driver)) => {
                let ready_after = begun.elapsed();
                let proxy = options.by_web.then(|| WebProxy::start(web));
                let listen = proxy.as_ref().map_or(listen, |proxy| proxy.address);
                Launched { child, listen, admin, driver, web, api, assets, proxy, ready_after }
            }
            None => fail(child, folder, &format!("the first line on stdout is no ready line: {line:?}")),
        },
        Err(RecvTimeoutError::Timeout) => fail(child, folder, "the node does not get ready"),
        Err(RecvTimeoutError::Disconnected) => fail(child, folder, "the node ended instead of getting ready"),
    }
}

fn fail(mut child: Child, folder: &Path, what: &str) -> ! {
    // Fails only where it has ended already.
    let _ = child.kill();
    let status = child.wait().expect("the child can be waited for");
    panic!("{what} ({status}); its log:\n{}", log_end(folder));
}

/// The ports of a ready line, those of API and assets if they are on, and what drives the sockets.
fn read_ready(line: &str) -> Option<([SocketAddr; 3], [Option<SocketAddr>; 2], String)> {
    let ready: serde_json::Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| ready[name].as_str()?.parse().ok();
    (ready["ready"] == true).then_some(())?;
    let driver = ready["driver"].as_str()?.to_owned();
    Some((
        [address("listen")?, address("admin")?, address("web")?],
        [address("api"), address("assets")],
        driver,
    ))
}

fn log_end(folder: &Path) -> String {
    let log = fs::read(folder.join("log")).expect("the log can be read");
    String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN_BYTES)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_line_names_every_port() {
        let line = r#"{"ready":true,"listen":"127.0.0.1:43211","admin":"127.0.0.1:43212","web":"127.0.0.1:3","driver":"x"}"#;
        let ports = [43211, 43212, 3].map(|port| ([127, 0, 0, 1], port).into());
        assert_eq!(read_ready(line), Some((ports, [None, None], "x".to_owned())));
        for line in ["", "ready", "{}", r#"{"ready":false,"listen":"127.0.0.1:1","admin":"127.0.0.1:2"}"#] {
            assert_eq!(read_ready(line), None, "{line:?}");
        }
    }
}
