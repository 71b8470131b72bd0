//! Moves one target: load, gather, step, commit, act, and again until nothing is left to do now.

use jiff::Timestamp;
use metalman_api::operation::{MachineOperation, Phase};
use rand::Rng as _;
use serde_json::json;
use tracing::{info, warn};

use super::Driver;
use crate::{
    clock,
    domain::{Action, Step, TargetState, step},
    store::{
        ActionState, CommitTarget, HistoryEntry, NewAction, NewTimelineEntry, NewToken, StoreError,
        Target, TimelineSource, TokenChange,
    },
};

/// Steps one call makes at the most; a target that wants more is looked at again soon.
const STEPS: usize = 16;

impl Driver {
    /// Makes all steps that can be made now; `true` when something changed.
    pub(super) async fn advance(
        &self,
        operation: &MachineOperation,
        uid: &str,
        machine: &str,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        for _ in 0..STEPS {
            let Some(row) = self.store.targets().load(uid, machine).await? else {
                break;
            };
            let Some(state) = state_of(&row) else { break };
            let facts = self.gather(operation, &state, machine).await?;
            let now = clock::now();
            let decided = step(now, &state, &facts, &self.limits);
            if decided.state == state && decided.actions.is_empty() {
                break;
            }
            changed |= decided.state != state;
            let actions = self.commit(&row, &state, decided, now).await?;
            if actions.is_empty() {
                continue;
            }
            // Statuses show the new stage while the actions run.
            self.site.poke();
            for (id, action) in actions {
                self.act(operation, uid, machine, id, &action).await?;
            }
        }
        Ok(changed)
    }

    /// Keeps a decision in one transaction; gives back the actions with their outbox numbers.
    async fn commit(
        &self,
        row: &Target,
        before: &TargetState,
        decided: Step,
        now: Timestamp,
    ) -> Result<Vec<(i64, Action)>, StoreError> {
        let Step { state, actions } = decided;
        let (permissions, outbox): (Vec<Action>, Vec<Action>) = actions
            .into_iter()
            .partition(|action| matches!(action, Action::MintToken { .. } | Action::RevokeTokens));
        let moved = (before.phase, before.stage) != (state.phase, state.stage);
        let commit = CommitTarget {
            operation_uid: row.operation_uid.clone(),
            operation_name: row.operation_name.clone(),
            machine: row.machine.clone(),
            kind: row.kind.clone(),
            expected_version: row.version,
            state: serde_json::to_value(&state).unwrap_or_default(),
            finished: state.phase.is_terminal(),
            now,
            history: if moved {
                vec![history(before, &state, now)]
            } else {
                Vec::new()
            },
            finished_actions: Vec::new(),
            outbox: outbox
                .iter()
                .map(|action| NewAction {
                    action: serde_json::to_value(action).unwrap_or_default(),
                })
                .collect(),
            timeline: if moved {
                vec![line(row, &state, now)]
            } else {
                Vec::new()
            },
            tokens: permissions
                .iter()
                .flat_map(|action| token_changes(row, &state, action))
                .collect(),
        };
        self.store.targets().commit(&commit).await?;
        if moved {
            info!(
                operation = %row.operation_name,
                machine.id = %row.machine,
                phase.from = place(before),
                phase.to = place(&state),
                reason = %state.reason,
                "{}",
                state.message
            );
        }
        if !permissions.is_empty() {
            self.boot.rebuild(clock::now()).await?;
        }
        if outbox.is_empty() {
            return Ok(Vec::new());
        }
        let pending = self
            .store
            .outbox()
            .of_target(&row.operation_uid, &row.machine)
            .await?;
        let ids = pending
            .iter()
            .filter(|a| a.state == ActionState::Pending)
            .map(|a| a.id);
        Ok(ids.zip(outbox).collect())
    }
}

fn state_of(row: &Target) -> Option<TargetState> {
    match serde_json::from_value(row.state.clone()) {
        Ok(state) => Some(state),
        Err(error) => {
            warn!(%error, machine.id = %row.machine, operation = %row.operation_name, "journal entry cannot be read");
            None
        }
    }
}

fn token_changes(row: &Target, state: &TargetState, action: &Action) -> Vec<TokenChange> {
    match action {
        Action::MintToken { expires_at } => vec![
            TokenChange::RevokeTokens,
            TokenChange::Mint(NewToken {
                token: random_word(),
                machine: row.machine.clone(),
                operation_uid: row.operation_uid.clone(),
                attempt: i64::from(state.install_attempts),
                image_digest: state
                    .input
                    .as_ref()
                    .map(|input| input.host_image_digest.clone())
                    .unwrap_or_default(),
                expires_at: *expires_at,
            }),
        ],
        Action::RevokeTokens => vec![TokenChange::RevokeTokens],
        Action::ReadSystem
        | Action::ForceOff
        | Action::PowerOn
        | Action::SetNetworkBoot
        | Action::ClearBootOverride
        | Action::PrepareImages => Vec::new(),
    }
}

/// 32 random bytes as URL-safe base64: an unguessable part of a capability URL.
pub(crate) fn random_word() -> String {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Phase and stage as one word.
fn place(state: &TargetState) -> String {
    match (state.phase, state.stage) {
        (Phase::InProgress, Some(stage)) => format!("{stage:?}"),
        (phase, _) => format!("{phase:?}"),
    }
}

fn history(before: &TargetState, after: &TargetState, now: Timestamp) -> HistoryEntry {
    HistoryEntry {
        at: now,
        from: place(before),
        to: place(after),
        reason: after.reason.clone(),
    }
}

fn line(row: &Target, state: &TargetState, now: Timestamp) -> NewTimelineEntry {
    NewTimelineEntry {
        machine: row.machine.clone(),
        at: now,
        source: TimelineSource::Operation,
        text: format!("{} {}: {}", row.kind, place(state), state.message),
        detail: json!({ "reason": state.reason, "deadline": state.deadline }),
        operation: Some(row.operation_name.clone()),
    }
}
