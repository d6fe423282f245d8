//! From a mail to the game: an account that is made over HTTP plays with a ticket, beside those of the game's own sign-in.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vyuha_net::client::{BlockingClient, ClientError, Event};
use vyuha_protocol::{CharacterId, EntityId, ErrorCode};
use vyuha_test_postgres::Postgres;
use vyuha_tests::{DEPOT, Node, Options, PASSWORD, PATIENCE, Player, YARD};

const EMAIL: &str = "asha@example.com";

fn options() -> Options {
    let options = Options::test_world().with("api-enabled", "true").with("api-address", "127.0.0.1:0");
    options.with("shard-count", "1")
}

/// Whether this program is the one that runs the tests on PostgreSQL.
fn on_postgres() -> bool {
    std::env::args_os().next().is_some_and(|test| test.to_string_lossy().contains("_on_postgres"))
}

/// A node, and where its database is if that is not a file of its own.
struct World {
    node: Node,
    url: Option<String>,
}

impl World {
    fn start(options: Options) -> World {
        let url = on_postgres().then(|| Postgres::shared().database());
        let options = match &url {
            Some(url) => options.with("store-url", url),
            None => options,
        };
        World { node: Node::start(&options), url }
    }

    /// Runs SQL in the database; the number that it finds, if any.
    fn sql(&self, sql: &str) -> Option<i64> {
        if let Some(url) = &self.url {
            return Postgres::shared().psql(url, sql).parse().ok();
        }
        let file = self.node.data_dir().join("world.sqlite");
        let database = rusqlite::Connection::open(file).expect("it is a file");
        database.busy_timeout(PATIENCE).expect("a timeout can be set");
        let mut statement = database.prepare(sql).expect("it is SQL");
        let mut rows = statement.query(()).expect("it can be run");
        rows.next().expect("it can be run").map(|row| row.get(0).expect("it is a number"))
    }
}

/// Status and body of a POST.
fn post(address: SocketAddr, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    send(address, "POST", path, token, body)
}

