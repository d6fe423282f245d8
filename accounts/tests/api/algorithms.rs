//! Access tokens by RS256: for whoever verifies nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::Value;
use vyuha_accounts::jwt::Algorithm;
use vyuha_store::sql::SqlError;

use crate::client::Request;
use crate::node::{CHEAP, EMAIL, Node, config};

const DAY_MS: i64 = 24 * 60 * 60_000;

fn decoded(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

fn algorithm(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["alg"].as_str().unwrap().to_owned()
}

async fn keys(node: &Node) -> Vec<Value> {
    let keys = node.send(Request::new("GET", "/.well-known/jwks.json")).await.expect(200, "").json();
    keys["keys"].as_array().unwrap().clone()
}

#[tokio::test]
async fn tokens_can_be_verified_with_the_published_rsa_key() {
    let mut node = Node::with(|config| config.algorithm = Algorithm::Rs256).await;
    node.register(EMAIL).await;
    let (access, _) = node.tokens(EMAIL).await;
    assert_eq!(algorithm(&access), "RS256");
    let [key] = &keys(&node).await[..] else { panic!("one key") };
    assert_eq!((&key["kty"], &key["alg"], key.get("crv")), (&"RSA".into(), &"RS256".into(), None));
    let (signed, signature) = access.rsplit_once('.').unwrap();
    let public = RsaPublicKeyComponents { n: decoded(&key["n"]), e: decoded(&key["e"]) };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
    node.call("GET", "/me", &access, None).await.expect(200, "");
    // The same claims under another algorithm's name.
    let (_, rest) = access.split_once('.').unwrap();
    for alg in ["none", "HS256", "EdDSA"] {
        let header = format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":{}}}"#, key["kid"]);
        let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
        node.call("GET", "/me", &forged, None).await.expect(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_change_of_algorithm_is_published_for_a_day_before_it_signs() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = Node::open(folder.path(), config(), CHEAP).await;
    before.register(EMAIL).await;
    let (old, _) = before.tokens(EMAIL).await;
    let age = "UPDATE signing_key SET created_ms = created_ms - 1";
    before.sql.transaction(move |tx| Ok::<_, SqlError>(tx.execute(age, &[])?)).await.unwrap();
    let mut changed = config();
    changed.algorithm = Algorithm::Rs256;
    let after = Node::open(folder.path(), changed, CHEAP).await;
    let algorithms = |keys: Vec<Value>| keys.iter().map(|key| key["alg"].to_string()).collect::<Vec<_>>();
    assert_eq!(algorithms(keys(&after).await), ["\"EdDSA\"", "\"RS256\""]);
    after.call("GET", "/me", &old, None).await.expect(200, "");
    assert_eq!(algorithm(&after.tokens(EMAIL).await.0), "EdDSA");
    after.wait_ms(DAY_MS);
    after.service.tidy().await.unwrap();
    let (new, _) = after.tokens(EMAIL).await;
    assert_eq!(algorithm(&new), "RS256");
    after.wait_ms(DAY_MS);
    after.service.tidy().await.unwrap();
    assert_eq!(algorithms(keys(&after).await), ["\"RS256\""]);
}
