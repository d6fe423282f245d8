//! Accounts over HTTP once more, on a node whose database is a PostgreSQL: the harness knows it by this file's name.

#[path = "accounts.rs"]
mod accounts;
