//! The node's certificate: whether there is one, and its renewal while the node runs.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vyuha_gateway::Metrics;
use vyuha_net::tls::Identity;

use crate::config::Config;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The certificate that the configuration names; `None` where players speak plain TCP.
pub fn load(config: &Config) -> anyhow::Result<Option<Arc<Identity>>> {
    if !config.speaks_tls() {
        if config.is_reachable() {
            tracing::warn!("tls.mode is off: whoever is between players and this port reads their passwords");
        }
        return Ok(None);
    }
    let identity = Identity::load(&config.tls.certificate, &config.tls.key)
        .context("tls.certificate and tls.key cannot be used")?;
    Ok(Some(identity))
}

/// SIGHUP, to be heard from now on.
pub fn hang_ups() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("SIGHUP cannot be heard")
}

/// Takes a new certificate once its files change, and on SIGHUP.
pub async fn renew(identity: Arc<Identity>, mut hang_ups: Signal, metrics: Arc<Metrics>) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        let expires = identity.not_after().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics.tls_certificate_expires.set(expires.as_secs());
        let anyway = tokio::select! {
            _ = every.tick() => false,
            Some(()) = hang_ups.recv() => true,
        };
        match identity.reload(anyway) {
            Ok(true) => {
                metrics.tls_reloads("ok").inc();
                tracing::info!("new connections are shown the new certificate");
            }
            Ok(false) => {}
            Err(error) => {
                metrics.tls_reloads("refused").inc();
                tracing::error!(%error, "the new certificate cannot be used; the old one stays");
            }
        }
    }
}
