//! Moves one target: load, gather, step, commit, act, and again until nothing is left to do now.

use std::mem;

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{MachineOperation, Phase};
use rand::Rng as _;
use serde_json::json;
use tracing::{info, warn};

use super::{Driver, NextLook, act::Done};
use crate::{
    clock,
    domain::{Action, Facts, Limits, Step, TargetState, conflicts::Order, step},
    store::{
        CommitTarget, HistoryEntry, NewAction, NewTimelineEntry, NewToken, StoreError, Target,
        TimelineSource, TokenChange,
    },
};

/// Steps one call makes at the most; a target that wants more is looked at again soon.
const STEPS: usize = 16;

/// Instants after now at which a resting target is asked whether it would act, in milliseconds.
const GLANCES: [i64; 5] = [250, 500, 1000, 2000, 5000];

impl Driver {
    /// Makes all steps that can be made now, and says when to look again.
    pub(super) async fn advance(
        &self,
        operation: &MachineOperation,
        row: Target,
        order: &Order,
    ) -> Result<NextLook, StoreError> {
        let mut row = row;
        let mut done = Done::default();
        let Some(mut state) = state_of(&row) else {
            return Ok(NextLook {
                due: Timestamp::MAX,
                waits: false,
            });
        };
        for _ in 0..STEPS {
            let facts = self.gather(operation, &state, &row.machine, order).await?;
            let now = clock::now();
            let decided = step(now, &state, &facts, &self.limits);
            if decided.state == state && decided.actions.is_empty() {
                if !done.finished.is_empty() || !done.timeline.is_empty() {
                    self.commit(&mut row, &state, decided, &mut done, now)
                        .await?;
                }
                return Ok(NextLook {
                    due: next_look(now, &state, &facts, &self.limits),
                    waits: state.started_at.is_none(),
                });
            }
            let after = decided.state.clone();
            // Reads and preparations need no journal: they are simply made again.
            let is_silent = after == state && decided.actions.iter().all(|a| !a.is_write());
            let actions = if is_silent {
                decided.actions.into_iter().map(|a| (None, a)).collect()
            } else {
                self.commit(&mut row, &state, decided, &mut done, now)
                    .await?
            };
            if after.phase.is_terminal() && actions.is_empty() {
                break;
            }
            state = after;
            for (id, action) in actions {
                self.act(&row, id, &action, &mut done).await;
            }
        }
        if !done.finished.is_empty() || !done.timeline.is_empty() {
            let (now, same) = (clock::now(), state.clone());
            let decided = Step {
                state: same,
                actions: Vec::new(),
            };
            self.commit(&mut row, &state, decided, &mut done, now)
                .await?;
        }
        Ok(NextLook {
            due: clock::now(),
            waits: state.started_at.is_none(),
        })
    }

    /// Keeps a decision, and what earlier actions brought, in one transaction; gives back the
    /// actions, those that change something with their outbox numbers.
    async fn commit(
        &self,
        row: &mut Target,
        before: &TargetState,
        decided: Step,
        done: &mut Done,
        now: Timestamp,
    ) -> Result<Vec<(Option<i64>, Action)>, StoreError> {
        let Step { state, actions } = decided;
        let (permissions, actions): (Vec<Action>, Vec<Action>) = actions
            .into_iter()
            .partition(|action| matches!(action, Action::MintToken { .. } | Action::RevokeTokens));
        let (writes, others): (Vec<Action>, Vec<Action>) =
            actions.into_iter().partition(Action::is_write);
        let moved = (before.phase, before.stage) != (state.phase, state.stage);
        let done = mem::take(done);
        let mut timeline = done.timeline;
        timeline.extend(moved.then(|| line(row, &state, now)));
        let commit = CommitTarget {
            state: serde_json::to_value(&state).unwrap_or_default(),
            finished: state.phase.is_terminal(),
            history: moved
                .then(|| history(before, &state, now))
                .into_iter()
                .collect(),
            finished_actions: done.finished,
            outbox: writes
                .iter()
                .map(|action| NewAction {
                    action: serde_json::to_value(action).unwrap_or_default(),
                })
                .collect(),
            timeline,
            tokens: permissions
                .iter()
                .flat_map(|action| token_changes(row, &state, action))
                .collect(),
            ..CommitTarget::of(row, now)
        };
        let (kept_state, finished) = (commit.state.clone(), commit.finished);
        let written = self.store.targets().commit(commit).await?;
        row.version = written.version;
        row.state = kept_state;
        row.finished = finished;
        row.updated_at = now;
        let key = (row.operation_uid.clone(), row.machine.clone());
        self.journal().put(&key, row.clone());
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
        // Statuses show the new stage while the actions run.
        self.site.poke_operation(&row.operation_name);
        let writes = written.actions.into_iter().map(Some).zip(writes);
        Ok(writes
            .chain(others.into_iter().map(|action| (None, action)))
            .collect())
    }
}

/// When a target that rests would act, if nothing else changes: the decision is a pure function of
/// the time, so it is asked about times to come.
fn next_look(now: Timestamp, state: &TargetState, facts: &Facts, limits: &Limits) -> Timestamp {
    let instants = GLANCES
        .iter()
        .filter_map(|millis| now.checked_add(SignedDuration::from_millis(*millis)).ok());
    let mut last = now;
    for instant in instants {
        last = instant;
        let then = step(instant, state, facts, limits);
        if then.state != *state || !then.actions.is_empty() {
            break;
        }
    }
    last
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
        | Action::ShutDown
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
