//! The status of a Machine from what is known about it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use metalman_api::{
    machine::{
        AgentStatus, BootStatus, InstalledImage, MachinePhase, MachineStatus, OperationCounters,
        RedfishStatus,
    },
    operation::{OperationKind, Phase},
};

use super::{
    facts::{BootFiles, BootLoaders, Power, Reading, Trouble},
    health::BmcFacts,
    state::TargetState,
    status::{condition, keep_transition_times},
};

/// What a Machine's status is made of.
#[derive(Debug, Clone, Default)]
pub struct MachineView<'a> {
    /// Last power reading.
    pub power: Option<&'a Reading<Power>>,
    /// Last trouble with the BMC.
    pub trouble: Option<&'a Trouble>,
    /// What its BMC was found to be like.
    pub bmc: BmcFacts,
    /// Certificate of the BMC, which was trusted when it was read.
    pub fingerprint: Option<&'a str>,
    /// The unfinished or latest target on this machine: operation name and state.
    pub target: Option<(&'a str, &'a TargetState)>,
    /// Last boot the host reported: boot id, kernel, agent version, first seen.
    pub boot: Option<(&'a str, &'a str, &'a str, Timestamp)>,
    /// What another Machine disputes.
    pub conflict: Option<&'a str>,
    /// Whether its boot loaders are above the revocation level, and which they are.
    pub loaders: Option<(BootLoaders, &'a str)>,
    /// Whether its boot files can be made, once that was checked.
    pub boot_files: Option<&'a BootFiles>,
    /// Counters that have been followed.
    pub counters: Option<OperationCounters>,
}

/// Overlays what is known on the previous status; fields nobody knows better stay.
pub fn machine_status(
    view: &MachineView<'_>,
    previous: &MachineStatus,
    generation: Option<i64>,
    now: Timestamp,
) -> MachineStatus {
    let mut status = previous.clone();
    let redfish = status.redfish.get_or_insert_with(RedfishStatus::default);
    if let Some(power) = view.power {
        redfish.power_state = Some(power.value.as_str().to_owned());
    }
    let text = |new: &Option<String>, old: Option<String>| new.clone().or(old);
    let fingerprint = view.fingerprint.map(str::to_owned);
    redfish.cert_fingerprint = text(&fingerprint, redfish.cert_fingerprint.take());
    redfish.bios_version = text(&view.bmc.bios_version, redfish.bios_version.take());
    redfish.firmware_version = text(&view.bmc.firmware_version, redfish.firmware_version.take());
    let health = view.bmc.health.map(|health| health.as_str().to_owned());
    redfish.health = text(&health, redfish.health.take());
    let ends = view.bmc.certificate_ends.map(Time);
    redfish.cert_not_after = ends.or(redfish.cert_not_after.take());
    if *redfish == RedfishStatus::default() {
        status.redfish = None;
    }
    if let Some((boot_id, kernel, agent, since)) = view.boot {
        status.boot = Some(BootStatus {
            boot_id: boot_id.to_owned(),
            kernel: Some(kernel.to_owned()),
            since: Some(Time(since)),
        });
        let previous = status.agent.take().unwrap_or_default();
        status.agent = Some(AgentStatus {
            version: Some(agent.to_owned()),
            ..previous
        });
    }
    if let Some((_, target)) = view.target
        && let (Some(_), Some(input)) = (target.image_written_at, &target.input)
    {
        status.image = Some(InstalledImage {
            reference: input.host_image.clone(),
            digest: input.host_image_digest.clone(),
            disk_sha256: Some(input.raw_sha256.clone()),
        });
    }
    status.operations = view.counters.or(status.operations);
    status.phase = Some(phase(view));
    status.message = view
        .target
        .map(|(name, target)| format!("{name}: {}", target.message));
    let mut ours = conditions(view, generation, now);
    keep_transition_times(&mut ours, &previous.conditions);
    let kept = previous
        .conditions
        .iter()
        .filter(|old| ours.iter().all(|c| c.type_ != old.type_));
    status.conditions = kept.cloned().chain(ours.iter().cloned()).collect();
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    status
}

fn phase(view: &MachineView<'_>) -> MachinePhase {
    let up = view.boot.is_some()
        && !matches!(
            view.power,
            Some(Reading {
                value: Power::Off,
                ..
            })
        );
    let settled = if up {
        MachinePhase::Ready
    } else {
        MachinePhase::Pending
    };
    let Some((_, target)) = view.target else {
        return settled;
    };
    match (target.phase, target.kind) {
        (Phase::Failed, _) => MachinePhase::Failed,
        (Phase::InProgress, OperationKind::HostReplace) => MachinePhase::Provisioning,
        (Phase::InProgress, _) => MachinePhase::Rebooting,
        (Phase::Pending | Phase::Complete, _) => settled,
    }
}

fn conditions(view: &MachineView<'_>, generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let mut conditions = Vec::new();
    match (view.trouble, view.power) {
        (Some(trouble), _) => conditions.push(condition(
            "RedfishReady",
            "False",
            &trouble.reason,
            &trouble.message,
            trouble.at,
            generation,
        )),
        (None, Some(power)) => conditions.push(condition(
            "RedfishReady",
            "True",
            "Connected",
            "the BMC answers",
            power.at,
            generation,
        )),
        (None, None) => {}
    }
    let (verdict, reason, message) = match view.conflict {
        Some(conflict) => ("False", "AddressConflict", conflict),
        None => (
            "True",
            "Unique",
            "no other Machine claims its MAC or address",
        ),
    };
    conditions.push(condition(
        "AddressesUnique",
        verdict,
        reason,
        message,
        now,
        generation,
    ));
    if let Some((loaders, message)) = view.loaders {
        let (verdict, reason) = match loaders {
            BootLoaders::Current => ("True", "NotRevoked"),
            BootLoaders::Revoked => ("False", "Revoked"),
            BootLoaders::NoSbat => ("Unknown", "NoSbat"),
            BootLoaders::NoLoaders => ("Unknown", "NoLoaders"),
        };
        conditions.push(condition(
            "BootLoadersCurrent",
            verdict,
            reason,
            message,
            now,
            generation,
        ));
    }
    let files = view.boot_files;
    conditions.extend(files.map(|files| boot_files(files, now, generation)));
    if let Some((name, target)) = view.target
        && target.kind == OperationKind::HostReplace
    {
        let at = target
            .image_written_at
            .or(target.started_at)
            .unwrap_or(target.stage_since);
        let (verdict, reason) = match (target.phase, target.image_written_at) {
            (Phase::Failed, None) => ("False", target.reason.as_str()),
            (_, Some(_)) => ("True", "Succeeded"),
            (Phase::Pending | Phase::InProgress | Phase::Complete, None) => ("False", "Pending"),
        };
        conditions.push(condition("Repaved", verdict, reason, name, at, generation));
    }
    conditions
}

fn boot_files(files: &BootFiles, now: Timestamp, generation: Option<i64>) -> Condition {
    let (verdict, reason, message) = match files {
        BootFiles::NotFetched => (
            "Unknown",
            "ImageNotFetched",
            "the netboot image is not in the cache".to_owned(),
        ),
        BootFiles::Good { digest } => (
            "True",
            "Rendered",
            format!("every boot file of {digest} can be made for this machine"),
        ),
        BootFiles::Broken { reason, message } => ("False", reason.as_str(), message.clone()),
    };
    condition("BootFilesReady", verdict, reason, &message, now, generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::health::Health;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_running_repave_is_provisioning_and_a_reporting_host_is_ready() {
        let mut target = TargetState::new(OperationKind::HostReplace, at(1));
        target.phase = Phase::InProgress;
        let view = MachineView {
            target: Some(("op", &target)),
            ..MachineView::default()
        };
        let status = machine_status(&view, &MachineStatus::default(), None, at(2));
        assert_eq!(status.phase, Some(MachinePhase::Provisioning));
        let view = MachineView {
            boot: Some(("b", "6.1", "0.1", at(1))),
            ..MachineView::default()
        };
        let status = machine_status(&view, &MachineStatus::default(), None, at(2));
        assert_eq!(status.phase, Some(MachinePhase::Ready));
    }

    #[test]
    fn foreign_conditions_and_the_pin_survive() {
        let mut previous = MachineStatus::default();
        previous
            .conditions
            .push(condition("Provisioned", "True", "X", "", at(1), None));
        previous.redfish = Some(RedfishStatus {
            cert_fingerprint: Some("aa:bb".into()),
            ..RedfishStatus::default()
        });
        let status = machine_status(&MachineView::default(), &previous, None, at(2));
        assert!(status.conditions.iter().any(|c| c.type_ == "Provisioned"));
        let shown = |status: MachineStatus| status.redfish.unwrap().cert_fingerprint.unwrap();
        assert_eq!(shown(status), "aa:bb");
        let repinned = MachineView {
            fingerprint: Some("cc:dd"),
            ..MachineView::default()
        };
        let status = machine_status(&repinned, &previous, None, at(2));
        assert_eq!(shown(status), "cc:dd");
    }

    #[test]
    fn what_was_read_of_the_bmc_stays_until_it_is_read_anew() {
        let view = MachineView {
            bmc: BmcFacts {
                health: Some(Health::Warning),
                bios_version: Some("2.1".into()),
                firmware_version: Some("7.00".into()),
                certificate_ends: Some(at(99)),
            },
            ..MachineView::default()
        };
        let first = machine_status(&view, &MachineStatus::default(), None, at(2));
        let redfish = first.redfish.clone().unwrap();
        assert_eq!(redfish.health.as_deref(), Some("Warning"));
        assert_eq!(redfish.cert_not_after, Some(Time(at(99))));
        assert_eq!(machine_status(&view, &first, None, at(9)), first);
        let restarted = machine_status(&MachineView::default(), &first, None, at(9));
        assert_eq!(restarted.redfish, first.redfish);
    }

    #[test]
    fn a_broken_template_is_a_condition_until_it_is_mended() {
        let broken = BootFiles::Broken {
            reason: "TemplateFailed".into(),
            message: "template grub/grub.cfg.j2 line 3: undefined value (machine.serial)".into(),
        };
        let good = BootFiles::Good {
            digest: "sha256:00".into(),
        };
        let mut status = MachineStatus::default();
        for (second, files, want) in [
            (1, &broken, ("False", "TemplateFailed", 1)),
            (2, &broken, ("False", "TemplateFailed", 1)),
            (3, &good, ("True", "Rendered", 3)),
            (4, &BootFiles::NotFetched, ("Unknown", "ImageNotFetched", 4)),
        ] {
            let view = MachineView {
                boot_files: Some(files),
                ..MachineView::default()
            };
            status = machine_status(&view, &status, None, at(second));
            let mut ready = status
                .conditions
                .iter()
                .filter(|c| c.type_ == "BootFilesReady");
            let found = ready.next().unwrap();
            let since = found.last_transition_time.0.as_second();
            assert_eq!((found.status.as_str(), found.reason.as_str(), since), want);
            assert!(ready.next().is_none());
        }
    }

    #[test]
    fn loaders_that_cannot_be_judged_are_neither_current_nor_revoked() {
        for (loaders, verdict, reason) in [
            (BootLoaders::Current, "True", "NotRevoked"),
            (BootLoaders::Revoked, "False", "Revoked"),
            (BootLoaders::NoSbat, "Unknown", "NoSbat"),
            (BootLoaders::NoLoaders, "Unknown", "NoLoaders"),
        ] {
            let view = MachineView {
                loaders: Some((loaders, "shimx64.efi: …")),
                ..MachineView::default()
            };
            let status = machine_status(&view, &MachineStatus::default(), None, at(2));
            let conditions = status.conditions.iter();
            let mut found = conditions.filter(|c| c.type_ == "BootLoadersCurrent");
            let found = found.next().unwrap();
            assert_eq!((&*found.status, &*found.reason), (verdict, reason));
            assert!(!found.message.is_empty());
        }
    }

    #[test]
    fn the_same_facts_give_the_same_status() {
        let view = MachineView {
            conflict: Some("x"),
            ..MachineView::default()
        };
        let first = machine_status(&view, &MachineStatus::default(), None, at(2));
        assert_eq!(machine_status(&view, &first, None, at(9)), first);
    }
}
