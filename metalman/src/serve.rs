//! Start-up and run of the appliance: one function, read from top to bottom. It wires parts and
//! decides nothing. Invariant: sockets are bound before tasks start, and systemd hears READY only
//! after every gate that start-up itself can open is open.

mod listen;

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
    let health_listener = listen::tcp(
        "health and metrics",
        "--health-port",
        config.listen(config.health_port),
    )
    .await?;

    let stop = supervisor.stop_token();
    let routes = health::router(readiness.clone(), Arc::new(metrics));
    supervisor.start("health", async move {
        axum::serve(health_listener, routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await?;
        Ok(())
    });
    supervisor.start(
        "watchdog",
        supervisor::feed_watchdog(supervisor.stop_token()),
    );
    supervisor::notify(&[sd_notify::NotifyState::Ready]);
    info!(site.name = %config.site, version = env!("CARGO_PKG_VERSION"), "metalman started");
    supervisor.run(signals).await?;
    info!("metalman stopped");
    Ok(())
}