fn send(address: SocketAddr, method: &str, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).expect("the API's port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let body = body.to_string();
    let length = body.len();
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{bearer}\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("the request can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer can be read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// The token in the mail that the node has put into its folder.
fn mailed_token(node: &Node) -> String {
    let folder = node.data_dir().join("mail");
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let mails = std::fs::read_dir(&folder).expect("the folder is there");
        let texts = mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).expect("a mail is text"));
        let token = texts.filter_map(|text| {
            let text = text.replace("=\r\n", "");
            text.split_whitespace().find(|word| word.starts_with("vyv_")).map(str::to_owned)
        });
        if let Some(token) = token.last() {
            return token;
        }
        assert!(std::time::Instant::now() < deadline, "no mail came");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn refused(result: Result<(), ClientError>) -> Option<ErrorCode> {
    match result {
        Err(ClientError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_registered_by_mail_plays_with_a_ticket() {
    let mut node = World::start(options()).node;
    let api = node.api.expect("the API is on");
    let wanted = json!({ "email": EMAIL, "password": PASSWORD });
    assert_eq!(post(api, "/registrations", None, &wanted).0, 202);
    let confirm = json!({ "token": mailed_token(&node) });
    assert_eq!(post(api, "/registrations/confirm", None, &confirm).0, 201);
    let sign_in = json!({ "login": EMAIL, "password": PASSWORD });
    let (status, tokens) = post(api, "/sessions", None, &sign_in);
    assert_eq!(status, 201, "{tokens}");
    let access = tokens["access_token"].as_str().expect("a token");
    let (status, ticket) = post(api, "/tickets", Some(access), &json!({}));
    assert_eq!(status, 201, "{ticket}");
    let text = ticket["ticket"].as_str().expect("a ticket");

    let mut client = node.client();
    client.redeem_ticket(text).expect("the ticket is good");
    client.enter("Asha").expect("the account plays");
    for bad in [text, "vyt_", "", &"x".repeat(900)] {
        assert_eq!(refused(node.client().redeem_ticket(bad)), Some(ErrorCode::TicketRequired), "{bad}");
    }
    let exit = node.terminate();
    assert!(exit.status.success());
    // Accounts and sessions last longer than the process.
    node.start_again();
    let api = node.api.expect("the API is on");
    let refresh = json!({ "refresh_token": tokens["refresh_token"] });
    assert_eq!(post(api, "/sessions/refresh", None, &refresh).0, 200);
    assert_eq!(post(api, "/sessions/refresh", None, &refresh).0, 401);
}

#[test]
fn an_account_of_the_games_own_sign_in_has_the_same_password_over_http() {
    let world = World::start(options());
    let node = &world.node;
    let api = node.api.expect("the API is on");
    let identity = Player::sign_up(node, "Ravi", YARD).log_out();
    let sign_in = json!({ "login": identity.account, "password": PASSWORD });
    let (status, tokens) = post(api, "/sessions", None, &sign_in);
    assert_eq!(status, 201, "{tokens}");

    // Once a code is asked for, the password alone does not play.
    world.sql("UPDATE account SET second_factor_ms = 1");
    let refused = refused(node.client().log_in(&identity.account, PASSWORD));
    assert_eq!(refused, Some(ErrorCode::TicketRequired));
    let (status, problem) = post(api, "/sessions", None, &sign_in);
    assert_eq!((status, &problem["code"]), (401, &"second_factor_required".into()));
}

/// The number in a field of an answer.
fn number((_, answer): &(u16, Value), field: &str) -> i64 {
    answer[field].as_i64().unwrap_or_else(|| panic!("no {field} in {answer}"))
}

/// An access token of an account of the game's own sign-in.
fn signed_in(api: SocketAddr, account: &str) -> String {
    let (status, tokens) = post(api, "/sessions", None, &json!({ "login": account, "password": PASSWORD }));
    assert_eq!(status, 201, "{tokens}");
    tokens["access_token"].as_str().expect("a token").to_owned()
}

/// The characters that a client may choose from.
fn listed(client: &mut BlockingClient) -> Vec<i64> {
    let request = client.core().list_characters().expect("it may be asked");
    let characters = client.answer(request, |event| match event {
        Event::Characters { characters, .. } => Some(characters.iter().map(|c| c.character).collect()),
        _ => None,
    });
    characters.expect("they are listed")
}

#[test]
fn a_ticket_lists_and_lets_in_the_characters_of_its_profile() {
    let world = World::start(options());
    let node = &world.node;
    let api = node.api.expect("the API is on");
    // Made by the game's own sign-in: of the first profile.
    let identity = Player::sign_up(node, "Ravi", YARD).log_out();
    let access = signed_in(api, &identity.account);
    let call = |method: &str, path: &str, body: Value| send(api, method, path, Some(&access), &body);
    let first = number(&call("GET", "/me/profiles", json!({})), "active");
    let second = number(&call("POST", "/me/profiles", json!({ "name": "Other" })), "profile");
    let made = call("POST", &format!("/me/profiles/{second}/characters"), json!({ "name": "Bea" }));
    let bea = number(&made, "character");
    let with_ticket = |body: Value| {
        let (status, ticket) = call("POST", "/tickets", body);
        assert_eq!(status, 201, "{ticket}");
        let mut client = node.client();
        client.redeem_ticket(ticket["ticket"].as_str().expect("a ticket")).expect("it is good");
        client
    };
    let mut client = with_ticket(json!({ "profile": first }));
    assert!(listed(&mut client).contains(&identity.character.0));
    assert!(!listed(&mut client).contains(&bea));
    let other = client.select_character(CharacterId(bea)).map(drop);
    assert_eq!(refused(other), Some(ErrorCode::CharacterUnknown));
    let mut client = with_ticket(json!({ "profile": second }));
    assert_eq!(listed(&mut client), [bea]);
    let taken = client.create_character(&identity.name.to_uppercase()).map(drop);
    assert_eq!(refused(taken), Some(ErrorCode::CharacterNameTaken));
    assert_eq!(refused(client.create_character("Adm1n").map(drop)), Some(ErrorCode::CharacterNameRefused));
    let cid = client.create_character("Cid").expect("the name is free");
    assert_eq!(listed(&mut client), [bea, cid.0]);
    let mut client = with_ticket(json!({ "character": bea }));
    assert_eq!(listed(&mut client), [bea]);
    assert_eq!(refused(client.select_character(cid).map(drop)), Some(ErrorCode::CharacterUnknown));
    client.select_character(CharacterId(bea)).expect("it enters");
    // Who signs in with a password has them all.
    let mut client = node.client();
    client.log_in(&identity.account, PASSWORD).expect("the password is good");
    for character in [identity.character.0, bea, cid.0] {
        assert!(listed(&mut client).contains(&character));
    }
}

#[test]
fn who_plays_is_not_deleted_and_who_is_deleted_or_frozen_does_not_play() {
    let world = World::start(options());
    let node = &world.node;
    let api = node.api.expect("the API is on");
    let mut player = Player::sign_up(node, "Ravi", YARD);
    let (account, character) = (player.who.account.clone(), player.who.character);
    let access = signed_in(api, &account);
    let call = |method: &str, path: &str, body: Value| send(api, method, path, Some(&access), &body);
    let path = format!("/me/characters/{}", character.0);
    let (status, problem) = call("DELETE", &path, json!({}));
    assert_eq!((status, &problem["code"]), (409, &"character_in_play".into()));
    let profile = number(&call("GET", "/me/profiles", json!({})), "active");
    let freeze = format!("/me/profiles/{profile}/freeze");
    assert_eq!(call("PUT", &freeze, json!({ "reason": "on holiday" })).0, 204);
    assert_eq!(player.closed(), ErrorCode::ProfileFrozen);
    let enter = || {
        let mut client = node.client();
        client.log_in(&account, PASSWORD).expect("the password is good");
        client.select_character(character).map(drop)
    };
    assert_eq!(refused(enter()), Some(ErrorCode::ProfileFrozen));
    assert_eq!(call("DELETE", &freeze, json!({})).0, 204);
    // It leaves once all it did is in the database.
    let deadline = Instant::now() + PATIENCE;
    while call("DELETE", &path, json!({})).0 != 200 {
        assert!(Instant::now() < deadline, "it never leaves");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(refused(enter()), Some(ErrorCode::CharacterDeleted));
    assert_eq!(call("DELETE", &format!("{path}/deletion"), json!({})).0, 204);
    enter().expect("it was restored");
}

/// Asks to trade; why not.
fn asks_to_trade(player: &mut Player, other: EntityId) -> Option<ErrorCode> {
    let request = player.client.core().ask_trade(other).expect("it may be asked");
    let done = |event: &Event| matches!(event, Event::Done { .. }).then_some(());
    player.client.answer(request, done).err().and_then(|error| refused(Err(error)))
}

#[test]
fn who_owes_does_not_trade_until_it_is_settled() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let key = folder.path().join("admin.key");
    std::fs::write(&key, "a key\n").expect("there is room for a file");
    let world = World::start(options().with("api-admin-key-file", key.to_str().expect("it is UTF-8")));
    let node = &world.node;
    let api = node.api.expect("the API is on");
    let staff = Player::sign_up(node, "Mira", DEPOT).log_out();
    let staff = signed_in(api, &staff.account);
    assert_eq!(post(api, "/staff/first", Some(&staff), &json!({ "key": "a key" })).0, 204);
    world.sql("UPDATE account SET second_factor_ms = 1 WHERE id = 1");

    let mut debtor = Player::sign_up(node, "Ravi", DEPOT);
    let mut other = Player::sign_up(node, "Abe", DEPOT);
    let access = signed_in(api, &debtor.who.account);
    let profile = number(&send(api, "GET", "/me/profiles", Some(&access), &json!({})), "active");
    let book = |amount: i64| {
        let path = format!("/staff/profiles/{profile}/debts");
        let booked = post(api, &path, Some(&staff), &json!({ "amount": amount, "reason": "why" }));
        assert_eq!(booked.0, 201, "{booked:?}");
    };
    let mut until = |debtor: &mut Player, expected: Option<ErrorCode>| {
        let deadline = Instant::now() + PATIENCE;
        while asks_to_trade(debtor, other.entity()) != expected {
            assert!(Instant::now() < deadline, "{expected:?} never came");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(asks_to_trade(&mut other, debtor.entity()), expected);
    };
    until(&mut debtor, None);
    book(500);
    until(&mut debtor, Some(ErrorCode::TradeBarred));
    // It is known to who enters, too.
    let mut debtor = debtor.log_out().sign_in(node);
    until(&mut debtor, Some(ErrorCode::TradeBarred));
    book(-500);
    until(&mut debtor, None);
}

#[test]
fn a_node_without_the_api_takes_no_ticket() {
    let node = Node::start(&Options::test_world().with("shard-count", "1"));
    assert_eq!(node.api, None);
    assert_eq!(refused(node.client().redeem_ticket("vyt_x")), Some(ErrorCode::TicketRequired));
}

#[test]
fn who_is_suspended_is_thrown_out_and_stays_out() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let key = folder.path().join("admin.key");
    std::fs::write(&key, "a key\n").expect("there is room for a file");
    let world = World::start(options().with("api-admin-key-file", key.to_str().expect("it is UTF-8")));
    let node = &world.node;
    let api = node.api.expect("the API is on");
    let staff = Player::sign_up(node, "Mira", YARD).log_out();
    let sign_in = json!({ "login": staff.account, "password": PASSWORD });
    let (_, tokens) = post(api, "/sessions", None, &sign_in);
    let access = tokens["access_token"].as_str().expect("a token");
    assert_eq!(post(api, "/staff/first", Some(access), &json!({ "key": "a key" })).0, 204);
    world.sql("UPDATE account SET second_factor_ms = 1");

    let mut player = Player::sign_up(node, "Ravi", YARD);
    let found = world.sql(&format!("SELECT id FROM account WHERE name = '{}'", player.who.account));
    let account = found.expect("the account is there");
    let path = format!("/staff/accounts/{account}/suspension");
    let suspend = json!({ "reason": "bots" });
    assert_eq!(send(api, "PUT", &path, Some(access), &suspend).0, 204);
    assert_eq!(player.closed(), ErrorCode::AccountSuspended);
    let again = node.client().log_in(&player.who.account, PASSWORD);
    assert_eq!(refused(again), Some(ErrorCode::AccountSuspended));
    assert_eq!(send(api, "DELETE", &path, Some(access), &json!({})).0, 204);
    player.who.sign_in(node).log_out();
}
