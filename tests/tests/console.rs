//! The console page as people see it: a real browser on the page of a real node with players on it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};
use vyuha_tests::{DEPOT, Node, Options, PATIENCE, Player, YARD, run_program};

/// What browsers that speak the DevTools protocol are called, in the order in which they are tried.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Everything that the tests judge the page by, read in one go.
const PAGE: &str = r##"(() => {
    const text = (query) => document.querySelector(query)?.innerText ?? "";
    const texts = (query) => [...document.querySelectorAll(query)].map((node) => node.innerText.trim());
    const pixels = (canvas) => {
        if (!canvas.width || !canvas.height) return new Uint32Array();
        return new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    };
    const map = document.getElementById("map");
    if (!map) return {};
    const shown = pixels(map);
    const inks = ["floor", "wall", "player", "wandering", "item"].map((name) => {
        const ink = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
        const [red, green, blue] = [1, 3, 5].map((at) => parseInt(ink.slice(at, at + 2), 16));
        const pixel = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
        return [name, shown.reduce((sum, one) => sum + (one === pixel), 0)];
    });
    return {
        link: text("#link"),
        build: text("#build"),
        shards: text("#shards"),
        zones: [...document.querySelectorAll("#zones button")].map((button) => ({
            name: button.firstChild.textContent,
            players: button.lastChild.textContent,
            chosen: button.getAttribute("aria-pressed") === "true",
        })),
        counts: text("#zone-counts"),
        tiles: Object.fromEntries([...document.querySelectorAll("#tiles .tile")].map((tile) => [
            tile.querySelector("dt").innerText, tile.querySelector("dd").innerText,
        ])),
        tick_figures: texts("#ticks .value b"),
        // How much of each chart has the curve's colour, which is the only one that is far more green than red.
        tick_charts: [...document.querySelectorAll("#ticks canvas")].map(
            (chart) => pixels(chart).filter((one) => ((one >> 8) & 255) - (one & 255) > 60).length,
        ),
        passes: [...document.querySelectorAll("#passes tr")].slice(1).map((row) => [...row.cells].map((cell) => cell.innerText)),
        marks: Number(map.dataset.marks ?? 0),
        inks: Object.fromEntries(inks),
    };
})()"##;

#[test]
fn the_page_shows_the_node_its_zones_its_players_and_its_ticks() {
    let mut node = Node::start(&Options::test_world());
    let leave_yard = stay(["Asha", "Bodhi"].map(|name| Player::sign_up(&node, name, YARD)));
    let leave_depot = stay([Player::sign_up(&node, "Chandra", DEPOT)]);
    let mut browser = Browser::open(node.admin);

    let live = |page: &Value| page["link"] == "live" && page["tiles"]["Players"] == "3";
    // All of the zone is in view: 2 players, 20 NPCs and 400 items.
    let drawn = |page: &Value| page["marks"] == 422;
    let ticked = |page: &Value| !page["tick_figures"].as_array().is_none_or(|all| all.contains(&json!("–")));
    let page = browser
        .await_page("players, a map and a second of ticks", |page| live(page) && drawn(page) && ticked(page));

    let (_, version, _) = run_program(&["--version"]);
    let build: Vec<&str> = page["build"].as_str().expect("it is text").split(" · ").collect();
    assert_eq!(version.trim(), format!("vyuha {} ({})", build[0], build[1].replace('+', "-dirty")));
    assert_eq!(page["shards"], "2 shards · 30 Hz");
    let zone = |name, players, chosen| json!({ "name": name, "players": players, "chosen": chosen });
    let zones = json!([zone("Yard", "2", true), zone("Depot", "1", false), zone("Closet", "0", false)]);
    assert_eq!(page["zones"], zones);
    assert_eq!(page["counts"], "2 players · 20 NPCs · 400 items");
    for ink in ["floor", "wall", "player", "wandering", "item"] {
        assert!(page["inks"][ink].as_u64() > Some(0), "nothing on the map has the colour of {ink}: {page:#}");
    }

    let durations = |texts: &[Value]| texts.iter().map(microseconds).collect::<Vec<f64>>();
    let figures = page["tick_figures"].as_array().expect("it is a list");
    assert_eq!(figures.len(), 4, "a median and the slowest of each shard: {figures:?}");
    assert!(durations(figures).iter().all(|&us| us > 0.0), "{figures:?}");
    assert!(microseconds(&page["tiles"]["Slowest tick"]) > 0.0, "{page:#}");
    for chart in page["tick_charts"].as_array().expect("it is a list") {
        assert!(chart.as_u64() > Some(0), "a chart of tick times has no curve: {page:#}");
    }
    let passes = page["passes"].as_array().expect("it is a list");
    let names: Vec<&str> = passes.iter().filter_map(|row| row[0].as_str()).collect();
    assert!(["receive", "movement", "NPCs", "send"].iter().all(|name| names.contains(name)), "{names:?}");
    for row in passes {
        let row = row.as_array().expect("it is a list");
        assert_eq!(durations(&row[1..]).len(), 2, "a figure of each shard: {row:?}");
    }

    // What people switch off is not drawn.
    browser.evaluate("document.querySelector('#legend .player').click()");
    browser.await_page("a map without players", |page| page["inks"]["player"] == 0 && page["marks"] == 420);
    browser.evaluate("document.querySelector('#legend .player').click()");
    browser.await_page("the players again", |page| page["marks"] == 422);

    browser.press("2", "Digit2");
    browser.await_page("the other zone", |page| {
        let counts = "1 player · 60 NPCs · 600 items";
        page["marks"] == 661 && page["counts"] == counts && page["zones"][1]["chosen"] == true
    });

    leave_depot();
    browser.await_page("that somebody left", |page| {
        page["tiles"]["Players"] == "2" && page["marks"] == 660 && page["inks"]["player"] == 0
    });
    assert_eq!(browser.faults, [""; 0], "the page complained");

    leave_yard();
    node.terminate();
    browser.await_page("that the node is gone", |page| {
        page["link"].as_str().is_some_and(|link| link.starts_with("reconnecting in "))
    });
}

