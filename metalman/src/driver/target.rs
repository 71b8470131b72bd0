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

/// Steps that are kept together at the most.
const FOLDED: usize = 8;

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
            let decided = decide(now, &state, &facts, &self.limits);
            if decided.last.state == state && decided.last.actions.is_empty() {
                if !done.finished.is_empty() || !done.timeline.is_empty() {
                    self.commit(&mut row, &state, decided, &mut done, now)
                        .await?;
                }
                return Ok(NextLook {
                    due: next_look(now, &state, &facts, &self.limits),
                    waits: state.started_at.is_none(),
                });
            }
            let after = decided.last.state.clone();
            // Reads and preparations need no journal: they are simply made again.
            let is_silent = after == state && decided.last.actions.iter().all(|a| !a.is_write());
            let actions = if is_silent {
                let actions = decided.last.actions.into_iter();
                actions.map(|action| (None, action)).collect()
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
            let decided = Decided::nothing(same);
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
        decided: Decided,
        done: &mut Done,
        now: Timestamp,
    ) -> Result<Vec<(Option<i64>, Action)>, StoreError> {
        let moves = decided.moves(before);
        let Step { state, actions } = decided.last;
        let (permissions, actions): (Vec<Action>, Vec<Action>) = actions
            .into_iter()
            .partition(|action| matches!(action, Action::MintToken { .. } | Action::RevokeTokens));
        let (writes, others): (Vec<Action>, Vec<Action>) =
            actions.into_iter().partition(Action::is_write);
        let done = mem::take(done);
        let mut timeline = done.timeline;
        timeline.extend(moves.iter().map(|(_, after)| line(row, after, now)));
        let commit = CommitTarget {
            state: serde_json::to_value(&state).unwrap_or_default(),
            finished: state.phase.is_terminal(),
            history: moves
                .iter()
                .map(|(before, after)| history(before, after, now))
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
        for (before, after) in &moves {
            info!(
                operation = %row.operation_name,
                machine.id = %row.machine,
                phase.from = place(before),
                phase.to = place(after),
                reason = %after.reason,
                "{}",
                after.message
            );
        }
        if !permissions.is_empty() {
            self.boot.rebuild(clock::now()).await?;
        }
        // Statuses show the new stage while the actions run.
        self.site.tell_progress(&row.operation_name);
        let writes = written.actions.into_iter().map(Some).zip(writes);
        Ok(writes
            .chain(others.into_iter().map(|action| (None, action)))
            .collect())
    }
}

/// Steps that follow from one another with nothing to do between them.
#[derive(Debug)]
struct Decided {
    /// The states gone through, but for the last.
    passed: Vec<TargetState>,
    last: Step,
}

impl Decided {
    fn nothing(state: TargetState) -> Self {
        Self {
            passed: Vec::new(),
            last: Step {
                state,
                actions: Vec::new(),
            },
        }
    }

    /// Each change of stage, with the state before it.
    fn moves(&self, before: &TargetState) -> Vec<(TargetState, TargetState)> {
        let mut before = before;
        let mut moves = Vec::new();
        for after in self.passed.iter().chain([&self.last.state]) {
            if (before.phase, before.stage) != (after.phase, after.stage) {
                moves.push((before.clone(), after.clone()));
            }
            before = after;
        }
        moves
    }
}

/// Decides up to the first step that acts or has to wait: what happens between needs no journal of
/// its own, since nothing is told to anybody before all of it is kept.
fn decide(now: Timestamp, state: &TargetState, facts: &Facts, limits: &Limits) -> Decided {
    let mut decided = Decided {
        passed: Vec::new(),
        last: step(now, state, facts, limits),
    };
    while decided.last.actions.is_empty() && decided.passed.len() < FOLDED {
        let next = step(now, &decided.last.state, facts, limits);
        if next.state == decided.last.state && next.actions.is_empty() {
            break;
        }
        let passed = mem::replace(&mut decided.last, next).state;
        decided.passed.push(passed);
    }
    decided
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

#[cfg(test)]
mod tests {
    use metalman_api::operation::{OperationKind, Stage};

    use super::*;
    use crate::domain::facts::{BootOverride, Images, MachineFacts, Power, Reading};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn facts() -> Facts {
        Facts {
            machine: Some(MachineFacts {
                name: "n1".into(),
                generation: Some(1),
                owned: true,
                has_redfish: true,
                leases: 0,
                image: None,
                netboot_image: None,
                kubernetes: false,
                conflict: None,
            }),
            suspended: false,
            waiting_for: None,
            power: None,
            boot_override: None,
            trouble: None,
            images: Images::Unknown,
            sightings: Vec::new(),
            boot: None,
            node: None,
        }
    }

    #[test]
    fn steps_without_anything_to_do_between_them_are_kept_together() {
        let limits = Limits::default();
        let first = TargetState::new(OperationKind::HostReboot, at(0));
        let begun = decide(at(0), &first, &facts(), &limits);
        assert_eq!(begun.last.actions, [Action::ClearBootOverride]);
        assert_eq!(begun.moves(&first).len(), 1);

        let state = begun.last.state;
        let read = Facts {
            power: Some(Reading {
                value: Power::On,
                at: at(200),
            }),
            boot_override: Some(Reading {
                value: BootOverride::None,
                at: at(200),
            }),
            ..facts()
        };
        let off = decide(at(201), &state, &read, &limits);
        assert_eq!(off.last.actions, [Action::ForceOff]);
        let stages = off.moves(&state).into_iter().map(|(_, after)| after.stage);
        let stages: Vec<_> = stages.collect();
        assert_eq!(stages, [Some(Stage::PoweringOff), Some(Stage::WaitingOff)]);

        // Nothing to do: one look, no move.
        let waiting = off.last.state;
        let again = decide(at(202), &waiting, &read, &limits);
        assert!(again.moves(&waiting).is_empty() && again.last.actions.is_empty());
    }
}
