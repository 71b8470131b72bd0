//! The driver: the only writer of a target's state.
//!
//! For every unfinished host operation: load the state, gather facts, let
//! [`crate::domain::step()`] decide, commit in one transaction, act, feed readings back. Killing
//! the process between any two of these loses nothing: the next run reads and decides again.

mod act;
mod gather;
mod images;
mod sightings;
mod target;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{MachineOperation, Phase};
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

pub use images::ImageJobs;
pub(crate) use target::random_word;

use crate::{
    bmc::BmcDesk,
    clock,
    domain::{
        Limits, TargetState,
        targets::{self, Targets},
    },
    site::{BootView, Site},
    store::{
        ActionOutcome, CommitTarget, FinishedAction, NewTimelineEntry, Store, StoreError,
        TimelineSource, TokenChange,
    },
    supervisor::chain,
};

/// Longest pause between two looks at everything.
const TICK: Duration = Duration::from_secs(1);
/// How long an operation may name a Machine that does not exist yet.
const MACHINE_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// Everything the driver works with.
#[derive(Debug, Clone)]
pub struct Driver {
    /// Site view.
    pub site: Arc<Site>,
    /// Journal.
    pub store: Store,
    /// BMCs.
    pub bmcs: BmcDesk,
    /// Images of running operations.
    pub images: ImageJobs,
    /// Snapshot builder.
    pub boot: BootView,
    /// Time limits.
    pub limits: Limits,
    /// Machines worked on at one time.
    pub max_concurrent: usize,
    /// Tasks, joined at the end.
    pub tasks: TaskTracker,
    /// Targets and idle machines a task is working on.
    pub busy: Arc<Mutex<HashSet<String>>>,
}

