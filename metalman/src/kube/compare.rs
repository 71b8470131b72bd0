//! What statuses are compared by. Pure.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{MachineOperation, Phase};
use serde_json::{Value, json};

use super::{merge::merge_patch, put::Put};
use crate::{domain::TargetState, store::RecordedBoot};

/// Machines whose target is not as it was.
pub(super) fn news(before: &[(String, TargetState)], now: &[(String, TargetState)]) -> Vec<String> {
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
pub(super) fn place(state: &TargetState) -> String {
    format!(
        "{:?} {:?} {}",
        state.phase, state.stage, state.install_attempts
    )
}

/// The deletion of an ended operation whose time is over, whoever carried it out.
pub(super) fn expire(operation: &MachineOperation, now: Timestamp) -> Option<Put> {
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

pub(super) fn told_boot(boot: &RecordedBoot) -> (&str, &str, &str, Timestamp) {
    (
        &boot.boot_id,
        &boot.kernel,
        &boot.agent_version,
        boot.first_seen,
    )
}

/// The change of a status that makes it true, compared as written: the API keeps times in whole
/// seconds.
pub(super) fn status_patch<T: serde::Serialize>(shown: &T, wanted: &T) -> Option<Value> {
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
