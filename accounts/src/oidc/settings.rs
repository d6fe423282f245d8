//! How an identity provider is set up.

use std::collections::HashSet;

use openidconnect::url::{Position, Url};
use serde::Deserialize;

use super::outbound::is_this_machine;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;

/// An identity provider.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// What it is called in paths: 1 to 32 small letters, digits and `-`.
    pub name: String,
    /// What people know it as.
    pub title: String,
    /// Its address: `https://id.example.com`, under which its discovery document is. Plain HTTP on this machine alone.
    pub issuer: String,
    /// What we are called there.
    pub client_id: String,
    /// What proves that to it; none for a public client.
    pub client_secret: Option<String>,
    /// Where people may come back to, as they are registered there; the first is where they do unless they ask for another.
    pub redirect_uris: Vec<String>,
    /// Whether an address that it calls verified is taken for verified: only of a provider that shows its users' mailboxes to be
    /// theirs, each time they change, may this be said.
    #[serde(default)]
    pub trust_email: bool,
}

/// A secret is not to be logged.
impl std::fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// Why providers cannot be used as they are set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The name.
    #[error("{0:?} is no name of a provider: use 1 to 32 small letters, digits and '-'")]
    Name(String),
    /// There are two of a name, or of an issuer.
    #[error("two providers are {0:?}: give each a name and an issuer of its own")]
    Twice(String),
    /// The issuer.
    #[error(
        "the issuer {issuer:?} of {name} is no https address (http on this machine alone) without query and fragment"
    )]
    Issuer {
        /// The provider.
        name: String,
        /// Its issuer.
        issuer: String,
    },
    /// The client's name is missing.
    #[error("{0} has an empty client_id")]
    Client(String),
    /// There is nowhere to come back to.
    #[error("{0} has no redirect_uris: name at least one")]
    NoRedirect(String),
    /// One of the places to come back to.
    #[error("{uri:?} of {name} is no address to come back to: it needs a scheme, and no fragment")]
    Redirect {
        /// The provider.
        name: String,
        /// The place.
        uri: String,
    },
}

/// Whether providers can stand as they are, beside each other.
pub(super) fn check(configs: &[ProviderConfig]) -> Result<(), ProviderError> {
    let mut seen = HashSet::new();
    for config in configs {
        let name = || config.name.clone();
        let is_name = (1..=NAME_BYTES_MAX).contains(&config.name.len())
            && config.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_name {
            return Err(ProviderError::Name(name()));
        }
        for one in [&config.name, &config.issuer] {
            if !seen.insert(one) {
                return Err(ProviderError::Twice(one.clone()));
            }
        }
        if !is_issuer(&config.issuer) {
            return Err(ProviderError::Issuer { name: name(), issuer: config.issuer.clone() });
        }
        if config.client_id.is_empty() {
            return Err(ProviderError::Client(name()));
        }
        if config.redirect_uris.is_empty() {
            return Err(ProviderError::NoRedirect(name()));
        }
        let is_place = |uri: &str| Url::parse(uri).is_ok_and(|uri| uri.fragment().is_none());
        if let Some(uri) = config.redirect_uris.iter().find(|uri| !is_place(uri)) {
            return Err(ProviderError::Redirect { name: name(), uri: uri.clone() });
        }
    }
    Ok(())
}

fn is_issuer(issuer: &str) -> bool {
    let Ok(url) = Url::parse(issuer) else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let secure = url.scheme() == "https" || url.scheme() == "http" && is_this_machine(host);
    secure && !host.is_empty() && url[Position::AfterPath..].is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str) -> ProviderConfig {
        ProviderConfig {
            name: name.into(),
            title: "Example".into(),
            issuer: format!("https://{name}.example.com"),
            client_id: "vyuha".into(),
            client_secret: None,
            redirect_uris: vec!["https://play.example.com/signed-in".into()],
            trust_email: false,
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let check = |change: &dyn Fn(&mut ProviderConfig), good: bool| {
            let mut changed = config("two");
            change(&mut changed);
            let checked = super::check(&[config("one"), changed.clone()]);
            assert_eq!(checked.is_ok(), good, "{checked:?}: {:?} {:?}", changed, changed.redirect_uris);
        };
        check(&|_| {}, true);
        check(&|c| c.issuer = "http://127.0.0.1:8080/realms/a".into(), true);
        check(&|c| c.issuer = "http://[::1]:8080".into(), true);
        check(&|c| c.issuer = "http://localhost:8080".into(), true);
        check(&|c| c.redirect_uris = vec!["game.vyuha:/back".into(), "http://127.0.0.1:7000/".into()], true);
        check(&|c| c.name = "one".into(), false);
        check(&|c| c.issuer = config("one").issuer, false);
        for name in ["", "Two", "a b", "a/b", &"x".repeat(33)] {
            check(&|c| c.name = name.into(), false);
        }
        let issuers = ["", "id", "http://id.example.com", "ftp://localhost/", "https://a/?b", "https://a/#b"];
        for issuer in issuers {
            check(&|c| c.issuer = issuer.into(), false);
        }
        check(&|c| c.client_id = String::new(), false);
        check(&|c| c.redirect_uris.clear(), false);
        check(&|c| c.redirect_uris = vec!["/back".into()], false);
        check(&|c| c.redirect_uris = vec!["https://a/#b".into()], false);
    }

    #[test]
    fn no_secret_is_printed() {
        let config = ProviderConfig { client_secret: Some("hush".into()), ..config("one") };
        assert!(!format!("{config:?}").contains("hush"));
    }
}
