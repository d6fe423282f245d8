//! Access tokens: JWTs (RFC 9068) signed with Ed25519.
//!
//! The algorithm is ours to say: a token that names another, or none, is refused before anything else of it is read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// How long an access token is good.
pub const ACCESS_MS: i64 = 15 * 60_000;
/// How far two machines' clocks may be apart.
const SKEW_S: i64 = 30;
/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 2048;
/// Whom our tokens are for.
pub const AUDIENCE: &str = "vyuha";

const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "at+jwt";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The account's number.
    pub sub: String,
    /// The session that it belongs to.
    pub sid: String,
    /// When it was made, seconds since 1970 UTC.
    pub iat: i64,
    /// Until when it is good, seconds since 1970 UTC.
    pub exp: i64,
}

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

/// A token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access token is not good")]
pub struct TokenError;

/// A key that tokens are signed with.
pub struct SigningKey {
    /// Its name.
    pub kid: String,
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// The key of a 32-byte seed.
    pub fn from_seed(kid: String, seed: &[u8]) -> Result<SigningKey, TokenError> {
        Ok(SigningKey { kid, pair: Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| TokenError)? })
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header { alg: ALGORITHM, typ: TYPE, kid: &self.kid };
        let mut token = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }
}

/// Verifies a token of `issuer` at a time, with the public key that `find` has under the token's key id.
pub fn verify<'k>(
    token: &str,
    issuer: &str,
    now_ms: i64,
    find: impl FnOnce(&str) -> Option<&'k [u8]>,
) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError)?;
    if header.alg != ALGORITHM || header.typ != TYPE {
        return Err(TokenError);
    }
    let public = find(header.kid).ok_or(TokenError)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError)?;
    UnparsedPublicKey::new(&ED25519, public).verify(signed.as_bytes(), &signature).map_err(|_| TokenError)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError)?;
    let now_s = now_ms / 1000;
    let good = claims.iss == issuer
        && claims.aud == AUDIENCE
        && claims.iat <= now_s.saturating_add(SKEW_S)
        && claims.exp > now_s;
    if good { Ok(claims) } else { Err(TokenError) }
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("texts and numbers are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_000_000_000;

    fn key() -> SigningKey {
        SigningKey::from_seed("k1".into(), &[7; 32]).unwrap()
    }

    fn claims() -> Claims {
        let now_s = NOW_MS / 1000;
        Claims {
            iss: "here".into(),
            aud: AUDIENCE.into(),
            sub: "7".into(),
            sid: "s".into(),
            iat: now_s,
            exp: now_s + ACCESS_MS / 1000,
        }
    }

    fn judge(token: &str, now_ms: i64) -> Result<Claims, TokenError> {
        let key = key();
        verify(token, "here", now_ms, |kid| (kid == "k1").then(|| key.public()))
    }

    /// A token of any header and claims, signed by any key.
    fn made(header: &str, claims: &str, key: &SigningKey) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    #[test]
    fn a_token_is_good_for_its_time() {
        let token = key().sign(&claims());
        assert_eq!(judge(&token, NOW_MS), Ok(claims()));
        assert_eq!(judge(&token, NOW_MS + ACCESS_MS - 1000), Ok(claims()));
        assert_eq!(judge(&token, NOW_MS + ACCESS_MS), Err(TokenError));
        assert_eq!(judge(&token, NOW_MS - 30_000), Ok(claims()));
        assert_eq!(judge(&token, NOW_MS - 31_000), Err(TokenError));
    }

    #[test]
    fn forged_tokens_are_refused() {
        let good = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#;
        let body = serde_json::to_string(&claims()).unwrap();
        assert!(judge(&made(good, &body, &key()), NOW_MS).is_ok());
        let other = SigningKey::from_seed("k1".into(), &[8; 32]).unwrap();
        assert_eq!(judge(&made(good, &body, &other), NOW_MS), Err(TokenError), "another's key");
        for header in [
            r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k2"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
            "[]",
            "",
        ] {
            assert_eq!(judge(&made(header, &body, &key()), NOW_MS), Err(TokenError), "{header}");
        }
        let unsigned = made(r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#, &body, &key());
        let unsigned = unsigned.rsplit_once('.').unwrap().0;
        assert_eq!(judge(&format!("{unsigned}."), NOW_MS), Err(TokenError));
        for (from, to) in [("\"here\"", "\"there\""), ("\"vyuha\"", "\"other\""), ("\"sid\"", "\"x\"")] {
            let changed = body.replace(from, to);
            assert_ne!(changed, body);
            assert_eq!(judge(&made(good, &changed, &key()), NOW_MS), Err(TokenError), "{changed}");
        }
        for text in ["", ".", "..", "...", "a.b.c", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(judge(text, NOW_MS), Err(TokenError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn one_byte_changed_is_enough(at: prop::sample::Index, byte in 33u8..127) {
            let mut token = key().sign(&claims()).into_bytes();
            let at = at.index(token.len());
            prop_assume!(token[at] != byte);
            token[at] = byte;
            prop_assert_eq!(judge(std::str::from_utf8(&token).unwrap(), NOW_MS), Err(TokenError));
        }
    }
}
