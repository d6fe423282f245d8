//! Playing once more, on nodes that plain system calls drive: the harness knows them by this file's name.

#[path = "play.rs"]
mod play;
