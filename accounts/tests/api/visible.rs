//! What can be seen from outside: the document, its page, and the keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::client::{DOCUMENT, Request};
use crate::node::{EMAIL, Node};

#[test]
fn the_document_is_openapi_3_1_and_describes_every_operation() {
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1"), "{}", DOCUMENT["openapi"]);
    let mut names = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            for field in ["summary", "operationId", "tags"] {
                assert!(operation.get(field).is_some(), "{at} has no {field}");
            }
            names.push(operation["operationId"].as_str().unwrap());
            for (status, response) in operation["responses"].as_object().unwrap() {
                let is_problem = response["content"].get("application/problem+json").is_some();
                assert_eq!(is_problem, status.as_str() >= "400", "{at}: {status}");
            }
            let wants_token = ["/api/v1/me", "/api/v1/staff/", "/api/v1/tickets"];
            let wants_token =
                wants_token.iter().any(|own| path.starts_with(own)) || at == "delete /api/v1/browser-session";
            assert_eq!(operation.get("security").is_some(), wants_token, "{at}");
        }
    }
    let number = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), number);
    let schemes = &DOCUMENT["components"]["securitySchemes"];
    assert_eq!(schemes["access_token"]["scheme"], "bearer");
    assert_eq!(schemes["browser_session"]["name"], "__Host-vyuha");
    references_exist(&DOCUMENT);
}

fn references_exist(value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(DOCUMENT.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            fields.values().for_each(references_exist);
        }
        Value::Array(values) => values.iter().for_each(references_exist),
        _ => {}
    }
}

/// The other half of the check that every test makes of every answer.
#[tokio::test]
async fn every_documented_operation_is_there_and_no_other_method_is() {
    let node = Node::start().await;
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let at = path
            .replace("{session}", "x")
            .replace("{account}", "x")
            .replace("{provider}", "x")
            .replace("{ban}", "x")
            .replace("{appeal}", "x");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let answer = node.send(Request::new(method, &at)).await;
            let documented = item.get(method.to_lowercase()).is_some();
            assert_eq!(answer.status != 405, documented, "{method} {path}: {}", answer.status);
            assert_ne!(answer.status, 404, "{method} {path}");
        }
    }
    let served = Request::new("GET", "/api/v1/openapi.json").send_raw(node.address).await;
    assert_eq!(served.json(), *DOCUMENT);
}

#[tokio::test]
async fn the_page_of_the_document_needs_nothing_from_elsewhere() {
    let node = Node::start().await;
    let page = Request::new("GET", "/api/docs/").send_raw(node.address).await;
    assert_eq!(page.status, 200);
    let html = String::from_utf8(page.body).unwrap();
    let sources = html
        .split(['"', '\''])
        .filter(|word| word.rsplit_once('.').is_some_and(|(_, ending)| matches!(ending, "js" | "css")));
    let sources: Vec<&str> = sources.collect();
    assert!(sources.len() >= 3, "{html}");
    for source in sources {
        assert!(!source.contains("//"), "{source}");
        let path = format!("/api/docs/{}", source.trim_start_matches("./"));
        assert_eq!(Request::new("GET", &path).send_raw(node.address).await.status, 200, "{path}");
    }
    assert!(!html.contains("<script>"), "the page's own scripts are refused by its policy");
    assert!(page.headers["content-security-policy"].contains("script-src 'self'"));
}

#[tokio::test]
async fn access_tokens_can_be_verified_with_the_published_keys() {
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    let keys = node.send(Request::new("GET", "/.well-known/jwks.json")).await.expect(200, "").json();
    let key = &keys["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"]), (&"OKP".into(), &"Ed25519".into(), &"EdDSA".into()));
    let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let (signed, signature) = access.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public);
    public.verify(signed.as_bytes(), &signature).unwrap();
    let header = URL_SAFE_NO_PAD.decode(signed.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["kid"], key["kid"]);
}

#[tokio::test]
async fn keys_turn_and_old_tokens_stay_good_for_their_time() {
    const DAY_MS: i64 = 24 * 60 * 60_000;
    let mut node = Node::start().await;
    node.register(EMAIL).await;
    let kids = async || {
        let keys = node.send(Request::new("GET", "/.well-known/jwks.json")).await.json();
        keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].to_string()).collect::<Vec<_>>()
    };
    let first = kids().await;
    node.wait_ms(29 * DAY_MS);
    node.service.tidy().await.unwrap();
    let both = kids().await;
    assert_eq!((first.len(), both.len(), &both[0]), (1, 2, &first[0]));
    let (old, _) = node.tokens(EMAIL).await;
    node.wait_ms(DAY_MS - 60_000);
    node.service.tidy().await.unwrap();
    let (before, _) = node.tokens(EMAIL).await;
    node.wait_ms(60_000);
    node.service.tidy().await.unwrap();
    let (after, _) = node.tokens(EMAIL).await;
    let head = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_eq!(head(&old), head(&before));
    assert_ne!(head(&before), head(&after));
    node.call("GET", "/me", &before, None).await.expect(200, "");
    node.call("GET", "/me", &after, None).await.expect(200, "");
    node.wait_ms(DAY_MS);
    node.service.tidy().await.unwrap();
    assert_eq!(kids().await, both[1..]);
}
