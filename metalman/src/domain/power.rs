//! Power steps: off, on and restart, each ended by a reading that is newer than its command.

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{OperationKind, Stage};

use super::facts::{BootOverride, Facts, Power};
use super::shutdown;
use super::state::TargetState;
use super::step::{Action, Limits};

/// Next step of a power operation.
pub(super) fn step(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Vec<Action> {
    match next.stage {
        Some(Stage::ClearingBoot) => {
            let then = match next.kind {
                OperationKind::HostPowerOn => Stage::PoweringOn,
                OperationKind::HostPowerOff
                | OperationKind::HostReboot
                | OperationKind::HostReplace
                | OperationKind::NodeReboot
                | OperationKind::AgentUpgrade
                | OperationKind::AgentReset => Stage::PoweringOff,
            };
            let actions = clear_boot(now, next, facts, limits, then);
            if next.stage == Some(then)
                && let Some(power) = &facts.power
            {
                next.begin_with_reading(power.at);
            }
            actions
        }
        Some(Stage::PoweringOff | Stage::WaitingOff) => {
            if let Some(actions) = shutdown::step(now, next, facts, limits) {
                return actions;
            }
            if power_off(now, next, facts, limits) == Progress::Reached {
                after_off(now, next);
                if let Some(power) = &facts.power {
                    next.begin_with_reading(power.at);
                }
                return Vec::new();
            }
            actions_of(next, facts, limits, now, Action::ForceOff)
        }
        Some(Stage::PoweringOn | Stage::WaitingOn) => power_on(now, next, facts, limits),
        Some(Stage::WaitingBoot) => wait_for_boot(now, next, facts, limits),
        Some(
            Stage::Preparing
            | Stage::SettingBoot
            | Stage::WaitingRepave
            | Stage::WaitingCloudInit
            | Stage::WaitingNode,
        )
        | None => {
            next.fail(now, "InternalError", "a power operation has no such step");
            Vec::new()
        }
    }
}

fn after_off(now: Timestamp, next: &mut TargetState) {
    match next.kind {
        OperationKind::HostPowerOff => next.complete(now, "power is off"),
        OperationKind::HostReboot
        | OperationKind::HostPowerOn
        | OperationKind::HostReplace
        | OperationKind::NodeReboot
        | OperationKind::AgentUpgrade
        | OperationKind::AgentReset => next.enter(Stage::PoweringOn, now, "powering on"),
    }
}

/// Whether a power command has had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// A reading newer than the step shows it.
    Reached,
    /// Not yet.
    Waiting,
}

