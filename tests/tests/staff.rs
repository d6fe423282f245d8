//! The staff pages as people see them: a real browser on the pages of a real node, worked by keyboard alone.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use totp_rs::{Builder, Secret};
use vyuha_net::client::Event;
use vyuha_protocol::ErrorCode;
use vyuha_tests::{Browser, HttpAnswer, Node, Options, PASSWORD, PATIENCE, Player, YARD, http};

const ADMIN_KEY: &str = "the key of this server";
/// Pixels of a side of a QR code's module, as it is read.
const SCALE: usize = 4;

/// Everything that the tests judge the pages by, read in one go.
const PAGE: &str = r##"(() => {
    const texts = (query) => [...document.querySelectorAll(query)].map((node) => node.innerText.trim());
    if (!document.querySelector("main")) return {};
    const inside = document.querySelector("dialog") ?? document;
    const focus = document.activeElement;
    return {
        focus: focus?.name || focus?.id || focus?.innerText?.trim() || "",
        ringed: focus?.matches(":focus-visible") && getComputedStyle(focus).outlineStyle,
        card: texts(".card h2")[0] ?? "",
        note: texts(".card p").join(" "),
        failure: [...inside.querySelectorAll(".failure")].map((node) => node.innerText).join(""),
        nav: texts("nav a"),
        current: texts("nav a[aria-current]"),
        who: texts("#who")[0],
        title: texts(".page-head h2")[0] ?? "",
        chips: texts(".page-head .chip"),
        actions: texts(".actions button"),
        dialog: document.querySelector("dialog h2")?.innerText ?? "",
        rows: [...document.querySelectorAll("#results tbody tr, .panel tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText.trim())),
        appeals: texts(".appeal blockquote"),
        codes: texts(".codes code"),
        toast: texts("#toast")[0],
        nothing: texts(".nothing"),
        qr: document.querySelector(".qr path")?.getAttribute("d"),
        qr_size: document.querySelector(".qr")?.viewBox.baseVal.width,
        secret: (document.getElementById("secret")?.innerText ?? "").replaceAll(" ", ""),
        unlabelled: [...inside.querySelectorAll("button, input, select, textarea, dialog, section, table")].filter((one) => {
            const named = one.labels?.length || one.innerText?.trim() || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby");
            return !named && one.checkVisibility();
        }).length,
        wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    };
})()"##;

/// A node whose site is where its pages are: a port of the test's own, which goes on to the API.
struct Place {
    node: Node,
    api: SocketAddr,
    site: String,
    // The node reads the key at its start.
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let front = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let site = format!("http://{}", front.local_addr().expect("it has an address"));
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let key = folder.path().join("admin.key");
        std::fs::write(&key, ADMIN_KEY).expect("there is room for a file");
        let path = |path: &Path| path.to_str().expect("the path is UTF-8").to_owned();
        let options = Options::test_world().with("shard-count", "1").with("api-enabled", "true");
        let options = options.with("api-address", "127.0.0.1:0").with("api-site", &site);
        let node = Node::start(&options.with("api-admin-key-file", &path(&key)));
        let api = node.api.expect("the API is on");
        thread::spawn(move || forward(&front, api));
        Place { node, api, site, _folder: folder }
    }

    fn open(&self) -> Browser {
        Browser::open_at(&format!("{}/console/", self.site), PAGE)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> HttpAnswer {
        http(self.api, method, &format!("/api/v1{path}"), &[], Some(body)).expect("the API answers")
    }
}

