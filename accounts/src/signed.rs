//! Calls between servers: signed with a shared key by HTTP Message Signatures (RFC 9421, `hmac-sha256`).
//!
//! One form is taken and no other: method, path, query and the body's digest (RFC 9530) are covered, with when it was signed, a
//! nonce and the key's name. What is old, or was seen before, is refused, so that a copy of a call is worth nothing; which nonces
//! were seen is in the database, and so the same for every node and after a restart. A key may do what the configuration
//! says, and never anything to somebody of the staff.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, Method, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vyuha_store::sql::SqlTransaction;

use crate::problem::{Code, Problem};
use crate::staff::Permission;

/// How far a signature's time may be from ours, either way.
pub const WINDOW_MS: i64 = 5 * 60_000;
/// The shortest secret, in bytes: as many as the sum has.
const SECRET_BYTES_MIN: usize = 32;
/// The longest name of a key, in bytes.
const ID_BYTES_MAX: usize = 64;
/// The length of a nonce, in bytes.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// What is covered, as it is written.
const COVERED: &str = r#"("@method" "@path" "@query" "content-digest")"#;

/// What a signature is in.
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// What it says of itself.
pub(crate) const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The sum of the body.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// A key of another server.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKeyConfig {
    /// Its name: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub id: String,
    /// What both servers know: at least 32 bytes.
    pub secret: String,
    /// What it may do: `look`, `end_sessions`, `suspend`, `book_debts`, `announce`, `read_log`.
    pub permissions: Vec<String>,
}

/// A secret is not to be logged.
impl std::fmt::Debug for ServiceKeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceKeyConfig").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why keys cannot be used as they are set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceKeyError {
    /// The name.
    #[error("{0:?} is no name of a key: use 1 to 64 letters, digits, '-', '_' and '.'")]
    Id(String),
    /// There are two of a name.
    #[error("two keys are called {0}")]
    Twice(String),
    /// The secret is short.
    #[error("the secret of {0} is shorter than {SECRET_BYTES_MIN} bytes: `openssl rand -hex 32` makes one")]
    Secret(String),
    /// There is no such permission.
    #[error(
        "{id} cannot be permitted {permission:?}: there are look, end_sessions, suspend, announce and read_log"
    )]
    Permission {
        /// The key.
        id: String,
        /// What was asked for it.
        permission: String,
    },
}

/// The keys.
#[derive(Default)]
pub struct ServiceKeys {
    by_id: HashMap<String, Key>,
}

struct Key {
    key: hmac::Key,
    permissions: Arc<[Permission]>,
}

/// A call whose signature is right. Whether it was seen before is not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The key's name.
    pub(crate) key: Arc<str>,
    /// What it may do.
    pub(crate) permissions: Arc<[Permission]>,
    nonce: String,
    created_ms: i64,
}

/// What a signature says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Parameters<'h> {
    created_s: i64,
    nonce: &'h str,
    key: &'h str,
}

