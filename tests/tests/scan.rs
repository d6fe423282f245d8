//! Items that are doubled, lost or moved behind the node's back are found by its own search, on both databases: logged, counted,
//! and told on the admin port with how they came about. The log of operations says who came and went.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use vyuha_test_postgres::Postgres;
use vyuha_tests::{COIN, DEPOT, LANTERN, Node, Options, PATIENCE, Player, http_get, http_post};

/// Something done to the tables that no node does, the words of what is found, and what undoes it.
struct Fault {
    name: &'static str,
    plant: String,
    found: Vec<String>,
    undo: String,
}

fn ask(node: &Node, path: &str) -> (u16, Value) {
    let (status, text) = http_get(node.admin, path);
    (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn search(node: &Node) -> Value {
    let (status, text) = http_post(node.admin, "/api/scan", &json!({})).expect("the admin port answers");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("it is JSON")
}

/// Lets `run` write into the database, and `ask` read a number out of it.
fn check(options: &Options, run: &dyn Fn(&Node, &str), number: &dyn Fn(&Node, &str) -> i64) {
    let mut node = Node::start(&options.clone().with("store-scan-interval", "1s"));
    let mut player = Player::sign_up(&node, "Asha", DEPOT);
    let lantern = player.pick_up_any(LANTERN).slot;
    player.pick_up_any(COIN);
    let who = player.who.character.0;
    player.log_out();
    // What was acknowledged is in the journal, and in the database a moment later.
    let deadline = Instant::now() + PATIENCE;
    while number(&node, &format!("SELECT count(*) FROM item WHERE place = 0 AND owner = {who}")) < 2 {
        assert!(Instant::now() < deadline, "the items do not come to the database");
        std::thread::sleep(Duration::from_millis(50));
    }
    let report = search(&node);
    assert_eq!(report["findings_total"], 0, "{report:#}");
    assert!(report["items"].as_u64() > Some(600), "{report:#}");
    let item = number(&node, &format!("SELECT id FROM item WHERE place = 0 AND owner = {who} AND kind = 3"));

    let columns = "kind, count, place, owner, slot, x, y, wear";
    let faults = [
        Fault {
            name: "an instance copied under an id of its own",
            plant: format!(
                "INSERT INTO item (id, {columns}) SELECT 5, kind, count, 3, owner, 9, x, y, wear FROM item WHERE id = {item}"
            ),
            found: vec!["item 5: 1 of it are".into(), format!("owner {who} at place 3 has 1 of kind 3")],
            undo: "DELETE FROM item WHERE id = 5".into(),
        },
        Fault {
            name: "coins made out of nothing",
            plant: format!(
                "UPDATE item SET count = count + 5 WHERE place = 0 AND owner = {who} AND kind = 1"
            ),
            found: vec![format!("owner {who} at place 0 has 12 of kind 1, by the ledger 7")],
            undo: format!("UPDATE item SET count = count - 5 WHERE place = 0 AND owner = {who} AND kind = 1"),
        },
        Fault {
            name: "an instance moved without a word in the ledger",
            plant: format!("UPDATE item SET place = 3 WHERE id = {item}"),
            found: vec![format!("item {item}: 1 of it are with owner {who} at place 3, by the ledger 0")],
            undo: format!("UPDATE item SET place = 0 WHERE id = {item}"),
        },
        Fault {
            name: "two items in one slot",
            plant: format!("UPDATE item SET slot = {lantern} WHERE place = 0 AND owner = {who}"),
            found: vec!["are in one slot".into()],
            undo: format!("UPDATE item SET slot = 20 WHERE place = 0 AND owner = {who} AND kind = 1"),
        },
        // Last: a table without a key takes no more of what the node writes.
        Fault {
            name: "an instance in two places",
            plant: format!(
                "CREATE TABLE copy AS SELECT * FROM item; DROP TABLE item; ALTER TABLE copy RENAME TO item; \
                 INSERT INTO item SELECT id, kind, count, 3, owner, 9, x, y, wear FROM item WHERE id = {item}"
            ),
            found: vec![format!("item {item} is there twice"), format!("item {item}: 1 of it are with")],
            undo: String::new(),
        },
    ];
    for fault in &faults {
        let name = fault.name;
        run(&node, &fault.plant);
        // It is found without being asked for.
        node.await_metrics(name, |metrics| metrics.value("vyuha_dupe_scan_findings") > 0);
        let (_, standing) = ask(&node, "/api/scan");
        let findings = standing["last"]["findings"].as_array().expect("it is a list");
        for words in &fault.found {
            let told = |finding: &&Value| finding["what"].as_str().is_some_and(|what| what.contains(words));
            let found = findings.iter().find(told);
            let found = found.unwrap_or_else(|| panic!("{name}: nobody says {words:?}: {standing:#}"));
            let is_copy = found["item"] == "5";
            let history = found["history"].to_string();
            assert!(
                is_copy || words.contains("place 3 has") || history.contains("pick up"),
                "{name}: {found:#}"
            );
        }
        if fault.undo.is_empty() {
            break;
        }
        run(&node, &fault.undo);
        let clean = search(&node);
        assert_eq!(clean["findings_total"], 0, "{name}: {clean:#}");
    }
    let (_, told) = ask(&node, &format!("/api/items/{item}"));
    assert_eq!(told["places"].as_array().map(Vec::len), Some(2), "{told:#}");
    assert_eq!(told["history"].as_array().map(Vec::len), Some(2), "laid out and picked up: {told:#}");
    assert_eq!(told["history"][1]["to"], format!("inventory of character {who}"));
    assert_eq!(ask(&node, "/api/items/7").1["places"], json!([]));
    assert_eq!(ask(&node, "/api/items/seven").0, 404);
    // Nobody is kept from playing by it.
    assert_eq!(http_get(node.admin, "/readyz").0, 200);
    assert!(node.log().contains("items are doubled, lost or elsewhere"), "{}", node.log());

    let deadline = Instant::now() + PATIENCE;
    let events = |what: &str| format!("SELECT count(*) FROM event WHERE what = '{what}'");
    for what in ["node started", "entered", "left", "doubled"] {
        while number(&node, &events(what)) == 0 {
            assert!(Instant::now() < deadline, "nobody wrote down {what:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    node.kill_9();
}

#[test]
fn what_is_doubled_or_lost_is_found_in_sqlite() {
    let open = |node: &Node| {
        let connection = Connection::open(node.data_dir().join("world.sqlite")).expect("it is a database");
        connection.busy_timeout(PATIENCE).expect("it waits for the node");
        connection
    };
    check(
        &Options::test_world(),
        &|node, sql| {
            open(node).execute_batch(&format!("BEGIN IMMEDIATE; {sql}; COMMIT")).expect("it can be written");
        },
        &|node, sql| open(node).query_row(sql, (), |row| row.get(0)).expect("it can be read"),
    );
}

#[test]
fn what_is_doubled_or_lost_is_found_in_postgresql() {
    let postgres = Postgres::start();
    let url = postgres.database();
    check(
        &Options::test_world().with("store-url", &url),
        &|_, sql| drop(postgres.psql(&url, sql)),
        &|_, sql| postgres.psql(&url, sql).parse().expect("it is a number"),
    );
}