/// Lets players stay where they are and read what they are sent; gives what makes them leave.
fn stay<const N: usize>(mut players: [Player; N]) -> impl FnOnce() {
    let (stop, stopped) = mpsc::channel::<()>();
    let staying = std::thread::spawn(move || {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            for player in &mut players {
                player.snapshot();
            }
        }
        for player in players {
            player.log_out();
        }
    });
    move || {
        drop(stop);
        staying.join().expect("the players leave in good order");
    }
}

/// What a duration such as `1.25 ms` or `840 µs` is.
fn microseconds(text: &Value) -> f64 {
    let parse = || {
        let (number, unit) = text.as_str()?.split_once(' ')?;
        let factor = match unit {
            "µs" => 1.0,
            "ms" => 1000.0,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * factor)
    };
    parse().unwrap_or_else(|| panic!("{text} is not a duration"))
}

/// A browser with one page.
struct Browser {
    socket: WebSocket<TcpStream>,
    _process: BrowserProcess,
    /// The page's session of the protocol; null while it is the browser that is talked to.
    session: Value,
    calls: u64,
    /// What the page complained of: exceptions, refused connections, broken policies.
    faults: Vec<String>,
}

impl Browser {
    fn open(admin: SocketAddr) -> Browser {
        let mut process = BrowserProcess::launch();
        let (devtools, path) = process.await_devtools();
        let stream = TcpStream::connect(devtools).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let url = format!("ws://{devtools}{path}");
        let (socket, _) = tungstenite::client::client(url, stream).expect("the browser lets us in");
        let mut browser =
            Browser { socket, _process: process, session: Value::Null, calls: 0, faults: Vec::new() };
        let page = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].take();
        browser.call("Runtime.enable", &json!({}));
        browser.call("Log.enable", &json!({}));
        let opened = browser.call("Page.navigate", &json!({ "url": format!("http://{admin}/") }));
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
    fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &params);
        assert_eq!(answer.get("exceptionDetails"), None, "a script of the test fails");
        answer["result"]["value"].take()
    }

    /// Waits until the page shows something.
    fn await_page(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let page = self.evaluate(PAGE);
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
    fn press(&mut self, key: &str, code: &str) {
        for kind in ["keyDown", "keyUp"] {
            let params = json!({ "type": kind, "key": key, "code": code });
            self.call("Input.dispatchKeyEvent", &params);
        }
    }
}

/// A browser as a child process; it and all it started are killed on drop.
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
            "the console page's test needs a browser, one of {}, on the PATH: \
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
