//! Refusals once more, on nodes that plain system calls drive: the harness knows them by this file's name.

#[path = "refusals.rs"]
mod refusals;
