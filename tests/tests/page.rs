//! The playable page as people see it: a real browser that signs up, walks, meets somebody who plays over TCP, talks,
//! picks up and drops.

use serde_json::Value;
use vyuha_net::client::{ClientCore, Event};
use vyuha_protocol::motion::Heading;
use vyuha_protocol::units::TILE_UNITS;
use vyuha_tests::{Browser, CLOSET, COIN, DEPOT, Node, Options, PASSWORD, PATIENCE, Player, YARD};

/// Everything that the tests judge the page by, read in one go.
const PAGE: &str = r##"(() => {
    const text = (query) => document.querySelector(query)?.innerText ?? "";
    const view = document.getElementById("view");
    if (!view) return {};
    const g = view.getContext("2d");
    const pixels = new Uint32Array(g.getImageData(0, 0, view.width, view.height).data.buffer);
    return {
        stage: document.body.dataset.stage,
        fault: text("#fault"),
        focus: document.activeElement?.id || document.activeElement?.name,
        link: text("#link"),
        zone: text("#zone"),
        company: text("#company"),
        said: [...document.querySelectorAll("#said li")].map((line) => line.innerText),
        bag: [...document.querySelectorAll("#slots button")].filter((slot) => !slot.disabled).map((slot) => slot.title),
        chosen: text("#chosen-name"),
        hint: text("#hint"),
        ...view.dataset,
        inks: new Set(pixels).size,
        unlabelled: [...document.querySelectorAll("button, input, canvas")].filter(
            (one) => !one.closest("label") && !one.innerText && !one.getAttribute("aria-label")).length,
    };
})()"##;

/// Signs up by the form, as somebody new.
fn sign_up(browser: &mut Browser, name: &str) {
    browser.await_page("the form", |page| page["stage"] == "door" && page["focus"] == "account");
    browser.type_text(name);
    browser.press("Tab", "Tab");
    browser.evaluate("document.querySelector('[name=password]').focus()");
    browser.type_text(PASSWORD);
    browser.evaluate("document.querySelector('[value=register]').click()");
}

fn tile(page: &Value) -> (i64, i64) {
    let place = page["place"].as_str().and_then(|place| place.split_once(','));
    let (x, y) = place.unwrap_or_else(|| panic!("the page shows no place: {page:#}"));
    (x.parse().expect("it is a number"), y.parse().expect("it is a number"))
}

#[test]
fn a_browser_walks_meets_talks_picks_up_and_drops() {
    let mut node = Node::start(&Options::test_world());
    // Characters begin in the zones by turns: the third in the yard.
    Player::sign_up(&node, "First", DEPOT).log_out();
    Player::sign_up(&node, "Second", CLOSET).log_out();
    let mut browser = Browser::open(node.web, PAGE);
    sign_up(&mut browser, "webby");
    let page = browser.await_page("the world", |page| page["stage"] == "game" && page["players"] == "1");
    assert_eq!(
        (&page["zone"], &page["company"], &page["names"]),
        (&"Yard".into(), &"nobody near you".into(), &"Webby".into())
    );
    assert!(page["inks"].as_u64() > Some(20), "nothing is drawn: {page:#}");
    assert_eq!(page["unlabelled"], 0, "{page:#}");
    let (begins_x, begins_y) = tile(&page);

    let mut player = Player::sign_up(&node, "Tessa", YARD);
    let name = player.who.name.clone();
    browser
        .await_page("the other", |page| page["players"] == "2" && page["names"] == format!("{name}, Webby"));
    let webby = player.until("Webby", |core| {
        core.world().players().find(|other| other.name() == "Webby").map(|other| other.id)
    });

    // Both walk, and see the other do so.
    browser.key("keyDown", "d", "KeyD");
    let page = browser.await_page("a walk", |page| tile(page).0 > begins_x + 5);
    browser.key("keyUp", "d", "KeyD");
    assert_eq!(tile(&page).1, begins_y, "straight east");
    player.until("Webby walk", |core| {
        let other = core.world().get(webby)?;
        (i64::from(other.pos.x / TILE_UNITS) > begins_x + 5).then_some(())
    });
    player.walk([Heading { x: 127, y: 0 }; 12]);
    let page = browser.await_page("that it stands", |page| page["players"] == "2");
    assert_eq!(page["corrections"], "0", "its steps are predicted to the bit");

    // Both talk, the browser by keyboard alone.
    browser.press("Enter", "Enter");
    browser.await_page("the chat", |page| page["focus"] == "text");
    browser.type_text("नमस्ते, anybody there?");
    browser.press("Enter", "Enter");
    let heard = player.client.wait_for(PATIENCE, |event| match event {
        Event::Said { entity, text, .. } => Some((*entity, text.clone())),
        _ => None,
    });
    assert_eq!(heard.expect("it is heard"), (webby, "नमस्ते, anybody there?".into()));
    player.say("<b>Welcome</b>").expect("it is said");
    let page = browser
        .await_page("what was said", |page| page["said"].as_array().is_some_and(|said| said.len() == 2));
    assert_eq!(page["said"][0], "Webby नमस्ते, anybody there?");
    assert_eq!(page["said"][1], format!("{name} <b>Welcome</b>"));
    assert_eq!(page["focus"], "view", "keys steer again");

    player.log_out();
    browser.await_page("that the other left", |page| page["players"] == "1" && page["names"] == "Webby");
    assert_eq!(browser.faults, [""; 0], "the page complained");

    browser.evaluate("document.getElementById('leave').click()");
    browser.await_page("the form again", |page| page["stage"] == "door" && page["fault"] == "");
    node.terminate();
}