impl Driver {
    /// Runs until `stop`.
    ///
    /// # Errors
    /// When the journal is broken; a database that is away is waited for.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.end_interrupted_actions().await?;
        let mut changes = self.site.changes();
        let mut ended = HashSet::new();
        while !stop.is_cancelled() {
            if self.site.is_synced()
                && let Err(error) = self.pass(&mut ended).await
            {
                if !error.is_transient() {
                    error!(error = %chain(&error), error.reason = error.reason(), "the journal is broken");
                    return Err(error.into());
                }
                warn!(error = %chain(&error), error.reason = error.reason(), "database is away, will retry");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = changes.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        self.tasks.close();
        self.images.stop();
        self.tasks.wait().await;
        self.bmcs.bmcs.close().await;
        Ok(())
    }

    /// Actions that a dead process had begun: nobody knows how far they came. They are noted as
    /// interrupted; the steps look at readings and decide afresh.
    async fn end_interrupted_actions(&self) -> Result<(), StoreError> {
        let now = clock::now();
        let outbox = self.store.outbox();
        for action in outbox.pending().await? {
            outbox.start(action.id, now).await?;
        }
        for action in outbox.running().await? {
            info!(action.id, machine.id = %action.machine, "action was interrupted by a restart");
            let finished = FinishedAction {
                id: action.id,
                outcome: ActionOutcome::Failed,
                result: json!({ "interrupted": true }),
            };
            outbox.finish(&finished, now).await?;
        }
        Ok(())
    }

    async fn pass(&self, ended: &mut HashSet<String>) -> Result<(), StoreError> {
        let now = clock::now();
        self.boot.rebuild(now).await?;
        self.images.keep_netboot_images(&self.boot);
        for operation in self.site.operations() {
            if operation.spec.operation_kind.is_host() {
                self.pass_operation(&operation, ended, now).await?;
            }
        }
        self.cancel_deleted(now).await?;
        Ok(())
    }

    async fn pass_operation(
        &self,
        operation: &Arc<MachineOperation>,
        ended: &mut HashSet<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (Some(name), Some(uid)) = (
            operation.metadata.name.as_deref(),
            operation.metadata.uid.as_deref(),
        ) else {
            return Ok(());
        };
        if ended.contains(uid) {
            return Ok(());
        }
        let rows = self.store.targets().of_operation(uid).await?;
        if rows.is_empty() {
            let phase = operation
                .status
                .as_ref()
                .and_then(|s| s.phase)
                .unwrap_or_default();
            if phase.is_terminal() {
                ended.insert(uid.to_owned());
                return Ok(());
            }
            return self.record_targets(operation, name, uid, now).await;
        }
        if rows.iter().all(|row| row.finished) {
            ended.insert(uid.to_owned());
            return Ok(());
        }
        for row in rows.iter().filter(|row| !row.finished) {
            self.start_target(operation, uid, &row.machine);
        }
        Ok(())
    }

    /// Writes down which machines an operation means; from then on the journal counts.
    async fn record_targets(
        &self,
        operation: &MachineOperation,
        name: &str,
        uid: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let machines = self.site.machines();
        let refused = |reason: &str, message: String| {
            let mut state = TargetState::new(operation.spec.operation_kind, now);
            state.phase = Phase::Failed;
            reason.clone_into(&mut state.reason);
            state.message = message;
            state.completed_at = Some(now);
            state
        };
        let found = targets::resolve(
            self.site.name(),
            &operation.spec,
            machines.iter().map(AsRef::as_ref),
        );
        let states: Vec<(String, TargetState)> = match found {
            Targets::NotOurs => return Ok(()),
            Targets::Machines(names) => names
                .into_iter()
                .map(|name| (name, TargetState::new(operation.spec.operation_kind, now)))
                .collect(),
            Targets::Refused { reason, message } => vec![(String::new(), refused(reason, message))],
            Targets::Missing(machine) => {
                let created = operation
                    .metadata
                    .creation_timestamp
                    .as_ref()
                    .map_or(now, |t| t.0);
                if now.duration_since(created) < MACHINE_GRACE {
                    return Ok(());
                }
                let message = format!(
                    "spec.machineRef names Machine {machine}, which does not exist; create it and a new MachineOperation"
                );
                vec![(machine, refused("MachineNotFound", message))]
            }
        };
        for (machine, state) in states {
            info!(operation = name, machine.id = %machine, kind = operation.spec.operation_kind.as_str(), "target recorded");
            let commit = CommitTarget {
                operation_uid: uid.to_owned(),
                operation_name: name.to_owned(),
                kind: operation.spec.operation_kind.as_str().to_owned(),
                expected_version: 0,
                finished: state.phase.is_terminal(),
                state: serde_json::to_value(&state).unwrap_or_default(),
                now,
                history: Vec::new(),
                finished_actions: Vec::new(),
                outbox: Vec::new(),
                timeline: Vec::new(),
                tokens: Vec::new(),
                machine,
            };
            self.store.targets().commit(&commit).await?;
        }
        self.site.poke();
        Ok(())
    }

    /// Starts a task for a target unless one runs or too many do.
    fn start_target(&self, operation: &Arc<MachineOperation>, uid: &str, machine: &str) {
        let key = format!("{uid}/{machine}");
        if !self.take(&key, self.max_concurrent) {
            return;
        }
        let (driver, operation) = (self.clone(), Arc::clone(operation));
        let (uid, machine) = (uid.to_owned(), machine.to_owned());
        self.tasks.spawn(async move {
            let advanced = driver.advance(&operation, &uid, &machine).await;
            driver.release(&key);
            match advanced {
                Ok(true) => driver.site.poke(),
                Ok(false) => {}
                Err(error) => {
                    warn!(error = %chain(&error), error.reason = error.reason(), machine.id = machine, "step was not kept, will retry");
                }
            }
        });
    }

    fn take(&self, key: &str, limit: usize) -> bool {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.len() < limit && busy.insert(key.to_owned())
    }

    fn release(&self, key: &str) {
        self.busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    /// An operation whose object was deleted takes no further step; its install tokens end.
    async fn cancel_deleted(&self, now: Timestamp) -> Result<(), StoreError> {
        for row in self.store.targets().unfinished().await? {
            let still = self
                .site
                .operation(&row.operation_name)
                .is_some_and(|operation| {
                    operation.metadata.uid.as_deref() == Some(row.operation_uid.as_str())
                });
            let key = format!("{}/{}", row.operation_uid, row.machine);
            if still || !self.take(&key, usize::MAX) {
                continue;
            }
            info!(operation = %row.operation_name, machine.id = %row.machine, "operation was deleted, its target ends");
            let commit = CommitTarget {
                operation_uid: row.operation_uid,
                operation_name: row.operation_name.clone(),
                machine: row.machine.clone(),
                kind: row.kind,
                expected_version: row.version,
                state: row.state,
                finished: true,
                now,
                history: Vec::new(),
                finished_actions: Vec::new(),
                outbox: Vec::new(),
                timeline: vec![NewTimelineEntry {
                    machine: row.machine,
                    at: now,
                    source: TimelineSource::Operation,
                    text: format!(
                        "operation {} was deleted: no further step is taken",
                        row.operation_name
                    ),
                    detail: json!({}),
                    operation: Some(row.operation_name),
                }],
                tokens: vec![TokenChange::RevokeTokens],
            };
            let committed = self.store.targets().commit(&commit).await;
            self.release(&key);
            committed?;
        }
        Ok(())
    }
}
