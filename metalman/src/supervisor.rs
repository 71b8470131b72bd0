//! Owner of every task of the process: starts them by name, joins them, and ends the process when
//! one of them ends without having been asked to. Not a restarter: whoever started the process
//! (systemd, Kubernetes) starts it again, with the same clean start-up path.
//!
//! Two groups stop one after the other: first the *work* (DHCP, HTTP, driver, web …), then the
//! *foundation* it writes to (the embedded API), so that the last status writes still arrive.
//! Invariant: `tokio::task::JoinSet::spawn` on behalf of the process happens in this file only.

mod signals;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, future::Future, time::Duration};

use anyhow::Result;
use futures::{Stream, StreamExt as _};
use thiserror::Error;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

pub use signals::{Signal, signals};

/// Why the process ends with a failure.
#[derive(Debug, Error)]
pub enum SupervisorError {
    /// A task returned an error.
    #[error("task {name} failed")]
    Failed {
        /// The name the task was started under.
        name: &'static str,
        /// What the task returned.
        #[source]
        source: anyhow::Error,
    },
    /// A task panicked.
    #[error("task {name} panicked: {message}")]
    Panicked {
        /// The name the task was started under.
        name: &'static str,
        /// The text of the panic.
        message: String,
    },
    /// A task returned although nobody had asked it to stop.
    #[error("task {name} ended although nobody asked it to")]
    Ended {
        /// The name the task was started under.
        name: &'static str,
    },
    /// Some tasks did not stop in time and were dropped where they stood.
    #[error("did not stop within {limit:?}: {}", names.join(", "))]
    Stuck {
        /// How long they were given.
        limit: Duration,
        /// The names of the tasks.
        names: Vec<&'static str>,
    },
    /// A second signal asked to stop at once.
    #[error("stopped at once by a second signal; unfinished: {}", names.join(", "))]
    Hurried {
        /// The names of the tasks that were dropped.
        names: Vec<&'static str>,
    },
}

/// One group of named tasks and the token that asks them to stop.
#[derive(Debug)]
struct Group {
    tasks: JoinSet<Result<()>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

impl Group {
    fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            names: HashMap::new(),
            stop: CancellationToken::new(),
        }
    }

    fn start(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        debug!(task = name, "started");
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Waits for the next task to end. Pending for ever when there is none.
    async fn next(&mut self) -> (&'static str, Result<Result<()>, JoinError>) {
        match self.tasks.join_next_with_id().await {
            None => std::future::pending().await,
            Some(Ok((id, result))) => (self.take_name(id), Ok(result)),
            Some(Err(error)) => (self.take_name(error.id()), Err(error)),
        }
    }

    fn take_name(&mut self, id: Id) -> &'static str {
        self.names.remove(&id).unwrap_or("unnamed")
    }

    fn running(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.names.values().copied().collect();
        names.sort_unstable();
        names
    }
}

/// Starts, watches and stops the tasks of the process.
#[derive(Debug)]
pub struct Supervisor {
    work: Group,
    foundation: Group,
    stop_timeout: Duration,
}

impl Supervisor {
    /// A supervisor without tasks. `stop_timeout` bounds the whole graceful stop.
    pub fn new(stop_timeout: Duration) -> Self {
        Self {
            work: Group::new(),
            foundation: Group::new(),
            stop_timeout,
        }
    }

