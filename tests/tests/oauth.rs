//! Signing in at an identity provider: a real one, and one with faults planted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vyuha_tests::{
    HttpAnswer, Identity, IdentityProvider, Node, Options, PASSWORD, PATIENCE, Player, YARD, http,
};

/// A node with a provider beside it.
struct Place {
    provider: IdentityProvider,
    node: Node,
    api: SocketAddr,
    // The node reads it once, at its start.
    _folder: tempfile::TempDir,
}

/// What somebody is sent back with.
struct CameBack {
    flow: String,
    code: String,
    state: String,
    iss: Option<String>,
}

impl Place {
    fn new() -> Place {
        Place::with("")
    }

    /// With more lines in the provider's table.
    fn with(lines: &str) -> Place {
        let provider = IdentityProvider::start();
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let file = folder.path().join("providers.toml");
        let (client, secret) = IdentityProvider::CLIENT;
        let (issuer, uri) = (provider.issuer(), IdentityProvider::REDIRECT_URI);
        let text = format!(
            "[[provider]]\nname = \"example\"\ntitle = \"Example\"\nissuer = \"{issuer}\"\n\
             client_id = \"{client}\"\nclient_secret = \"{secret}\"\nredirect_uris = [\"{uri}\"]\n{lines}\n"
        );
        std::fs::write(&file, text).expect("there is room for a file");
        let options = Options::test_world().with("api-enabled", "true").with("api-address", "127.0.0.1:0");
        let options = options.with("shard-count", "1");
        let node =
            Node::start(&options.with("api-providers-file", file.to_str().expect("the path is UTF-8")));
        let api = node.api.expect("the API is on");
        Place { provider, node, api, _folder: folder }
    }

    fn call(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> HttpAnswer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
        let target = format!("/api/v1{path}");
        http(self.api, method, &target, &headers, Some(body)).expect("the API answers")
    }

    /// Begins a sign-in, and goes to the provider as `who`.
    fn visit(&self, who: &str) -> CameBack {
        let begun = self.call("POST", "/identity-providers/example/flows", None, &json!({}));
        assert_eq!(begun.status, 201, "{begun:?}");
        self.come_back(&begun, who)
    }

    fn come_back(&self, begun: &HttpAnswer, who: &str) -> CameBack {
        let parameters = self.provider.visit(begun.text("authorization_url"), who);
        let find =
            |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone());
        let flow = begun.text("flow").to_owned();
        let (code, state) = (find("code").expect("a code"), find("state").expect("a state"));
        CameBack { flow, code, state, iss: find("iss") }
    }

    fn show(&self, back: &CameBack) -> HttpAnswer {
        self.call("POST", "/identity-providers/example/sessions", None, &back.body())
    }

    /// The tokens of `who`, who comes by the provider.
    fn sign_in(&self, who: &str) -> HttpAnswer {
        let opened = self.show(&self.visit(who));
        assert_eq!(opened.status, 201, "{opened:?}");
        opened
    }

    /// Somebody with a password: number and access token.
    fn player(&self, name: &str) -> (i64, String) {
        let who: Identity = Player::sign_up(&self.node, name, YARD).log_out();
        let wanted = json!({ "login": who.account, "password": PASSWORD });
        let opened = self.call("POST", "/sessions", None, &wanted);
        (opened.body["account"].as_i64().expect("a number"), opened.text("access_token").to_owned())
    }

    fn database(&self) -> rusqlite::Connection {
        let path = self.node.data_dir().join("world.sqlite");
        let database = rusqlite::Connection::open(path).expect("it is a file");
        database.busy_timeout(PATIENCE).expect("a timeout can be set");
        database
    }
}

impl CameBack {
    fn body(&self) -> Value {
        json!({ "flow": self.flow, "code": self.code, "state": self.state, "iss": self.iss })
    }
}

#[track_caller]
fn refused(answer: &HttpAnswer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
}

#[test]
fn who_comes_by_a_provider_has_one_account_and_plays() {
    let place = Place::new();
    let known = http(place.api, "GET", "/api/v1/identity-providers", &[], None).expect("the API answers");
    assert_eq!(known.body["providers"][0]["provider"], "example");
    let first = place.sign_in("asha");
    let access = first.text("access_token");
    let me = place.call("GET", "/me", Some(access), &json!({}));
    // The provider's word for an address is not trusted here.
    assert_eq!((me.status, &me.body["email"]), (200, &Value::Null), "{me:?}");
    let again = place.sign_in("asha");
    assert_eq!(again.body["account"], first.body["account"]);
    assert_ne!(place.sign_in("nobody").body["account"], first.body["account"]);
    let ticket = place.call("POST", "/tickets", Some(access), &json!({}));
    let mut client = place.node.client();
    client.redeem_ticket(ticket.text("ticket")).expect("the ticket is good");
    client.enter("Asha").expect("the account plays");
    // There is no password, and so no wrong one that opens it.
    for password in ["", "a good password"] {
        let wanted = json!({ "login": me.text("name"), "password": password });
        refused(&place.call("POST", "/sessions", None, &wanted), 401, "credentials_wrong");
    }
}

