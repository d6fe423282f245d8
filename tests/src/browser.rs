//! A real browser, driven by the DevTools protocol, with one page of a node.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::PATIENCE;

/// What browsers that speak the DevTools protocol are called, in the order in which they are tried.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    socket: WebSocket<TcpStream>,
    _process: BrowserProcess,
    /// The page's session of the protocol; null while it is the browser that is talked to.
    session: Value,
    calls: u64,
    /// Everything that the page is judged by, as an expression in its script.
    page: &'static str,
    /// What the page complained of: exceptions, refused connections, broken policies.
    pub faults: Vec<String>,
}

impl Browser {
    /// Opens the page of a port; `page` is an expression in its script, of everything that it is judged by.
    ///
    /// # Panics
    /// If there is no browser, or no page.
    pub fn open(port: SocketAddr, page: &'static str) -> Browser {
        Browser::open_at(&format!("http://{port}/"), page)
    }

    /// Opens the page of an address.
    ///
    /// # Panics
    /// If there is no browser, or no page.
    pub fn open_at(url: &str, page: &'static str) -> Browser {
        let mut process = BrowserProcess::launch();
        let (devtools, path) = process.await_devtools();
        let stream = TcpStream::connect(devtools).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let socket = format!("ws://{devtools}{path}");
        let (socket, _) = tungstenite::client::client(socket, stream).expect("the browser lets us in");
        let mut browser =
            Browser { socket, _process: process, session: Value::Null, calls: 0, page, faults: Vec::new() };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].take();
        browser.call("Runtime.enable", &json!({}));
        browser.call("Log.enable", &json!({}));
        let opened = browser.call("Page.navigate", &json!({ "url": url }));
        assert_eq!(opened.get("errorText"), None, "the page does not open: {opened}");
        browser
    }

    /// Calls a method of the DevTools protocol.
    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut request = json!({ "id": self.calls, "method": method, "params": params });
        if !self.session.is_null() {
            request["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(request.to_string())).expect("the browser listens");
        loop {
            let message = self.socket.read().expect("the browser answers");
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text).expect("it is JSON");
            if answer["id"] == self.calls {
                assert_eq!(answer.get("error"), None, "{method} {params}");
                return answer["result"].take();
            }
            let complaint = match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Log.entryAdded") => answer["params"]["entry"]["level"] == "error",
                Some("Runtime.consoleAPICalled") => answer["params"]["type"] == "error",
                _ => false,
            };
            if complaint {
                self.faults.push(answer["params"].to_string());
            }
        }
    }

    /// What an expression in the page's script amounts to.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &params);
        assert_eq!(answer.get("exceptionDetails"), None, "a script of the test fails");
        answer["result"]["value"].take()
    }

    /// Waits until the page shows something.
    ///
    /// # Panics
    /// If it never does.
    pub fn await_page(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.evaluate(self.page);
            if holds(&page) {
                return page;
            }
            let faults = self.faults.join("\n");
            assert!(
                Instant::now() < deadline,
                "the page never showed {what}: {page:#}\nIt complained of: {faults}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Presses and releases a key.
    pub fn press(&mut self, key: &str, code: &str) {
        self.key("keyDown", key, code);
        self.key("keyUp", key, code);
    }

    /// Presses a key (`keyDown`) or releases it (`keyUp`).
    pub fn key(&mut self, kind: &str, key: &str, code: &str) {
        let mut params = json!({ "type": kind, "key": key, "code": code });
        // What a key does by itself goes by its number.
        let number = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            " " => 32,
            _ => 0,
        };
        if number != 0 {
            params["windowsVirtualKeyCode"] = number.into();
        }
        match key {
            "Enter" => params["text"] = "\r".into(),
            " " => params["text"] = " ".into(),
            _ => {}
        }
        self.call("Input.dispatchKeyEvent", &params);
    }

    /// Types a text where the focus is.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Clicks at a pixel of the page.
    pub fn click(&mut self, x: f64, y: f64) {
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &params);
        }
    }
}

/// A browser as a child process; it and all it started are killed on drop.
#[derive(Debug)]
struct BrowserProcess {
    child: Child,
    folder: TempDir,
}

impl BrowserProcess {
    fn launch() -> BrowserProcess {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        for name in BROWSERS {
            let log = fs::File::create(folder.path().join("log")).expect("there is room for a file");
            let child = Command::new(name)
                .args(["--headless", "--window-size=1440,900", "--remote-debugging-port=0"])
                // It opens no page but our own, as whatever user runs the tests, in whatever container.
                .args(["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
                .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
                .args(["--disable-breakpad", "--disable-crash-reporter"])
                .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
                // All that it writes goes where it is removed in the end.
                .env("HOME", folder.path())
                .env("TMPDIR", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .process_group(0)
                .spawn();
            match child {
                Ok(child) => return BrowserProcess { child, folder },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => panic!("{name} does not start: {error}"),
            }
        }
        panic!(
            "the pages' tests need a browser, one of {}, on the PATH: \
             on Debian, `apt-get install chromium`, which `cargo xtask test` does by itself where it is root",
            BROWSERS.join(", ")
        );
    }

    /// Where it listens, and for which path, once it does.
    fn await_devtools(&mut self) -> (SocketAddr, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.folder.path().join("profile/DevToolsActivePort");
            let told = fs::read_to_string(told).unwrap_or_default();
            if let Some((port, path)) = told.split_once('\n').filter(|(_, path)| !path.is_empty()) {
                let port: u16 = port.parse().expect("it is a port");
                return (SocketAddr::from(([127, 0, 0, 1], port)), path.trim().to_owned());
            }
            let ended = self.child.try_wait().expect("the child can be asked");
            assert!(ended.is_none(), "the browser ended: {ended:?}");
            assert!(Instant::now() < deadline, "the browser does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for BrowserProcess {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the browser's log ---\n{log}--- its end ---");
        }
    }
}
