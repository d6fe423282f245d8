//! The console page as people see it: a real browser on the page of a real node with players on it.

use std::sync::mpsc::{self, TryRecvError};

use serde_json::{Value, json};
use vyuha_tests::{Browser, DEPOT, Node, Options, Player, YARD, run_program};

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
        scan: text("#scan"),
        passes: [...document.querySelectorAll("#passes tr")].slice(1).map((row) => [...row.cells].map((cell) => cell.innerText)),
        marks: Number(map.dataset.marks ?? 0),
        hot: text("#hot"),
        nodes: [...document.querySelectorAll("#nodes tr")].slice(1).map((row) => [...row.cells].map((cell) => cell.innerText)),
        said: texts("#said li"),
        said_title: text("#said-title"),
        announced: text("#announced"),
        inks: Object.fromEntries(inks),
    };
})()"##;

#[test]
fn the_page_shows_the_node_its_zones_its_players_and_its_ticks() {
    let mut node = Node::start(&Options::test_world());
    let leave_yard = stay(["Asha", "Bodhi"].map(|name| Player::sign_up(&node, name, YARD)));
    let leave_depot = stay([Player::sign_up(&node, "Chandra", DEPOT)]);
    let mut browser = Browser::open(node.admin, PAGE);

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
    assert_eq!(page["counts"], "2 players · 20 NPCs · 400 items · shard 0");
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

    let scan = page["scan"].as_str().expect("it is text");
    assert!(scan.contains("compared with the ledger") && scan.ends_with("nothing doubled or lost"), "{scan}");

    // What people switch off is not drawn.
    browser.evaluate("document.querySelector('#legend .player').click()");
    browser.await_page("a map without players", |page| page["inks"]["player"] == 0 && page["marks"] == 420);
    browser.evaluate("document.querySelector('#legend .player').click()");
    browser.await_page("the players again", |page| page["marks"] == 422);

    browser.press("2", "Digit2");
    browser.await_page("the other zone", |page| {
        let counts = "1 player · 60 NPCs · 600 items · shard 1";
        page["marks"] == 661 && page["counts"] == counts && page["zones"][1]["chosen"] == true
    });

    let page = browser.await_page("itself among the nodes", |page| page["nodes"][0][1] == "3");
    assert_eq!((&page["nodes"][0][0], &page["hot"]), (&"local".into(), &"no Redis: this node alone".into()));
    assert_eq!((&page["said_title"], &page["said"]), (&"Said lately in Depot".into(), &json!(["nothing"])));
    browser.evaluate("document.getElementById('announcement').focus()");
    browser.type_text("1 minute left");
    browser.press("Enter", "Enter");
    let page = browser.await_page("an announcement", |page| page["announced"] != "");
    assert_eq!(page["announced"], "told the players of every node");
    assert_eq!(page["zones"][1]["chosen"], true, "what is typed there chooses no zone");

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
