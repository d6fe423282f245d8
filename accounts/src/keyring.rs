//! The keys that access tokens are signed with: made, published, used and put away in turn.
//!
//! A key is published for a day before it signs, so that whoever keeps a copy of the key set has it, and for a day after it
//! stopped, far longer than any token that it signed. Where the algorithm was changed, the same holds: the next key is of the
//! new one, and signs a day later.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use utoipa::ToSchema;
use vyuha_store::sql::SqlTransaction;

use crate::jwt::{ACCESS_MS, Algorithm, Claims, PublicKey, SigningKey, TokenError, verify};
use crate::problem::{Code, Problem};
use crate::secret::random_id;
use crate::vault::Vault;

const DAY_MS: i64 = 24 * 60 * 60_000;
/// How long a key signs.
pub const SIGNS_MS: i64 = 30 * DAY_MS;
/// How long it is published before and after.
pub const PUBLISHED_MS: i64 = DAY_MS;
const _: () = assert!(PUBLISHED_MS > 2 * ACCESS_MS);

/// The keys in use.
#[derive(Default)]
pub struct Keyring {
    keys: RwLock<Arc<Vec<Dated>>>,
}

struct Dated {
    created_ms: i64,
    key: SigningKey,
}

/// What is to be done with keys of these ages.
#[derive(Debug, PartialEq, Eq)]
struct Turn {
    /// Whether a new one is due.
    make: bool,
    /// Those made before this time are put away.
    forget_before_ms: i64,
}

/// A public key as a JWK (RFC 7517, RFC 8037).
#[derive(Debug, Serialize, ToSchema)]
pub struct Jwk {
    /// `OKP` or `RSA`.
    kty: &'static str,
    /// `EdDSA` or `RS256`.
    alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    usage: &'static str,
    /// The key's name, as tokens say it.
    kid: String,
    /// `Ed25519`, of an OKP key.
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    /// The public key of an OKP key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    /// The modulus of an RSA key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    /// The exponent of an RSA key, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

/// The public keys that tokens may be signed with (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

impl Keyring {
    /// Whether a new key, by `algorithm`, is due.
    pub fn is_due(tx: &mut dyn SqlTransaction, algorithm: Algorithm, now_ms: i64) -> Result<bool, Problem> {
        Ok(look(tx, algorithm, now_ms)?.make)
    }

    /// Loads the keys, takes `fresh` for the new one where one is due still, and forgets those that no token can be signed with
    /// any more. `fresh` is a private key of `algorithm`: making one takes too long for a transaction.
    pub fn turn(
        tx: &mut dyn SqlTransaction,
        vault: &Vault,
        algorithm: Algorithm,
        fresh: Option<&[u8]>,
        now_ms: i64,
    ) -> Result<Keyring, Problem> {
        let Turn { make, forget_before_ms } = look(tx, algorithm, now_ms)?;
        if let Some(fresh) = fresh.filter(|_| make) {
            let kid = random_id()?;
            let secret = vault.seal(&place(&kid), fresh)?;
            let sql = "INSERT INTO signing_key (kid, secret, created_ms, algorithm) VALUES (?1, ?2, ?3, ?4)";
            tx.execute(sql, &[kid.into(), secret.into(), now_ms.into(), algorithm.as_str().into()])?;
        }
        tx.execute("DELETE FROM signing_key WHERE created_ms < ?1", &[forget_before_ms.into()])?;
        let mut keys = Vec::new();
        let sql = "SELECT kid, secret, created_ms, algorithm FROM signing_key ORDER BY created_ms, kid";
        for row in tx.query(sql, &[])? {
            let (kid, secret, created_ms) = (row.text(0)?, row.text(1)?, row.int(2)?);
            let unusable = |error: &dyn std::fmt::Display| {
                tracing::error!(%error, kid, "a signing key cannot be used");
                Problem::from(Code::Internal)
            };
            let opened = vault.unseal(&place(&kid), &secret).map_err(|error| unusable(&error))?;
            let name = row.text(3)?;
            let algorithm = Algorithm::parse(&name).ok_or_else(|| unusable(&name))?;
            let key = SigningKey::new(kid.clone(), algorithm, &opened).map_err(|error| unusable(&error))?;
            keys.push(Dated { created_ms, key });
        }
        Ok(Keyring { keys: RwLock::new(Arc::new(keys)) })
    }

