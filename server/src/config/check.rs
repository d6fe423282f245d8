//! What must hold between keys, and between a key and this machine.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use super::keys::{Api, Config};
use super::value::{Count, TlsMode};

/// Keys whose values cannot stand together (or, alone, not on this machine).
pub(super) struct Conflict {
    pub keys: &'static [&'static str],
    pub why: String,
    pub mend: String,
}

/// Most shards of a node.
const SHARDS_MAX: usize = 64;

impl Config {
    /// The number of shards on this machine, 1 to 64.
    pub fn shards(&self) -> usize {
        match self.shard.count {
            Count::Auto => cores().min(SHARDS_MAX),
            Count::Exactly(count) => count as usize,
        }
    }

    /// Whether the ports speak TLS.
    pub fn speaks_tls(&self) -> bool {
        match self.tls.mode {
            TlsMode::Auto => self.tls.certificate != Path::new(""),
            TlsMode::Required => true,
            TlsMode::Off => false,
        }
    }

    /// Whether one of the ports can be reached from other machines.
    pub fn is_reachable(&self) -> bool {
        let addresses = [self.listen.address, self.web.address, self.admin.address];
        addresses.iter().any(|address| !address.ip().is_loopback())
    }

    /// The length of one tick.
    pub fn tick(&self) -> Duration {
        Duration::from_secs(1) / self.shard.tick_hz
    }
}

impl Api {
    /// The origins whose pages may use the API.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.origins.split(',').map(str::trim).filter(|origin| !origin.is_empty())
    }
}

fn share_port(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}

/// Whether a browser would send this as an `Origin`.
fn is_origin(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]".contains(&byte);
    authority.is_some_and(|authority| !authority.is_empty() && authority.bytes().all(is_part))
}

/// Cores that this process may use; one where the system does not say.
fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Every conflict in `config`.
pub(super) fn conflicts(config: &Config) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let mut fail = |keys, why: String, mend: String| conflicts.push(Conflict { keys, why, mend });
    let Config {
        listen,
        admin,
        web,
        api,
        assets,
        mail,
        tls,
        data,
        content,
        shard,
        record,
        net,
        session,
        character,
        ..
    } = config;

    let (players, console, browsers) = (Some(listen.address), Some(admin.address), Some(web.address));
    let api_port = Some(api.address).filter(|_| api.enabled);
    let assets_port = Some(assets.address).filter(|_| !assets.store.is_empty());
    for (keys, who, one, other) in [
        (&["listen.address", "admin.address"], "players and console", players, console),
        (&["listen.address", "web.address"], "players and browsers", players, browsers),
        (&["admin.address", "web.address"], "console and browsers", console, browsers),
        (&["listen.address", "api.address"], "players and API", players, api_port),
        (&["admin.address", "api.address"], "console and API", console, api_port),
        (&["web.address", "api.address"], "browsers and API", browsers, api_port),
        (&["listen.address", "assets.address"], "players and assets", players, assets_port),
        (&["admin.address", "assets.address"], "console and assets", console, assets_port),
        (&["web.address", "assets.address"], "browsers and assets", browsers, assets_port),
        (&["api.address", "assets.address"], "API and assets", api_port, assets_port),
    ] {
        if let (Some(one), Some(other)) = (one, other)
            && share_port(one, other)
        {
            let why = format!("{who} cannot share port {}", one.port());
            fail(keys, why, "give one of them another port".to_owned());
        }
    }
    let is_missing = |path: &Path| path == Path::new("");
    if config.speaks_tls() && (is_missing(&tls.certificate) || is_missing(&tls.key)) {
        fail(
            &["tls.mode", "tls.certificate", "tls.key"],
            "TLS needs a certificate and its private key".to_owned(),
            "name both files, or set tls.mode to off".to_owned(),
        );
    }
    if tls.mode == TlsMode::Auto && is_missing(&tls.certificate) && config.is_reachable() {
        fail(
            &["tls.mode", "listen.address", "admin.address", "web.address"],
            "passwords would cross a network in the clear".to_owned(),
            "name tls.certificate and tls.key, or set tls.mode to off where something in front speaks TLS"
                .to_owned(),
        );
    }
    if let Some(other) = api.origins().find(|origin| !is_origin(origin)) {
        fail(
            &["api.origins"],
            format!("{other:?} is no origin"),
            "write scheme and host in small letters, and the port if there is one, without a path".to_owned(),
        );
    }
    if !mail.user.is_empty() && mail.password_file.as_os_str().is_empty() {
        fail(
            &["mail.user", "mail.password_file"],
            "a user has a password".to_owned(),
            "name the file that holds it".to_owned(),
        );
    }
    if data.dir.as_os_str().is_empty() {
        fail(
            &["data.dir"],
            "the journal and the database need a folder".to_owned(),
            "name a folder, such as \"data\"".to_owned(),
        );
    } else if data.dir.exists() && !data.dir.is_dir() {
        fail(
            &["data.dir"],
            "there is something else of that name, not a folder".to_owned(),
            "name a folder, or a name that is free".to_owned(),
        );
    }
    if content.dir != Path::new("") && !content.dir.is_dir() {
        fail(
            &["content.dir"],
            "there is no such folder".to_owned(),
            "name the folder of the content, or leave the key empty for the example world".to_owned(),
        );
    }
    if record.dir.exists() && !record.dir.is_dir() {
        fail(
            &["record.dir"],
            "there is something else of that name, not a folder".to_owned(),
            "name a folder, or a name that is free".to_owned(),
        );
    }
    if shard.pin && config.shards() > cores() {
        fail(
            &["shard.count", "shard.pin"],
            format!("{} shards cannot each have a core: there are {} to use here", config.shards(), cores()),
            format!("lower shard.count to {} or less, or set shard.pin to false", cores()),
        );
    }
    if config.journal.max.bytes() < 2 * config.journal.segment.bytes() {
        fail(
            &["journal.max", "journal.segment"],
            "the journal has one segment that is written and one that the database reads".to_owned(),
            format!("raise journal.max to {} bytes or more", 2 * config.journal.segment.bytes()),
        );
    }
    if net.frames_per_second_max < shard.tick_hz {
        fail(
            &["net.frames_per_second_max", "shard.tick_hz"],
            "a client that sends one input a tick would be dropped as a flood".to_owned(),
            format!("raise net.frames_per_second_max to {} or more", shard.tick_hz),
        );
    }
    if net.handshakes_max > net.connections_max {
        fail(
            &["net.handshakes_max", "net.connections_max"],
            "more connections could log in than there may be".to_owned(),
            format!("lower net.handshakes_max to {} or less", net.connections_max),
        );
    }
    if !session.afk_kick.is_zero() && session.afk_kick < session.afk {
        fail(
            &["session.afk_kick", "session.afk"],
            "a character would be gone before its player is marked away".to_owned(),
            "raise session.afk_kick, or set it to 0s".to_owned(),
        );
    }
    if character.save_interval < config.tick() {
        fail(
            &["character.save_interval", "shard.tick_hz"],
            "a character cannot be saved more often than once a tick".to_owned(),
            format!(
                "raise character.save_interval to {}ms or more",
                config.tick().as_micros().div_ceil(1000)
            ),
        );
    }
    conflicts
}
