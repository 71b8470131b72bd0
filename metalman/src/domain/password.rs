//! A BMC's password that changes in the middle of an operation.
//!
//! A refused password ends an operation, unless it was good a moment ago: then somebody changes it,
//! on the BMC and in its Secret, and the two are never changed in the same instant. Nothing is sent
//! to the BMC meanwhile: a refused version is tried once only, whoever asks.

use jiff::Timestamp;
use metalman_api::operation::Stage;

use super::facts::Facts;
use super::power;
use super::state::TargetState;
use super::step::{Action, Limits};

/// What to do while the right password is not known; `None` when that is no question.
pub(super) fn hold(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Option<Vec<Action>> {
    if !talks_to_bmc(next.stage?) {
        return None;
    }
    let trouble = facts.trouble.as_ref()?;
    if trouble.reason != "Unauthorized" {
        return None;
    }
    let (_, was_good) = facts.power_since(next.started_at?)?;
    let deadline = was_good.checked_add(limits.password).ok()?;
    if now >= deadline {
        return None;
    }
    if next.last_attempt_at.is_some_and(|at| at <= trouble.at) {
        // What was refused is yet to be done.
        next.attempts = next.attempts.saturating_sub(1);
        next.last_attempt_at = None;
    }
    next.reason = "WaitingForPassword".into();
    next.message.clone_from(&trouble.message);
    next.deadline = Some(deadline);
    Some(power::read_eagerly(now, facts, limits))
}

fn talks_to_bmc(stage: Stage) -> bool {
    match stage {
        Stage::PoweringOff
        | Stage::WaitingOff
        | Stage::SettingBoot
        | Stage::PoweringOn
        | Stage::WaitingOn
        | Stage::ClearingBoot => true,
        Stage::Preparing
        | Stage::WaitingRepave
        | Stage::WaitingCloudInit
        | Stage::WaitingBoot
        | Stage::WaitingNode => false,
    }
}
