//! The table of keys: the only place where a key is declared.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::networks::Networks;
use super::value::{
    Count, LogFormat, LogLevel, Name, NetDriver, RedisUrl, Setting, Simd, Size, StoreUrl, TlsMode,
    TokenAlgorithm,
};

/// One key of the configuration, as the table declares it.
#[derive(Debug)]
pub struct Key {
    /// Its path in the file: `net.idle_timeout`.
    pub path: &'static str,
    /// What its section is about, for headings.
    pub section_doc: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Its default, as it would be written in a variable or a flag.
    pub default: &'static str,
    /// Least and greatest value, both allowed.
    pub range: Option<(&'static str, &'static str)>,
    /// Its type in words, with an example: `a duration with its unit, such as "30s"`.
    pub kind: &'static str,
    /// Its type in one word, for help: `DURATION`.
    pub placeholder: &'static str,
    /// Its environment variable, where that does not follow from the path.
    pub(super) variable: Option<&'static str>,
    /// Reads a value and puts it in its place.
    pub(super) set: fn(&mut Config, &Key, &str) -> Result<(), String>,
    /// The value in a configuration.
    pub(super) value: fn(&Config) -> toml::Value,
}

impl Key {
    /// The key at `path`.
    pub fn find(path: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.path == path)
    }

    /// Section and name: `("net", "idle_timeout")`.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').expect("the table joins section and name with a dot")
    }

    /// Its environment variable: `VYUHA_NET_IDLE_TIMEOUT`.
    pub fn variable(&self) -> String {
        let of_path = || format!("VYUHA_{}", self.path.replace('.', "_").to_uppercase());
        self.variable.map_or_else(of_path, str::to_owned)
    }

    /// Its flag without the dashes in front: `net-idle-timeout`.
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// What may be written, in words: type, example and range.
    pub fn expected(&self) -> String {
        match self.range {
            Some((low, high)) => format!("{}, from {low} to {high}", self.kind),
            None => self.kind.to_owned(),
        }
    }

    /// Parses `text` as this key's type and checks it against the range.
    fn parse<T: Setting>(&self, text: &str) -> Result<T, String> {
        let value = T::parse(text)?;
        if let Some((low, high)) = self.range {
            if value < T::parse(low)? {
                return Err(format!("it is less than {low}"));
            }
            if value > T::parse(high)? {
                return Err(format!("it is more than {high}"));
            }
        }
        Ok(value)
    }
}

macro_rules! keys {
    ($(
        #[doc = $section_doc:literal]
        $section:ident: $Section:ident {
            $(
                #[doc = $doc:literal]
                $name:ident: $Type:ty = $default:literal $(in $low:literal..=$high:literal)? $(as $variable:literal)?;
            )+
        }
    )+) => {
        /// Everything that a node can be told, valid in itself and across keys.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(#[doc = $section_doc] pub $section: $Section,)+
        }

        $(
            #[doc = $section_doc]
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $(
                    #[doc = $doc]
                    #[doc = concat!("Default `", $default, "`", $(", from `", $low, "` to `", $high, "`",)? ".")]
                    pub $name: $Type,
                )+
            }
        )+

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $($section: $Section {
                        $($name: <$Type>::parse($default).expect("a test parses every default"),)+
                    },)+
                }
            }
        }

        /// Every key, in the order of the table.
        pub static KEYS: &[Key] = &[$($(Key {
            path: concat!(stringify!($section), ".", stringify!($name)),
            section_doc: $section_doc.trim_ascii(),
            doc: $doc.trim_ascii(),
            default: $default,
            range: keys!(@range $($low $high)?),
            kind: <$Type as Setting>::KIND,
            placeholder: <$Type as Setting>::PLACEHOLDER,
            variable: keys!(@variable $($variable)?),
            set: |config, key, text| {
                config.$section.$name = key.parse(text)?;
                Ok(())
            },
            value: |config| config.$section.$name.to_value(),
        },)+)+];
    };
    (@variable) => { None };
    (@variable $variable:literal) => { Some($variable) };
    (@range) => { None };
    (@range $low:literal $high:literal) => { Some(($low, $high)) };
}

