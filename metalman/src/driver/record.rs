//! The begin of targets, and their end when the operation's object is deleted.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{MachineOperation, Phase};
use serde_json::json;
use tracing::info;

use super::{Driver, journal::Key, order::created_at};
use crate::{
    domain::{
        TargetState,
        targets::{self, Targets},
        waits::Wait,
    },
    site::Changed,
    store::{CommitTarget, NewTimelineEntry, StoreError, Target, TimelineSource, TokenChange},
};

/// How long an operation may name a Machine that does not exist yet.
const MACHINE_GRACE: SignedDuration = SignedDuration::from_secs(30);

impl Driver {
    /// Writes down which machines each new operation means; from then on the journal counts.
    pub(super) async fn record_new(
        &self,
        changed: &Changed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let candidates = if changed.all {
            self.site.operations()
        } else {
            let names: HashSet<String> = {
                let unrecorded = self.memory.unrecorded.lock();
                let unrecorded = unrecorded.unwrap_or_else(PoisonError::into_inner);
                unrecorded.union(&changed.operations).cloned().collect()
            };
            let found = names.iter().filter_map(|name| self.site.operation(name));
            found.collect()
        };
        let mut left = HashSet::new();
        let mut result = Ok(());
        for operation in candidates {
            let (Some(name), Some(uid)) = (&operation.metadata.name, &operation.metadata.uid)
            else {
                continue;
            };
            if !operation.spec.operation_kind.is_host() || self.journal().knows(uid) {
                continue;
            }
            if self.memory.reads.is_asked(uid) {
                left.insert(name.clone());
                continue;
            }
            match self.record(&operation, name, uid, now).await {
                Ok(true) => {
                    self.memory.reads.forget(uid);
                    self.site.set_wait(name, uid, None);
                }
                Ok(false) => {
                    left.insert(name.clone());
                }
                Err(error) => {
                    left.insert(name.clone());
                    result = Err(error);
                }
            }
        }
        if left.is_empty() {
            self.memory.reads.clear();
        }
        *self
            .memory
            .unrecorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = left;
        result
    }

    /// `false` while it is not clear, or not our business, what the operation means.
    async fn record(
        &self,
        operation: &Arc<MachineOperation>,
        name: &str,
        uid: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let is_foreign = self.is_foreign(&operation.spec);
        // One that nobody has worked on is not looked up before its Machines are read.
        let is_fresh = operation.status.is_none() && !is_foreign;
        if is_fresh && self.machines_now(operation, (name, uid), now).is_none() {
            return Ok(false);
        }
        let rows = self.store.targets().of_operation(uid).await?;
        if !rows.is_empty() && rows.iter().all(|row| row.finished || has_begun(row)) {
            self.journal().record(uid, rows);
            return Ok(true);
        }
        let phase = operation.status.as_ref().and_then(|status| status.phase);
        if rows.is_empty() && phase.unwrap_or_default().is_terminal() {
            self.journal().record(uid, []);
            return Ok(true);
        }
        if rows.is_empty() && is_foreign {
            // It may have been thought ours while its Machine was not there.
            self.site.set_wait(name, uid, None);
            return Ok(false);
        }
        let Some(found) = self.machines_now(operation, (name, uid), now) else {
            // What has begun goes on with what it was begun with.
            self.journal().adopt(rows.into_iter().filter(has_begun));
            return Ok(false);
        };
        if !rows.is_empty() {
            self.journal().record(uid, rows);
            return Ok(true);
        }
        let Some(states) = self.first_states(operation, &found, now) else {
            self.tell_missing(operation, (name, uid), now);
            return Ok(false);
        };
        let kind = operation.spec.operation_kind.as_str();
        let mut commits = Vec::with_capacity(states.len());
        let mut rows = Vec::with_capacity(states.len());
        for (machine, state) in states {
            info!(operation = name, machine.id = %machine, kind, "target recorded");
            let row = Target {
                operation_uid: uid.to_owned(),
                operation_name: name.to_owned(),
                machine,
                kind: kind.to_owned(),
                version: 1,
                finished: state.phase.is_terminal(),
                state: serde_json::to_value(&state).unwrap_or_default(),
                created_at: now,
                updated_at: now,
            };
            commits.push(CommitTarget {
                expected_version: 0,
                ..CommitTarget::of(&row, now)
            });
            rows.push(row);
        }
        // All or none: an operation with some of its machines recorded would forget the others.
        self.store.targets().commit_all(commits).await?;
        self.journal().record(uid, rows);
        self.site.tell_progress(name);
        Ok(true)
    }

