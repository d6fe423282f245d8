//! The same on nodes that plain system calls drive: the harness knows them by this file's name.

#[path = "moving.rs"]
mod moving;