impl ServiceKeys {
    /// Those of a configuration.
    pub fn new(configs: Vec<ServiceKeyConfig>) -> Result<ServiceKeys, ServiceKeyError> {
        let mut by_id = HashMap::new();
        for ServiceKeyConfig { id, secret, permissions } in configs {
            if !is_word(&id, 1..=ID_BYTES_MAX) {
                return Err(ServiceKeyError::Id(id));
            }
            if secret.len() < SECRET_BYTES_MIN {
                return Err(ServiceKeyError::Secret(id));
            }
            let permission = |name: String| {
                permission(&name)
                    .ok_or_else(|| ServiceKeyError::Permission { id: id.clone(), permission: name })
            };
            let permissions = permissions.into_iter().map(permission).collect::<Result<_, _>>()?;
            let key = Key { key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), permissions };
            if by_id.insert(id.clone(), key).is_some() {
                return Err(ServiceKeyError::Twice(id));
            }
        }
        Ok(ServiceKeys { by_id })
    }

    /// Whose call this is.
    ///
    /// # Errors
    /// [`Code::SignatureInvalid`], [`Code::SignatureStale`].
    pub(crate) fn verify(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: &[u8],
        now_ms: i64,
    ) -> Result<Signed, Problem> {
        let invalid = |why: &'static str| Problem::from(Code::SignatureInvalid).detail(why);
        let one = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(value)
        };
        let input = one(&SIGNATURE_INPUT).ok_or_else(|| invalid("there is not one Signature-Input"))?;
        let (label, input) = input.split_once('=').ok_or_else(|| invalid("Signature-Input has no label"))?;
        let parameters = parse(input).ok_or_else(|| {
            invalid(
                "Signature-Input must cover (\"@method\" \"@path\" \"@query\" \"content-digest\"), with created, nonce, \
                 keyid and alg=\"hmac-sha256\"",
            )
        })?;
        let signature = one(&SIGNATURE).and_then(|signature| binary(signature.strip_prefix(label)?));
        let signature = signature.ok_or_else(|| invalid("there is not one Signature with that label"))?;
        let digest = one(&CONTENT_DIGEST).ok_or_else(|| invalid("there is not one Content-Digest"))?;
        if binary(digest.strip_prefix("sha-256").unwrap_or_default()).as_deref()
            != Some(Sha256::digest(body).as_slice())
        {
            return Err(invalid("Content-Digest is not sha-256=: : with the body's sum"));
        }
        let Key { key, permissions } = self
            .by_id
            .get(parameters.key)
            .ok_or_else(|| invalid("there is no such key, or the signature is wrong"))?;
        let base = format!(
            "\"@method\": {method}\n\"@path\": {}\n\"@query\": ?{}\n\"content-digest\": {digest}\n\
             \"@signature-params\": {input}",
            uri.path(),
            uri.query().unwrap_or_default(),
        );
        hmac::verify(key, base.as_bytes(), &signature)
            .map_err(|_| invalid("there is no such key, or the signature is wrong"))?;
        let created_ms = parameters.created_s.saturating_mul(1000);
        if now_ms.abs_diff(created_ms) > WINDOW_MS.unsigned_abs() {
            let detail = format!("it is {} here", now_ms / 1000);
            return Err(Problem::from(Code::SignatureStale).detail(detail));
        }
        Ok(Signed {
            key: parameters.key.into(),
            permissions: permissions.clone(),
            nonce: parameters.nonce.to_owned(),
            created_ms,
        })
    }
}

/// Takes a call once.
///
/// # Errors
/// [`Code::SignatureReplayed`].
pub(crate) fn take(tx: &mut dyn SqlTransaction, signed: &Signed) -> Result<(), Problem> {
    let taken = tx.execute(
        "INSERT INTO service_nonce (key_id, nonce, expires_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (key_id, nonce) DO NOTHING",
        &[
            signed.key.to_string().into(),
            signed.nonce.clone().into(),
            // From then on its time alone has it refused.
            (signed.created_ms + WINDOW_MS + 1).into(),
        ],
    )?;
    if taken == 1 { Ok(()) } else { Err(Code::SignatureReplayed.into()) }
}

fn permission(name: &str) -> Option<Permission> {
    // Another server appoints nobody.
    let mut known = Permission::ALL.into_iter().filter(|permission| *permission != Permission::Appoint);
    known.find(|permission| permission.as_str() == name)
}

fn parse(input: &str) -> Option<Parameters<'_>> {
    let mut created_s = None;
    let (mut nonce, mut key, mut alg) = (None, None, None);
    let parameters = input.strip_prefix(COVERED)?.strip_prefix(';')?;
    for parameter in parameters.split(';') {
        let (name, value) = parameter.split_once('=')?;
        if name == "created" {
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            if created_s.replace(value.parse().ok().filter(|_| is_number)?).is_some() {
                return None;
            }
            continue;
        }
        let slot = match name {
            "nonce" => &mut nonce,
            "keyid" => &mut key,
            "alg" => &mut alg,
            _ => return None,
        };
        if slot.replace(value.strip_prefix('"')?.strip_suffix('"')?).is_some() {
            return None;
        }
    }
    let nonce = nonce.filter(|nonce| is_word(nonce, NONCE_BYTES))?;
    let key = key.filter(|key| is_word(key, 1..=ID_BYTES_MAX))?;
    (alg == Some("hmac-sha256")).then_some(Parameters { created_s: created_s?, nonce, key })
}

/// What `=:base64:` holds.
fn binary(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix("=:")?.strip_suffix(':')?).ok()
}

