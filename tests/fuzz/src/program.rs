//! The libFuzzer program: it runs the target that the variable `FUZZ_TARGET` names; `cargo xtask fuzz` sets it.

#![no_main]

use std::env;
use std::sync::OnceLock;

use vyuha_fuzz::Target;

fn chosen() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = env::var("FUZZ_TARGET").unwrap_or_default();
        vyuha_fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name:?} names no target"))
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| chosen().run(input));
