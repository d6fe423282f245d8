//! Access tokens: JWTs (RFC 9068) signed with Ed25519, or with RSA for those who cannot verify that.
//!
//! The algorithm is the key's, which is ours: a token that names another than the key that it names, or none, is refused before
//! anything else of it is read. There is no key that verifies by two algorithms, and none that is shared.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ED25519, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use rsa::pkcs8::EncodePrivateKey as _;
use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};
use crate::secret::random;

/// How long an access token is good.
pub const ACCESS_MS: i64 = 15 * 60_000;
/// How far two machines' clocks may be apart.
const SKEW_S: i64 = 30;
/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 2048;
/// Whom our tokens are for.
pub const AUDIENCE: &str = "vyuha";

const TYPE: &str = "at+jwt";
/// The length of RSA keys.
const RSA_BITS: usize = 2048;

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519: keys, tokens and work are small.
    EdDsa,
    /// RSA with PKCS #1 v1.5 and SHA-256: everybody verifies it.
    Rs256,
}

impl Algorithm {
    /// Each of them.
    pub const ALL: [Algorithm; 2] = [Algorithm::EdDsa, Algorithm::Rs256];

    /// Its name in tokens (RFC 7518, RFC 8037).
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Rs256 => "RS256",
        }
    }

    /// The algorithm of a name.
    pub fn parse(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// A new private key, as [`SigningKey::new`] takes it. An RSA key takes a good part of a second.
    pub fn generate(self) -> Result<Vec<u8>, Problem> {
        if self == Algorithm::EdDsa {
            return Ok(random::<32>()?.to_vec());
        }
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).map_err(|error| {
            tracing::error!(%error, "a signing key cannot be made");
            Problem::from(Code::Internal)
        })?;
        let document = key.to_pkcs8_der().expect("a key that was just made is a key");
        Ok(document.as_bytes().to_vec())
    }
}

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

impl Claims {
    /// Whether whoever signed them said that they are good, for us and at this time.
    pub fn are_good(&self, issuer: &str, now_ms: i64) -> bool {
        let now_s = now_ms / 1000;
        self.iss == issuer
            && self.aud == AUDIENCE
            && self.iat <= now_s.saturating_add(SKEW_S)
            && self.exp > now_s
    }
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
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// The public half of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519.
    Ed25519 {
        /// 32 bytes.
        x: Vec<u8>,
    },
    /// RSA.
    Rsa {
        /// The modulus, its highest byte first.
        n: Vec<u8>,
        /// The exponent, its highest byte first.
        e: Vec<u8>,
    },
}

impl SigningKey {
    /// The key of a private one: a seed of 32 bytes, or a PKCS #8 document with an RSA key.
    pub fn new(kid: String, algorithm: Algorithm, private: &[u8]) -> Result<SigningKey, TokenError> {
        let pair = match algorithm {
            Algorithm::EdDsa => {
                Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(private).map_err(|_| TokenError)?)
            }
            Algorithm::Rs256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(private).map_err(|_| TokenError)?)),
        };
        Ok(SigningKey { kid, pair })
    }

    /// The one algorithm that it is for.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Ed25519(_) => Algorithm::EdDsa,
            Pair::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match &self.pair {
            Pair::Ed25519(pair) => PublicKey::Ed25519 { x: pair.public_key().as_ref().to_vec() },
            Pair::Rsa(pair) => {
                let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                PublicKey::Rsa { n: key.n, e: key.e }
            }
        }
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header { alg: self.algorithm().as_str(), typ: TYPE, kid: &self.kid };
        let mut token = format!("{}.{}", encode(&header), encode(claims));
        let signature = self.signature(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    fn signature(&self, signed: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(signed).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature)
                    .expect("the signature has the modulus' length");
                signature
            }
        }
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), TokenError> {
        match &self.pair {
            Pair::Ed25519(pair) => {
                UnparsedPublicKey::new(&ED25519, pair.public_key()).verify(signed, signature)
            }
            Pair::Rsa(pair) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public()).verify(signed, signature)
            }
        }
        .map_err(|_| TokenError)
    }
}

/// Verifies a token of `issuer` at a time, with the key that `find` has under the token's key id.
pub fn verify<'k>(
    token: &str,
    issuer: &str,
    now_ms: i64,
    find: impl FnOnce(&str) -> Option<&'k SigningKey>,
) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenError)?;
    let key = find(header.kid).ok_or(TokenError)?;
    if header.alg != key.algorithm().as_str() || header.typ != TYPE {
        return Err(TokenError);
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError)?;
    key.verify(signed.as_bytes(), &signature)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenError)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenError)?;
    if claims.are_good(issuer, now_ms) { Ok(claims) } else { Err(TokenError) }
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("texts and numbers are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    const NOW_MS: i64 = 1_000_000_000;

    fn key() -> SigningKey {
        SigningKey::new("k1".into(), Algorithm::EdDsa, &[7; 32]).unwrap()
    }

    /// One for all tests: it takes a while to make.
    fn rsa_key() -> &'static SigningKey {
        static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
            let private = Algorithm::Rs256.generate().unwrap();
            SigningKey::new("k2".into(), Algorithm::Rs256, &private).unwrap()
        });
        &KEY
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
        let keys = [&key(), rsa_key()];
        verify(token, "here", now_ms, |kid| keys.into_iter().find(|key| key.kid == kid))
    }

    /// A token of any header and claims, signed by any key.
    fn made(header: &str, claims: &str, key: &SigningKey) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.signature(signed.as_bytes()));
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
        let other = SigningKey::new("k1".into(), Algorithm::EdDsa, &[8; 32]).unwrap();
        assert_eq!(judge(&made(good, &body, &other), NOW_MS), Err(TokenError), "another's key");
        for header in [
            r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"RS256","typ":"at+jwt","kid":"k2"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k2"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k3"}"#,
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

    #[test]
    fn an_rsa_key_signs_by_its_own_algorithm_and_no_other() {
        let token = rsa_key().sign(&claims());
        assert_eq!(judge(&token, NOW_MS), Ok(claims()));
        let body = serde_json::to_string(&claims()).unwrap();
        let (signed, _) = token.rsplit_once('.').unwrap();
        for alg in ["EdDSA", "HS256", "none", "RS512", "PS256", "rs256"] {
            let header = format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"k2"}}"#);
            assert_eq!(judge(&made(&header, &body, rsa_key()), NOW_MS), Err(TokenError), "{alg}");
            assert_eq!(judge(&made(&header, &body, &key()), NOW_MS), Err(TokenError), "{alg}");
        }
        // The public key, which everybody has, as a shared secret: the oldest of all forgeries.
        let PublicKey::Rsa { n, e } = rsa_key().public() else { panic!("that is no RSA key") };
        for secret in [n.clone(), [n, e].concat()] {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"at+jwt","kid":"k2"}"#);
            let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(&body));
            let shared = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
            let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&shared, signed.as_bytes()));
            assert_eq!(judge(&format!("{signed}.{tag}"), NOW_MS), Err(TokenError));
        }
        assert_eq!(judge(&format!("{signed}."), NOW_MS), Err(TokenError));
        assert!(SigningKey::new("k".into(), Algorithm::Rs256, &[7; 32]).is_err());
        assert!(SigningKey::new("k".into(), Algorithm::EdDsa, &[7; 31]).is_err());
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