/// Drives towards power Off. The caller sends what [`actions_of`] returns.
pub(super) fn power_off(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Progress {
    towards(now, next, facts, limits, Power::Off, Stage::WaitingOff)
}

/// Drives towards `wanted`: reads, commands, waits, commands again, gives up.
fn towards(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
    wanted: Power,
    waiting: Stage,
) -> Progress {
    let since = next.last_attempt_at.unwrap_or(next.stage_since);
    let reading = facts.power_since(since);
    if let Some((power, at)) = reading
        && power == wanted
    {
        let kind = if wanted == Power::Off {
            "PowerOff"
        } else {
            "PowerOn"
        };
        next.prove(kind, at, "read back from the BMC");
        return Progress::Reached;
    }
    let overdue = now.duration_since(since) >= limits.resend;
    let exhausted = next.attempts >= limits.max_attempts;
    let trouble = facts.trouble_since(since).cloned();
    if let Some(trouble) = trouble.as_ref().filter(|t| !t.transient) {
        next.fail(now, &trouble.reason, &trouble.message);
    } else if exhausted && overdue {
        let message = trouble.map_or_else(
            || {
                format!(
                    "the BMC accepted {} power {} commands, but the power state did not become {}; check the machine and its BMC",
                    next.attempts,
                    wanted.as_str(),
                    wanted.as_str()
                )
            },
            |t| t.message,
        );
        next.fail(now, "PowerStateNotReached", message);
    } else {
        if next.stage != Some(waiting) && next.attempts > 0 {
            next.stage = Some(waiting);
        }
        next.deadline = next
            .last_attempt_at
            .and_then(|at| at.checked_add(limits.resend).ok());
        next.reason = "WaitingForPower".into();
        next.message = match trouble {
            Some(trouble) => format!("{}; will try again", trouble.message),
            None => format!(
                "waiting for power state {}, last read {}",
                wanted.as_str(),
                facts
                    .power
                    .as_ref()
                    .map_or("nothing yet", |r| r.value.as_str())
            ),
        };
    }
    Progress::Waiting
}

/// The command for a power wait: the first one, again when overdue, otherwise a reading.
pub(super) fn actions_of(
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
    now: Timestamp,
    command: Action,
) -> Vec<Action> {
    if next.phase.is_terminal() {
        return Vec::new();
    }
    let since = next.last_attempt_at.unwrap_or(next.stage_since);
    let has_reading = facts.power_since(next.stage_since).is_some();
    let overdue = next.attempts > 0 && now.duration_since(since) >= limits.resend;
    if (next.attempts == 0 && has_reading) || overdue {
        let waiting = if command == Action::ForceOff {
            Stage::WaitingOff
        } else {
            Stage::WaitingOn
        };
        next.stage = Some(waiting);
        next.attempt(now);
        next.deadline = now.checked_add(limits.resend).ok();
        // It is read back as part of the command.
        return vec![command];
    }
    if !has_reading && facts.trouble_since(next.stage_since).is_none() {
        return vec![Action::ReadSystem];
    }
    // Most machines follow within seconds of a command: look often at first.
    if next.attempts > 0 {
        look(now, since, facts, limits)
    } else {
        read_when_stale(now, facts, limits)
    }
}

/// A reading when it is time for one, after a command that was sent at `since`.
pub(super) fn look(
    now: Timestamp,
    since: Timestamp,
    facts: &Facts,
    limits: &Limits,
) -> Vec<Action> {
    let age = now.duration_since(since);
    if age < KEEN_FOR {
        read_after(KEEN_POLL, now, facts, limits)
    } else if age < EAGER_FOR {
        read_eagerly(now, facts, limits)
    } else {
        read_when_stale(now, facts, limits)
    }
}

/// Pause between readings in the seconds in which most machines follow a power command.
const KEEN_POLL: SignedDuration = SignedDuration::from_millis(500);
/// How long after a power command readings come at that pace.
const KEEN_FOR: SignedDuration = SignedDuration::from_secs(5);
/// Pause between readings after these.
const EAGER_POLL: SignedDuration = SignedDuration::from_secs(1);
/// How long after a power command readings come at that pace.
const EAGER_FOR: SignedDuration = SignedDuration::from_secs(15);

/// A reading, unless the last one is very young.
pub(super) fn read_eagerly(now: Timestamp, facts: &Facts, limits: &Limits) -> Vec<Action> {
    read_after(EAGER_POLL, now, facts, limits)
}

fn read_after(
    pause: SignedDuration,
    now: Timestamp,
    facts: &Facts,
    limits: &Limits,
) -> Vec<Action> {
    let limits = Limits {
        poll: limits.poll.min(pause),
        ..*limits
    };
    read_when_stale(now, facts, &limits)
}

/// A reading, unless the last one (or the last failure) is younger than the poll interval.
pub(super) fn read_when_stale(now: Timestamp, facts: &Facts, limits: &Limits) -> Vec<Action> {
    let last = facts
        .power
        .as_ref()
        .map(|r| r.at)
        .into_iter()
        .chain(facts.trouble.as_ref().map(|t| t.at))
        .max();
    if last.is_none_or(|at| now.duration_since(at) >= limits.poll) {
        vec![Action::ReadSystem]
    } else {
        Vec::new()
    }
}

fn power_on(now: Timestamp, next: &mut TargetState, facts: &Facts, limits: &Limits) -> Vec<Action> {
    if towards(now, next, facts, limits, Power::On, Stage::WaitingOn) == Progress::Waiting {
        return actions_of(next, facts, limits, now, Action::PowerOn);
    }
    match (next.kind, &next.boot_id_before) {
        (OperationKind::HostReboot, Some(_)) => {
            next.enter(
                Stage::WaitingBoot,
                now,
                "waiting for the host to report its new boot",
            );
            next.deadline = now.checked_add(limits.first_boot).ok();
        }
        _ => next.complete(now, "power is on"),
    }
    Vec::new()
}

/// Drives towards power On for a repave; `true` when reached.
pub(super) fn drive_on(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
) -> Result<(), Vec<Action>> {
    if towards(now, next, facts, limits, Power::On, Stage::WaitingOn) == Progress::Reached {
        Ok(())
    } else {
        Err(actions_of(next, facts, limits, now, Action::PowerOn))
    }
}

/// Removes the boot override; a BMC that cannot is noted, not an obstacle: GRUB starts the disk
/// whenever no install token is live.
pub(super) fn clear_boot(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    limits: &Limits,
    then: Stage,
) -> Vec<Action> {
    if facts.boot_override_since(next.stage_since) == Some(BootOverride::None) {
        next.prove("BootOverrideCleared", now, "read back from the BMC");
        next.enter(then, now, "waiting for the BMC to tell the power state");
        return Vec::new();
    }
    let trouble = facts.trouble_since(next.stage_since).cloned();
    match trouble {
        Some(trouble) if trouble.reason == "Unauthorized" => {
            next.fail(now, &trouble.reason, trouble.message);
            Vec::new()
        }
        Some(trouble) if next.attempts >= limits.max_attempts => {
            if trouble.reason == "Unsupported" || trouble.reason == "NotApplied" {
                next.clear_unsupported = true;
                next.enter(then, now, "the BMC keeps its boot override; going on");
            } else {
                next.fail(now, &trouble.reason, trouble.message);
            }
            Vec::new()
        }
        Some(trouble) if now.duration_since(trouble.at) < limits.poll => {
            next.reason = trouble.reason;
            next.message = format!("{}; will try again", trouble.message);
            Vec::new()
        }
        // Without trouble the command may have been lost in a restart of the appliance.
        None if next
            .last_attempt_at
            .is_some_and(|at| now.duration_since(at) < limits.poll) =>
        {
            Vec::new()
        }
        Some(_) | None => {
            next.attempt(now);
            vec![Action::ClearBootOverride]
        }
    }
}

/// Waits for a boot id that differs from the one before.
fn wait_for_boot(
    now: Timestamp,
    next: &mut TargetState,
    facts: &Facts,
    _limits: &Limits,
) -> Vec<Action> {
    let before = next.boot_id_before.clone();
    let started = next.started_at.unwrap_or(next.stage_since);
    if let Some(boot) = &facts.boot
        && Some(&boot.boot_id) != before.as_ref()
        && boot.first_seen >= started
    {
        next.prove("NewBootId", boot.first_seen, &boot.boot_id);
        next.complete(
            now,
            format!("the host runs with new boot id {}", boot.boot_id),
        );
    } else if next.deadline.is_some_and(|deadline| now >= deadline) {
        next.fail(
            now,
            "NoBootProgress",
            "power is on, but the host did not report a new boot; look at its console",
        );
    }
    Vec::new()
}
