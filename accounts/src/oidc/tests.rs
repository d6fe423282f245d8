use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A provider whose word on addresses is away: how often it was asked for it, and where it is.
async fn provider(secrets: &FlowSecrets) -> (Arc<AtomicU32>, Providers) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": issuer, "sub": "asha", "aud": "vyuha", "iat": 0, "exp": 3600, "nonce": secrets.nonce
    });
    let signed = format!("{}.{}", part(json!({ "alg": "EdDSA", "kid": "k" })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    let tokens = json!({
        "access_token": "a", "token_type": "Bearer", "id_token": format!("{signed}.{signature}")
    });
    let document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    });
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    let keys = json!({
        "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "alg": "EdDSA", "use": "sig", "x": x }]
    });
    let answer = |body: Value| async move || Json(body.clone());
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let userinfo = async move || {
        count.fetch_add(1, Ordering::Relaxed);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let routes = Router::new()
        .route("/.well-known/openid-configuration", get(answer(document)))
        .route("/keys", get(answer(keys)))
        .route("/token", post(answer(tokens)))
        .route("/userinfo", get(userinfo));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let config = ProviderConfig {
        name: "example".into(),
        title: "Example".into(),
        issuer,
        client_id: "vyuha".into(),
        client_secret: None,
        redirect_uris: vec!["https://play.example.com/signed-in".into()],
        trust_email: true,
    };
    (asked, Providers::new(vec![config]).unwrap())
}

#[tokio::test]
async fn an_address_is_asked_for_only_where_it_would_count() {
    let secrets = FlowSecrets::of("vyo_a");
    let (asked, providers) = provider(&secrets).await;
    let provider = providers.named("example").unwrap();
    let (back, throttle) = (&provider.config.redirect_uris[0], Throttle::default());
    for asks_email in [false, true] {
        let url = provider.authorization_url(&secrets, back, asks_email, 0).await.unwrap();
        assert_eq!(url.contains("email"), asks_email, "{url}");
    }
    let proven = provider.prove(&secrets, back, "x".into(), false, &throttle, 0).await.unwrap();
    assert_eq!((proven.subject.as_str(), proven.email), ("asha", None));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let away = provider.prove(&secrets, back, "x".into(), true, &throttle, 0).await.unwrap_err();
    assert_eq!((away.code, asked.load(Ordering::Relaxed)), (Code::ProviderUnavailable, 1));
}

#[test]
fn what_belongs_to_one_sign_in_is_of_no_use_in_another() {
    let (one, other) = (FlowSecrets::of("vyo_a"), FlowSecrets::of("vyo_b"));
    assert!(one.is_state(&FlowSecrets::of("vyo_a").state));
    assert!(!one.is_state(&other.state) && !one.is_state("") && !one.is_state(&one.nonce));
    let mut all = vec![one.state, one.nonce, one.verifier, other.state, other.nonce, other.verifier];
    // What RFC 7636 asks of a verifier.
    assert!(all.iter().all(|text| text.len() == 43));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn an_address_counts_once_it_is_verified() {
    let check = |email: Option<&str>, is_verified: Option<bool>, expected: Option<&str>| {
        let found = verified(email, is_verified);
        assert_eq!(found.as_ref().map(Email::as_str), expected, "{email:?} {is_verified:?}");
    };
    check(Some("Asha@example.com"), Some(true), Some("asha@example.com"));
    check(Some("asha@example.com"), Some(false), None);
    check(Some("asha@example.com"), None, None);
    check(Some("asha"), Some(true), None);
    check(None, Some(true), None);
}