#[test]
fn what_belongs_to_another_sign_in_is_refused_and_each_is_good_once() {
    let place = Place::new();
    let (mine, thiefs) = (place.visit("asha"), place.visit("nobody"));
    let mixed = |flow: &CameBack, state: &CameBack, code: &CameBack| CameBack {
        flow: flow.flow.clone(),
        state: state.state.clone(),
        code: code.code.clone(),
        iss: None,
    };
    // The thief has somebody come back with the thief's state and code.
    refused(&place.show(&mixed(&mine, &thiefs, &thiefs)), 422, "token_invalid");
    // The sign-in is used up.
    refused(&place.show(&mine), 422, "token_invalid");
    // A stolen code, in a sign-in of one's own: the provider wants its verifier.
    let mine = place.visit("asha");
    refused(&place.show(&mixed(&thiefs, &thiefs, &mine)), 401, "identity_refused");
    let good = place.visit("asha");
    assert_eq!(place.show(&good).status, 201);
    refused(&place.show(&good), 422, "token_invalid");
    // A code that was used, in a sign-in that was not.
    let fresh = place.visit("asha");
    refused(&place.show(&mixed(&fresh, &fresh, &good)), 401, "identity_refused");
    let elsewhere = CameBack { iss: Some("https://evil.example.com".into()), ..place.visit("asha") };
    refused(&place.show(&elsewhere), 401, "identity_refused");
    for flow in ["", "vyo_", "vyo_x", &mine.state] {
        let unknown = CameBack { flow: flow.to_owned(), ..place.visit("asha") };
        refused(&place.show(&unknown), 422, "token_invalid");
    }
    let nowhere = json!({ "redirect_uri": "https://evil.example.com/" });
    let begun = place.call("POST", "/identity-providers/example/flows", None, &nowhere);
    refused(&begun, 422, "body_invalid");
    let begun = place.call("POST", "/identity-providers/none/flows", None, &json!({}));
    refused(&begun, 404, "provider_unknown");
}

#[test]
fn no_id_token_with_a_fault_is_believed() {
    let place = Place::new();
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    for fault in [
        json!({ "claims": { "nonce": "another" } }),
        json!({ "claims": { "nonce": null } }),
        json!({ "claims": { "aud": "another" } }),
        json!({ "claims": { "aud": ["vyuha", "another"] } }),
        json!({ "claims": { "iss": "https://evil.example.com" } }),
        json!({ "claims": { "exp": now_s.as_secs() - 1 } }),
        json!({ "claims": { "sub": "" } }),
        json!({ "claims": { "sub": "x".repeat(256) } }),
        json!({ "claims": { "sub": "a\u{0}b" } }),
        json!({ "header": { "alg": "none" } }),
        json!({ "header": { "alg": "HS256" }, "shared": true }),
        json!({ "stranger": true }),
    ] {
        place.provider.plant(&fault);
        let answer = place.show(&place.visit("asha"));
        assert_eq!((answer.status, answer.code()), (401, "identity_refused"), "{fault}");
    }
    place.provider.plant(&json!({ "claims": { "acr": "0" } }));
    assert_eq!(place.show(&place.visit("asha")).status, 201, "what is signed anew without a fault is good");
}

#[test]
fn keys_that_turn_are_fetched_and_made_up_ones_so_often_and_no_more() {
    let place = Place::new();
    let first = place.sign_in("asha");
    assert_eq!(place.provider.key_fetches(), 1);
    place.sign_in("asha");
    assert_eq!(place.provider.key_fetches(), 1);
    place.provider.turn_keys();
    assert_eq!(place.sign_in("asha").body["account"], first.body["account"]);
    assert_eq!(place.provider.key_fetches(), 2);
    place.provider.plant(&json!({ "header": { "kid": "made up" } }));
    for _ in 0..8 {
        refused(&place.show(&place.visit("asha")), 401, "identity_refused");
    }
    assert_eq!(place.provider.key_fetches(), 1 + 5);
    place.provider.plant(&json!({}));
    place.sign_in("asha");
}

#[test]
fn a_provider_that_is_away_is_said_to_be_and_comes_back() {
    let mut place = Place::new();
    let waiting = place.visit("asha");
    place.provider.stop();
    let away = place.show(&waiting);
    refused(&away, 503, "provider_unavailable");
    assert!(away.header("retry-after").is_some(), "{away:?}");
    // Everything else goes on.
    place.player("Ravi");
    place.provider.start_again();
    place.sign_in("asha");

    // One that was never there: nobody waits for it, and it is found once it is.
    place.provider.stop();
    let _killed = place.node.terminate();
    place.node.start_again();
    place.api = place.node.api.expect("the API is on");
    for _ in 0..3 {
        let begun = place.call("POST", "/identity-providers/example/flows", None, &json!({}));
        refused(&begun, 503, "provider_unavailable");
        assert!(begun.header("retry-after").is_some(), "{begun:?}");
    }
    place.provider.start_again();
    let deadline = Instant::now() + PATIENCE;
    while place.call("POST", "/identity-providers/example/flows", None, &json!({})).status != 201 {
        assert!(Instant::now() < deadline, "the provider was not found again");
        std::thread::sleep(Duration::from_millis(500));
    }
    place.sign_in("asha");
}

