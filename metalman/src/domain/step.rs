//! One step of one target: from state and facts to the next state and the actions to take.
//!
//! Total and synchronous. An action may be lost or doubled by a crash: each is idempotent, and the
//! next step looks at readings, not at what was sent.

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{OperationKind, Phase, Stage};

use super::facts::Facts;
use super::state::TargetState;
use super::{inputs, password, power, replace};

/// Something to do at the edge.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Action {
    /// Read power state and boot override.
    ReadSystem,
    /// `ComputerSystem.Reset` GracefulShutdown: the operating system is asked.
    ShutDown,
    /// `ComputerSystem.Reset` ForceOff.
    ForceOff,
    /// `ComputerSystem.Reset` On.
    PowerOn,
    /// Boot override: network, once; read back.
    SetNetworkBoot,
    /// Boot override: none; read back.
    ClearBootOverride,
    /// Resolve, fetch and verify the images.
    PrepareImages,
    /// Make a one-shot install token for this attempt; earlier ones end.
    MintToken {
        /// When it ends by itself.
        expires_at: Timestamp,
    },
    /// End all install tokens of this target.
    RevokeTokens,
}

impl Action {
    /// Whether it changes the machine or what it may do.
    pub fn is_write(&self) -> bool {
        match self {
            Self::ReadSystem | Self::PrepareImages => false,
            Self::ShutDown
            | Self::ForceOff
            | Self::PowerOn
            | Self::SetNetworkBoot
            | Self::ClearBootOverride
            | Self::MintToken { .. }
            | Self::RevokeTokens => true,
        }
    }
}

/// How long things may take and how often they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tries of one external action, and of a whole installation.
    pub max_attempts: i32,
    /// Pause between readings of the BMC.
    pub poll: SignedDuration,
    /// After this long without effect a power action is sent again.
    pub resend: SignedDuration,
    /// How long a password that was good may be refused: it is being changed.
    pub password: SignedDuration,
    /// How long the operating system may take to shut down before power is cut; zero cuts at once.
    pub shutdown: SignedDuration,
    /// Longest preparation of images.
    pub prepare: SignedDuration,
    /// From power-on to the installer's claim.
    pub netboot: SignedDuration,
    /// How long a refused boot loader may be followed by a better one.
    pub refusal: SignedDuration,
    /// Longest silence of an installer.
    pub install_silence: SignedDuration,
    /// From the finished write to the first report of the installed system.
    pub first_boot: SignedDuration,
    /// From the first boot to the Node.
    pub node: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            poll: SignedDuration::from_secs(5),
            resend: SignedDuration::from_secs(60),
            password: SignedDuration::from_mins(5),
            shutdown: SignedDuration::ZERO,
            prepare: SignedDuration::from_mins(60),
            netboot: SignedDuration::from_mins(20),
            refusal: SignedDuration::from_mins(2),
            install_silence: SignedDuration::from_mins(5),
            first_boot: SignedDuration::from_mins(20),
            node: SignedDuration::from_mins(30),
        }
    }
}

/// What a step decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// State to keep.
    pub state: TargetState,
    /// Actions to take, in order, after the state has been kept.
    pub actions: Vec<Action>,
}

/// Decides what comes next for a target.
pub fn step(now: Timestamp, state: &TargetState, facts: &Facts, limits: &Limits) -> Step {
    let mut next = state.clone();
    if state.phase.is_terminal() {
        return Step {
            state: next,
            actions: Vec::new(),
        };
    }
    if facts.suspended {
        next.reason = "Suspended".into();
        next.message = "suspended: set spec.suspend to false to go on".into();
        next.deadline = None;
        return Step {
            state: next,
            actions: Vec::new(),
        };
    }
    if state.reason == "Suspended" {
        next.resume(now, limits);
    }
    let actions = match state.phase {
        Phase::Pending => start(now, &mut next, facts),
        Phase::InProgress => match facts.machine.as_ref() {
            Some(machine) if machine.owned && machine.has_redfish => {
                go_on(now, &mut next, facts, limits)
            }
            machine => {
                if let Err(refusal) = inputs::check(state.kind, machine) {
                    next.fail(now, refusal.reason, refusal.message);
                }
                Vec::new()
            }
        },
        Phase::Complete | Phase::Failed => Vec::new(),
    };
    let mut actions = actions;
    if next.phase == Phase::Failed && next.install_attempts > 0 {
        // Whatever went wrong, the machine must not install later by itself.
        actions = vec![Action::RevokeTokens, Action::ClearBootOverride];
    }
    Step {
        state: next,
        actions,
    }
}

fn go_on(now: Timestamp, next: &mut TargetState, facts: &Facts, limits: &Limits) -> Vec<Action> {
    if let Some(actions) = password::hold(now, next, facts, limits) {
        return actions;
    }
    match next.kind {
        OperationKind::HostReplace => replace::step(now, next, facts, limits),
        OperationKind::HostPowerOff | OperationKind::HostPowerOn | OperationKind::HostReboot => {
            power::step(now, next, facts, limits)
        }
        OperationKind::NodeReboot | OperationKind::AgentUpgrade | OperationKind::AgentReset => {
            Vec::new()
        }
    }
}

fn start(now: Timestamp, next: &mut TargetState, facts: &Facts) -> Vec<Action> {
    if let Err(refusal) = inputs::check(next.kind, facts.machine.as_ref()) {
        next.fail(now, refusal.reason, refusal.message);
        return Vec::new();
    }
    if let Some(older) = &facts.waiting_for {
        next.reason = "WaitingForOlderOperation".into();
        next.message = format!("waiting for older host operation {older}");
        return Vec::new();
    }
    next.started_at = Some(now);
    next.machine_generation = facts.machine.as_ref().and_then(|m| m.generation);
    next.boot_id_before = facts.boot.as_ref().map(|boot| boot.boot_id.clone());
    match next.kind {
        OperationKind::HostReplace => {
            next.enter(Stage::Preparing, now, "fetching and verifying images");
            vec![Action::PrepareImages, Action::ReadSystem]
        }
        OperationKind::HostPowerOff => {
            next.enter(
                Stage::PoweringOff,
                now,
                "waiting for the BMC to tell the power state",
            );
            vec![Action::ReadSystem]
        }
        OperationKind::HostPowerOn | OperationKind::HostReboot => {
            next.enter(
                Stage::ClearingBoot,
                now,
                "removing a left-over boot override; waiting for the BMC to show none",
            );
            next.attempt(now);
            vec![Action::ClearBootOverride]
        }
        OperationKind::NodeReboot | OperationKind::AgentUpgrade | OperationKind::AgentReset => {
            next.started_at = None;
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
