//! The program `vyuha`: an allocator and a call into the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vyuha_server::cli::run(std::env::args_os(), std::env::vars_os())
}
