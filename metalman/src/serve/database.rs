//! Opens the store for the process and keeps its gate honest. Not the store itself. Invariant: the
//! address of the database is never part of an error, since it may hold a password.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{Stream, StreamExt as _};
use sd_notify::NotifyState;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::DatabaseConfig,
    health::Gate,
    store::{Ownership, Store},
    supervisor::{self, Signal, Supervisor, chain},
};

/// How often the database is asked whether it answers.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How often the lock on the database is looked at, and asked for while another appliance has it.
const OWNER_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer a service manager is asked to wait for the start, in microseconds.
const START_EXTENSION_USEC: u32 = 30_000_000;

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

/// Opens the database and keeps it for this process. `None` when the process is asked to stop while
/// it waits for another appliance.
pub(super) async fn take(
    config: &DatabaseConfig,
    signals: impl Stream<Item = Signal> + Unpin,
    supervisor: &mut Supervisor,
) -> Result<Option<Store>> {
    let store = open(config).await?;
    let Some(owner) = own(&store, signals).await? else {
        return Ok(None);
    };
    let stop = supervisor.foundation_stop_token();
    supervisor.start_foundation("database lock", keep(store.clone(), owner, stop));
    Ok(Some(store))
}

/// Takes the database for this process; waits while another appliance works on it. `None` when the
/// process is asked to stop meanwhile.
async fn own(
    store: &Store,
    mut signals: impl Stream<Item = Signal> + Unpin,
) -> Result<Option<Ownership>> {
    let mut tick = tokio::time::interval(OWNER_INTERVAL);
    let mut is_told = false;
    loop {
        if let Some(owner) = store.own().await.context("take the database")? {
            return Ok(Some(owner));
        }
        if !is_told {
            info!("another appliance works on this database, waiting until it ends");
            is_told = true;
        }
        supervisor::notify(&[
            NotifyState::Status("waiting: another appliance works on this database"),
            NotifyState::ExtendTimeoutUsec(START_EXTENSION_USEC),
        ]);
        tokio::select! {
            _ = tick.tick() => {}
            Some(Signal::Terminate) = signals.next() => return Ok(None),
        }
    }
}

/// Keeps the database until `stop`. When the connection breaks, nobody can write; it is taken again
/// when the database is back, unless another appliance was faster.
///
/// # Errors
/// When another appliance has it: the process must end.
async fn keep(store: Store, owner: Ownership, stop: CancellationToken) -> Result<()> {
    let mut owner = Some(owner);
    let mut tick = tokio::time::interval(OWNER_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        if let Some(held) = &mut owner {
            let Err(error) = held.check().await else {
                continue;
            };
            warn!(error = %chain(&error), "the lock on the database is lost, will take it again");
            owner = None;
        }
        match store.own().await {
            Ok(Some(again)) => owner = Some(again),
            Ok(None) => bail!("another appliance has taken the database meanwhile"),
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error).context("take the database again"),
        }
    }
    if let Some(owner) = owner {
        owner.release().await;
    }
    Ok(())
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
