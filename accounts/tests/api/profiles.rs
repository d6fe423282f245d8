//! Profiles and characters over the interface, and the tickets that name them.

use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::node::{EMAIL, Node};
use crate::staff::Member;

/// Somebody signed in.
struct Player {
    account: i64,
    token: String,
}

impl Player {
    async fn new(node: &mut Node, email: &str) -> Player {
        let account = node.register(email).await;
        let (token, _) = node.tokens(email).await;
        Player { account, token }
    }

    async fn call(&self, node: &Node, method: &'static str, path: &str, body: Option<Value>) -> Answer {
        node.call(method, path, &self.token, body).await
    }

    /// Their profiles, and the active one.
    async fn profiles(&self, node: &Node) -> (Vec<Value>, i64) {
        let found = self.call(node, "GET", "/me/profiles", None).await.expect(200, "").json();
        (found["profiles"].as_array().unwrap().clone(), found["active"].as_i64().unwrap())
    }

    async fn first(&self, node: &Node) -> i64 {
        self.profiles(node).await.0[0]["id"].as_i64().unwrap()
    }

    async fn add_profile(&self, node: &Node, name: &str) -> i64 {
        let made =
            self.call(node, "POST", "/me/profiles", Some(json!({ "name": name }))).await.expect(201, "");
        made.json()["profile"].as_i64().unwrap()
    }

    async fn create(&self, node: &Node, profile: i64, name: &str) -> Answer {
        let path = format!("/me/profiles/{profile}/characters");
        self.call(node, "POST", &path, Some(json!({ "name": name }))).await
    }

    async fn character(&self, node: &Node, profile: i64, name: &str) -> i64 {
        self.create(node, profile, name).await.expect(201, "").json()["character"].as_i64().unwrap()
    }

    async fn delete(&self, node: &Node, character: i64) -> Answer {
        self.call(node, "DELETE", &format!("/me/characters/{character}"), None).await
    }

    async fn ticket(&self, node: &Node, body: Value) -> Answer {
        self.call(node, "POST", "/tickets", Some(body)).await
    }
}

#[tokio::test]
async fn profiles_are_made_renamed_chosen_and_deleted() {
    let mut node = Node::start().await;
    let player = Player::new(&mut node, EMAIL).await;
    let (profiles, active) = player.profiles(&node).await;
    assert_eq!(
        (profiles.len(), &profiles[0]["name"], &profiles[0]["state"]),
        (1, &json!("Main"), &json!("active"))
    );
    let first = active;
    let second = player.add_profile(&node, "Second life").await;
    let name = |name: &str| Some(json!({ "name": name }));
    player.call(&node, "POST", "/me/profiles", name("MAIN")).await.expect(409, "profile_name_taken");
    player.call(&node, "POST", "/me/profiles", name("")).await.expect(422, "profile_name_invalid");
    player.add_profile(&node, "3").await;
    player.add_profile(&node, "4").await;
    player.call(&node, "POST", "/me/profiles", name("5")).await.expect(409, "profile_limit");
    let path = format!("/me/profiles/{second}");
    player.call(&node, "PUT", &path, name("main")).await.expect(409, "profile_name_taken");
    player.call(&node, "PUT", &path, name("Other")).await.expect(204, "");
    let choose = async |profile: i64| {
        player.call(&node, "PUT", "/me/profile", Some(json!({ "profile": profile }))).await
    };
    choose(second).await.expect(204, "");
    assert_eq!(player.profiles(&node).await.1, second);
    choose(99).await.expect(404, "profile_unknown");
    // Another session has its own.
    let (other, _) = node.tokens(EMAIL).await;
    let seen = node.call("GET", "/me/profiles", &other, None).await.expect(200, "").json();
    assert_eq!(seen["active"], first);
    player.call(&node, "DELETE", &path, None).await.expect(204, "");
    player.call(&node, "DELETE", &path, None).await.expect(404, "profile_unknown");
    assert_eq!(player.profiles(&node).await.1, first);
    for strange in ["x", "", "-1", "99999999999999999999", "1%20OR%201=1"] {
        let path = format!("/me/profiles/{strange}/settings");
        let answer = player.call(&node, "GET", &path, None).await;
        assert_eq!(answer.status, 404, "{strange}");
    }
}

