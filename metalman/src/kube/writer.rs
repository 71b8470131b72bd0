//! Makes the API server show what is known: statuses of operations and machines, Events, operations
//! asked for by counters, and the end of expired ones.
//!
//! Level-triggered: it compares what should be shown with what the watch last showed, so a lost
//! write is simply made again. Invariant: it reads the journal and never writes to it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kube::Client;
use metalman_api::{
    machine::{Machine, OperationCounters},
    operation::{MachineOperation, Phase},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    backlog::{Backlog, SETTLE},
    compare::{expire, news, place, status_patch, told_boot},
    events::Events,
    put::Put,
};
use crate::{
    clock,
    domain::{
        TargetState, counters,
        machine_status::{MachineView, machine_status},
        status::operation_status,
        waits,
    },
    site::{Changed, Site},
    store::{Store, StoreError},
    supervisor::chain,
};

/// Operations of more machines than that are told by the end of each target, not by its steps.
const TOLD_STEP_BY_STEP: usize = 32;
/// Pause between two looks for expired operations, and for writes to be made again.
const TICK: Duration = Duration::from_secs(5);
/// Shortest pause after a look that could not be made, or a write.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Writes under way at one time.
const WRITES: usize = 16;
/// Machine statuses, and Events, written in one pass; the rest waits for the next.
const WRITTEN: usize = 64;
/// Machines looked at in one pass, whether or not their status has to be written.
const LOOKED_AT: usize = 512;

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
    /// What is to be looked at.
    backlog: Backlog,
    /// Events that are to be told.
    tellings: VecDeque<Telling>,
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
            backlog: Backlog::default(),
            tellings: VecDeque::new(),
        }
    }

    /// Runs until `stop`; what was decided before it is still written.
    ///
    /// # Errors
    /// Never today; the type is that of a task.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let inbox = self.site.subscribe();
        loop {
            let begun = Instant::now();
            let mut is_written = true;
            if self.site.is_synced() {
                self.take_in(inbox.take());
                if stop.is_cancelled() {
                    self.backlog.hurry();
                    while self.pass().await && self.has_more() {}
                    return Ok(());
                }
                is_written = self.pass().await;
            } else if stop.is_cancelled() {
                return Ok(());
            }
            let (now, took) = (Instant::now(), begun.elapsed());
            let (soonest, due) = if is_written {
                (now + self.backlog.pause(took), self.due(now, took))
            } else {
                (now + AFTER_FAILURE, now + TICK)
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep_until(due) => {}
                () = async {
                    inbox.changed().await;
                    tokio::time::sleep_until(soonest).await;
                } => {}
                // That one has begun or ended is not left for after a pause.
                () = async {
                    inbox.operation_changed().await;
                    tokio::time::sleep_until(soonest.min(now + SETTLE)).await;
                } => {}
            }
        }
    }

    fn due(&self, now: Instant, took: Duration) -> Instant {
        let telling = (!self.tellings.is_empty()).then(|| now + self.backlog.pause(took));
        let due = self.backlog.next_look(now, took).into_iter().chain(telling);
        due.min().map_or(now + TICK, |due| due.min(now + TICK))
    }

    fn take_in(&mut self, mut changed: Changed) {
        if changed.all {
            let operations = self.site.operations();
            let operations = operations.iter();
            changed
                .operations
                .extend(operations.filter_map(|operation| operation.metadata.name.clone()));
            let owned = self.site.owned_machines();
            let owned = owned.iter().map(|machine| machine.name.to_string());
            changed.machines.extend(owned);
        }
        self.backlog.add(changed);
    }

    fn has_more(&self) -> bool {
        self.backlog.has_machines() || !self.tellings.is_empty()
    }

    /// Compares what changed with what is shown, and writes what differs; `false` when that failed.
    async fn pass(&mut self) -> bool {
        let operations = self.backlog.take_operations(Instant::now());
        match self.plan(&operations).await {
            Ok(puts) => {
                let failed = self.write(puts).await;
                let is_written = failed == Changed::default();
                self.backlog.add(failed);
                is_written
            }
            Err(error) => {
                warn!(error = %chain(&error), error.reason = error.reason(), "statuses wait for the database");
                self.backlog.add(Changed {
                    operations,
                    ..Changed::default()
                });
                false
            }
        }
    }

    /// Compares what changed with what is shown.
    async fn plan(&mut self, operations: &HashSet<String>) -> Result<Vec<Put>, StoreError> {
        let now = clock::now();
        let mut puts = Vec::new();
        if !operations.is_empty() {
            self.forget_gone();
        }
        for name in operations {
            let Some(operation) = self.site.operation(name) else {
                continue;
            };
            if operation.spec.operation_kind.is_host() {
                for machine in self.read_targets(&operation).await? {
                    self.backlog.add_machine(machine);
                }
                puts.extend(self.plan_operation(&operation));
            }
            if let Some(machine) = &operation.spec.machine_ref {
                self.backlog.add_machine(machine.clone());
            }
        }
        let all = self.site.operations();
        puts.extend(all.iter().filter_map(|operation| expire(operation, now)));
        let (mut looked_at, most) = (0, puts.len().saturating_add(WRITTEN));
        while looked_at < LOOKED_AT && puts.len() < most {
            let names = self.backlog.next_machines(WRITTEN);
            if names.is_empty() {
                break;
            }
            looked_at += names.len();
            match self.plan_machines(&names, now).await {
                Ok(planned) => puts.extend(planned),
                Err(error) => {
                    for name in names {
                        self.backlog.add_machine(name);
                    }
                    return Err(error);
                }
            }
        }
        Ok(puts)
    }

    async fn plan_machines(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<Vec<Put>, StoreError> {
        let latest = self.latest_targets(names);
        let mut puts = Vec::new();
        // One at a time: all of them unpacked would fill the memory.
        for name in names {
            if let Some(machine) = self.site.owned_machine(name) {
                let target = latest.get(name).copied();
                puts.extend(self.plan_machine(&machine, target, now).await?);
            }
        }
        Ok(puts)
    }

    /// Makes the writes, several at a time; gives back what has to be looked at again.
    async fn write(&mut self, puts: Vec<Put>) -> Changed {
        let most = self.tellings.len().min(WRITTEN);
        let tellings = self.tellings.drain(..most).map(|telling| {
            let (site, events) = (Arc::clone(&self.site), self.events.clone());
            async move {
                let (operation, machine, state) = telling;
                let machine = site.machine(&machine);
                events.target(&operation, machine.as_deref(), &state).await;
            }
        });
        let tellings: Vec<_> = tellings.collect();
        let tellings = stream::iter(tellings).buffer_unordered(WRITES);
        let puts = puts.into_iter().map(|put| {
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

    fn plan_operation(&mut self, operation: &Arc<MachineOperation>) -> Option<Put> {
        let uid = operation.metadata.uid.as_ref()?;
        let name = operation.metadata.name.as_ref()?;
        let wait = self.site.wait_of(uid);
        let (states, ended) = match (self.targets.get(uid), &wait) {
            (Some(targets), _) => (&targets.states[..], targets.ended),
            (None, Some(_)) => (&[][..], false),
            (None, None) => return None,
        };
        let is_large = states.len() > TOLD_STEP_BY_STEP;
        if is_large && !ended {
            self.backlog.is_large(name, Instant::now());
        }
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
            let is_told = !is_large || state.phase.is_terminal();
            if state.phase != Phase::Pending && known && is_told && before.as_ref() != Some(&place)
            {
                let telling = (Arc::clone(operation), machine.clone(), state.clone());
                self.tellings.push_back(telling);
            }
        }
        status_patch(&shown, &wanted).map(|patch| Put::OperationStatus {
            name: name.clone(),
            patch,
        })
    }

    async fn plan_machine(
        &self,
        machine: &Machine,
        target: Option<(&str, &TargetState)>,
        now: Timestamp,
    ) -> Result<Vec<Put>, StoreError> {
        let mut puts: Vec<Put> = self.requested(machine).into_iter().collect();
        let Some(name) = machine.metadata.name.as_deref() else {
            return Ok(puts);
        };
        if machine.spec.pxe.is_none() {
            return Ok(puts);
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
        puts.extend(patch.map(|patch| Put::MachineStatus {
            name: name.to_owned(),
            patch,
        }));
        Ok(puts)
    }

    /// The unfinished target on each of these machines, else the one that ended last.
    fn latest_targets(&self, names: &[String]) -> HashMap<String, (&str, &TargetState)> {
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
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
