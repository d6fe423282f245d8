//! The types of configuration values: how each is read from text and written back.
//!
//! Every layer (file, variable, flag, default) is text at first, so that one parser serves all of them.
//! Writing a value gives text that reads back as the same value.

use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use vyuha_core::{SimdError, SimdLevel};
use vyuha_hot::RedisSettings;
use vyuha_net::runtime::Driver;
use vyuha_store::PostgresSettings;

/// A type that a key can have.
pub(super) trait Setting: Sized + PartialOrd {
    /// What may be written, with an example, to follow "write".
    const KIND: &'static str;
    /// One word for help texts.
    const PLACEHOLDER: &'static str;

    /// Reads a value; the error says what is wrong, not how to mend it.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value in TOML; its text reads back as the same value.
    fn to_value(&self) -> toml::Value;
}

impl Setting for u32 {
    const KIND: &'static str = "a whole number";
    const PLACEHOLDER: &'static str = "NUMBER";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| match i128::from_str(text) {
            Ok(..0) => "it is negative".to_owned(),
            Ok(_) => "it is too large".to_owned(),
            Err(_) => format!("it is not a whole number ({error})"),
        })
    }

    fn to_value(&self) -> toml::Value {
        (*self).into()
    }
}

impl Setting for bool {
    const KIND: &'static str = "true or false";
    const PLACEHOLDER: &'static str = "BOOL";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it is neither true nor false".to_owned())
    }

    fn to_value(&self) -> toml::Value {
        (*self).into()
    }
}

impl Setting for SocketAddr {
    const KIND: &'static str = "an IP address and a port, such as \"127.0.0.1:7777\" or \"[::]:7777\"";
    const PLACEHOLDER: &'static str = "ADDRESS";

    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        Err(match text.rsplit_once(':') {
            _ if text.parse::<std::net::IpAddr>().is_ok() => "the port is missing".to_owned(),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                format!("{port:?} is no port from 0 to 65535")
            }
            Some((host, _)) => format!("{host:?} is no IP address (names are not looked up)"),
            None => "it is no IP address with a port".to_owned(),
        })
    }

    fn to_value(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl Setting for String {
    const KIND: &'static str = "a line of text";
    const PLACEHOLDER: &'static str = "TEXT";

    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("a line of text has no control characters".to_owned());
        }
        Ok(text.trim().to_owned())
    }

    fn to_value(&self) -> toml::Value {
        self.clone().into()
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "a path";
    const PLACEHOLDER: &'static str = "PATH";

    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('\0') { Err("a path has no zero byte".to_owned()) } else { Ok(text.into()) }
    }

    fn to_value(&self) -> toml::Value {
        self.to_str().expect("it was read from text").into()
    }
}

impl Setting for Duration {
    const KIND: &'static str = "a duration with its unit, such as \"30s\" or \"250ms\"";
    const PLACEHOLDER: &'static str = "DURATION";

    fn parse(text: &str) -> Result<Self, String> {
        if text.parse::<f64>().is_ok() {
            return Err("a duration needs a unit".to_owned());
        }
        humantime::parse_duration(text).map_err(|error| format!("it is not a duration ({error})"))
    }

    fn to_value(&self) -> toml::Value {
        humantime::format_duration(*self).to_string().into()
    }
}

/// A size in bytes, written with its unit: `64KiB` is 65,536 bytes, `64KB` is 64,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// A size of so many bytes.
    pub const fn of_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Size {
    /// The largest unit that divides the size, so that nothing is rounded.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let whole = |unit: &u64| self.0 != 0 && self.0.is_multiple_of(*unit);
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| whole(unit)).unwrap_or((1, "B"));
        write!(out, "{}{name}", self.0 / unit)
    }
}

impl Setting for Size {
    const KIND: &'static str = "a size with its unit, such as \"64KiB\" or \"16MiB\"";
    const PLACEHOLDER: &'static str = "SIZE";

    fn parse(text: &str) -> Result<Self, String> {
        if text.parse::<f64>().is_ok() {
            return Err("a size needs a unit".to_owned());
        }
        let size: ByteSize = text.parse().map_err(|_| "it is not a size".to_owned())?;
        Ok(Self(size.as_u64()))
    }

    fn to_value(&self) -> toml::Value {
        self.to_string().into()
    }
}

/// A number, or one that fits the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// As many as there are cores.
    Auto,
    /// Exactly so many.
    Exactly(u32),
}

/// `Auto` is neither more nor less than any number, so that it lies in every range.
impl PartialOrd for Count {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Exactly(one), Self::Exactly(other)) => Some(one.cmp(other)),
            (Self::Auto, Self::Auto) => Some(Ordering::Equal),
            _ => None,
        }
    }
}

impl Setting for Count {
    const KIND: &'static str = "\"auto\" or a whole number";
    const PLACEHOLDER: &'static str = "COUNT";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(Self::Auto) } else { u32::parse(text).map(Self::Exactly) }
    }

    fn to_value(&self) -> toml::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Exactly(number) => number.to_value(),
        }
    }
}

/// The vector instructions of the zones' passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simd {
    /// The widest that the machine has.
    Auto,
    /// Exactly these, which the machine has.
    Exactly(SimdLevel),
}

impl Simd {
    /// The level that is meant on this machine.
    pub fn level(self) -> SimdLevel {
        match self {
            Self::Auto => SimdLevel::detect(),
            Self::Exactly(level) => level,
        }
    }
}

