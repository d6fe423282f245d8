//! Sessions of pages in a browser: a cookie in place of tokens that a script could read, and proof that a page of ours asks.
//!
//! The cookie is `HttpOnly` and `SameSite=Strict`; where the site speaks TLS it is `Secure` as well and its name begins with
//! `__Host-`, so that no other host of the domain can set it. What is sent along unasked proves nothing of who asked: every
//! write that a cookie vouches for needs an `Origin` of ours (the site's own, or one of the configuration), which a browser
//! sends with every write and no page can choose. Reading changes nothing, and no other origin may read an answer.
//!
//! The database is asked each time, so that a session that was ended is over at once.

use axum::http::{HeaderMap, HeaderValue, Method, header};
use vyuha_store::sql::SqlTransaction;

use crate::problem::{Code, Problem};
use crate::secret::{Kind, Token, shown};
use crate::sessions::SESSION_MS;

/// How long a session goes on before it is written down that it was seen.
const SEEN_INTERVAL_MS: i64 = 15 * 60_000;
/// What the cookie is called where there is TLS, and where there is none.
pub const SECURE_NAME: &str = "__Host-vyuha";
const PLAIN_NAME: &str = "vyuha";

/// What cookies and pages there are at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    secure: bool,
    origins: Vec<String>,
}

impl Site {
    /// The site at this address, and the origins of other pages that may use it.
    pub fn new(address: &str, origins: &[String]) -> Site {
        let own = address.splitn(4, '/').take(3).collect::<Vec<_>>().join("/").to_ascii_lowercase();
        let origins = [own].into_iter().chain(origins.iter().cloned()).collect();
        Site { secure: address.starts_with("https://"), origins }
    }

    /// The cookie's name.
    pub fn name(&self) -> &'static str {
        if self.secure { SECURE_NAME } else { PLAIN_NAME }
    }

    /// The header that has a browser keep the token for as long as its session may last.
    pub fn keep(&self, token: &str) -> HeaderValue {
        self.cookie(token, SESSION_MS / 1000)
    }

    /// The header that has a browser forget it.
    pub fn forget(&self) -> HeaderValue {
        self.cookie("", 0)
    }

    fn cookie(&self, value: &str, max_age_s: i64) -> HeaderValue {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}",
            self.name()
        );
        HeaderValue::try_from(text).expect("tokens and numbers are a header's value")
    }

    /// The token in the one cookie of ours that a request carries.
    pub fn token<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut found = pairs.filter(|(name, _)| *name == self.name()).map(|(_, token)| token);
        let token = found.next()?;
        found.next().is_none().then_some(token)
    }

    /// Whether a page of ours asks, where what is asked may change anything.
    ///
    /// # Errors
    /// [`Code::OriginRefused`].
    pub fn needs_own_page(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let mut said = headers.get_all(header::ORIGIN).iter();
        let origin = said.next().and_then(|origin| origin.to_str().ok());
        let known = origin.is_some_and(|origin| self.origins.iter().any(|known| known == origin));
        if method.is_safe() || known && said.next().is_none() {
            Ok(())
        } else {
            Err(Code::OriginRefused.into())
        }
    }
}

/// A new token for a session.
pub(crate) fn begin(tx: &mut dyn SqlTransaction, session: &str) -> Result<Token, Problem> {
    let token = Token::new(Kind::Browser)?;
    let sql = "INSERT INTO browser_session (hash, session) VALUES (?1, ?2)";
    tx.execute(sql, &[token.hash.clone().into(), session.into()])?;
    Ok(token)
}