/// Hands every connection on, for as long as the test lasts.
fn forward(from: &TcpListener, to: SocketAddr) {
    for stream in from.incoming().filter_map(Result::ok) {
        let Ok(on) = TcpStream::connect(to) else { continue };
        let both = [(stream.try_clone(), on.try_clone()), (on.try_clone(), stream.try_clone())];
        for (from, to) in both {
            let (Ok(mut from), Ok(mut to)) = (from, to) else { continue };
            thread::spawn(move || {
                // Either end may go at any time.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

/// Presses Tab until the focus is where it should be.
fn tab_to(browser: &mut Browser, wanted: &str) {
    let mut passed = Vec::new();
    for _ in 0..60 {
        let page = browser.evaluate(PAGE);
        if page["focus"] == wanted {
            assert_eq!(page["ringed"], "solid", "the focus on {wanted} cannot be seen");
            return;
        }
        passed.push(page["focus"].to_string());
        browser.press("Tab", "Tab");
    }
    panic!("Tab does not lead to {wanted}: {passed:?}");
}

fn press_on(browser: &mut Browser, wanted: &str) {
    tab_to(browser, wanted);
    browser.press("Enter", "Enter");
}

/// Signs in by the form, by keyboard.
fn sign_in(browser: &mut Browser, account: &str) {
    browser.await_page("the form", |page| page["card"] == "Sign in" && page["focus"] == "login");
    browser.type_text(account);
    tab_to(browser, "password");
    browser.type_text(PASSWORD);
    browser.press("Enter", "Enter");
}

/// What an authenticator reads of the code that the page shows.
fn scan(page: &Value) -> String {
    let (size, dark) = (page["qr_size"].as_u64().expect("a code"), page["qr"].as_str().expect("a code"));
    let size = usize::try_from(size).expect("it is small");
    let mut image = vec![true; size * size];
    for module in dark.split('M').skip(1) {
        let place = module.split('h').next().expect("it has a place");
        let (x, y) = place.split_once(' ').expect("it has two numbers");
        let number = |text: &str| text.parse::<usize>().expect("it is a number");
        image[number(y) * size + number(x)] = false;
    }
    let light = |x: usize, y: usize| if image[y / SCALE * size + x / SCALE] { 255 } else { 0 };
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(size * SCALE, size * SCALE, light);
    let found = prepared.detect_grids();
    let (_, text) = found.first().expect("it is a QR code").decode().expect("it can be read");
    text
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Sets the second factor up on the page that asks for it.
fn enrol(browser: &mut Browser) {
    let page = browser.await_page("the second factor", |page| {
        page["card"] == "Set up the second factor" && page["qr"].is_string()
    });
    let (url, secret) = (scan(&page), page["secret"].as_str().expect("it is text"));
    assert!(url.starts_with("otpauth://totp/") && url.contains(&format!("secret={secret}")), "{url}");
    let secret = Secret::try_from_base32(secret).expect("it is base 32");
    let code = Builder::new().with_secret(secret).build_noncompliant().generate(now_s()).to_string();
    browser.type_text(&code);
    browser.press("Enter", "Enter");
    let page = browser.await_page("the recovery codes", |page| {
        page["codes"].as_array().is_some_and(|codes| codes.len() == 10)
    });
    assert_eq!(page["focus"], "kept");
    browser.press(" ", "Space");
    press_on(browser, "Go on");
    browser
        .await_page("the search", |page| page["focus"] == "search" && page["current"] == json!(["Accounts"]));
}

/// The node's first administrator, signed in on the page; the account's name.
fn become_administrator(place: &Place, browser: &mut Browser) -> String {
    let mira = Player::sign_up(&place.node, "Mira", YARD).log_out();
    sign_in(browser, &mira.account);
    browser.await_page("the key", |page| page["card"] == "There is no staff yet" && page["focus"] == "key");
    browser.type_text(ADMIN_KEY);
    browser.press("Enter", "Enter");
    enrol(browser);
    mira.account
}

/// Finds an account on the page and opens it.
fn look_up(browser: &mut Browser, account: &str) {
    browser.press("/", "Slash");
    browser.await_page("the search", |page| page["focus"] == "search");
    browser.type_text(account);
    browser.await_page("one account", |page| {
        page["rows"].as_array().is_some_and(|rows| rows.len() == 1 && rows[0][1] == account)
    });
    browser.press("Enter", "Enter");
    browser.await_page("the account", |page| page["title"] == account);
}

#[test]
fn an_administrator_bans_decides_and_announces_by_keyboard_alone() {
    let place = Place::new();
    let mut browser = place.open();
    let mira = become_administrator(&place, &mut browser);
    let page = browser.evaluate(PAGE);
    assert_eq!(page["nav"], json!(["Accounts", "Bans", "Appeals", "Announcements", "Log"]));
    assert_eq!((&page["who"], &page["unlabelled"]), (&format!("{mira} · administrator").into(), &0.into()));

    let mut ravi = Player::sign_up(&place.node, "Ravi", YARD);
    let account = ravi.who.account.clone();
    look_up(&mut browser, &account);
    let page = browser.evaluate(PAGE);
    assert_eq!(page["actions"], json!(["Kick…", "Suspend or ban…", "Appoint…"]));
    assert!(page["rows"].as_array().is_some_and(|rows| rows.iter().any(|row| row[1] == "Ravi")), "{page:#}");
    assert_eq!(page["unlabelled"], 0, "{page:#}");

    // Escape closes, changes nothing, and gives the focus back.
    press_on(&mut browser, "Suspend or ban…");
    browser.await_page("what is asked", |page| {
        page["dialog"] == format!("Ban {account}") && page["focus"] == "reason"
    });
    browser.press("Escape", "Escape");
    browser.await_page("the page again", |page| page["dialog"] == "" && page["focus"] == "Suspend or ban…");

    press_on(&mut browser, "Suspend or ban…");
    let page = browser.await_page("what is asked", |page| page["focus"] == "reason");
    assert_eq!(page["unlabelled"], 0, "{page:#}");
    browser.type_text("plays by a program");
    press_on(&mut browser, "Ban");
    browser.await_page("that it is banned", |page| {
        page["chips"] == json!(["banned"]) && page["toast"] == "Banned."
    });
    assert_eq!(ravi.closed(), ErrorCode::AccountSuspended);

    let said = json!({ "login": account, "password": PASSWORD, "text": "<b>It was my brother.</b>" });
    assert_eq!(place.call("POST", "/appeals", &said).status, 201);
    browser.press("3", "Digit3");
    let page =
        browser.await_page("the appeal", |page| page["appeals"].as_array().is_some_and(|all| all.len() == 1));
    assert_eq!(page["appeals"][0], "<b>It was my brother.</b>", "what people write is text");
    press_on(&mut browser, "Grant…");
    browser.await_page("what is asked", |page| {
        page["dialog"] == "Grant this appeal" && page["focus"] == "answer"
    });
    browser.type_text("Keep him away from it.");
    press_on(&mut browser, "Grant");
    browser.await_page("an empty queue", |page| page["nothing"] == json!(["Nobody waits for a decision."]));

    let mut ravi = ravi.who.sign_in(&place.node);
    browser.press("4", "Digit4");
    browser.await_page("the announcements", |page| page["current"] == json!(["Announcements"]));
    tab_to(&mut browser, "text");
    browser.type_text("We are back at noon.");
    press_on(&mut browser, "Announce…");
    browser.await_page("what is asked", |page| page["dialog"] == "Announce this?");
    press_on(&mut browser, "Announce");
    browser.await_page("that it was told", |page| page["toast"] == "Told the players of every node.");
    let heard = ravi.client.wait_for(PATIENCE, |event| match event {
        Event::Said { text, .. } => Some(text.clone()),
        _ => None,
    });
    assert_eq!(heard.expect("it is heard"), "We are back at noon.");

    // Kicked, and back at once.
    look_up(&mut browser, &account);
    press_on(&mut browser, "Kick…");
    browser.await_page("what is asked", |page| page["focus"] == "reason");
    browser.type_text("stuck in a wall");
    press_on(&mut browser, "Kick");
    assert_eq!(ravi.closed(), ErrorCode::Kicked);
    ravi.who.sign_in(&place.node).log_out();

    browser.press("5", "Digit5");
    let page =
        browser.await_page("the log", |page| page["rows"].as_array().is_some_and(|rows| rows.len() == 5));
    let deeds: Vec<_> =
        page["rows"].as_array().into_iter().flatten().map(|row| row[3].as_str().unwrap_or("")).collect();
    assert_eq!(deeds, ["kick", "announce", "grant appeal", "ban", "appoint"]);

    press_on(&mut browser, "sign-out");
    browser.await_page("the form", |page| page["card"] == "Sign in" && page["who"] == "");
    assert_eq!(browser.faults, [""; 0], "the page complained");
}

#[test]
fn who_may_less_is_shown_less_and_who_is_banned_may_appeal() {
    let place = Place::new();
    let mut browser = place.open();
    become_administrator(&place, &mut browser);
    let helper = Player::sign_up(&place.node, "Noor", YARD).log_out().account;
    look_up(&mut browser, &helper);
    press_on(&mut browser, "Appoint…");
    browser.await_page("what is asked", |page| page["focus"] == "role");
    press_on(&mut browser, "Appoint");
    browser.await_page("that it is appointed", |page| page["chips"] == json!(["support"]));
    let player = Player::sign_up(&place.node, "Ravi", YARD).log_out().account;
    look_up(&mut browser, &player);
    press_on(&mut browser, "Suspend or ban…");
    browser.await_page("what is asked", |page| page["focus"] == "reason");
    browser.type_text("plays by a program");
    press_on(&mut browser, "Ban");
    browser.await_page("that it is banned", |page| page["chips"] == json!(["banned"]));
    assert_eq!(browser.faults, [""; 0], "the page complained");

    // Somebody of the staff who may look and help, and no more.
    let mut browser = place.open();
    sign_in(&mut browser, &helper);
    enrol(&mut browser);
    let page = browser.evaluate(PAGE);
    assert_eq!(page["nav"], json!(["Accounts", "Bans", "Appeals"]));
    look_up(&mut browser, &player);
    let page = browser.await_page("what may be done", |page| page["actions"] == json!(["Kick…"]));
    assert_eq!(page["chips"], json!(["banned"]));
    for hash in ["#/log", "#/announcements", "#/nowhere"] {
        browser.evaluate(&format!("location.hash = '{hash}'"));
        let nothing = json!(["There is no such page, or your role does not lead there."]);
        browser.await_page("nothing", |page| page["nothing"] == nothing && page["rows"] == json!([]));
    }
    browser.press("4", "Digit4");
    assert_eq!(browser.evaluate("location.hash"), "#/nowhere", "there is no fourth page");
    assert_eq!(browser.faults, [""; 0], "the page complained");

    // A person who is banned.
    let mut browser = place.open();
    sign_in(&mut browser, &player);
    let page = browser
        .await_page("why", |page| page["card"] == "Your account is suspended" && page["focus"] == "text");
    assert!(page["failure"].as_str().is_some_and(|why| why.ends_with(": plays by a program")), "{page:#}");
    browser.type_text("It was my brother.");
    press_on(&mut browser, "Appeal");
    browser.await_page("thanks", |page| page["card"] == "Thank you");

    // One who is no staff at all.
    let other = Player::sign_up(&place.node, "Tessa", YARD).log_out().account;
    let mut browser = place.open();
    sign_in(&mut browser, &other);
    let page = browser.await_page("nothing", |page| page["card"] == "Nothing for you here");
    assert!(page["note"].as_str().is_some_and(|note| note.contains(&other)), "{page:#}");
    assert_eq!((&page["nav"], &page["rows"]), (&json!([]), &json!([])));
}

#[test]
fn the_pages_load_and_ask_nothing_from_elsewhere() {
    let place = Place::new();
    let get = |path: &str| http(place.api, "GET", path, &[], None).expect("the API answers");
    let page = get("/console/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("it has a policy");
    assert!(
        policy.contains("script-src 'self'; style-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(get("/console").header("location"), Some("/console/"));
    let script = get("/console/app.js");
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(get("/console/nowhere.js").status, 404);
    // The node's own console, on another port, leads there.
    let node = http(place.node.admin, "GET", "/api/node", &[], None).expect("the console answers");
    assert_eq!(node.text("staff"), format!("{}/console/", place.site));
}