/// No level is more than another: all compute the same.
impl PartialOrd for Simd {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Setting for Simd {
    const KIND: &'static str =
        "\"auto\", or a level that this machine has: scalar, sse2, avx2, avx512 or neon";
    const PLACEHOLDER: &'static str = "LEVEL";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        SimdLevel::parse(text).map(Self::Exactly).map_err(|error| match error {
            SimdError::Unsupported(_) => error.to_string(),
            SimdError::Unknown(_) => {
                let levels: Vec<&str> = SimdLevel::supported().map(SimdLevel::name).collect();
                format!("there is no such level; this processor supports {}", levels.join(" "))
            }
        })
    }

    fn to_value(&self) -> toml::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Exactly(level) => level.name().into(),
        }
    }
}

/// A short name: lower-case letters, digits, `-` and `_`, 1 to 63 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Name {
    const KIND: &'static str = "a name of lower-case letters, digits, - and _, at most 63 of them";
    const PLACEHOLDER: &'static str = "NAME";

    fn parse(text: &str) -> Result<Self, String> {
        let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        if !(1..=63).contains(&text.len()) {
            return Err(format!("it has {} characters", text.len()));
        }
        if text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err("it has characters that a name cannot have".to_owned())
        }
    }

    fn to_value(&self) -> toml::Value {
        self.0.clone().into()
    }
}

/// Which database is behind the journal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreUrl {
    /// A file in the data directory.
    Sqlite,
    /// The PostgreSQL at this URL, which may hold a password.
    Postgres(String),
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(out)
    }
}

impl Setting for StoreUrl {
    const KIND: &'static str = "sqlite, or a URL such as \"postgres://user@host:5432/database\"";
    const PLACEHOLDER: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                PostgresSettings::check(url).map_err(|error| error.to_string())?;
                Ok(Self::Postgres(url.to_owned()))
            }
            _ => Err("it is neither sqlite nor a URL that starts with postgres://".to_owned()),
        }
    }

    /// Without a password: what is shown is read by many.
    fn to_value(&self) -> toml::Value {
        match self {
            Self::Sqlite => "sqlite".into(),
            Self::Postgres(url) => without_password(url).into(),
        }
    }
}

/// A URL as it may be shown.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("it was parsed");
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    match authority.rsplit_once('@') {
        Some((user, _)) => {
            let name = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{name}{}", &rest[user.len()..])
        }
        None => url.to_owned(),
    }
}

/// Where hot data is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RedisUrl {
    /// In the process.
    InProcess,
    /// In the Redis at this URL, which may hold a password.
    Redis(String),
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_value().fmt(out)
    }
}

impl Setting for RedisUrl {
    const KIND: &'static str = "empty, or a URL such as \"redis://user@host:6379/0\"";
    const PLACEHOLDER: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::InProcess);
        }
        RedisSettings::check(text).map_err(|error| error.to_string())?;
        Ok(Self::Redis(text.to_owned()))
    }

    /// Without a password: what is shown is read by many.
    fn to_value(&self) -> toml::Value {
        match self {
            Self::InProcess => "".into(),
            Self::Redis(url) => without_password(url).into(),
        }
    }
}

macro_rules! choice {
    (
        #[doc = $doc:literal]
        $Name:ident: $kind:literal {
            $(#[doc = $variant_doc:literal] $Variant:ident = $text:literal,)+
        }
    ) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $Name {
            $(#[doc = $variant_doc] $Variant,)+
        }

        impl $Name {
            /// The word that stands for it in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $text,)+
                }
            }
        }

        impl Setting for $Name {
            const KIND: &'static str = $kind;
            const PLACEHOLDER: &'static str = "CHOICE";

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$Variant),)+
                    _ => Err("there is no such choice".to_owned()),
                }
            }

            fn to_value(&self) -> toml::Value {
                self.as_str().into()
            }
        }
    };
}

choice! {
    /// What drives shards and sockets.
    NetDriver: "one of auto, io_uring, syscalls" {
        /// io_uring, or plain system calls where that is not to be had.
        Auto = "auto",
        /// io_uring or nothing.
        IoUring = "io_uring",
        /// Plain system calls.
        Syscalls = "syscalls",
    }
}

impl NetDriver {
    /// What was asked for by name.
    pub const fn wanted(self) -> Option<Driver> {
        match self {
            Self::Auto => None,
            Self::IoUring => Some(Driver::IoUring),
            Self::Syscalls => Some(Driver::Syscalls),
        }
    }
}

choice! {
    /// How access tokens are signed.
    TokenAlgorithm: "one of eddsa, rs256" {
        /// Ed25519.
        EdDsa = "eddsa",
        /// RSA with PKCS #1 v1.5 and SHA-256.
        Rs256 = "rs256",
    }
}

choice! {
    /// When the ports speak TLS.
    TlsMode: "one of auto, required, off" {
        /// With a certificate; without one only loopback is plain.
        Auto = "auto",
        /// Always.
        Required = "required",
        /// Never.
        Off = "off",
    }
}

choice! {
    /// How severe a line must be to be logged.
    LogLevel: "one of error, warn, info, debug, trace" {
        /// What failed.
        Error = "error",
        /// And what may fail soon.
        Warn = "warn",
        /// And what an operator wants to know.
        Info = "info",
        /// And what explains it.
        Debug = "debug",
        /// And everything else.
        Trace = "trace",
    }
}

choice! {
    /// How a logged line is written.
    LogFormat: "one of text, json" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
