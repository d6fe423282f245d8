//! The hot data of a Redis.

use std::time::Duration;

use vyuha_hot::{Lifetimes, RedisHot, RedisSettings};

/// That of the Redis at a URL, under keys that begin with `test`.
pub fn hot_at(url: &str, lifetimes: Lifetimes, timeout: Duration) -> RedisHot {
    RedisHot::new(RedisSettings::new(url, None, None, timeout).unwrap(), "test", lifetimes)
}