#[tokio::test]
async fn settings_are_changed_by_who_has_read_them() {
    let mut node = Node::start().await;
    let player = Player::new(&mut node, EMAIL).await;
    let path = format!("/me/profiles/{}/settings", player.first(&node).await);
    let read = player.call(&node, "GET", &path, None).await.expect(200, "");
    assert_eq!(
        (read.headers["etag"].as_str(), read.json()),
        ("\"1\"", json!({ "settings": {}, "version": 1 }))
    );
    let put = async |version: Option<&str>, settings: Value| {
        let request = Request::new("PUT", &format!("/api/v1{path}")).bearer(&player.token);
        let request = request.json(&json!({ "settings": settings }));
        let request = match version {
            Some(version) => request.header("If-Match", version),
            None => request,
        };
        node.send(request).await
    };
    put(None, json!({})).await.expect(428, "precondition_required");
    let done = put(Some("\"1\""), json!({ "volume": 7, "text": "a\u{0}b" })).await.expect(204, "");
    assert_eq!(done.headers["etag"], "\"2\"");
    put(Some("\"1\""), json!({})).await.expect(412, "precondition_failed");
    let read = player.call(&node, "GET", &path, None).await.expect(200, "");
    assert_eq!(read.json()["settings"], json!({ "volume": 7, "text": "a\u{0}b" }));
    put(Some("*"), json!({ "x": "x".repeat(8192 - 8) })).await.expect(204, "");
    put(Some("*"), json!({ "x": "x".repeat(8192 - 7) })).await.expect(422, "settings_too_large");
    put(Some("*"), json!([])).await.expect(422, "body_invalid");
}

#[tokio::test]
async fn what_the_staff_froze_its_owner_does_not_lift_and_nobody_enters_with() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let player = Player::new(&mut node, EMAIL).await;
    let first = player.first(&node).await;
    let abe = player.character(&node, first, "Abe").await;
    let mine = format!("/me/profiles/{first}/freeze");
    let theirs = format!("/staff/profiles/{first}/freeze");
    let why = |why: &str| Some(json!({ "reason": why }));
    node.game.play(player.account, abe);
    player.call(&node, "PUT", &mine, why("")).await.expect(422, "body_invalid");
    player.call(&node, "PUT", &mine, why("on holiday")).await.expect(204, "");
    player.ticket(&node, json!({})).await.expect(409, "profile_frozen");
    player.ticket(&node, json!({ "character": abe })).await.expect(409, "profile_frozen");
    player.create(&node, first, "Bea").await.expect(409, "profile_frozen");
    // Who played it was taken out; it took that message a moment.
    while node.game.character_of(player.account).is_some() {
        tokio::task::yield_now().await;
    }
    player.call(&node, "DELETE", &mine, None).await.expect(204, "");
    player.ticket(&node, json!({})).await.expect(201, "");
    player.call(&node, "PUT", &theirs, why("x")).await.expect(403, "forbidden");
    admin.call(&node, "PUT", &theirs, why("sells gold")).await.expect(204, "");
    let frozen = player.profiles(&node).await.0[0].clone();
    assert_eq!(
        (&frozen["state"], &frozen["frozen"]["by"], &frozen["frozen"]["reason"]),
        (&json!("frozen"), &json!("staff"), &json!("sells gold"))
    );
    player.call(&node, "DELETE", &mine, None).await.expect(409, "profile_frozen");
    player.call(&node, "PUT", &mine, why("mine")).await.expect(409, "profile_frozen");
    player
        .call(&node, "PUT", "/me/profile", Some(json!({ "profile": first })))
        .await
        .expect(409, "profile_frozen");
    // Another profile of the account plays on.
    let second = player.add_profile(&node, "Other").await;
    player.ticket(&node, json!({ "profile": second })).await.expect(201, "");
    let seen = admin.call(&node, "GET", &format!("/staff/accounts/{}/profiles", player.account), None).await;
    assert_eq!(seen.expect(200, "").json()["profiles"].as_array().unwrap().len(), 2);
    admin.call(&node, "DELETE", &theirs, None).await.expect(204, "");
    player.ticket(&node, json!({})).await.expect(201, "");
    admin.call(&node, "PUT", "/staff/profiles/999/freeze", why("x")).await.expect(404, "profile_unknown");
    admin.call(&node, "GET", "/staff/accounts/999/profiles", None).await.expect(404, "account_unknown");
    let log = admin.call(&node, "GET", "/staff/log?limit=2", None).await.expect(200, "").json();
    let deeds: Vec<_> = log["deeds"].as_array().unwrap().iter().map(|deed| deed["action"].clone()).collect();
    assert_eq!(deeds, ["unfreeze", "freeze"]);
}

