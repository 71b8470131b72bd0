//! Makes the API server show what is known: statuses of operations and machines, Events, operations
//! asked for by counters, and the end of expired ones.
//!
//! Level-triggered: it compares what should be shown with what the watch last showed, so a lost
//! write is simply made again. Invariant: it reads the journal and never writes to it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use metalman_api::{
    machine::{Machine, OperationCounters},
    operation::{MachineOperation, Phase},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{events::Events, merge::merge_patch, put::Put};
use crate::{
    clock,
    domain::{
        TargetState, counters,
        machine_status::{MachineView, machine_status},
        status::operation_status,
        waits,
    },
    site::{Changed, Site},
    store::{RecordedBoot, Store, StoreError},
    supervisor::chain,
};

/// Changes within this time are written together.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest pause between two looks when a look takes long: at most half of the time is spent looking.
const LONGEST_SETTLE: Duration = Duration::from_secs(1);
/// Operations of more machines than that are told by the end of each target, not by its steps.
const TOLD_STEP_BY_STEP: usize = 32;
/// Pause between two looks for expired operations, and for writes to be made again.
const TICK: Duration = Duration::from_secs(5);
/// Writes under way at one time.
const WRITES: usize = 16;

/// The status writer.
pub struct Writer {
    client: Client,
    site: Arc<Site>,
    store: Store,
    events: Events,
    /// Targets of operations, by uid; those of ended operations are not read again.
    targets: HashMap<String, Targets>,
    /// Stages told as Events, by uid and machine.
    told: HashMap<String, String>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Targets {
    name: String,
    states: Vec<(String, TargetState)>,
    ended: bool,
}

/// An Event to be told: about which operation, on which machine, in which state.
type Telling = (Arc<MachineOperation>, String, TargetState);

/// What a pass wants written.
#[derive(Debug, Default)]
struct Plan {
    puts: Vec<Put>,
    tellings: Vec<Telling>,
}

impl Writer {
    /// Writes through `client`.
    pub fn new(client: Client, site: Arc<Site>, store: Store) -> Self {
        Self {
            events: Events::new(client.clone()),
            client,
            site,
            store,
            targets: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Runs until `stop`; what was decided before it is still written.
    ///
    /// # Errors
    /// Never today; the type is that of a task.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let inbox = self.site.subscribe();
        // What could not be worked on or written.
        let mut again = Changed::default();
        loop {
            let begun = Instant::now();
            if self.site.is_synced() {
                let mut changed = inbox.take();
                changed.add(again);
                again = match self.plan(&changed).await {
                    Ok(plan) => self.write(plan).await,
                    Err(error) => {
                        warn!(error = %chain(&error), error.reason = error.reason(), "statuses wait for the database");
                        changed
                    }
                };
            }
            if stop.is_cancelled() {
                return Ok(());
            }
            let settle = begun.elapsed().clamp(SETTLE, LONGEST_SETTLE);
            tokio::select! {
                () = stop.cancelled() => {}
                () = inbox.changed() => tokio::time::sleep(settle).await,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Compares what changed with what is shown.
    async fn plan(&mut self, changed: &Changed) -> Result<Plan, StoreError> {
        let now = clock::now();
        let mut plan = Plan::default();
        if changed.all || !changed.operations.is_empty() {
            self.forget_gone();
        }
        let operations = if changed.all {
            self.site.operations()
        } else {
            let names = changed.operations.iter();
            names.filter_map(|name| self.site.operation(name)).collect()
        };
        let mut machines = changed.machines.clone();
        for operation in &operations {
            if operation.spec.operation_kind.is_host() {
                machines.extend(self.read_targets(operation).await?);
                self.plan_operation(operation, &mut plan);
            }
            machines.extend(operation.spec.machine_ref.clone());
        }
        if changed.all {
            let owned = self.site.owned_machines();
            machines.extend(owned.iter().map(|machine| machine.name.to_string()));
        }
        let latest = self.latest_targets(&machines);
        // One at a time: all of them unpacked would fill the memory.
        for name in &machines {
            if let Some(machine) = self.site.owned_machine(name) {
                let target = latest.get(name).copied();
                self.plan_machine(&machine, target, now, &mut plan).await?;
            }
        }
        let expired = self.site.operations();
        plan.puts.extend(
            expired
                .iter()
                .filter_map(|operation| expire(operation, now)),
        );
        Ok(plan)
    }

    /// Makes the writes, several at a time; gives back what has to be looked at again.
    async fn write(&self, plan: Plan) -> Changed {
        let tellings = plan.tellings.into_iter().map(|telling| {
            let (site, events) = (Arc::clone(&self.site), self.events.clone());
            async move {
                let (operation, machine, state) = telling;
                let machine = site.machine(&machine);
                events.target(&operation, machine.as_deref(), &state).await;
            }
        });
        let tellings = stream::iter(tellings).buffer_unordered(WRITES);
        let puts = plan.puts.into_iter().map(|put| {
            let client = self.client.clone();
            async move { (!put.write(&client).await).then_some(put) }
        });
        let mut failed = stream::iter(puts).buffer_unordered(WRITES);
        let mut again = Changed::default();
        let puts = async {
            while let Some(put) = failed.next().await {
                match put {
                    Some(Put::OperationStatus { name, .. }) => {
                        again.operations.insert(name);
                    }
                    Some(Put::MachineStatus { name, .. }) => {
                        again.machines.insert(name);
                    }
                    Some(Put::Create(operation)) => {
                        again.machines.extend(operation.spec.machine_ref);
                    }
                    // Found again at every look.
                    Some(Put::Expire { .. }) | None => {}
                }
            }
        };
        futures::future::join(tellings.collect::<()>(), puts).await;
        again
    }

    /// Forgets what belongs to operations that are gone.
    fn forget_gone(&mut self) {
        let operations = self.site.operations();
        let uids: HashSet<&str> = operations
            .iter()
            .filter_map(|operation| operation.metadata.uid.as_deref())
            .collect();
        self.targets.retain(|uid, _| uids.contains(uid.as_str()));
        self.told.retain(|key, _| {
            let uid = key.split_once('/').map_or(key.as_str(), |(uid, _)| uid);
            uids.contains(uid)
        });
    }

    /// Takes in how the targets of an operation stand; gives back the machines for which that is
    /// news.
    async fn read_targets(
        &mut self,
        operation: &MachineOperation,
    ) -> Result<Vec<String>, StoreError> {
        let (Some(uid), Some(name)) = (&operation.metadata.uid, &operation.metadata.name) else {
            return Ok(Vec::new());
        };
        if self.targets.get(uid).is_some_and(|targets| targets.ended) {
            return Ok(Vec::new());
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
        let before = self.targets.get(uid);
        let before = before.map_or(&[][..], |targets| &targets.states);
        let news = news(before, &states);
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
        Ok(news)
    }

    fn plan_operation(&mut self, operation: &Arc<MachineOperation>, plan: &mut Plan) {
        let (Some(uid), Some(name)) = (&operation.metadata.uid, &operation.metadata.name) else {
            return;
        };
        let wait = self.site.wait_of(uid);
        let states = match (self.targets.get(uid), &wait) {
            (Some(targets), _) => &targets.states[..],
            (None, Some(_)) => &[],
            (None, None) => return,
        };
        let shown = operation.status.clone().unwrap_or_default();
        let generation = operation.metadata.generation;
        let mut wanted = operation_status(states, &shown.conditions, generation);
        if let Some(wait) = &wait {
            waits::show(wait, &mut wanted, &shown, generation);
        }
        for (machine, state) in states {
            let place = place(state);
            let key = format!("{uid}/{machine}");
            // After a restart the stage already shown has been told before.
            let known = self.told.contains_key(&key) || shown.targets.is_empty();
            let before = self.told.insert(key, place.clone());
            let is_told = states.len() <= TOLD_STEP_BY_STEP || state.phase.is_terminal();
            if state.phase != Phase::Pending && known && is_told && before.as_ref() != Some(&place)
            {
                plan.tellings
                    .push((Arc::clone(operation), machine.clone(), state.clone()));
            }
        }
        let patch = status_patch(&shown, &wanted);
        plan.puts.extend(patch.map(|patch| Put::OperationStatus {
            name: name.clone(),
            patch,
        }));
    }

    async fn plan_machine(
        &self,
        machine: &Machine,
        target: Option<(&str, &TargetState)>,
        now: Timestamp,
        plan: &mut Plan,
    ) -> Result<(), StoreError> {
        let Some(name) = machine.metadata.name.as_deref() else {
            return Ok(());
        };
        plan.puts.extend(self.requested(machine));
        if machine.spec.pxe.is_none() {
            return Ok(());
        }
        let shown = machine.status.clone().unwrap_or_default();
        let boot = self.store.boots().latest(name).await?;
        let memory = self.site.memory(name);
        let conflict = self.site.conflict_of(name);
        let loaders = self.site.loader_verdict(name);
        let boot_files = self.site.boot_files_of(name);
        let view = MachineView {
            power: memory.power.as_ref(),
            trouble: memory.trouble.as_ref(),
            bmc: memory.bmc_facts(),
            fingerprint: memory.fingerprint.as_deref(),
            target,
            boot: boot.as_ref().map(told_boot),
            conflict: conflict.as_deref(),
            loaders: loaders
                .as_ref()
                .map(|verdict| (verdict.state, verdict.message.as_str())),
            boot_files: boot_files.as_ref(),
            counters: self.followed(machine, shown.operations.unwrap_or_default()),
        };
        let wanted = machine_status(&view, &shown, machine.metadata.generation, now);
        let patch = status_patch(&shown, &wanted);
        plan.puts.extend(patch.map(|patch| Put::MachineStatus {
            name: name.to_owned(),
            patch,
        }));
        Ok(())
    }

    /// The unfinished target on each of these machines, else the one that ended last.
    fn latest_targets(&self, names: &HashSet<String>) -> HashMap<String, (&str, &TargetState)> {
        let rank = |state: &TargetState| (!state.phase.is_terminal(), state.started_at);
        let mut latest: HashMap<String, (&str, &TargetState)> = HashMap::new();
        for targets in self.targets.values() {
            let begun = targets.states.iter().filter(|(machine, state)| {
                state.started_at.is_some() && names.contains(machine.as_str())
            });
            for (machine, state) in begun {
                let best = latest
                    .entry(machine.clone())
                    .or_insert((targets.name.as_str(), state));
                if rank(state) >= rank(best.1) {
                    *best = (targets.name.as_str(), state);
                }
            }
        }
        latest
    }

    /// The operation a raised counter asks for.
    fn requested(&self, machine: &Machine) -> Option<Put> {
        let name = machine.metadata.name.as_deref()?;
        let status = machine.status.as_ref().and_then(|s| s.operations);
        let request = counters::wanted(name, machine.spec.operations?, status.unwrap_or_default())?;
        let exists = self.site.operation(&request.name).is_some();
        (!exists).then(|| Put::requested(machine, &request))
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

/// Machines whose target is not as it was.
fn news(before: &[(String, TargetState)], now: &[(String, TargetState)]) -> Vec<String> {
    let before: HashMap<&str, &TargetState> = before
        .iter()
        .map(|(machine, state)| (machine.as_str(), state))
        .collect();
    now.iter()
        .filter(|(machine, state)| before.get(machine.as_str()) != Some(&state))
        .map(|(machine, _)| machine.clone())
        .collect()
}

/// What an Event is told of, once for each.
fn place(state: &TargetState) -> String {
    format!(
        "{:?} {:?} {}",
        state.phase, state.stage, state.install_attempts
    )
}

/// The deletion of an ended operation whose time is over, whoever carried it out.
fn expire(operation: &MachineOperation, now: Timestamp) -> Option<Put> {
    let seconds = operation.spec.ttl_seconds_after_finished?;
    let status = operation.status.as_ref()?;
    let ended = status.completed_at.as_ref()?;
    let age = now.duration_since(ended.0);
    let is_over = status.phase.is_some_and(Phase::is_terminal)
        && age >= SignedDuration::from_secs(i64::from(seconds));
    is_over.then(|| Put::Expire {
        name: operation.metadata.name.clone().unwrap_or_default(),
        uid: operation.metadata.uid.clone(),
    })
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

#[cfg(test)]
mod tests {
    use metalman_api::operation::OperationKind;

    use super::*;

    #[test]
    fn only_targets_that_moved_or_are_new_are_news() {
        let state = TargetState::new(OperationKind::HostReboot, Timestamp::UNIX_EPOCH);
        let moved = TargetState {
            phase: Phase::InProgress,
            ..state.clone()
        };
        let row = |machine: &str, state: &TargetState| (machine.to_owned(), state.clone());
        let before = [row("same", &state), row("moved", &state)];
        let now = [
            row("moved", &moved),
            row("new", &state),
            row("same", &state),
        ];
        assert_eq!(news(&before, &now), ["moved", "new"]);
    }
}
