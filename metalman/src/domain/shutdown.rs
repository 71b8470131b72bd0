//! Asking the operating system to shut down before power is cut, for a bounded time.
//!
//! Not for a repave: what is on the disk is about to be overwritten.

use jiff::Timestamp;
use metalman_api::operation::Stage;

use super::facts::{Facts, Power};
use super::power::look;
use super::state::TargetState;
use super::step::{Action, Limits};

/// Actions of a shutdown that is begun or under way; `None` when power is to be cut, or is off.
pub(super) fn step(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Option<Vec<Action>> {
    if limits.shutdown.is_zero() || next.shutdown_over || next.attempts > 0 {
        return None;
    }
    let Some(asked) = next.shutdown_at else {
        // Nobody is asked before the power state is known, and nobody when it is off.
        let (power, _) = facts.power_since(next.stage_since)?;
        if power == Power::Off {
            return None;
        }
        next.shutdown_at = Some(now);
        next.stage = Some(Stage::WaitingOff);
        next.deadline = now.checked_add(limits.shutdown).ok();
        next.reason = "WaitingForShutdown".into();
        next.message = "waiting for the operating system to shut down".into();
        return Some(vec![Action::ShutDown]);
    };
    if facts
        .power_since(asked)
        .is_some_and(|(power, _)| power == Power::Off)
    {
        return None;
    }
    let refusal = facts.trouble_since(asked).filter(|t| !t.transient);
    if refusal.is_none() && now.duration_since(asked) < limits.shutdown {
        return Some(look(now, asked, facts, limits));
    }
    let why = match refusal {
        Some(trouble) => format!("no shutdown: {}; cutting power", trouble.message),
        None => format!(
            "the operating system did not shut down in {} s; cutting power",
            limits.shutdown.as_secs()
        ),
    };
    next.enter(Stage::PoweringOff, now, why);
    next.shutdown_over = true;
    Some(vec![Action::ReadSystem])
}
