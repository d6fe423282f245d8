//! The wire: sockets read and written at the tick, the executor that hosts a shard, start-up probes, and the Rust
//! client.
//!
//! - [`transport`]: the clients' sockets of one shard, touched only by its tick.
//! - [`runtime`]: a pinned thread, a glommio executor where io_uring is to be had, that runs a shard's tick at a fixed step.
//! - [`probe`]: what the machine must allow, checked before anything starts.
//! - [`tls`]: TLS sessions that move with their sockets, and the certificate.
//! - [`listen`]: the listening socket. [`cpu`]: processors and the time that threads take of them.
//!
//! - [`pool`]: memory that an io_uring receives into, for whoever has a ring of its own.
//!
//! Nothing here knows what a message means: frames go in and out as a kind and bytes. How sockets pass from the control
//! plane to a shard belongs to whoever connects the two.
//!
//! Feature `server` (on by default) is all of the above; feature `client` alone links neither glommio nor io_uring, and
//! feature `pool` is the pool alone.

/// Makes each function a test of both drivers.
#[cfg(all(test, feature = "server"))]
macro_rules! on_both_drivers {
    ($($test:ident,)*) => {
        mod syscalls {
            $(#[test] fn $test() { super::$test(crate::runtime::Driver::Syscalls); })*
        }
        mod io_uring {
            $(#[test] fn $test() { super::$test(crate::runtime::Driver::IoUring); })*
        }
    };
}

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod cpu;
#[cfg(feature = "server")]
pub mod listen;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(feature = "server")]
pub mod probe;
#[cfg(feature = "server")]
pub mod runtime;
#[cfg(feature = "server")]
pub mod tls;
#[cfg(feature = "server")]
pub mod transport;