    /// Uses the keys of another from now on.
    pub fn replace(&self, other: Keyring) {
        let keys = other.keys.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Signs claims; `None` before there is a key.
    pub fn sign(&self, claims: &Claims, now_ms: i64) -> Option<String> {
        let keys = self.keys();
        let created: Vec<i64> = keys.iter().map(|key| key.created_ms).collect();
        Some(keys[signer(&created, now_ms)?].key.sign(claims))
    }

    /// Verifies a token.
    pub fn verify(&self, token: &str, issuer: &str, now_ms: i64) -> Result<Claims, TokenError> {
        let keys = self.keys();
        verify(token, issuer, now_ms, |kid| keys.iter().map(|dated| &dated.key).find(|key| key.kid == kid))
    }

    /// The public keys.
    pub fn public(&self) -> JwkSet {
        let jwk = |dated: &Dated| {
            let (kid, alg) = (dated.key.kid.clone(), dated.key.algorithm().as_str());
            let text = |bytes: Vec<u8>| Some(URL_SAFE_NO_PAD.encode(bytes));
            let (crv, x, n, e) = (None, None, None, None);
            let rest = Jwk { kty: "RSA", alg, usage: "sig", kid, crv, x, n, e };
            match dated.key.public() {
                PublicKey::Ed25519 { x } => Jwk { kty: "OKP", crv: Some("Ed25519"), x: text(x), ..rest },
                PublicKey::Rsa { n, e } => Jwk { n: text(n), e: text(e), ..rest },
            }
        };
        JwkSet { keys: self.keys().iter().map(jwk).collect() }
    }

    fn keys(&self) -> Arc<Vec<Dated>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is to be done with the keys that there are.
fn look(tx: &mut dyn SqlTransaction, algorithm: Algorithm, now_ms: i64) -> Result<Turn, Problem> {
    let rows = tx.query("SELECT created_ms, algorithm FROM signing_key ORDER BY created_ms, kid", &[])?;
    let created = rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>, _>>()?;
    let newest = rows.last().map(|row| row.text(1)).transpose()?;
    let Turn { make, forget_before_ms } = turn(&created, now_ms);
    let is_other = newest.is_some_and(|newest| newest != algorithm.as_str());
    Ok(Turn { make: make || is_other, forget_before_ms })
}

fn place(kid: &str) -> String {
    format!("signing_key {kid}")
}

/// Which of the keys made at these times, in order, signs: the newest that has been published for long enough, or the oldest.
fn signer(created_ms: &[i64], now_ms: i64) -> Option<usize> {
    let published = created_ms.iter().rposition(|created| now_ms - created >= PUBLISHED_MS);
    published.or_else(|| (!created_ms.is_empty()).then_some(0))
}

fn turn(created_ms: &[i64], now_ms: i64) -> Turn {
    let newest = created_ms.last().copied();
    // The next one is made so early that it can sign when its turn comes.
    let make = newest.is_none_or(|newest| now_ms - newest >= SIGNS_MS - PUBLISHED_MS);
    // A key signs until the next one has been published for long enough.
    let stopped = |pair: &[i64]| now_ms - (pair[1] + PUBLISHED_MS) >= PUBLISHED_MS;
    let forget_before_ms =
        created_ms.windows(2).filter(|pair| stopped(pair)).map(|pair| pair[1]).max().unwrap_or(i64::MIN);
    Turn { make, forget_before_ms }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with_tx;

    #[test]
    fn a_key_is_made_when_it_is_due() {
        let check = |created: &[i64], now_ms: i64, make: bool, forget_before_ms: i64| {
            assert_eq!(turn(created, now_ms), Turn { make, forget_before_ms }, "{created:?} at {now_ms}");
        };
        check(&[], 0, true, i64::MIN);
        check(&[0], 1, false, i64::MIN);
        check(&[0], 29 * DAY_MS - 1, false, i64::MIN);
        check(&[0], 29 * DAY_MS, true, i64::MIN);
        check(&[0, 29 * DAY_MS], 30 * DAY_MS, false, i64::MIN);
        check(&[0, 29 * DAY_MS], 31 * DAY_MS - 1, false, i64::MIN);
        check(&[0, 29 * DAY_MS], 31 * DAY_MS, false, 29 * DAY_MS);
        // The node was off for a year.
        check(&[0], 365 * DAY_MS, true, i64::MIN);
    }

    #[test]
    fn a_key_that_was_made_beforehand_is_taken_where_one_is_due_still() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        with_tx(|tx| {
            let algorithm = Algorithm::EdDsa;
            let count = |keys: Keyring| keys.public().keys.len();
            assert!(Keyring::is_due(tx, algorithm, 0)?);
            assert_eq!(count(Keyring::turn(tx, &vault, algorithm, None, 0)?), 0, "none is made here");
            let (one, other) = (algorithm.generate()?, algorithm.generate()?);
            assert_eq!(count(Keyring::turn(tx, &vault, algorithm, Some(&one), 0)?), 1);
            // Another node was first.
            assert!(!Keyring::is_due(tx, algorithm, 1)?);
            assert_eq!(count(Keyring::turn(tx, &vault, algorithm, Some(&other), 1)?), 1);
            assert!(Keyring::is_due(tx, Algorithm::Rs256, 1)?);
            Ok(())
        });
    }

    #[test]
    fn a_key_signs_once_it_was_published_long_enough() {
        let check = |created: &[i64], now_ms: i64, index: Option<usize>| {
            assert_eq!(signer(created, now_ms), index, "{created:?} at {now_ms}");
        };
        check(&[], 0, None);
        check(&[0], 0, Some(0));
        check(&[0, 29 * DAY_MS], 29 * DAY_MS, Some(0));
        check(&[0, 29 * DAY_MS], 30 * DAY_MS - 1, Some(0));
        check(&[0, 29 * DAY_MS], 30 * DAY_MS, Some(1));
    }

    /// Day by day for a year: every token can be verified for as long as it is good, by whoever fetched the keys within a day.
    #[test]
    fn every_token_is_verifiable_by_a_copy_of_the_key_set_that_is_a_day_old() {
        let hour = DAY_MS / 24;
        let (mut created, mut history) = (Vec::<i64>::new(), Vec::<Vec<i64>>::new());
        for step in 0..24 * 365 {
            let now_ms = step * hour;
            let Turn { make, forget_before_ms } = turn(&created, now_ms);
            if make {
                created.push(now_ms);
            }
            created.retain(|created| *created >= forget_before_ms);
            assert!((1..=3).contains(&created.len()));
            let signs = created[signer(&created, now_ms).unwrap()];
            assert!(now_ms - signs <= SIGNS_MS + DAY_MS);
            history.push(created.clone());
            if let Some(copy) = history.len().checked_sub(25) {
                assert!(copy < 24 || history[copy].contains(&signs), "{signs} is new at {now_ms}");
            }
            if let Some(last) = history.len().checked_sub(2) {
                let signed = history[last][signer(&history[last], now_ms - hour).unwrap()];
                assert!(created.contains(&signed), "{signed} was put away at {now_ms}");
            }
        }
    }
}