#[test]
fn items_are_picked_up_by_key_and_by_click_and_dropped_again() {
    let mut node = Node::start(&Options::test_world());
    // The first character begins in the depot, where everything is within reach.
    let mut browser = Browser::open(node.web, PAGE);
    sign_up(&mut browser, "carrier");
    let near = |page: &Value| page["near"].as_str().is_some_and(|near| !near.is_empty());
    let page = browser.await_page("things", |page| page["zone"] == "Depot" && near(page));
    assert_eq!(page["bag"], serde_json::json!([]));
    let mut watcher = Player::sign_up(&node, "Watcher", DEPOT);
    let before = watcher.until("all there is", |core| {
        let items = core.world().iter().filter(|entity| entity.kind.as_item().is_some()).count();
        (items > 500).then_some(items)
    });

    browser.press("e", "KeyE");
    let page =
        browser.await_page("one thing", |page| page["bag"].as_array().is_some_and(|bag| bag.len() == 1));
    let first = page["bag"][0].as_str().expect("it is text").to_owned();

    let page = browser.await_page("the next thing", |page| near(page));
    let (x, y) = page["near"].as_str().and_then(|near| near.split_once(',')).expect("it was looked for");
    let pixel = |text: &str| text.parse().expect("it is a number");
    browser.click(pixel(x), pixel(y));
    browser.await_page("another thing", |page| {
        let bag = page["bag"].as_array();
        // It may join what is there.
        bag.is_some_and(|bag| bag.len() == 2 || bag.len() == 1 && bag[0] != first.as_str())
    });
    watcher.until("two things gone", |core| {
        let items = core.world().iter().filter(|entity| entity.kind.as_item().is_some()).count();
        (items == before - 2).then_some(())
    });

    browser.evaluate("document.querySelector('#slots button').click()");
    let page = browser.await_page("what is chosen", |page| page["chosen"] != "");
    assert!(first.starts_with(page["chosen"].as_str().expect("it is text")), "{first}: {page:#}");
    browser.evaluate("document.querySelector('#chosen button').click()");
    browser.await_page("it dropped", |page| {
        page["chosen"] == "" && page["bag"].as_array().is_some_and(|bag| bag.len() <= 1)
    });
    watcher.until("it lie there again", |core| {
        let items = core.world().iter().filter(|entity| entity.kind.as_item().is_some()).count();
        (items == before - 1).then_some(())
    });
    assert!(watcher.items_in_view(COIN).len() > 100);
    watcher.log_out();
    assert_eq!(browser.faults, [""; 0], "the page complained");
    node.terminate();
}

