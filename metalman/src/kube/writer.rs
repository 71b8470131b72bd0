//! Makes the API server show what is known: statuses of operations and machines, Events, operations
//! asked for by counters, and the end of expired ones.
//!
//! Level-triggered: it compares what should be shown with what the watch last showed, so a lost
//! write is simply made again. Invariant: it reads the journal and never writes to it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, Resource as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use metalman_api::{
    machine::{Machine, OperationCounters},
    operation::{MachineOperation, MachineOperationSpec, Phase},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{events::Events, merge::merge_patch};
use crate::{
    clock,
    domain::{
        TargetState, counters,
        machine_status::{MachineView, machine_status},
        status::operation_status,
    },
    site::Site,
    store::{RecordedBoot, Store, StoreError},
    supervisor::chain,
};

/// Changes within this time are written together.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest pause between two comparisons.
const TICK: Duration = Duration::from_secs(5);
const MANAGER: &str = "metalman";

/// The status writer.
#[derive(Debug)]
pub struct Writer {
    client: ClientDebug,
    site: Arc<Site>,
    store: Store,
    events: Events,
    /// Targets of operations, by uid; those of ended operations are not read again.
    targets: HashMap<String, Targets>,
    /// Stages told as Events, by uid and machine.
    told: HashMap<String, String>,
}

#[derive(Debug)]
struct Targets {
    name: String,
    states: Vec<(String, TargetState)>,
    ended: bool,
}

#[derive(Clone)]
struct ClientDebug(Client);

