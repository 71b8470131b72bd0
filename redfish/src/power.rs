//! Power states and reset types, and which reset type stands in for another.
//!
//! Pure. Substitution is documented here and nowhere else.

use crate::words::redfish_words;

redfish_words! {
    /// `ComputerSystem.PowerState`.
    PowerState {
        On = "On",
        Off = "Off",
        PoweringOn = "PoweringOn",
        PoweringOff = "PoweringOff",
        Paused = "Paused",
        /// The BMC did not say, or said something else.
        Unknown = "Unknown",
    }
}

redfish_words! {
    /// `Resource.ResetType`.
    ResetType {
        On = "On",
        ForceOn = "ForceOn",
        ForceOff = "ForceOff",
        GracefulShutdown = "GracefulShutdown",
        GracefulRestart = "GracefulRestart",
        ForceRestart = "ForceRestart",
        PowerCycle = "PowerCycle",
        FullPowerCycle = "FullPowerCycle",
        PushPowerButton = "PushPowerButton",
        Nmi = "Nmi",
        Pause = "Pause",
        Resume = "Resume",
        Suspend = "Suspend",
    }
}

impl ResetType {
    /// The power state in which there is nothing left to do.
    pub fn settles_in(self) -> Option<PowerState> {
        match self {
            Self::On | Self::ForceOn => Some(PowerState::On),
            Self::ForceOff | Self::GracefulShutdown => Some(PowerState::Off),
            Self::GracefulRestart
            | Self::ForceRestart
            | Self::PowerCycle
            | Self::FullPowerCycle
            | Self::PushPowerButton
            | Self::Nmi
            | Self::Pause
            | Self::Resume
            | Self::Suspend => None,
        }
    }
}

/// How a wanted reset is carried out on a particular BMC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetPlan {
    /// One action with this reset type.
    Send(ResetType),
    /// `off`, wait until the machine is off, `on`.
    OffThenOn { off: ResetType, on: ResetType },
}

/// What was sent to carry out a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetReport {
    /// Reset types in the order they were accepted; empty if the machine already was as wanted.
    pub sent: Vec<ResetType>,
}

/// Chooses how to do `wanted` with what the BMC offers. An empty `allowed` means that it does not
/// say, and `wanted` is sent as it is. `None` if neither it nor a substitute is offered.
///
/// | wanted | substitutes, first offered wins |
/// |---|---|
/// | On, ForceOn | each other |
/// | GracefulShutdown | ForceOff |
/// | GracefulRestart | ForceRestart, PowerCycle, off then on |
/// | ForceRestart | PowerCycle, off then on |
/// | PowerCycle | off then on; never ForceRestart, which does not drop power |
/// | anything else | none |
pub fn choose_reset(wanted: ResetType, allowed: &[ResetType]) -> Option<ResetPlan> {
    if allowed.is_empty() || allowed.contains(&wanted) {
        return Some(ResetPlan::Send(wanted));
    }
    let substitutes: &[ResetType] = match wanted {
        ResetType::On => &[ResetType::ForceOn],
        ResetType::ForceOn => &[ResetType::On],
        ResetType::GracefulShutdown => &[ResetType::ForceOff],
        ResetType::GracefulRestart => &[ResetType::ForceRestart, ResetType::PowerCycle],
        ResetType::ForceRestart => &[ResetType::PowerCycle],
        ResetType::PowerCycle
        | ResetType::ForceOff
        | ResetType::FullPowerCycle
        | ResetType::PushPowerButton
        | ResetType::Nmi
        | ResetType::Pause
        | ResetType::Resume
        | ResetType::Suspend => &[],
    };
    if let Some(substitute) = substitutes.iter().find(|reset| allowed.contains(reset)) {
        return Some(ResetPlan::Send(*substitute));
    }
    let cycles = matches!(
        wanted,
        ResetType::GracefulRestart | ResetType::ForceRestart | ResetType::PowerCycle
    );
    let on = [ResetType::On, ResetType::ForceOn]
        .into_iter()
        .find(|reset| allowed.contains(reset));
    match on {
        Some(on) if cycles && allowed.contains(&ResetType::ForceOff) => {
            Some(ResetPlan::OffThenOn {
                off: ResetType::ForceOff,
                on,
            })
        }
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};

    use super::*;

    #[test]
    fn what_is_offered_is_sent() {
        assert_eq!(
            choose_reset(ResetType::PowerCycle, &[ResetType::PowerCycle]),
            Some(ResetPlan::Send(ResetType::PowerCycle))
        );
    }

    #[test]
    fn power_cycle_falls_back_to_off_then_on_and_never_to_a_warm_restart() {
        assert_eq!(
            choose_reset(
                ResetType::PowerCycle,
                &[ResetType::ForceRestart, ResetType::ForceOff, ResetType::On]
            ),
            Some(ResetPlan::OffThenOn {
                off: ResetType::ForceOff,
                on: ResetType::On
            })
        );
        assert_eq!(
            choose_reset(ResetType::PowerCycle, &[ResetType::ForceRestart]),
            None
        );
    }

    #[test]
    fn graceful_shutdown_falls_back_to_force_off() {
        assert_eq!(
            choose_reset(
                ResetType::GracefulShutdown,
                &[ResetType::ForceOff, ResetType::On]
            ),
            Some(ResetPlan::Send(ResetType::ForceOff))
        );
    }

    #[test]
    fn force_off_has_no_substitute() {
        assert_eq!(
            choose_reset(
                ResetType::ForceOff,
                &[ResetType::GracefulShutdown, ResetType::On]
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn only_offered_types_are_chosen(
            wanted in select(ResetType::ALL),
            allowed in subsequence(ResetType::ALL, 1..ResetType::ALL.len()),
        ) {
            match choose_reset(wanted, &allowed) {
                Some(ResetPlan::Send(reset)) => prop_assert!(allowed.contains(&reset)),
                Some(ResetPlan::OffThenOn { off, on }) => {
                    prop_assert!(allowed.contains(&off) && allowed.contains(&on));
                }
                None => prop_assert!(!allowed.contains(&wanted)),
            }
        }

        #[test]
        fn words_read_back(reset in select(ResetType::ALL)) {
            prop_assert_eq!(ResetType::parse(reset.as_str()), Some(reset));
        }
    }
}