    /// Cancelled when work tasks shall stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.work.stop.clone()
    }

    /// Cancelled when foundation tasks shall stop: after the last work task has ended.
    pub fn foundation_stop_token(&self) -> CancellationToken {
        self.foundation.stop.clone()
    }

    /// Starts a work task. It must run until [`Self::stop_token`] is cancelled.
    pub fn start(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.work.start(name, task);
    }

    /// Starts a task others write to. It must run until [`Self::foundation_stop_token`] is
    /// cancelled.
    pub fn start_foundation(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.foundation.start(name, task);
    }

    /// Runs until a signal asks to stop or a task ends by itself, then stops everything.
    ///
    /// The first `Terminate` stops gracefully, the second at once. `Reload` is only noted: there is
    /// nothing yet that can be reloaded.
    ///
    /// # Errors
    /// The first task that failed, panicked or ended uncalled; or, if all was well until then, the
    /// tasks that did not stop in time.
    pub async fn run(
        mut self,
        mut signals: impl Stream<Item = Signal> + Unpin,
    ) -> Result<(), SupervisorError> {
        let verdict = loop {
            tokio::select! {
                ended = self.work.next() => break uncalled(ended),
                ended = self.foundation.next() => break uncalled(ended),
                Some(signal) = signals.next() => match signal {
                    Signal::Terminate => {
                        info!("stopping: asked by a signal");
                        break Ok(());
                    }
                    Signal::Reload => warn!("SIGHUP noted: nothing is reloaded, restart to apply changes"),
                },
            }
        };
        if let Err(failure) = &verdict {
            error!(error = %chain(failure), "stopping: a task ended by itself");
        }
        notify(&[sd_notify::NotifyState::Stopping]);
        let stopped = self.stop(&mut signals).await;
        verdict.and(stopped)
    }

    async fn stop(
        &mut self,
        signals: &mut (impl Stream<Item = Signal> + Unpin),
    ) -> Result<(), SupervisorError> {
        let deadline = Instant::now() + self.stop_timeout;
        let limit = self.stop_timeout;
        let mut result = Ok(());
        for group in [&mut self.work, &mut self.foundation] {
            group.stop.cancel();
            let ended = stop_group(group, deadline, limit, signals).await;
            result = result.and(ended);
        }
        result
    }
}

/// Joins all tasks of a group that has been asked to stop; what is left at the deadline, or at the
/// second signal, is aborted.
async fn stop_group(
    group: &mut Group,
    deadline: Instant,
    limit: Duration,
    signals: &mut (impl Stream<Item = Signal> + Unpin),
) -> Result<(), SupervisorError> {
    let mut result = Ok(());
    while !group.tasks.is_empty() {
        let outcome = tokio::select! {
            ended = timeout_at(deadline, group.next()) => ended.ok(),
            () = second(signals) => {
                let names = group.running();
                group.tasks.shutdown().await;
                return result.and(Err(SupervisorError::Hurried { names }));
            }
        };
        let Some((name, joined)) = outcome else {
            let names = group.running();
            group.tasks.shutdown().await;
            return result.and(Err(SupervisorError::Stuck { limit, names }));
        };
        debug!(task = name, "ended");
        let ended = judge(name, joined);
        if let Err(failure) = &ended {
            error!(error = %chain(failure), "a task failed while stopping");
        }
        result = result.and(ended);
    }
    result
}

/// Resolves at the next `Terminate`; never when the stream has ended.
async fn second(signals: &mut (impl Stream<Item = Signal> + Unpin)) {
    loop {
        match signals.next().await {
            Some(Signal::Terminate) => return,
            Some(Signal::Reload) => {}
            None => std::future::pending().await,
        }
    }
}

fn uncalled(
    (name, joined): (&'static str, Result<Result<()>, JoinError>),
) -> Result<(), SupervisorError> {
    judge(name, joined)?;
    Err(SupervisorError::Ended { name })
}

fn judge(name: &'static str, joined: Result<Result<()>, JoinError>) -> Result<(), SupervisorError> {
    match joined {
        Ok(result) => result.map_err(|source| SupervisorError::Failed { name, source }),
        Err(error) => Err(SupervisorError::Panicked {
            name,
            message: panic_text(error),
        }),
    }
}

fn panic_text(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| {
                payload
                    .downcast_ref::<&'static str>()
                    .map(ToString::to_string)
            })
            .unwrap_or_else(|| "no text".to_owned()),
        Err(error) => error.to_string(),
    }
}

/// The error and its causes in one line, each cause once.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Tells systemd; without systemd this does nothing.
pub fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "could not notify the service manager");
    }
}

/// Feeds the systemd watchdog at a third of its period until `stop` is cancelled. Returns at once
/// on `stop`; without a watchdog it only waits.
///
/// # Errors
/// Never; the type is that of a task.
pub async fn feed_watchdog(stop: CancellationToken) -> Result<()> {
    let Some(period) = sd_notify::watchdog_enabled() else {
        stop.cancelled().await;
        return Ok(());
    };
    let mut tick = tokio::time::interval(period / 3);
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => notify(&[sd_notify::NotifyState::Watchdog]),
        }
    }
    Ok(())
}
