//! How often the interface may be called: by whom or from where, all of it or some operations.
//!
//! Each limit is a token bucket for each caller or address ([`Buckets`]): it holds a window's calls and fills evenly, so that a
//! caller who was silent may make them all at once. Of each kind ([`By`]) the limits that name an operation hold for it in place of
//! those that name none. A call takes one token from each limit that holds, or is refused and takes none.
//!
//! No call waits for another node: what was spent is settled in the background ([`crate::sharing`]).

mod buckets;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, Method};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use utoipa::openapi::path::PathItem;
use vyuha_hot::{Bucket, BucketRule};

use crate::recent::Recent;

pub use buckets::{BUCKETS_MAX, Buckets, Empty, Spent};

/// The longest name of a limit, in bytes.
pub const NAME_BYTES_MAX: usize = 32;
/// Limits at the most.
pub const LIMITS_MAX: usize = 64;
/// Browser sessions whose accounts are remembered, to count their calls by.
pub const COOKIES_MAX: usize = 16_384;
const CALLS_MAX: u32 = 1_000_000;
const WINDOW_S_MAX: u32 = 24 * 60 * 60;

/// Whose calls a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Those of one account or another server's key; of nobody who is signed in, those from one address.
    Caller,
    /// Those from one address, whoever calls.
    Address,
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// What it is called in headers and in Redis: 1 to [`NAME_BYTES_MAX`] of a-z, 0-9, `-` and `_`.
    pub name: String,
    /// Whose calls it counts together.
    pub by: By,
    /// The operations that it counts together, as the OpenAPI document names them; empty for all that no other limit of its kind
    /// names.
    #[serde(default)]
    pub operations: Vec<String>,
    /// Calls in a window, 1 to 1,000,000.
    pub calls: u32,
    /// The window, 1 s to a day, in seconds.
    pub window_s: u32,
}

impl LimitConfig {
    /// A limit of all calls in a minute.
    pub fn per_minute(name: &str, by: By, calls: u32) -> LimitConfig {
        LimitConfig { name: name.to_owned(), by, operations: Vec::new(), calls, window_s: 60 }
    }
}

/// A limit that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// Its name.
    #[error("{0:?} is no name of a limit: take 1 to 32 of a-z, 0-9, '-' and '_'")]
    Name(String),
    /// Two of one name would share their counts.
    #[error("two limits are called {0:?}: give each a name of its own")]
    Twice(String),
    /// Calls or window.
    #[error("the limit {0:?} is out of range: calls are 1 to 1,000,000, window_s is 1 to 86,400")]
    Range(String),
    /// There is no such operation.
    #[error("the limit {limit:?} names {operation:?}: /api/v1/openapi.json has no operation of that id")]
    Operation {
        /// The limit.
        limit: String,
        /// What it names.
        operation: String,
    },
    /// More than [`LIMITS_MAX`].
    #[error("there are {0} limits: 64 are the most")]
    Many(usize),
}

/// Who calls, as calls are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An account.
    Account(i64),
    /// Another server, by its key.
    Key(Arc<str>),
    /// Nobody that is known.
    Nobody,
}

/// What came of a call: what is to be said in the headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// `RateLimit-Policy`.
    pub policy: HeaderValue,
    /// `RateLimit`.
    pub left: HeaderValue,
    /// How long to wait, where it is refused.
    pub wait: Option<Duration>,
}

/// The limits, and who has called how often.
#[derive(Debug)]
pub struct Limits {
    all: Vec<Limit>,
    by_path: HashMap<String, Vec<(Method, Held)>>,
    general: Held,
    buckets: Arc<Buckets>,
    cookies: Mutex<Recent<Vec<u8>, i64>>,
}

#[derive(Debug)]
struct Limit {
    name: String,
    by: By,
    rule: BucketRule,
    window_s: u32,
}

/// Which limits hold, and how they are told.
#[derive(Debug, Clone)]
struct Held {
    limits: Vec<usize>,
    policy: HeaderValue,
}

impl Limits {
    /// These limits. `is_settled` says whether somebody settles them with other nodes.
    ///
    /// # Errors
    /// What is wrong with one.
    pub fn new(configs: &[LimitConfig], is_settled: bool) -> Result<Limits, LimitsError> {
        if configs.len() > LIMITS_MAX {
            return Err(LimitsError::Many(configs.len()));
        }
        let operations = operations();
        for (index, config) in configs.iter().enumerate() {
            check(config, &operations)?;
            if configs[..index].iter().any(|other| other.name == config.name) {
                return Err(LimitsError::Twice(config.name.clone()));
            }
        }
        let all: Vec<Limit> = configs.iter().map(Limit::new).collect();
        let held = |operation: Option<&str>| {
            let names = |config: &LimitConfig| match operation {
                Some(operation) => config.operations.iter().any(|named| named == operation),
                None => false,
            };
            let holds = |config: &LimitConfig| {
                let replaced = configs.iter().any(|other| other.by == config.by && names(other));
                names(config) || config.operations.is_empty() && !replaced
            };
            let indices = configs.iter().enumerate().filter(|(_, config)| holds(config));
            Held::new(indices.map(|(index, _)| index).collect(), &all)
        };
        let mut by_path: HashMap<String, Vec<(Method, Held)>> = HashMap::new();
        for (path, method, operation) in &operations {
            by_path.entry(path.clone()).or_default().push((method.clone(), held(Some(operation))));
        }
        let general = held(None);
        let buckets = Arc::new(Buckets::new(is_settled));
        Ok(Limits { all, by_path, general, buckets, cookies: Mutex::new(Recent::new(COOKIES_MAX)) })
    }