fn is_word(text: &str, bytes: std::ops::RangeInclusive<usize>) -> bool {
    bytes.contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_700_000_000_000;
    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn config(id: &str) -> ServiceKeyConfig {
        ServiceKeyConfig { id: id.into(), secret: SECRET.into(), permissions: vec!["look".into()] }
    }

    fn keys() -> ServiceKeys {
        ServiceKeys::new(vec![config("billing")]).unwrap()
    }

    /// A call as it comes in.
    #[derive(Clone)]
    struct Call {
        method: Method,
        uri: Uri,
        headers: Vec<(HeaderName, String)>,
        body: Vec<u8>,
    }

    impl Call {
        fn set(mut self, name: &HeaderName, value: &str) -> Call {
            self.headers.retain(|(known, _)| known != name);
            self.headers.push((name.clone(), value.to_owned()));
            self
        }

        fn get(&self, name: &HeaderName) -> &str {
            &self.headers.iter().find(|(known, _)| known == name).unwrap().1
        }

        fn judge(&self, now_ms: i64) -> Result<Signed, Code> {
            let headers =
                self.headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            let judged = keys().verify(&self.method, &self.uri, &headers, &self.body, now_ms);
            judged.map_err(|problem| problem.code)
        }
    }

    fn input(created_s: i64) -> String {
        format!(r#"{COVERED};created={created_s};nonce="0123456789abcdef";keyid="billing";alg="hmac-sha256""#)
    }

    /// A call signed as RFC 9421 says, put together here in another way than the code above does it.
    fn call(uri: &str, body: &str, input: &str, secret: &str) -> Call {
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)));
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let lines = [
            ("@method", "PUT".to_owned()),
            ("@path", path.to_owned()),
            ("@query", ["?", query].concat()),
            ("content-digest", digest.clone()),
            ("@signature-params", input.to_owned()),
        ];
        let lines = lines.map(|(name, value)| format!("\"{name}\": {value}"));
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, lines.join("\n").as_bytes()));
        let (method, headers) = (Method::PUT, Vec::new());
        let call = Call { method, uri: uri.parse().unwrap(), headers, body: body.as_bytes().to_vec() };
        let call = call.set(&CONTENT_DIGEST, &digest).set(&SIGNATURE_INPUT, &format!("a={input}"));
        call.set(&SIGNATURE, &format!("a=:{signature}:"))
    }

    fn good() -> Call {
        call("/api/v1/staff/accounts/7/suspension?a=b", "{}", &input(NOW_MS / 1000), SECRET)
    }

    #[test]
    fn a_signed_call_is_its_keys() {
        let signed = good().judge(NOW_MS).unwrap();
        assert_eq!((&*signed.key, &*signed.permissions), ("billing", &[Permission::Look][..]));
        assert!(call("/a", "", &input(NOW_MS / 1000), SECRET).judge(NOW_MS).is_ok());
        for (at_ms, expected) in [
            (NOW_MS + WINDOW_MS, Ok(())),
            (NOW_MS - WINDOW_MS, Ok(())),
            (NOW_MS + WINDOW_MS + 1, Err(Code::SignatureStale)),
            (NOW_MS - WINDOW_MS - 1, Err(Code::SignatureStale)),
        ] {
            assert_eq!(good().judge(at_ms).map(drop), expected, "{at_ms}");
        }
    }

    #[test]
    fn whatever_is_changed_shows() {
        #[track_caller]
        fn check(call: &Call) {
            assert_eq!(call.judge(NOW_MS), Err(Code::SignatureInvalid));
        }
        check(&Call { method: Method::DELETE, ..good() });
        check(&Call { uri: "/api/v1/staff/accounts/8/suspension?a=b".parse().unwrap(), ..good() });
        check(&Call { uri: "/api/v1/staff/accounts/7/suspension?a=c".parse().unwrap(), ..good() });
        check(&Call { uri: "/api/v1/staff/accounts/7/suspension".parse().unwrap(), ..good() });
        check(&Call { body: b"{ }".to_vec(), ..good() });
        let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest("{ }")));
        check(&Call { body: b"{ }".to_vec(), ..good() }.set(&CONTENT_DIGEST, &digest));
        for (from, to) in [
            ("created=17", "created=18"),
            ("0123456789abcdef", "0123456789abcdeg"),
            ("billing", "payment"),
            ("hmac-sha256", "hmac-sha512"),
            (" \"content-digest\"", ""),
            (";nonce=\"0123456789abcdef\"", ""),
            ("keyid", "keyi"),
        ] {
            let input = good().get(&SIGNATURE_INPUT).replace(from, to);
            assert_ne!(input, good().get(&SIGNATURE_INPUT), "{from}");
            check(&good().set(&SIGNATURE_INPUT, &input));
            // The same signed anew: what is not covered, or not said, is not taken from anybody.
            let anew = call("/a", "", input.strip_prefix("a=").unwrap(), SECRET);
            assert_eq!(anew.judge(NOW_MS).is_ok(), from.starts_with("0123"), "{from}");
        }
        check(&call("/a", "", &input(NOW_MS / 1000), &SECRET.replace('0', "1")));
        check(&good().set(&SIGNATURE, &good().get(&SIGNATURE).replace("a=", "b=")));
        for text in ["", "a", "a=", "a=::", "a=:!:", "a=:AAAA:"] {
            check(&good().set(&SIGNATURE, text));
            check(&good().set(&CONTENT_DIGEST, text));
            check(&good().set(&SIGNATURE_INPUT, text));
        }
        for name in [SIGNATURE, SIGNATURE_INPUT, CONTENT_DIGEST] {
            let mut twice = good();
            twice.headers.push((name.clone(), twice.get(&name).to_owned()));
            check(&twice);
            let mut without = good();
            without.headers.retain(|(known, _)| *known != name);
            check(&without);
        }
    }

    #[test]
    fn parameters_are_of_one_form() {
        let check = |parameters: &str, good: bool| {
            assert_eq!(parse(&format!("{COVERED}{parameters}")).is_some(), good, "{parameters}");
        };
        let n = r#"nonce="0123456789abcdef""#;
        let (k, a) = (r#"keyid="k""#, r#"alg="hmac-sha256""#);
        check(&format!(";created=1;{n};{k};{a}"), true);
        check(&format!(";{a};{k};{n};created=1"), true);
        check(&format!(";created=1;{n};{k}"), false);
        check(&format!(";created=1;{n};{k};{a};expires=2"), false);
        check(&format!(";created=1;created=1;{n};{k};{a}"), false);
        check(&format!(";created=1;{n};{n};{k};{a}"), false);
        check(&format!(";created=+1;{n};{k};{a}"), false);
        check(&format!(";created=;{n};{k};{a}"), false);
        check(&format!(";created=99999999999999999999;{n};{k};{a}"), false);
        check(&format!(r#";created=1;nonce="short";{k};{a}"#), false);
        check(&format!(r#";created=1;nonce="0123456789abc ef";{k};{a}"#), false);
        check("", false);
    }

    #[test]
    fn a_call_is_taken_once_for_as_long_as_its_time_is_good() {
        with_tx(|tx| {
            let signed = good().judge(NOW_MS).unwrap();
            take(tx, &signed)?;
            assert_eq!(take(tx, &signed).unwrap_err().code, Code::SignatureReplayed);
            take(tx, &Signed { nonce: "another".into(), ..signed.clone() })?;
            take(tx, &Signed { key: "another".into(), ..signed.clone() })?;
            let rows = tx.query("SELECT MIN(expires_ms) FROM service_nonce", &[])?;
            assert_eq!(good().judge(rows[0].int(0)?), Err(Code::SignatureStale));
            Ok(())
        });
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |configs: Vec<ServiceKeyConfig>, good: bool| {
            assert_eq!(ServiceKeys::new(configs.clone()).is_ok(), good, "{configs:?}");
        };
        check(vec![], true);
        check(vec![config("a"), config("b")], true);
        check(vec![config("a"), config("a")], false);
        check(vec![config("")], false);
        check(vec![config("a b")], false);
        check(vec![ServiceKeyConfig { secret: "x".repeat(31), ..config("a") }], false);
        check(vec![ServiceKeyConfig { permissions: vec!["appoint".into()], ..config("a") }], false);
        assert!(!format!("{:?}", config("a")).contains(SECRET));
    }

    proptest! {
        #[test]
        fn no_header_that_is_made_up_is_taken(input in "[ -~]{0,200}", signature in "[ -~]{0,100}") {
            let (input, signature) = (format!("a={COVERED}{input}"), format!("a=:{signature}:"));
            let call = good().set(&SIGNATURE_INPUT, &input).set(&SIGNATURE, &signature);
            prop_assert_eq!(call.judge(NOW_MS), Err(Code::SignatureInvalid));
        }
    }
}
