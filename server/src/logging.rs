//! Where the node's own log goes: standard error, for people or as JSON. Traces go elsewhere ([`crate::traces`]).

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::config::{Log, LogFormat};
use crate::traces::Traces;

/// Starts logging, and tracing where there is a collector. A second call in one process changes nothing.
pub fn init(log: &Log, traces: Option<&Traces>) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let lines = lines.with_filter(EnvFilter::new(log.level.as_str()));
    // Only the first subscriber of a process counts.
    let _ = tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).try_init();
}