#[test]
fn an_owner_links_and_unlinks_and_never_the_last_way_in() {
    let place = Place::new();
    let (account, access) = place.player("Asha");
    let begin =
        |access: &str, body: &Value| place.call("POST", "/me/identities/example/flows", Some(access), body);
    let password = json!({ "password": PASSWORD });
    refused(&begin(&access, &json!({})), 401, "credentials_wrong");
    refused(&begin("x", &password), 401, "unauthorized");
    let begun = begin(&access, &password);
    assert_eq!(begun.status, 201, "{begun:?}");
    let back = place.come_back(&begun, "asha");
    // Another has their owner's browser carry it to the wrong account, or to none.
    let (_, others) = place.player("Ravi");
    let link = |access: &str, back: &CameBack| {
        place.call("PUT", "/me/identities/example", Some(access), &back.body())
    };
    refused(&link(&others, &back), 422, "token_invalid");
    let back = place.come_back(&begin(&access, &password), "asha");
    refused(&place.show(&back), 422, "token_invalid");
    let signing_in = place.visit("asha");
    refused(&link(&access, &signing_in), 422, "token_invalid");
    let back = place.come_back(&begin(&access, &password), "asha");
    assert_eq!(link(&access, &back).status, 204);
    assert_eq!(place.sign_in("asha").body["account"], account);
    let listed = place.call("GET", "/me/identities", Some(&access), &json!({}));
    assert_eq!(listed.body["identities"][0]["provider"], "example", "{listed:?}");

    let back = place.come_back(&begin(&others, &password), "asha");
    refused(&link(&others, &back), 409, "identity_taken");
    let unlink =
        |access: &str, body: &Value| place.call("POST", "/me/identities/example/remove", Some(access), body);
    refused(&unlink(&access, &json!({})), 401, "credentials_wrong");
    refused(&unlink(&others, &password), 404, "identity_unknown");
    assert_eq!(unlink(&access, &password).status, 204);
    // Now it is somebody new, who has no other way in.
    let new = place.sign_in("asha");
    assert_ne!(new.body["account"], account);
    refused(&unlink(new.text("access_token"), &json!({})), 409, "last_way_in");
    assert_eq!(place.sign_in("asha").body["account"], new.body["account"]);
}

#[test]
fn a_trusted_address_opens_the_account_that_has_shown_it() {
    let place = Place::with("trust_email = true");
    let (account, _) = place.player("Asha");
    let (others, _) = place.player("Ravi");
    let give = "UPDATE account SET email = ?2 WHERE id = ?1";
    place.database().execute(give, (account, "asha@example.com")).expect("it can be written");
    place.database().execute(give, (others, "ravi@example.com")).expect("it can be written");
    assert_eq!(place.sign_in("asha").body["account"], account);
    // That provider does not say that it verified this one.
    assert_ne!(place.sign_in("unverified").body["account"], others);
}

#[test]
fn the_second_factor_is_asked_for_and_takes_no_second_visit() {
    let place = Place::new();
    let account = place.sign_in("asha").body["account"].as_i64().expect("a number");
    let database = place.database();
    let on = "UPDATE account SET second_factor_ms = 1 WHERE id = ?1";
    database.execute(on, [account]).expect("it can be written");
    // SHA-256 of ABCDEFGHIJKLMNOP.
    let sum = "e7e8b89c2721d290cc5f55425491ecd6831355e91063f20b39c22f9ec6a71f91";
    let add = "INSERT INTO recovery_code (account, hash) VALUES (?1, ?2)";
    database.execute(add, (account, sum)).expect("it can be written");
    let back = place.visit("asha");
    refused(&place.show(&back), 401, "second_factor_required");
    let show = |code: &str| {
        let body = json!({ "flow": back.flow, "second_factor": code });
        place.call("POST", "/identity-providers/example/sessions", None, &body)
    };
    refused(&show("000000"), 401, "second_factor_wrong");
    let opened = show("ABCD-EFGH-IJKL-MNOP");
    assert_eq!((opened.status, &opened.body["account"]), (201, &account.into()), "{opened:?}");
    refused(&show("ABCD-EFGH-IJKL-MNOP"), 422, "token_invalid");
    database
        .execute("UPDATE account SET suspended_until_ms = ?1, suspension_reason = 'bots'", [i64::MAX])
        .expect("it can be written");
    refused(&place.show(&place.visit("asha")), 403, "account_suspended");
}