#[tokio::test]
async fn characters_are_made_deleted_and_restored_and_go_for_good() {
    let mut node = Node::start().await;
    let player = Player::new(&mut node, EMAIL).await;
    let other = Player::new(&mut node, "other@example.com").await;
    let first = player.first(&node).await;
    let abe = player.character(&node, first, "Abe").await;
    for (name, status, code) in [
        ("abe", 409, "character_name_taken"),
        ("Ab", 422, "character_name_invalid"),
        ("Abé", 422, "character_name_invalid"),
        ("Adm1n", 422, "character_name_refused"),
        ("Sir Moderator", 422, "character_name_refused"),
    ] {
        player.create(&node, first, name).await.expect(status, code);
    }
    other.create(&node, first, "Bea").await.expect(404, "profile_unknown");
    other.delete(&node, abe).await.expect(404, "character_unknown");
    // One that plays is not deleted.
    node.game.play(player.account, abe);
    player.delete(&node, abe).await.expect(409, "character_in_play");
    let cid = player.character(&node, first, "Cid").await;
    let deleted = player.delete(&node, cid).await.expect(200, "").json();
    let week_ms = 7 * 24 * 60 * 60_000;
    assert_eq!(deleted["purge_ms"].as_i64().unwrap() - node.service_ms(), week_ms);
    node.game.leave(player.account);
    player.delete(&node, abe).await.expect(200, "");
    player.delete(&node, abe).await.expect(409, "character_deleted");
    player.ticket(&node, json!({ "character": abe })).await.expect(409, "character_deleted");
    other.create(&node, other.first(&node).await, "Abe").await.expect(409, "character_name_taken");
    let restore = format!("/me/characters/{abe}/deletion");
    other.call(&node, "DELETE", &restore, None).await.expect(404, "character_unknown");
    player.call(&node, "DELETE", &restore, None).await.expect(204, "");
    player.call(&node, "DELETE", &restore, None).await.expect(409, "character_not_deleted");
    player.ticket(&node, json!({ "character": abe })).await.expect(201, "");
    let names = async || {
        let found = player.call(&node, "GET", "/me/characters", None).await.expect(200, "").json();
        let found = found["characters"].as_array().unwrap().clone();
        found
            .iter()
            .map(|one| (one["name"].as_str().unwrap().to_owned(), one.get("purge_ms").is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names().await, [("Abe".to_owned(), false), ("Cid".to_owned(), true)]);
    node.service.upkeep().await.unwrap();
    assert_eq!(names().await.len(), 2);
    node.wait_ms(week_ms);
    // Upkeep lets nobody go who plays, whatever is said of them.
    node.game.play(player.account, cid);
    node.service.upkeep().await.unwrap();
    let left = node.sql.transaction(|tx| {
        Ok::<_, vyuha_accounts::problem::Problem>(
            tx.query("SELECT id FROM character WHERE name = 'Cid'", &[])?.len(),
        )
    });
    assert_eq!(left.await.unwrap(), 1);
    node.game.leave(player.account);
    node.service.upkeep().await.unwrap();
    let (token, _) = node.tokens("other@example.com").await;
    let other = Player { account: other.account, token };
    other.character(&node, other.first(&node).await, "Cid").await;
}

#[tokio::test]
async fn a_ticket_names_a_profile_and_perhaps_a_character() {
    let mut node = Node::start().await;
    let player = Player::new(&mut node, EMAIL).await;
    let first = player.first(&node).await;
    let second = player.add_profile(&node, "Other").await;
    let (abe, bea) =
        (player.character(&node, first, "Abe").await, player.character(&node, second, "Bea").await);
    let other = Player::new(&mut node, "other@example.com").await;
    let check = async |body: Value, expected: Result<(i64, Option<i64>), (u16, &str)>| {
        let answer = player.ticket(&node, body.clone()).await;
        match expected {
            Err((status, code)) => drop(answer.expect(status, code)),
            Ok((profile, character)) => {
                let ticket = answer.expect(201, "");
                let admitted = node.service.redeem_ticket(ticket.text("ticket")).await.unwrap().unwrap();
                assert_eq!(
                    (admitted.account, admitted.profile, admitted.character),
                    (player.account, profile, character),
                    "{body}"
                );
                assert_eq!(ticket.json()["profile"], profile);
                assert_eq!(node.service.redeem_ticket(ticket.text("ticket")).await.unwrap(), None);
            }
        }
    };
    check(json!({}), Ok((first, None))).await;
    check(json!({ "profile": second }), Ok((second, None))).await;
    check(json!({ "character": bea }), Ok((second, Some(bea)))).await;
    check(json!({ "profile": first, "character": abe }), Ok((first, Some(abe)))).await;
    check(json!({ "profile": first, "character": bea }), Err((404, "character_unknown"))).await;
    check(json!({ "profile": other.first(&node).await }), Err((404, "profile_unknown"))).await;
    check(json!({ "character": 999 }), Err((404, "character_unknown"))).await;
    check(json!({ "profile": "1" }), Err((422, "body_invalid"))).await;
    check(json!({ "profiles": 1 }), Err((422, "body_invalid"))).await;
    player.call(&node, "PUT", "/me/profile", Some(json!({ "profile": second }))).await.expect(204, "");
    check(json!({}), Ok((second, None))).await;
    // Without a body at all, as ever.
    player.call(&node, "POST", "/tickets", None).await.expect(201, "");
}

#[tokio::test]
async fn debts_are_booked_by_the_staff_and_read_by_their_owner() {
    let mut node = Node::start().await;
    let admin = Member::first(&mut node).await;
    let player = Player::new(&mut node, EMAIL).await;
    let first = player.first(&node).await;
    let second = player.add_profile(&node, "Other").await;
    let path = format!("/staff/profiles/{second}/debts");
    let entry = |amount: i64| Some(json!({ "amount": amount, "reason": "a payment was taken back" }));
    player.call(&node, "POST", &path, entry(5)).await.expect(403, "forbidden");
    for (amount, status, code) in
        [(0, 422, "body_invalid"), (-1, 409, "debt_exceeded"), (i64::MAX, 422, "body_invalid")]
    {
        admin.call(&node, "POST", &path, entry(amount)).await.expect(status, code);
    }
    admin.call(&node, "POST", "/staff/profiles/99/debts", entry(5)).await.expect(404, "profile_unknown");
    let no_reason = Some(json!({ "amount": 5, "reason": "" }));
    admin.call(&node, "POST", &path, no_reason).await.expect(422, "body_invalid");
    assert_eq!(admin.call(&node, "POST", &path, entry(500)).await.expect(201, "").json()["debt"], 500);
    player
        .call(&node, "DELETE", &format!("/me/profiles/{second}"), None)
        .await
        .expect(409, "profile_in_debt");
    assert_eq!(admin.call(&node, "POST", &path, entry(-200)).await.expect(201, "").json()["debt"], 300);
    let mine = format!("/me/profiles/{second}/debts");
    let read = player.call(&node, "GET", &format!("{mine}?limit=1"), None).await.expect(200, "").json();
    assert_eq!((&read["debt"], &read["entries"][0]["amount"]), (&json!(300), &json!(-200)));
    let next = format!("{mine}?before={}", read["next"]);
    let read = player.call(&node, "GET", &next, None).await.expect(200, "").json();
    assert_eq!((&read["entries"][0]["amount"], read.get("next")), (&json!(500), None));
    player.call(&node, "GET", &format!("{mine}?limit=0"), None).await.expect(400, "query_invalid");
    let others = format!("/me/profiles/{first}/debts");
    assert_eq!(player.call(&node, "GET", &others, None).await.expect(200, "").json()["debt"], 0);
    admin.call(&node, "POST", &path, entry(-300)).await.expect(201, "");
    player.call(&node, "DELETE", &format!("/me/profiles/{second}"), None).await.expect(204, "");
    // The game was told of each, in a moment.
    while node.game.told.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*node.game.told.lock().unwrap(), [(player.account, second); 3]);
}