    /// Counts a call, of a path as the table of routes has it, and from a site.
    pub fn judge(
        &self,
        now_ms: i64,
        method: &Method,
        path: Option<&str>,
        subject: &Subject,
        site: &str,
    ) -> Judged {
        // Whoever asks for the head alone makes the work of the whole.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of_path = path.and_then(|path| self.by_path.get(path));
        let held = of_path.and_then(|methods| methods.iter().find(|(of, _)| of == method));
        let Held { limits, policy } = held.map_or(&self.general, |(_, held)| held);
        let wanted: Vec<(String, BucketRule)> =
            limits.iter().map(|index| self.all[*index].bucket(subject, site)).collect();
        let (left, wait) = match self.buckets.take(now_ms, &wanted) {
            Ok(left) => (left, None),
            Err(Empty { wait, left }) => (left, Some(wait)),
        };
        let mut text = String::new();
        for (index, bucket) in limits.iter().zip(left) {
            self.all[*index].tell(&mut text, bucket);
        }
        let left = HeaderValue::try_from(text).expect("names and numbers are a header's value");
        Judged { policy: policy.clone(), left, wait }
    }

    /// The account that a browser's cookie was found to be of, if that is remembered; to count by, and for nothing else.
    pub fn account_of_cookie(&self, cookie: &str) -> Option<i64> {
        self.cookies().get(&sum(cookie)).copied()
    }

    /// A browser's cookie was found to be of this account.
    pub fn note_cookie(&self, cookie: &str, account: i64) {
        self.cookies().put(sum(cookie), account);
    }

    /// Who has called how often, for settling it.
    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    fn cookies(&self) -> std::sync::MutexGuard<'_, Recent<Vec<u8>, i64>> {
        // A panic between two of its statements leaves it usable.
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limit {
    fn new(config: &LimitConfig) -> Limit {
        let fills_in = Duration::from_secs(config.window_s.into());
        let rule = BucketRule { capacity: config.calls, fills_in };
        Limit { name: config.name.clone(), by: config.by, rule, window_s: config.window_s }
    }

    fn bucket(&self, subject: &Subject, site: &str) -> (String, BucketRule) {
        let name = &self.name;
        let bucket = match (self.by, subject) {
            (By::Caller, Subject::Account(account)) => format!("api:{name}:account:{account}"),
            (By::Caller, Subject::Key(key)) => format!("api:{name}:key:{key}"),
            (By::Caller, Subject::Nobody) | (By::Address, _) => format!("api:{name}:from:{site}"),
        };
        (bucket, self.rule)
    }

    /// Adds to `RateLimit` what is left, and how long until all of it is there again.
    fn tell(&self, text: &mut String, left: Bucket) {
        let tokens = left.tokens.max(0);
        let missing = (i64::from(self.rule.capacity) - left.tokens).max(0) as u64;
        let full_s = (missing * u64::from(self.window_s)).div_ceil(self.rule.capacity.into());
        let comma = if text.is_empty() { "" } else { ", " };
        write!(text, "{comma}\"{}\";r={tokens};t={full_s}", self.name)
            .expect("a string takes all that is written");
    }
}

impl Held {
    fn new(held: Vec<usize>, all: &[Limit]) -> Held {
        let policy = |index: &usize| {
            let Limit { name, rule, window_s, .. } = &all[*index];
            format!("\"{name}\";q={};w={window_s}", rule.capacity)
        };
        let policy = held.iter().map(policy).collect::<Vec<_>>().join(", ");
        Held {
            limits: held,
            policy: HeaderValue::try_from(policy).expect("names and numbers are a header's value"),
        }
    }
}

fn check(config: &LimitConfig, operations: &[(String, Method, String)]) -> Result<(), LimitsError> {
    let LimitConfig { name, calls, window_s, .. } = config;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_name) {
        return Err(LimitsError::Name(name.clone()));
    }
    if !(1..=CALLS_MAX).contains(calls) || !(1..=WINDOW_S_MAX).contains(window_s) {
        return Err(LimitsError::Range(name.clone()));
    }
    let is_known = |named: &String| operations.iter().any(|(_, _, operation)| operation == named);
    match config.operations.iter().find(|named| !is_known(named)) {
        Some(operation) => Err(LimitsError::Operation { limit: name.clone(), operation: operation.clone() }),
        None => Ok(()),
    }
}

/// Path, method and id of every operation of the document.
fn operations() -> Vec<(String, Method, String)> {
    let mut operations = Vec::new();
    for (path, item) in crate::http::document().paths.paths {
        let PathItem { get, put, post, delete, .. } = item;
        for (method, operation) in
            [(Method::GET, get), (Method::PUT, put), (Method::POST, post), (Method::DELETE, delete)]
        {
            if let Some(id) = operation.and_then(|operation| operation.operation_id) {
                operations.push((path.clone(), method, id));
            }
        }
    }
    operations
}

fn sum(cookie: &str) -> Vec<u8> {
    digest(&SHA256, cookie.as_bytes()).as_ref().to_vec()
}
