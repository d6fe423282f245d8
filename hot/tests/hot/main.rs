//! Stores of hot data, Redis's against a real server.

mod outage;
mod server;
mod stores;
