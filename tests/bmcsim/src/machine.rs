//! The machine behind a BMC: the task that owns the back-end and is the only one to change power.
//!
//! Decisions are pure ([`decide`]); the task carries them out in the order of arrival. Each launch
//! is one boot and takes the boot override with it.

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, GuestEvent};
use crate::bmc::{Bmc, Power};
use crate::log::PowerKind;

/// Reset types this simulator carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResetType {
    On,
    ForceOn,
    ForceOff,
    GracefulShutdown,
    GracefulRestart,
    ForceRestart,
    PowerCycle,
    PushPowerButton,
    /// Tells the operating system that something is wrong; the machine stays on.
    Nmi,
}

impl ResetType {
    pub(crate) const OFFERED: &'static [Self] = &[
        Self::On,
        Self::ForceOff,
        Self::GracefulShutdown,
        Self::GracefulRestart,
        Self::ForceRestart,
        Self::PowerCycle,
        Self::PushPowerButton,
    ];

    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::On => "On",
            Self::ForceOn => "ForceOn",
            Self::ForceOff => "ForceOff",
            Self::GracefulShutdown => "GracefulShutdown",
            Self::GracefulRestart => "GracefulRestart",
            Self::ForceRestart => "ForceRestart",
            Self::PowerCycle => "PowerCycle",
            Self::PushPowerButton => "PushPowerButton",
            Self::Nmi => "Nmi",
        }
    }
}

/// What a reset makes the machine do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Launch,
    Kill,
    /// Off and on, seen as a restart or as a power cycle.
    KillAndLaunch {
        cycle: bool,
    },
    /// ACPI power button; the guest decides.
    Press {
        then_launch: bool,
    },
    /// Not possible in this state.
    Conflict,
}

/// A machine that is off is turned on by a restart, unless it `refuses_restart`.
fn decide(reset: ResetType, power: Power, refuses_restart: bool) -> Step {
    let is_on = match power {
        Power::On | Power::PoweringOn => true,
        Power::Off | Power::PoweringOff => false,
    };
    match (reset, is_on) {
        (ResetType::On | ResetType::ForceOn | ResetType::PushPowerButton, false) => Step::Launch,
        (ResetType::On | ResetType::ForceOn, true)
        | (ResetType::ForceOff | ResetType::GracefulShutdown, false) => Step::Nothing,
        (ResetType::Nmi, true) => Step::Nothing,
        (ResetType::Nmi, false) => Step::Conflict,
        (ResetType::ForceOff, true) => Step::Kill,
        (ResetType::GracefulShutdown | ResetType::PushPowerButton, true) => {
            Step::Press { then_launch: false }
        }
        (ResetType::GracefulRestart, true) => Step::Press { then_launch: true },
        (ResetType::ForceRestart, true) => Step::KillAndLaunch { cycle: false },
        (ResetType::PowerCycle, true) => Step::KillAndLaunch { cycle: true },
        (ResetType::ForceRestart | ResetType::PowerCycle, false) if !refuses_restart => {
            Step::Launch
        }
        (ResetType::GracefulRestart | ResetType::ForceRestart | ResetType::PowerCycle, false) => {
            Step::Conflict
        }
    }
}

/// A reset on its way to the machine task.
#[derive(Debug)]
pub(crate) struct ResetCommand {
    pub(crate) reset: ResetType,
    /// Told whether the reset is accepted, before it is carried out.
    pub(crate) accepted: oneshot::Sender<bool>,
}

/// Runs the machine until cancelled, then turns it off.
pub(crate) async fn run(
    bmc: std::sync::Arc<Bmc>,
    mut backend: Box<dyn Backend>,
    mut commands: mpsc::Receiver<ResetCommand>,
    stop: CancellationToken,
) {
    let mut restart_when_off = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            command = commands.recv() => {
                let Some(ResetCommand { reset, accepted }) = command else { break };
                let todo = decide(reset, bmc.power(), bmc.profile.refuses_restart_when_off);
                accepted.send(todo != Step::Conflict).ok();
                restart_when_off = todo == Step::Press { then_launch: true };
                carry_out(&bmc, backend.as_mut(), reset, todo).await;
            }
            event = backend.next_event() => {
                info!(bmc = bmc.name(), event = event.cause(), "guest event");
                let restart = std::mem::take(&mut restart_when_off);
                match event {
                    GuestEvent::Reset => launch(&bmc, backend.as_mut(), PowerKind::Restart, event.cause()).await,
                    GuestEvent::Shutdown if restart => {
                        launch(&bmc, backend.as_mut(), PowerKind::Restart, "GracefulRestart").await;
                    }
                    GuestEvent::Shutdown | GuestEvent::Died(_) => {
                        bmc.record_power(Power::Off, PowerKind::Off, event.cause(), None);
                    }
                }
            }
        }
    }
    backend.kill().await;
}

async fn carry_out(bmc: &Bmc, backend: &mut dyn Backend, reset: ResetType, step: Step) {
    let cause = reset.cause();
    match step {
        Step::Nothing | Step::Conflict => {}
        Step::Launch => {
            bmc.set_power(Power::PoweringOn);
            launch(bmc, backend, PowerKind::On, cause).await;
        }
        Step::Kill => {
            bmc.set_power(Power::PoweringOff);
            backend.kill().await;
            bmc.record_power(Power::Off, PowerKind::Off, cause, None);
        }
        Step::KillAndLaunch { cycle } => {
            if cycle {
                bmc.set_power(Power::PoweringOff);
            }
            backend.kill().await;
            let kind = if cycle {
                bmc.record_power(Power::Off, PowerKind::Off, cause, None);
                PowerKind::On
            } else {
                PowerKind::Restart
            };
            launch(bmc, backend, kind, cause).await;
        }
        Step::Press { .. } => backend.press_power().await,
    }
}

async fn launch(bmc: &Bmc, backend: &mut dyn Backend, kind: PowerKind, cause: &str) {
    // A restart from within leaves the firmware where it was.
    let by_force = kind == PowerKind::On || cause == ResetType::ForceRestart.cause();
    let choice = bmc.take_boot(by_force);
    match backend.launch(choice).await {
        Ok(()) => bmc.record_power(Power::On, kind, cause, Some(choice)),
        Err(error) => {
            warn!(
                bmc = bmc.name(),
                error = format!("{error:#}"),
                "machine did not start"
            );
            bmc.record_power(
                Power::Off,
                PowerKind::Failed,
                &format!("{cause}: {error:#}"),
                None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_do_what_the_state_allows() {
        for (reset, power, step) in [
            (ResetType::On, Power::Off, Step::Launch),
            (ResetType::On, Power::On, Step::Nothing),
            (ResetType::ForceOff, Power::On, Step::Kill),
            (ResetType::ForceOff, Power::Off, Step::Nothing),
            (ResetType::ForceRestart, Power::Off, Step::Conflict),
            (
                ResetType::ForceRestart,
                Power::On,
                Step::KillAndLaunch { cycle: false },
            ),
            (
                ResetType::PowerCycle,
                Power::On,
                Step::KillAndLaunch { cycle: true },
            ),
            (
                ResetType::GracefulRestart,
                Power::On,
                Step::Press { then_launch: true },
            ),
            (ResetType::PushPowerButton, Power::Off, Step::Launch),
        ] {
            assert_eq!(
                decide(reset, power, true),
                step,
                "{reset:?} while {power:?}"
            );
        }
        assert_eq!(
            decide(ResetType::PowerCycle, Power::Off, false),
            Step::Launch
        );
        assert_eq!(
            decide(ResetType::GracefulRestart, Power::Off, false),
            Step::Conflict
        );
    }
}
