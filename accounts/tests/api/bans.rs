//! Bans, appeals and announcements over the interface.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use vyuha_accounts::ThrownOut;
use vyuha_gateway::Announcement;

use crate::client::{Answer, Request};
use crate::node::{Node, PASSWORD};
use crate::staff::Member;

/// A node behind a proxy of ours, which says where calls come from.
async fn node() -> Node {
    Node::with(|config| config.behind_proxy = true).await
}

async fn from(node: &Node, address: &str, method: &'static str, path: &str, body: Option<Value>) -> Answer {
    let request = Request::new(method, &format!("/api/v1{path}")).header("X-Forwarded-For", address);
    let request = match &body {
        Some(body) => request.json(body),
        None => request,
    };
    node.send(request).await
}

async fn ban(node: &Node, who: &Member, body: Value) -> Answer {
    who.call(node, "POST", "/staff/bans", Some(body)).await
}

async fn appeal(node: &Node, address: &str, login: &str, password: &str) -> Answer {
    let body = json!({ "login": login, "password": password, "text": "it was my brother" });
    from(node, address, "POST", "/appeals", Some(body)).await
}

fn actions(log: &Value) -> Vec<&str> {
    log["deeds"].as_array().unwrap().iter().map(|deed| deed["action"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_banned_account_appeals_and_somebody_else_decides() {
    let mut node = node().await;
    let admin = Member::first(&mut node).await;
    let mira = Member::new(&mut node, "mira@example.com").await;
    let noor = Member::new(&mut node, "noor@example.com").await;
    for moderator in [&mira, &noor] {
        admin.appoint(&node, moderator, "moderator").await.expect(204, "");
    }
    let player = node.register("player@example.com").await;
    let (access, _) = node.tokens("player@example.com").await;
    let none = appeal(&node, "192.0.2.7", "player@example.com", PASSWORD).await;
    none.expect(409, "not_banned");

    let body = json!({ "account": player, "reason": "bots" });
    let put = ban(&node, &mira, body).await.expect(201, "").json();
    assert_eq!(node.thrown_out().await, ThrownOut::Suspended(player));
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    let refused = node.sign_in("player@example.com", PASSWORD).await.expect(403, "account_suspended");
    assert_eq!(refused.text("detail"), "for good: bots");
    // It takes the password.
    appeal(&node, "192.0.2.7", "player@example.com", "not it").await.expect(401, "credentials_wrong");
    appeal(&node, "192.0.2.7", "nobody@example.com", PASSWORD).await.expect(401, "credentials_wrong");
    let filed = appeal(&node, "192.0.2.7", "player@example.com", PASSWORD).await.expect(201, "").json();
    assert_eq!(filed["ban"], put["ban"]);
    appeal(&node, "192.0.2.7", "player@example.com", PASSWORD).await.expect(409, "appeal_present");

    let waiting = mira.call(&node, "GET", "/staff/appeals", None).await.expect(200, "").json();
    let first = &waiting["appeals"][0];
    assert_eq!((&first["text"], &first["reason"]), (&"it was my brother".into(), &"bots".into()));
    let path = format!("/staff/appeals/{}/decision", filed["appeal"]);
    let decision = |granted: bool, answer: &str| Some(json!({ "granted": granted, "answer": answer }));
    mira.call(&node, "PUT", &path, decision(false, "no")).await.expect(403, "forbidden");
    noor.call(&node, "PUT", &path, decision(true, "")).await.expect(422, "body_invalid");
    noor.call(&node, "PUT", "/staff/appeals/99/decision", decision(true, "x"))
        .await
        .expect(404, "appeal_unknown");
    noor.call(&node, "PUT", "/staff/appeals/x/decision", decision(true, "x"))
        .await
        .expect(404, "appeal_unknown");
    noor.call(&node, "PUT", &path, decision(true, "sorry")).await.expect(204, "");
    noor.call(&node, "PUT", &path, decision(false, "no")).await.expect(409, "appeal_decided");
    node.sign_in("player@example.com", PASSWORD).await.expect(201, "");
    let decided = mira.call(&node, "GET", "/staff/appeals?decided=true", None).await.expect(200, "").json();
    assert_eq!(
        (&decided["appeals"][0]["granted"], &decided["appeals"][0]["answer"]),
        (&true.into(), &"sorry".into())
    );

    // The next ban is another one; refused, the person is told what was said.
    ban(&node, &mira, json!({ "account": player, "reason": "more bots" })).await.expect(201, "");
    let filed = appeal(&node, "192.0.2.7", "player@example.com", PASSWORD).await.expect(201, "").json();
    let path = format!("/staff/appeals/{}/decision", filed["appeal"]);
    admin.call(&node, "PUT", &path, decision(false, "twice is twice")).await.expect(204, "");
    let told = appeal(&node, "192.0.2.7", "player@example.com", PASSWORD).await.expect(409, "appeal_present");
    assert_eq!(told.text("detail"), "it was refused: twice is twice");

    // What was done to a player, whoever looks accounts up may read; all of it, and what was done to staff, not.
    let path = format!("/staff/log?subject={player}");
    let log = mira.call(&node, "GET", &path, None).await.expect(200, "").json();
    assert_eq!(actions(&log), ["refuse_appeal", "ban", "grant_appeal", "ban"]);
    mira.call(&node, "GET", "/staff/log", None).await.expect(403, "forbidden");
    let of_staff = format!("/staff/log?subject={}", noor.account);
    mira.call(&node, "GET", &of_staff, None).await.expect(403, "forbidden");
    admin.call(&node, "GET", &of_staff, None).await.expect(200, "");
    let path = format!("/staff/log?actor={}&action=ban&limit=1", mira.account);
    let log = admin.call(&node, "GET", &path, None).await.expect(200, "").json();
    assert_eq!((actions(&log), log["next"].is_i64()), (vec!["ban"], true));
    for query in ["actor=-1", "subject=x", "action=%00", "since_ms=x", "limit=0"] {
        admin.call(&node, "GET", &format!("/staff/log?{query}"), None).await.expect(400, "query_invalid");
    }
}

#[tokio::test]
async fn nothing_is_answered_to_a_banned_address_but_the_way_to_appeal() {
    let mut node = node().await;
    let admin = Member::first(&mut node).await;
    node.register("player@example.com").await;
    let until_ms = node.clock_ms.load(Ordering::Relaxed) + 60_000;
    let body = json!({ "addresses": "192.0.2.0/24", "reason": "a flood", "until_ms": until_ms });
    let put = ban(&node, &admin, body).await.expect(201, "").json();
    let sign_in = json!({ "login": "player@example.com", "password": PASSWORD });
    for address in ["192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7"] {
        let refused = from(&node, address, "POST", "/sessions", Some(sign_in.clone())).await;
        let refused = refused.expect(403, "address_banned");
        assert_eq!(refused.text("detail"), format!("until {until_ms}: a flood"));
        assert!(node.service.is_banned(address.parse().unwrap()));
    }
    from(&node, "192.0.2.7", "GET", "/identity-providers", None).await.expect(403, "address_banned");
    from(&node, "192.0.3.0", "POST", "/sessions", Some(sign_in.clone())).await.expect(201, "");
    let keys = Request::new("GET", "/.well-known/jwks.json").header("X-Forwarded-For", "192.0.2.7");
    node.send(keys).await.expect(200, "");
    let filed = appeal(&node, "192.0.2.7", "player@example.com", PASSWORD).await.expect(201, "").json();
    assert_eq!(filed["ban"], put["ban"]);
    appeal(&node, "192.0.3.7", "player@example.com", PASSWORD).await.expect(409, "not_banned");

    let listed =
        admin.call(&node, "GET", "/staff/bans?kind=address&in_force=true", None).await.expect(200, "").json();
    assert_eq!(listed["bans"][0]["addresses"], "192.0.2.0/24");
    let lift = format!("/staff/bans/{}", put["ban"]);
    admin.call(&node, "DELETE", &lift, None).await.expect(204, "");
    admin.call(&node, "DELETE", &lift, None).await.expect(204, "");
    from(&node, "192.0.2.7", "POST", "/sessions", Some(sign_in.clone())).await.expect(201, "");
    let none = admin.call(&node, "GET", "/staff/bans?in_force=true", None).await.expect(200, "").json();
    assert_eq!(none["bans"], json!([]));

    // One that runs out, with nobody's doing.
    let until_ms = node.clock_ms.load(Ordering::Relaxed) + 60_000;
    let body = json!({ "addresses": "192.0.2.7", "reason": "a flood", "until_ms": until_ms });
    ban(&node, &admin, body).await.expect(201, "");
    assert!(node.service.is_banned("192.0.2.7".parse().unwrap()));
    node.wait_ms(60_000);
    from(&node, "192.0.2.7", "POST", "/sessions", Some(sign_in)).await.expect(201, "");
}

#[tokio::test]
async fn what_is_no_ban_is_refused_and_changes_nothing() {
    let mut node = node().await;
    let admin = Member::first(&mut node).await;
    let support = Member::new(&mut node, "support@example.com").await;
    admin.appoint(&node, &support, "support").await.expect(204, "");
    let player = node.register("player@example.com").await;
    let now_ms = node.clock_ms.load(Ordering::Relaxed);
    for bad in [
        json!({ "reason": "bots" }),
        json!({ "account": player, "addresses": "192.0.2.7", "reason": "bots" }),
        json!({ "account": player, "reason": "" }),
        json!({ "account": player, "reason": "x".repeat(501) }),
        json!({ "account": player, "reason": "a\u{0}b" }),
        json!({ "account": player, "reason": "bots", "until_ms": now_ms }),
        json!({ "account": player, "reason": "bots", "until_ms": i64::MAX }),
        json!({ "addresses": "0.0.0.0/0", "reason": "bots" }),
        json!({ "addresses": "everywhere", "reason": "bots" }),
        // Where the caller is.
        json!({ "addresses": "127.0.0.0/16", "reason": "bots" }),
    ] {
        ban(&node, &admin, bad).await.expect(422, "body_invalid");
    }
    ban(&node, &admin, json!({ "account": 999, "reason": "bots" })).await.expect(404, "account_unknown");
    ban(&node, &admin, json!({ "account": admin.account, "reason": "bots" })).await.expect(403, "forbidden");
    ban(&node, &support, json!({ "account": player, "reason": "bots" })).await.expect(403, "forbidden");
    ban(&node, &support, json!({ "addresses": "192.0.2.7", "reason": "bots" }))
        .await
        .expect(403, "forbidden");
    admin.call(&node, "DELETE", "/staff/bans/1", None).await.expect(404, "ban_unknown");
    for query in ["kind=device", "account=-1", "before=x", "limit=101", "other=1"] {
        admin.call(&node, "GET", &format!("/staff/bans?{query}"), None).await.expect(400, "query_invalid");
    }
    let none = admin.call(&node, "GET", "/staff/bans", None).await.expect(200, "").json();
    assert_eq!(none["bans"], json!([]));
    let log = admin.call(&node, "GET", "/staff/log", None).await.expect(200, "").json();
    assert_eq!(actions(&log), ["appoint", "appoint"]);
}

#[tokio::test]
async fn an_account_is_shown_with_what_belongs_to_it_and_kicked() {
    let mut node = node().await;
    let admin = Member::first(&mut node).await;
    let support = Member::new(&mut node, "support@example.com").await;
    admin.appoint(&node, &support, "support").await.expect(204, "");
    let player = node.register("player@example.com").await;
    let (access, _) = node.tokens("player@example.com").await;
    let insert = move |name: &'static str, id: i64| {
        move |tx: &mut dyn vyuha_store::sql::SqlTransaction| {
            tx.execute(
                "INSERT INTO character (id, account, name, name_key, zone, x, y, created_ms)
                 VALUES (?1, ?2, ?3, ?4, 1, 0, 0, 5)",
                &[id.into(), player.into(), name.into(), name.to_lowercase().into()],
            )?;
            Ok::<_, vyuha_store::sql::SqlError>(())
        }
    };
    node.sql.transaction(insert("Ravi", 21)).await.unwrap();
    node.sql.transaction(insert("Rani the 2nd", 22)).await.unwrap();

    let path = format!("/staff/accounts/{player}");
    let shown = support.call(&node, "GET", &path, None).await.expect(200, "").json();
    assert_eq!(shown["account"]["email"], "player@example.com");
    assert_eq!((&shown["characters"][1]["name"], &shown["ban"]), (&"Rani the 2nd".into(), &Value::Null));
    let session = shown["sessions"][0]["id"].as_str().unwrap();
    support.call(&node, "GET", "/staff/accounts/999", None).await.expect(404, "account_unknown");
    for (query, expected) in [
        ("search=RA", vec![21, 22]),
        ("search=rani", vec![22]),
        ("search=21", vec![21]),
        ("search=x", vec![]),
    ] {
        let found = support.call(&node, "GET", &format!("/staff/characters?{query}"), None).await;
        let found = found.expect(200, "").json();
        let ids =
            found["characters"].as_array().unwrap().iter().map(|one| one["character"].as_i64().unwrap());
        assert_eq!(ids.collect::<Vec<_>>(), expected, "{query}");
    }
    let by_number = support.call(&node, "GET", &format!("/staff/accounts?search={player}"), None).await;
    assert_eq!(by_number.expect(200, "").json()["accounts"][0]["account"], player);

    let end = format!("{path}/sessions/{session}");
    support.call(&node, "DELETE", &end, None).await.expect(204, "");
    support.call(&node, "DELETE", &end, None).await.expect(404, "session_unknown");
    node.call("GET", "/me", &access, None).await.expect(401, "unauthorized");
    let kick = format!("{path}/kick");
    let reason = Some(json!({ "reason": "stuck" }));
    support.call(&node, "POST", &kick, Some(json!({ "reason": "" }))).await.expect(422, "body_invalid");
    support.call(&node, "POST", &kick, reason.clone()).await.expect(204, "");
    assert_eq!(node.thrown_out().await, ThrownOut::Kicked(player));
    let admins = format!("/staff/accounts/{}/kick", admin.account);
    support.call(&node, "POST", &admins, reason).await.expect(403, "forbidden");
    // A second kick has nobody to throw out, and nothing was done to the administrator.
    let log = admin.call(&node, "GET", "/staff/log?limit=2", None).await.expect(200, "").json();
    assert_eq!(actions(&log), ["kick", "end_session"]);
}

#[tokio::test]
async fn a_member_is_told_what_they_may_do_and_others_that_they_are_none() {
    let mut node = node().await;
    let player = node.register("player@example.com").await;
    let (access, _) = node.tokens("player@example.com").await;
    let me = node.call("GET", "/staff/me", &access, None).await.expect(200, "").json();
    assert_eq!(me["permissions"], json!([]));
    assert_eq!((&me["account"], &me["staffed"], me.get("role")), (&player.into(), &false.into(), None));
    let admin = Member::first(&mut node).await;
    let moderator = Member::new(&mut node, "moderator@example.com").await;
    admin.appoint(&node, &moderator, "moderator").await.expect(204, "");
    let me = moderator.call(&node, "GET", "/staff/me", None).await.expect(200, "").json();
    assert_eq!(me["permissions"], json!(["look", "end_sessions", "suspend", "book_debts", "announce"]));
    assert_eq!(
        (&me["role"], &me["second_factor"], &me["staffed"]),
        (&"moderator".into(), &true.into(), &true.into())
    );
}

#[tokio::test]
async fn an_announcement_goes_out_once_and_is_in_the_log() {
    let mut node = node().await;
    let admin = Member::first(&mut node).await;
    let announce = |text: &str, everywhere: bool| Some(json!({ "text": text, "everywhere": everywhere }));
    for text in ["", " ", "a\nb", &"x".repeat(201)] {
        admin
            .call(&node, "POST", "/staff/announcements", announce(text, true))
            .await
            .expect(422, "body_invalid");
    }
    let mut announcements = std::mem::replace(&mut node.announcements, tokio::sync::mpsc::channel(1).1);
    for everywhere in [true, false] {
        let request = admin.call(&node, "POST", "/staff/announcements", announce("soon", everywhere));
        let heard = async {
            let Announcement { text, everywhere: told, answer } = announcements.recv().await.unwrap();
            assert_eq!((text.as_str(), told), ("soon", everywhere));
            answer.send(Ok(())).unwrap();
        };
        let (answer, ()) = tokio::join!(request, heard);
        let reaches = if everywhere { "every_node" } else { "this_node" };
        assert_eq!(answer.expect(200, "").text("reaches"), reaches);
    }
    let log = admin.call(&node, "GET", "/staff/log?action=announce", None).await.expect(200, "").json();
    assert_eq!(log["deeds"][0]["detail"], "to this node: soon");
    assert_eq!(log["deeds"].as_array().unwrap().len(), 2);
    // Nobody takes any: nothing is in the log that was not announced.
    drop(announcements);
    admin.call(&node, "POST", "/staff/announcements", announce("x", true)).await.expect(503, "unavailable");
    let log = admin.call(&node, "GET", "/staff/log?action=announce", None).await.expect(200, "").json();
    assert_eq!(log["deeds"].as_array().unwrap().len(), 2);
}