keys! {
    /// The port that players connect to.
    listen: Listen {
        /// Address and port that players connect to; port 0 takes any free port.
        address: SocketAddr = "127.0.0.1:7777";
    }
    /// The port of the console page, health and metrics.
    admin: Admin {
        /// Address and port of the console page, health and metrics; whoever reaches it sees everything.
        address: SocketAddr = "127.0.0.1:7780";
    }
    /// The port that browsers play at.
    web: Web {
        /// Address and port of the playable page and of players over WebSocket; port 0 takes any free port.
        address: SocketAddr = "127.0.0.1:7778";
        /// Connections of browsers at once, for pages and for play; the next one waits.
        connections_max: u32 = "1024" in "1"..="65536";
    }
    /// TLS 1.3 on the three ports: players, browsers, console.
    tls: Tls {
        /// When TLS is spoken: auto is with a certificate, and without one only where no port can be reached from outside; off is plain TCP on every address.
        mode: TlsMode = "auto";
        /// PEM file of the certificate, those that vouch for it after it; read anew when it changes and on SIGHUP.
        certificate: PathBuf = "";
        /// PEM file of the certificate's private key.
        key: PathBuf = "";
    }
    /// What clients download.
    assets: Assets {
        /// Where it lies: a folder, or s3://BUCKET/PREFIX; empty serves none. `vyuha assets publish` puts it there.
        store: String = "";
        /// Address and port that serves it over plain HTTP; port 0 takes any free port.
        address: SocketAddr = "127.0.0.1:7782";
    }
    /// The HTTP API of accounts: sign-up, sign-in, sessions, and tickets into the game.
    api: Api {
        /// Whether the API is served.
        enabled: bool = "false";
        /// Address and port of the API; port 0 takes any free port. It speaks plain HTTP: a proxy in front of it speaks TLS.
        address: SocketAddr = "127.0.0.1:7781";
        /// What mails, access tokens and authenticators call this place: its address, as people know it.
        site: String = "http://localhost:7781";
        /// Origins whose pages may use the API, separated by commas, such as https://play.example.com.
        origins: String = "";
        /// Whether a proxy of one's own stands in front, whose X-Forwarded-For says who calls.
        behind_proxy: bool = "false";
        /// Where players connect, as tickets say it; empty for listen.address.
        game_address: String = "";
        /// File with the key that makes the first administrator; empty for none.
        admin_key_file: PathBuf = "";
        /// How access tokens are signed: eddsa, or rs256 for services that verify nothing else; a change takes a day.
        token_algorithm: TokenAlgorithm = "eddsa";
        /// TOML file of the identity providers at whom people may sign in; empty for none.
        providers_file: PathBuf = "";
        /// Calls a minute of one account or, by nobody who is signed in, from one address; what is more is answered with 429.
        calls_per_minute: u32 = "100" in "1"..="1000000";
        /// Calls a minute from one address, whoever makes them.
        address_calls_per_minute: u32 = "1000" in "1"..="1000000";
        /// TOML file of limits of some operations' own; empty for none.
        limits_file: PathBuf = "";
        /// TOML file of the keys with which other servers sign their calls, and of what each may do; empty for none.
        service_keys_file: PathBuf = "";
    }
    /// The mail that accounts are sent.
    mail: Mail {
        /// Mail server, such as smtps://mail.example.com; empty to put mails as files into the folder mail of data.dir.
        smtp: String = "";
        /// Who the mails are from.
        from: String = "Vyuha <noreply@localhost>";
        /// User at the mail server; empty if it asks for none.
        user: String = "";
        /// File with the user's password.
        password_file: PathBuf = "";
    }
    /// What the node keeps on disk.
    data: Data {
        /// Folder of the journal and the database; it is made if it is missing.
        dir: PathBuf = "data";
    }
    /// The world that is played.
    content: Content {
        /// Folder of the world's content; empty for the example world inside the program.
        dir: PathBuf = "";
    }
    /// The executors that run the zones, one to a core.
    shard: Shard {
        /// Number of shards; auto is one to a core, up to 64.
        count: Count = "auto" in "1"..="64";
        /// Whether each shard is bound to a core of its own.
        pin: bool = "true";
        /// Ticks of the simulation a second.
        tick_hz: u32 = "30" in "1"..="120";
        /// Ticks that a late shard catches up on; what is more is shed and counted.
        backlog_ticks: u32 = "3" in "1"..="30";
        /// Buffer that each shard's executor keeps for file input and output; three times as much memory is locked.
        memory: Size = "64KiB" in "64KiB"..="1GiB";
        /// Time between two looks at what the zones cost, after which one may go to a shard with less to do; 0s to move none but by order.
        balance_interval: Duration = "0s" in "0s"..="1h";
        /// Percent of its work that the shard with the most to do must be rid of by a zone's move.
        balance_gain: u32 = "20" in "5"..="90";
        /// Vector instructions of the zones' passes; auto is the widest that the machine has. Results do not depend on it.
        simd: Simd = "auto" as "VYUHA_SIMD";
    }
    /// What is recorded for `vyuha replay`.
    record: Record {
        /// Folder for a recording of each shard's inputs; empty to record nothing. It must not hold one already.
        dir: PathBuf = "";
    }
    /// What a connection may take.
    net: Net {
        /// What drives shards and sockets: io_uring, plain system calls, or auto, which is the better one that this machine allows.
        driver: NetDriver = "auto";
        /// Connections at once; the next one is refused.
        connections_max: u32 = "10000" in "1"..="1000000";
        /// Time from connection to signed in; after it the connection is closed.
        handshake_timeout: Duration = "10s" in "100ms"..="5m";
        /// Silence after which a connection is closed.
        idle_timeout: Duration = "30s" in "1s"..="1h";
        /// Frames a second from one client; a client that sends more is dropped.
        frames_per_second_max: u32 = "120" in "1"..="10000";
        /// Bytes read from one connection in one tick; the rest waits for the next.
        bytes_per_tick_max: Size = "4KiB" in "256B"..="1MiB";
        /// Bytes of one snapshot; what is further away waits for the next.
        snapshot_bytes_max: Size = "16KiB" in "1KiB"..="256KiB";
        /// Bytes of replies and events queued for a slow client; past it the client is dropped.
        reliable_bytes_max: Size = "64KiB" in "4KiB"..="16MiB";
        /// Connections that log in at once; the next one is refused.
        handshakes_max: u32 = "256" in "1"..="65536";
        /// Requests a second of one character, such as to say something or to pick something up; those over it are refused.
        requests_per_second_max: u32 = "30" in "1"..="10000";
    }
    /// What one address may do; all of an IPv6 /64 count as one.
    address: Address {
        /// New connections a second from one address, for five seconds at once after a silence; those over it are refused.
        connections_per_second_max: u32 = "20" in "1"..="1000000";
        /// Connections from one address that log in at once; the next one is refused.
        handshakes_max: u32 = "32" in "1"..="65536";
        /// Failed sign-ins a minute from one address, and as many registrations, a minute's worth of each at once; the next is refused.
        failures_per_minute_max: u32 = "20" in "1"..="1000000";
        /// Networks that may do all this as often as they like: this machine, and proxies that many players come through.
        exempt: Networks = "127.0.0.0/8,::1/128";
    }
    /// What becomes of a character whose connection breaks, or whose player is away.
    session: Session {
        /// Time that a character stays in the world after its connection broke, for its client to come back; 0s to take it out at once.
        grace: Duration = "30s" in "0s"..="10m";
        /// Time without a step or a request after which a player is marked away; 0s for never.
        afk: Duration = "5m" in "0s"..="1day";
        /// Time without a step or a request after which a character is saved and its connection closed; 0s for never.
        afk_kick: Duration = "30m" in "0s"..="1day";
    }
    /// Accounts and their passwords.
    accounts: Accounts {
        /// Whether clients may register accounts over the game's own protocol.
        open_registration: bool = "true";
        /// Memory that hashing one password takes (Argon2id).
        hash_memory: Size = "19MiB" in "64KiB"..="1GiB";
        /// Passes over that memory for each password (Argon2id).
        hash_iterations: u32 = "2" in "1"..="64";
        /// Passwords that wait to be hashed; the next login is refused.
        hash_queue: u32 = "1024" in "1"..="1000000";
        /// Profiles that an account may have, each with its characters and settings.
        profiles_max: u32 = "4" in "1"..="64";
        /// Time for which a deleted character can be restored; its name stays taken.
        character_grace: Duration = "7days" in "0s"..="365days";
        /// Time for which an account stays whose owner wants it deleted; signing in takes that back.
        erasure_grace: Duration = "30days" in "0s"..="365days";
    }
    /// What is kept of a character.
    character: Character {
        /// Time between two saves of a character's position; at most what a crash takes back of a walk.
        save_interval: Duration = "5s" in "100ms"..="5s";
    }
    /// The journal that every acknowledgement waits for.
    journal: Journal {
        /// Size of one segment file.
        segment: Size = "64MiB" in "1MiB"..="1GiB";
        /// Size of all segment files past which durable commands are refused and characters not saved, until the database has caught up.
        max: Size = "16GiB" in "4MiB"..="16TiB";
        /// Batches of one shard that wait for the journal; when it is full, durable commands are refused until there is room.
        queue_batches: u32 = "1024" in "16"..="1048576";
    }
    /// The node among those that share its database.
    node: Identity {
        /// Name under which the database keeps how far the node's journal was applied; only one process may have it.
        name: Name = "local";
    }
    /// The database behind the journal.
    store: Database {
        /// Database: sqlite, which is a file in data.dir, or the URL of a PostgreSQL, such as postgres://user@host:5432/database. TLS is required unless the host is this machine or the URL says sslmode=disable.
        url: StoreUrl = "sqlite";
        /// File whose first line is the password; empty to take it from the variable PGPASSWORD or the URL.
        password_file: PathBuf = "";
        /// File of certificates (PEM) that may vouch for the database; empty for those that the system trusts.
        ca_file: PathBuf = "";
        /// How long the database may take for anything before it is given up and asked anew.
        timeout: Duration = "10s" in "1s"..="5m";
        /// Time after the node was heard of last in which no other process may take its name.
        lease: Duration = "15s" in "3s"..="10m";
        /// Folder for archives of what is past its time; empty for one named archive in data.dir.
        archive_dir: PathBuf = "";
        /// Time that movements in the ledger are kept in the database, at least; whole months that are older are archived.
        ledger_retention: Duration = "730days" in "62days"..="36500days";
        /// Time that entries of the log of operations (who came and went, what was moved) are kept in the database, at least; whole weeks that are older are archived.
        event_retention: Duration = "90days" in "7days"..="36500days";
        /// Time that sessions of accounts are kept in the database after they are over, at least; those that are older are archived by month.
        session_retention: Duration = "365days" in "1day"..="36500days";
        /// Time between two searches for doubled and lost items, which compare all items with the ledger, a second at least; 0s to search only when it is ordered. Of the nodes of a database one searches.
        scan_interval: Duration = "5m" in "0s"..="1day";
        /// Whether a database of an older version is migrated at the start; if not, it is refused until `vyuha migrate up` has run.
        migrate: bool = "true";
    }
    /// Redis, which nodes of one game share: who is online and where, recent chat, messages between nodes, the bus of events.
    redis: Redis {
        /// Redis: redis://user:password@host:port/database, rediss:// for TLS, or redis+unix:///path/to/socket; empty for none, so that the node knows only of itself.
        url: RedisUrl = "";
        /// File whose first line is the password; empty to take it from the URL.
        password_file: PathBuf = "";
        /// File of certificates (PEM) that may vouch for Redis; empty for those that the system trusts.
        ca_file: PathBuf = "";
        /// What its keys begin with; nodes that share it are of one game and have names of their own (node.name).
        prefix: Name = "vyuha";
        /// How long an answer may take before Redis is left alone for a while.
        timeout: Duration = "1s" in "50ms"..="30s";
    }
    /// Where traces go.
    telemetry: Telemetry {
        /// Address of an OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://localhost:4318; empty for none.
        otlp_endpoint: String = "";
    }
    /// What the node says of itself.
    log: Log {
        /// Least severe line that is logged.
        level: LogLevel = "info";
        /// How a line is written: for people or for programs.
        format: LogFormat = "text";
    }
}
