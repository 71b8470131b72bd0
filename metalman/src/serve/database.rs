//! Opens the store for the process and keeps its gate honest. Not the store itself. Invariant: the
//! address of the database is never part of an error, since it may hold a password.

use std::time::Duration;

use anyhow::{Context, Result};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{config::DatabaseConfig, health::Gate, store::Store, supervisor::chain};

/// How often the database is asked whether it answers.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Opens the database and brings its schema up to date.
///
/// # Errors
/// With the setting to look at.
pub async fn open(config: &DatabaseConfig) -> Result<Store> {
    let (url, setting) = match config {
        DatabaseConfig::Url(url) => (url.as_str(), "--database-url, --state-dir"),
        DatabaseConfig::Secret(url) => (url.expose_secret(), "--database-url-file"),
    };
    Store::open(url)
        .await
        .with_context(|| format!("open the database ({setting})"))
}

/// Opens and closes the gate as the database comes and goes, until `stop`.
pub(super) async fn watch(store: Store, gate: Gate, stop: CancellationToken) -> Result<()> {
    let mut tick = tokio::time::interval(PING_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
        }
        match store.ping().await {
            Ok(()) => gate.open(),
            Err(error) => {
                warn!(error = %chain(&error), "the database does not answer, will ask again");
                gate.close("the database does not answer");
            }
        }
    }
}