#[test]
fn what_is_refused_is_said_and_a_lost_connection_comes_back() {
    let mut node = Node::start(&Options::test_world());
    let taken = Player::sign_up(&node, "Taken", YARD).log_out();
    let mut browser = Browser::open(node.web, PAGE);
    browser.await_page("the form", |page| page["focus"] == "account");
    browser.type_text(&taken.account);
    browser.evaluate("document.querySelector('[name=password]').value = 'wrong password'");
    for (button, fault) in
        [("log-in", "Account or password is wrong."), ("register", "That account name is taken.")]
    {
        browser.evaluate(&format!("document.querySelector('[value={button}]').click()"));
        browser.await_page(fault, |page| page["fault"] == fault);
    }
    browser.evaluate(&format!("document.querySelector('[name=password]').value = '{PASSWORD}'"));
    browser.evaluate("document.querySelector('[value=log-in]').click()");
    browser.await_page("the world", |page| page["stage"] == "game" && page["names"] == "Taken");

    // Signed in from elsewhere: that is told, and not fought over.
    let elsewhere = taken.sign_in(&node);
    browser.await_page("why it ended", |page| {
        page["stage"] == "door" && page["fault"] == "The account signed in from elsewhere."
    });
    elsewhere.log_out();
    browser.evaluate(&format!("document.querySelector('[name=password]').value = '{PASSWORD}'"));
    browser.evaluate("document.querySelector('[value=log-in]').click()");
    browser.await_page("the world again", |page| page["stage"] == "game" && page["link"] == "live");

    let web = node.web.to_string();
    node.kill_9();
    browser.await_page("that it is lost", |page| {
        page["link"].as_str().is_some_and(|link| link.starts_with("connection lost"))
    });
    node.start_again_with("web-address", &web);
    browser.await_page("that it is back", |page| page["link"] == "live" && page["names"] == "Taken");
    browser.evaluate("document.getElementById('leave').click()");
    browser.await_page("the form", |page| page["stage"] == "door");
    node.terminate();
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_was() {
    let mut node = Node::start(&Options::test_world().with("session-grace", "20s"));
    let mut browser = Browser::open(node.web, PAGE);
    browser.evaluate(
        "window.sockets = []; window.WebSocket = class extends WebSocket {
            constructor(...how) { super(...how); sockets.push(this); }
        }; 0",
    );
    sign_up(&mut browser, "webby");
    browser.await_page("the world", |page| page["stage"] == "game" && page["zone"] == "Depot");
    let mut player = Player::sign_up(&node, "Tessa", DEPOT);
    let webby = |core: &ClientCore| {
        core.world().players().find(|other| other.name() == "Webby").map(|other| other.id)
    };
    let before = player.until("Webby", webby);
    browser.await_page("the other", |page| page["players"] == "2");

    for nth in 1..=2 {
        browser.evaluate("sockets.at(-1).close()");
        player.say(&format!("said meanwhile {nth}")).expect("it is said");
        browser.await_page("that it is back", |page| {
            page["link"] == "live" && page["said"].as_array().is_some_and(|said| said.len() == nth)
        });
        assert_eq!(browser.evaluate("sockets.length"), 1 + nth, "each was taken up at once");
    }
    assert_eq!(player.until("Webby still", webby), before, "the character never left");
    browser.press("Enter", "Enter");
    browser.type_text("I am back");
    browser.press("Enter", "Enter");
    let page = browser.await_page("what it says", |page| page["said"].as_array().map(Vec::len) == Some(3));
    assert_eq!(page["said"][2], "Webby I am back");
    browser.key("keyDown", "d", "KeyD");
    let begins = tile(&page);
    browser.await_page("a walk", |page| tile(page) != begins);
    browser.key("keyUp", "d", "KeyD");
    player.log_out();
    assert_eq!(browser.faults, [""; 0], "the page complained");
    node.terminate();
}
