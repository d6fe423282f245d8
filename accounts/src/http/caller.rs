//! Who calls: the account of the access token or of the browser's cookie, and where the call comes from.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use vyuha_gateway::listener::Visitor;
use vyuha_topics::Identity;

use super::App;
use crate::browser;
use crate::problem::{Code, Problem};
use crate::throttle::site;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Somebody who is signed in.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The account.
    pub(crate) account: i64,
    /// The session.
    pub(crate) session: String,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Problem> {
        match app.site.token(&parts.headers) {
            Some(cookie) if !parts.headers.contains_key(header::AUTHORIZATION) => {
                app.site.needs_own_page(&parts.method, &parts.headers)?;
                let (cookie, now_ms) = (cookie.to_owned(), app.now_ms());
                let found = app.sql.transaction(move |tx| browser::find(tx, &cookie, now_ms)).await?;
                let (account, session) = found.ok_or(Code::Unauthorized)?;
                Ok(Caller { account, session })
            }
            _ => by_token(parts, app),
        }
    }
}

fn by_token(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    let Identity { account, session, .. } =
        identify_token(bearer(&parts.headers).ok_or(Code::Unauthorized)?, app)?;
    Ok(Caller { account, session })
}

/// Who opens a WebSocket, if the request says so. A browser lets every page open one, and sends the cookie along: that takes a
/// page of ours.
///
/// # Errors
/// [`Code::Unauthorized`], [`Code::OriginRefused`], and where the database is away.
pub(crate) async fn identify(headers: &HeaderMap, app: &App) -> Result<Option<Identity>, Problem> {
    if headers.contains_key(header::AUTHORIZATION) {
        return identify_token(bearer(headers).ok_or(Code::Unauthorized)?, app).map(Some);
    }
    let Some(cookie) = app.site.token(headers).map(str::to_owned) else { return Ok(None) };
    app.site.needs_own_page(&Method::POST, headers)?;
    let now_ms = app.now_ms();
    let found = app.sql.transaction(move |tx| browser::find(tx, &cookie, now_ms)).await?;
    let (account, session) = found.ok_or(Code::Unauthorized)?;
    Ok(Some(Identity { account, session, expires_ms: None }))
}

/// Whose an access token is.
///
/// # Errors
/// [`Code::Unauthorized`].
pub(crate) fn identify_token(token: &str, app: &App) -> Result<Identity, Problem> {
    let claims = app.keys.verify(token, &app.config.site, app.now_ms()).map_err(|_| Code::Unauthorized)?;
    let account = claims.sub.parse().map_err(|_| Code::Unauthorized)?;
    if app.revoked.contains(&claims.sid) {
        return Err(Code::Unauthorized.into());
    }
    Ok(Identity { account, session: claims.sid, expires_ms: Some(claims.exp * 1000) })
}

/// Where a call comes from.
#[derive(Debug)]
pub(crate) struct From {
    /// The address.
    pub(crate) address: IpAddr,
    /// What it counts as where calls are counted.
    pub(crate) site: String,
    /// What the client says that it is.
    pub(crate) agent: String,
}

impl FromRequestParts<App> for From {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<From, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<Visitor>>().map(|ConnectInfo(visitor)| visitor.address);
        let forwarded = app.config.behind_proxy.then(|| forwarded(&parts.headers)).flatten();
        let address = forwarded.or(peer).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        Ok(From { address, site: site(address), agent: agent.unwrap_or_default().to_owned() })
    }
}

/// The token of the one `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && values.next().is_none()).then(|| token.trim())
}

/// The last address, which our own proxy added; those before it are as true as who sent them.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn one_bearer_token() {
        let check = |values: &[&str], expected: Option<&str>| {
            assert_eq!(bearer(&headers(&header::AUTHORIZATION, values)), expected, "{values:?}");
        };
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer abc"], Some("abc"));
        check(&[], None);
        check(&["Bearer"], None);
        check(&["Basic abc"], None);
        check(&["Bearer abc", "Bearer def"], None);
    }

    #[test]
    fn the_last_forwarded_address_counts() {
        let check = |values: &[&str], expected: Option<&str>| {
            let found = forwarded(&headers(&FORWARDED_FOR, values));
            assert_eq!(found, expected.map(|address| address.parse().unwrap()), "{values:?}");
        };
        check(&["192.0.2.1"], Some("192.0.2.1"));
        check(&["10.0.0.1, 192.0.2.1"], Some("192.0.2.1"));
        check(&["10.0.0.1", "192.0.2.1, 2001:db8::1"], Some("2001:db8::1"));
        check(&["10.0.0.1, evil"], None);
        check(&[], None);
    }
}
