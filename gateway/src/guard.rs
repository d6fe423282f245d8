//! Who may talk to the port. It asks for no password, so a web page from elsewhere must not reach it through
//! the browser of somebody who can: neither by a name that was made to point here (DNS rebinding) nor by a
//! WebSocket.

use std::net::IpAddr;

use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Sent with every answer. The page may load only what this port itself serves.
pub(crate) const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// The host names that the port answers to: loopback, and those configured.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// Loopback and these names or addresses, without ports.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Hosts {
        Hosts(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a request with these headers was meant for this port: exactly one `Host`, and a name that is
    /// served.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        host(headers).is_some_and(|host| {
            let name = without_port(host).to_ascii_lowercase();
            is_loopback(&name) || self.0.contains(&name)
        })
    }
}

/// Whether a WebSocket may be opened: its page came from this very host and port. Programs that are not
/// browsers send no `Origin` and are let in, for they can send any they like.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return true };
    let authority = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
    match (authority, host(headers)) {
        (Some(authority), Some(host)) => origins.next().is_none() && authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then_some(host)
}

/// The name in `name`, `name:port`, `[v6]` or `[v6]:port`; whatever else comes back as it is, and matches no
/// name.
fn without_port(host: &str) -> &str {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => return address,
        Some((address, rest)) => match rest.strip_prefix(':') {
            Some(port) => (address, port),
            None => return host,
        },
        None => match host.split_once(':') {
            Some(parts) => parts,
            None => return host,
        },
    };
    if port.parse::<u16>().is_ok() { name } else { host }
}

fn is_loopback(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_loopback_and_configured_hosts_are_served() {
        #[track_caller]
        fn check(host: &[&str], allowed: bool) {
            let hosts = Hosts::new(["Console.example.com".into(), "10.0.0.7".into(), "fd00::7".into()]);
            let pairs: Vec<_> = host.iter().map(|&host| (header::HOST, host)).collect();
            assert_eq!(hosts.allow(&headers(&pairs)), allowed, "{host:?}");
        }
        check(&["localhost"], true);
        check(&["LOCALHOST:9000"], true);
        check(&["127.0.0.1:9000"], true);
        check(&["127.1.2.3"], true);
        check(&["[::1]:9000"], true);
        check(&["[::1]"], true);
        check(&["console.example.com:443"], true);
        check(&["10.0.0.7:9000"], true);
        check(&["[fd00::7]:9000"], true);
        check(&[], false);
        check(&[""], false);
        check(&["localhost", "localhost"], false);
        check(&["localhost", "evil.example"], false);
        check(&["evil.example:9000"], false);
        check(&["localhost.evil.example"], false);
        check(&["127.0.0.1.evil.example"], false);
        check(&["localhost:"], false);
        check(&["localhost:99999"], false);
        check(&["localhost:80:80"], false);
        check(&["evil@localhost"], false);
        check(&["[::1]evil"], false);
        check(&["[::1"], false);
        check(&["0.0.0.0"], false);
        check(&["10.0.0.8"], false);
    }

    #[test]
    fn a_websocket_must_come_from_the_page_of_this_port() {
        #[track_caller]
        fn check(origins: &[&str], allowed: bool) {
            let mut pairs = vec![(header::HOST, "localhost:9000")];
            pairs.extend(origins.iter().map(|&origin| (header::ORIGIN, origin)));
            assert_eq!(same_origin(&headers(&pairs)), allowed, "{origins:?}");
        }
        check(&[], true);
        check(&["http://localhost:9000"], true);
        check(&["https://LOCALHOST:9000"], true);
        check(&["http://localhost:9001"], false);
        check(&["http://localhost"], false);
        check(&["http://evil.example"], false);
        check(&["null"], false);
        check(&["localhost:9000"], false);
        check(&["http://localhost:9000/"], false);
        check(&["http://localhost:9000", "http://evil.example"], false);
        assert!(!same_origin(&headers(&[(header::ORIGIN, "http://localhost")])), "no host to compare with");
    }

    proptest! {
        #[test]
        fn no_foreign_name_passes(host in "[a-z0-9.:\\[\\]-]{0,20}\\.evil(:[0-9]{1,5})?") {
            prop_assert!(!Hosts::new([]).allow(&headers(&[(header::HOST, &host)])));
        }

        #[test]
        fn any_bytes_are_judged_without_panic(
            host in prop::collection::vec(any::<u8>(), 0..30),
            origin: Vec<u8>,
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.append(name, value);
                }
            }
            Hosts::new([]).allow(&headers);
            same_origin(&headers);
        }
    }
}
