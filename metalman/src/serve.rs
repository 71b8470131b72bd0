//! Start-up and run of the appliance: one function, read from top to bottom. It wires parts and
//! decides nothing. Invariant: sockets are bound before tasks start, and systemd hears READY only
//! after every gate that start-up itself can open is open.

mod address;
mod database;
mod listen;
mod state_dir;

use std::sync::Arc;

use anyhow::{Context, Result};
use tracing::info;

use crate::{
    clock,
    config::Config,
    health::{self, Metrics, Readiness},
    supervisor::{self, Supervisor},
};

pub use listen::ListenError;

/// Runs the appliance until a signal or a failing task ends it.
///
/// # Errors
/// What kept it from starting, or the task that ended it.
pub async fn run(config: Config) -> Result<()> {
    let signals = supervisor::signals().context("take over signals")?;
    let readiness = Readiness::default();
    let metrics = Metrics::new(clock::now(), readiness.clone());
    let mut supervisor = Supervisor::new(config.stop_timeout);

    // Where we are, and what we keep.
    let _lock = state_dir::prepare(&config.state_dir)?;
    let place = address::place(
        config.bind_address,
        &config.dhcp,
        &address::interfaces()?,
        address::outbound,
    )?;
    let store = database::open(&config.database).await?;

    // Sockets, before anything runs.
    let health_listener = listen::tcp(
        "health and metrics",
        "--health-port",
        config.listen(config.health_port),
    )
    .await?;

    // Tasks.
    let gate = readiness.gate("store", "not asked yet");
    let stop = supervisor.stop_token();
    supervisor.start("store watch", database::watch(store.clone(), gate, stop));
    let routes = health::router(readiness.clone(), Arc::new(metrics));
    let stop = supervisor.stop_token();
    supervisor.start("health", async move {
        axum::serve(health_listener, routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await?;
        Ok(())
    });
    let stop = supervisor.stop_token();
    supervisor.start("watchdog", supervisor::feed_watchdog(stop));

    supervisor::notify(&[sd_notify::NotifyState::Ready]);
    info!(
        site.name = %config.site,
        address = %place.address,
        version = env!("CARGO_PKG_VERSION"),
        "metalman started"
    );
    let ended = supervisor.run(signals).await;
    store.close().await;
    ended?;
    info!("metalman stopped");
    Ok(())
}