/// Account and session of a token that was shown. `None` if it is unknown, or its session is over.
pub fn find(tx: &mut dyn SqlTransaction, text: &str, now_ms: i64) -> Result<Option<(i64, String)>, Problem> {
    let Some(hash) = shown(Kind::Browser, text) else { return Ok(None) };
    let rows = tx.query(
        "SELECT s.account, s.id, s.seen_ms FROM browser_session b JOIN session s ON s.id = b.session
         WHERE b.hash = ?1 AND s.ended_ms IS NULL AND s.expires_ms > ?2",
        &[hash.into(), now_ms.into()],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (account, session) = (row.int(0)?, row.text(1)?);
    if now_ms - row.int(2)? >= SEEN_INTERVAL_MS {
        let sql = "UPDATE session SET seen_ms = ?2 WHERE id = ?1 AND ended_ms IS NULL";
        tx.execute(sql, &[session.clone().into(), now_ms.into()])?;
    }
    Ok(Some((account, session)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::{self, EndReason, Grant};
    use crate::testing::with_tx;

    fn site() -> Site {
        Site::new("https://Play.example.com/start", &["https://other.example.com".into()])
    }

    #[test]
    fn a_cookie_is_kept_from_scripts_and_from_other_hosts() {
        let set = site().keep("vyc_x");
        assert_eq!(set, "__Host-vyuha=vyc_x; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000; Secure");
        assert!(
            site()
                .forget()
                .to_str()
                .unwrap()
                .contains("__Host-vyuha=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
        );
        let plain = Site::new("http://localhost:7781", &[]).keep("vyc_x");
        assert_eq!(plain, "vyuha=vyc_x; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000");
    }

    #[test]
    fn one_cookie_of_ours_among_others() {
        let check = |lines: &[&str], expected: Option<&str>| {
            let headers = lines.iter().map(|line| (header::COOKIE, line.parse().unwrap())).collect();
            assert_eq!(site().token(&headers), expected, "{lines:?}");
        };
        check(&["__Host-vyuha=vyc_x"], Some("vyc_x"));
        check(&["a=b; __Host-vyuha=vyc_x;c=d"], Some("vyc_x"));
        check(&["a=b", "__Host-vyuha=vyc_x"], Some("vyc_x"));
        check(&[], None);
        check(&["vyuha=vyc_x"], None);
        check(&["__Host-vyuha"], None);
        check(&["__Host-vyuha=vyc_x; __Host-vyuha=vyc_y"], None);
    }

    #[test]
    fn a_write_needs_a_page_of_ours() {
        let check = |method: Method, origins: &[&str], good: bool| {
            let headers = origins.iter().map(|origin| (header::ORIGIN, origin.parse().unwrap())).collect();
            let judged = site().needs_own_page(&method, &headers);
            assert_eq!(judged.is_ok(), good, "{method} {origins:?}");
        };
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            check(method.clone(), &["https://play.example.com"], true);
            check(method.clone(), &["https://other.example.com"], true);
            for origin in [
                "https://evil.example.com",
                "http://play.example.com",
                "https://play.example.com:8443",
                "https://play.example.com.evil.com",
                "https://play.example.com/start",
                "null",
                "",
            ] {
                check(method.clone(), &[origin], false);
            }
            check(method.clone(), &["https://play.example.com", "https://evil.example.com"], false);
            check(method, &[], false);
        }
        check(Method::GET, &[], true);
        check(Method::GET, &["https://evil.example.com"], true);
    }

    #[test]
    fn a_token_is_good_while_its_session_lasts() {
        with_tx(|tx| {
            let opened = sessions::open(tx, 7, Grant::Cookie, "", "", 0)?;
            let token = &opened.token;
            assert_eq!(find(tx, &token.text, 1)?, Some((7, opened.session.clone())));
            assert!(tx.query("SELECT hash FROM refresh_token", &[])?.is_empty(), "one that nobody was given");
            let other = sessions::open(tx, 7, Grant::Refresh, "", "", 0)?.token;
            for text in ["", "vyc_", "vyc_x", &other.text] {
                assert_eq!(find(tx, text, 1)?, None, "{text}");
            }
            assert_eq!(find(tx, &token.text, SESSION_MS)?, None);
            let mut seen_ms = |at_ms: i64| {
                find(tx, &token.text, at_ms)?;
                let listed = sessions::list(tx, 7, None, 9, 1)?;
                Ok::<_, Problem>(
                    listed.into_iter().find(|one| one.id == opened.session).map(|one| one.seen_ms),
                )
            };
            assert_eq!(seen_ms(SEEN_INTERVAL_MS - 1)?, Some(0));
            assert_eq!(seen_ms(SEEN_INTERVAL_MS)?, Some(SEEN_INTERVAL_MS));
            sessions::end(tx, 7, &opened.session, EndReason::Owner, 2)?;
            assert_eq!(find(tx, &token.text, 3)?, None);
            Ok(())
        });
    }
}