    /// The targets of an operation as they begin, some perhaps refused; `None` if that is not
    /// decided yet.
    fn first_states(
        &self,
        operation: &MachineOperation,
        found: &[String],
        now: Timestamp,
    ) -> Option<Vec<(String, TargetState)>> {
        let kind = operation.spec.operation_kind;
        let refused = |reason: &str, message: String| {
            let mut state = TargetState::new(kind, now);
            state.phase = Phase::Failed;
            reason.clone_into(&mut state.reason);
            state.message = message;
            state.completed_at = Some(now);
            state
        };
        let machines = match &operation.spec.machine_ref {
            Some(name) => self.site.machine(name).into_iter().collect::<Vec<_>>(),
            None => {
                let found = found.iter().filter_map(|name| self.site.machine(name));
                found.collect()
            }
        };
        let machines = machines.into_iter();
        match targets::resolve(self.site.name(), &operation.spec, machines) {
            Targets::NotOurs => None,
            Targets::Machines(names) => Some(
                names
                    .into_iter()
                    .map(|name| (name, TargetState::new(kind, now)))
                    .collect(),
            ),
            Targets::Refused { reason, message } => {
                Some(vec![(String::new(), refused(reason, message))])
            }
            Targets::Missing(machine) => {
                if now.duration_since(created_at(operation)) < MACHINE_GRACE {
                    return None;
                }
                let message = format!(
                    "spec.machineRef names Machine {machine}, which does not exist; create it and a new MachineOperation"
                );
                Some(vec![(machine, refused("MachineNotFound", message))])
            }
        }
    }

    /// Says that an operation of ours, perhaps, waits for its Machine to be created.
    fn tell_missing(
        &self,
        operation: &MachineOperation,
        (name, uid): (&str, &str),
        now: Timestamp,
    ) {
        let missing = operation.spec.machine_ref.as_deref();
        let missing = missing.filter(|machine| self.site.kept(machine).is_none());
        let wait = missing.map(|machine| {
            let until = created_at(operation).checked_add(MACHINE_GRACE);
            Wait::machine(machine, until.unwrap_or(now), now)
        });
        self.site.set_wait(name, uid, wait);
    }

    /// An operation whose object was deleted takes no further step; its install tokens end.
    pub(super) async fn cancel_deleted(
        &self,
        changed: &Changed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if changed.all {
            // Also those that were deleted while this process was not there to see it.
            let rows = self.store.targets().unfinished().await?;
            let gone = rows.into_iter().filter(|row| !self.has_object(row));
            self.journal().adopt(gone);
        }
        let gone: Vec<Key> = {
            let journal = self.journal();
            let rows = journal.open();
            rows.filter(|row| !self.has_object(row))
                .map(|row| (row.operation_uid.clone(), row.machine.clone()))
                .collect()
        };
        for key in gone {
            // One that a task works on comes back when the task has ended.
            let Some(row) = self.journal().begin(&key, usize::MAX) else {
                continue;
            };
            let cancelled = self.cancel(row, now).await;
            let mut journal = self.journal();
            match cancelled {
                Ok(row) => {
                    journal.put(&key, row);
                    journal.end(&key, now, false);
                }
                Err(error) => {
                    journal.end(&key, now, false);
                    return Err(error);
                }
            }
        }
        let uids: HashSet<String> = self
            .site
            .operations()
            .iter()
            .filter_map(|operation| operation.metadata.uid.clone())
            .collect();
        self.journal().forget_unless(|uid| uids.contains(uid));
        Ok(())
    }

    /// Whether the object of a target's operation is there.
    pub(super) fn has_object(&self, row: &Target) -> bool {
        let operation = self.site.operation(&row.operation_name);
        operation
            .is_some_and(|found| found.metadata.uid.as_deref() == Some(row.operation_uid.as_str()))
    }

    async fn cancel(&self, row: Target, now: Timestamp) -> Result<Target, StoreError> {
        let name = &row.operation_name;
        info!(operation = name, machine.id = %row.machine, "operation was deleted, its target ends");
        let commit = CommitTarget {
            finished: true,
            timeline: vec![NewTimelineEntry {
                machine: row.machine.clone(),
                at: now,
                source: TimelineSource::Operation,
                text: format!("operation {name} was deleted: no further step is taken"),
                detail: json!({}),
                operation: Some(name.clone()),
            }],
            tokens: vec![TokenChange::RevokeTokens],
            ..CommitTarget::of(&row, now)
        };
        let written = self.store.targets().commit(commit).await?;
        self.boot.rebuild(now).await?;
        Ok(Target {
            version: written.version,
            finished: true,
            ..row
        })
    }
}

/// Whether a target is past the point up to which it works with the Machine as it finds it.
fn has_begun(row: &Target) -> bool {
    let state = serde_json::from_value::<TargetState>(row.state.clone());
    state.is_ok_and(|state| state.has_begun())
}
