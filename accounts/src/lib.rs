//! Accounts over HTTP: sign-up and sign-in by e-mail and password, sessions and their tokens, the second factor, profiles with
//! their characters, and tickets into the game.
//!
//! It runs on a thread of its own beside the control plane, speaks to the database in small transactions
//! ([`vyuha_store::sql`]) and never to a shard. What must happen once (a token used, a code taken, a name given) the database
//! decides. Tokens are kept as hashes; keys and shared secrets are sealed. No answer and no answer's time tells who has an
//! account, and nothing secret is logged.
//!
//! Memory is bounded: [`limits::BUCKETS_MAX`] buckets, [`throttle::WINDOWS_MAX`] windows, [`mail::QUEUE_MAX`] mails, 4,096 kept answers of at most 16 KiB, and the
//! sessions that ended within a quarter of an hour.

pub mod appeals;
pub mod bans;
pub mod browser;
pub mod characters;
pub mod debts;
pub mod devices;
pub mod email;
pub mod erasure;
pub mod export;
pub mod game;
mod http;
pub mod identities;
pub mod jwt;
pub mod keyring;
pub mod limits;
pub mod login;
pub mod mail;
pub mod names;
mod notice;
pub mod oidc;
pub mod one_time;
pub mod overview;
pub mod problem;
pub mod profiles;
mod recent;
pub mod registration;
mod revoked;
mod routes;
pub mod second_factor;
pub mod secret;
mod service;
pub mod sessions;
pub mod sharing;
pub mod signed;
pub mod staff;
#[cfg(test)]
mod testing;
pub mod throttle;
mod topics;
mod trace;
pub mod vault;

pub use http::{BODY_BYTES_MAX, REQUEST_TIMEOUT, document, router, serve};
pub use service::{ApiConfig, Clock, Parts, Service, ThrownOut};