impl std::fmt::Debug for ClientDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Writer {
    /// Writes through `client`.
    pub fn new(client: Client, site: Arc<Site>, store: Store) -> Self {
        let events = Events::new(client.clone());
        Self {
            client: ClientDebug(client),
            site,
            store,
            events,
            targets: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Runs until `stop`; what was decided before it is still written.
    ///
    /// # Errors
    /// Never today; the type is that of a task.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut changes = self.site.changes();
        loop {
            if self.site.is_synced()
                && let Err(error) = self.pass().await
            {
                warn!(error = %chain(&error), error.reason = error.reason(), "statuses wait for the database");
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.changed() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(TICK) => {}
            }
            changes.borrow_and_update();
        }
    }

    async fn pass(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        let operations = self.site.operations();
        self.targets.retain(|uid, _| {
            operations
                .iter()
                .any(|o| o.metadata.uid.as_deref() == Some(uid.as_str()))
        });
        for operation in &operations {
            if operation.spec.operation_kind.is_host() {
                self.read_targets(operation).await?;
                self.write_operation(operation).await;
            }
            self.expire(operation, now).await;
        }
        for machine in self.site.owned_machines() {
            self.follow_counters(&machine).await;
            self.write_machine(&machine, now).await?;
        }
        Ok(())
    }

    async fn read_targets(&mut self, operation: &MachineOperation) -> Result<(), StoreError> {
        let (Some(uid), Some(name)) = (&operation.metadata.uid, &operation.metadata.name) else {
            return Ok(());
        };
        if self.targets.get(uid).is_some_and(|targets| targets.ended) {
            return Ok(());
        }
        let rows = self.store.targets().of_operation(uid).await?;
        let mut states: Vec<(String, TargetState)> = rows
            .iter()
            .filter_map(|row| {
                Some((
                    row.machine.clone(),
                    serde_json::from_value(row.state.clone()).ok()?,
                ))
            })
            .collect();
        states.sort_by(|a, b| a.0.cmp(&b.0));
        let ended = !rows.is_empty() && rows.iter().all(|row| row.finished);
        if !states.is_empty() {
            let name = name.clone();
            self.targets.insert(
                uid.clone(),
                Targets {
                    name,
                    states,
                    ended,
                },
            );
        }
        Ok(())
    }

    async fn write_operation(&mut self, operation: &MachineOperation) {
        let (Some(uid), Some(name)) = (&operation.metadata.uid, &operation.metadata.name) else {
            return;
        };
        let Some(targets) = self.targets.get(uid) else {
            return;
        };
        let shown = operation.status.clone().unwrap_or_default();
        let wanted = operation_status(
            &targets.states,
            &shown.conditions,
            operation.metadata.generation,
        );
        for (machine, state) in &targets.states {
            let place = format!(
                "{:?} {:?} {}",
                state.phase, state.stage, state.install_attempts
            );
            let key = format!("{uid}/{machine}");
            // After a restart the stage already shown has been told before.
            let known = self.told.contains_key(&key) || shown.targets.is_empty();
            let before = self.told.insert(key, place.clone());
            if state.phase != Phase::Pending && known && before.as_ref() != Some(&place) {
                let machine = self.site.machine(machine);
                self.events
                    .target(operation, machine.as_deref(), state)
                    .await;
            }
        }
        if let Some(patch) = status_patch(&shown, &wanted) {
            self.patch_operation(name, patch).await;
        }
    }

    async fn patch_operation(&self, name: &str, patch: Value) {
        let api: Api<MachineOperation> = Api::all(self.client.0.clone());
        let patch = Patch::Merge(patch);
        let params = PatchParams {
            field_manager: Some(MANAGER.into()),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch_status(name, &params, &patch).await {
            not_written("MachineOperation", name, &error);
        }
    }

    /// Deletes an ended operation whose time is over, whoever carried it out.
    async fn expire(&self, operation: &MachineOperation, now: Timestamp) {
        let Some(seconds) = operation.spec.ttl_seconds_after_finished else {
            return;
        };
        let Some(status) = &operation.status else {
            return;
        };
        let (true, Some(ended)) = (
            status.phase.is_some_and(Phase::is_terminal),
            &status.completed_at,
        ) else {
            return;
        };
        let age = now.duration_since(ended.0);
        if age < SignedDuration::from_secs(i64::from(seconds)) {
            return;
        }
        let Some(name) = &operation.metadata.name else {
            return;
        };
        let api: Api<MachineOperation> = Api::all(self.client.0.clone());
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: operation.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Ok(_) => info!(operation = name, "expired operation deleted"),
            Err(error) if is_gone(&error) => {}
            Err(error) => not_written("MachineOperation", name, &error),
        }
    }

    /// Creates the operation a raised counter asks for.
    async fn follow_counters(&self, machine: &Machine) {
        let (Some(name), Some(spec)) = (&machine.metadata.name, machine.spec.operations) else {
            return;
        };
        let status = machine
            .status
            .as_ref()
            .and_then(|s| s.operations)
            .unwrap_or_default();
        let Some(request) = counters::wanted(name, spec, status) else {
            return;
        };
        if self.site.operation(&request.name).is_some() {
            return;
        }
        let mut operation = MachineOperation::new(
            &request.name,
            MachineOperationSpec {
                machine_ref: Some(name.clone()),
                operation_kind: request.kind,
                ..MachineOperationSpec::default()
            },
        );
        operation.metadata.owner_references = machine.owner_ref(&()).map(|owner| vec![owner]);
        operation
            .metadata
            .labels
            .clone_from(&machine.metadata.labels);
        let api: Api<MachineOperation> = Api::all(self.client.0.clone());
        let params = PostParams {
            field_manager: Some(MANAGER.into()),
            ..PostParams::default()
        };
        match api.create(&params, &operation).await {
            Ok(_) => info!(
                machine.id = name,
                operation = request.name,
                "counter asks for an operation"
            ),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => not_written("MachineOperation", &request.name, &error),
        }
    }

    async fn write_machine(&self, machine: &Machine, now: Timestamp) -> Result<(), StoreError> {
        let Some(name) = machine.metadata.name.as_deref() else {
            return Ok(());
        };
        if machine.spec.pxe.is_none() {
            return Ok(());
        }
        let shown = machine.status.clone().unwrap_or_default();
        let boot = self.store.boots().latest(name).await?;
        let memory = self.site.memory(name);
        let conflict = self.site.conflict_of(name);
        let view = MachineView {
            power: memory.power.as_ref(),
            trouble: memory.trouble.as_ref(),
            fingerprint: memory.fingerprint.as_deref(),
            target: self.target_of(name),
            boot: boot.as_ref().map(told_boot),
            conflict: conflict.as_deref(),
            counters: self.followed(machine, shown.operations.unwrap_or_default()),
        };
        let wanted = machine_status(&view, &shown, machine.metadata.generation, now);
        if let Some(patch) = status_patch(&shown, &wanted) {
            let api: Api<Machine> = Api::all(self.client.0.clone());
            let patch = Patch::Merge(patch);
            let params = PatchParams {
                field_manager: Some(MANAGER.into()),
                ..PatchParams::default()
            };
            if let Err(error) = api.patch_status(name, &params, &patch).await {
                not_written("Machine", name, &error);
            }
        }
        Ok(())
    }

    /// The unfinished target on a machine, else the one that ended last.
    fn target_of(&self, machine: &str) -> Option<(&str, &TargetState)> {
        self.targets
            .values()
            .flat_map(|t| {
                t.states
                    .iter()
                    .map(move |(m, state)| (m, t.name.as_str(), state))
            })
            .filter(|(m, _, state)| *m == machine && state.started_at.is_some())
            .max_by_key(|(_, _, state)| (!state.phase.is_terminal(), state.started_at))
            .map(|(_, name, state)| (name, state))
    }

    fn followed(&self, machine: &Machine, status: OperationCounters) -> Option<OperationCounters> {
        let spec = machine.spec.operations?;
        let request = counters::wanted(machine.metadata.name.as_deref()?, spec, status)?;
        let operation = self.site.operation(&request.name)?;
        let phase = operation
            .status
            .as_ref()
            .and_then(|s| s.phase)
            .unwrap_or_default();
        counters::followed(&request, phase, spec, status)
    }
}

fn told_boot(boot: &RecordedBoot) -> (&str, &str, &str, Timestamp) {
    (
        &boot.boot_id,
        &boot.kernel,
        &boot.agent_version,
        boot.first_seen,
    )
}

/// The change of a status that makes it true, compared as written: the API keeps times in whole
/// seconds.
fn status_patch<T: serde::Serialize>(shown: &T, wanted: &T) -> Option<Value> {
    let (shown, wanted) = (
        serde_json::to_value(shown).ok()?,
        serde_json::to_value(wanted).ok()?,
    );
    merge_patch(&shown, &wanted).map(|change| json!({ "status": change }))
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

fn not_written(kind: &str, name: &str, error: &kube::Error) {
    if !is_gone(error) {
        warn!(kind, name, error = %chain(error), "could not write, will retry");
    }
}
