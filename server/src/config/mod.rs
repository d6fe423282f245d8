//! Configuration: one TOML file, and every key also an environment variable and a flag.
//!
//! A key is declared once, as one line of the table in [`keys`]; path, variable, flag, type, default, range,
//! help text and the typed field all follow from it. Precedence: flag, then environment, then file, then
//! default. [`load`] lists every fault of every layer at once, also in values that a later layer overrides.
//!
//! It never starts anything, never writes, and never guesses: an unknown name is a fault.

mod check;
mod fault;
mod keys;
mod load;
mod networks;
mod show;
#[cfg(test)]
mod tests;
mod value;

pub use fault::{Fault, Faults, Place, Source};
pub use keys::{
    Accounts, Address, Admin, Character, Config, Content, Data, Database, Identity, Journal, KEYS, Key,
    Listen, Log, Net, Record, Redis, Shard, Tls, Web,
};
pub use load::{CONFIG_VARIABLE, Effective, FlagValue, Layers, load};
pub use networks::{Networks, masked};
pub use value::{
    Count, LogFormat, LogLevel, Name, NetDriver, RedisUrl, Simd, Size, StoreUrl, TlsMode, TokenAlgorithm,
};
