//! What a target that waits says on its status.

use jiff::SignedDuration;
use metalman_api::operation::{OperationKind, Stage};

use super::world::{World, at};
use crate::domain::{
    facts::{BootSeen, Images, SightingKind, Trouble},
    status::operation_status,
};

/// A target that waits, by how it came to that.
fn waiting(kind: OperationKind, stage: Option<Stage>, change: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(kind);
    if let Some(stage) = stage {
        world.until(stage);
    }
    change(&mut world);
    world.tick();
    world
}

/// A target that waits, with the reason and a part of the message that it must show.
type Shown = (World, &'static str, &'static str);

fn until(kind: OperationKind, stage: Stage, change: fn(&mut World)) -> World {
    waiting(kind, Some(stage), change)
}

fn waits_before_the_network_boot() -> Vec<Shown> {
    let (reboot, replace) = (OperationKind::HostReboot, OperationKind::HostReplace);
    let off = OperationKind::HostPowerOff;
    let new = World::new(reboot);
    let first = |change: fn(&mut World)| waiting(reboot, None, change);
    let unreachable = |at| Trouble {
        reason: "RegistryUnreachable".into(),
        message: "no answer".into(),
        transient: true,
        at,
    };
    vec![
        (new, "WaitingForPlace", "operation.max_concurrent_machines"),
        (
            first(|w| w.facts.waiting_for = Some("op-1".into())),
            "WaitingForOlderOperation",
            "op-1",
        ),
        (
            first(|w| w.facts.suspended = true),
            "Suspended",
            "spec.suspend",
        ),
        (first(|_| {}), "WaitingForBootOverride", "boot override"),
        (
            until(replace, Stage::Preparing, |w| {
                w.facts.images =
                    Images::Working("fetching the image of spec.pxe.image, 3 %".into());
            }),
            "FetchingImages",
            "spec.pxe.image",
        ),
        (
            waiting(replace, Some(Stage::Preparing), |w| {
                w.facts.images = Images::Failed(unreachable(at(w.now)));
            }),
            "RegistryUnreachable",
            "will try again",
        ),
        (
            until(replace, Stage::Preparing, |w| w.facts.power = None),
            "WaitingForBmc",
            "BMC",
        ),
        (
            until(off, Stage::PoweringOff, |w| {
                w.deaf = true;
            }),
            "WaitingForPower",
            "power state Off",
        ),
        (
            until(off, Stage::PoweringOff, |w| {
                w.limits.shutdown = SignedDuration::from_mins(5);
            }),
            "WaitingForShutdown",
            "operating system",
        ),
    ]
}

fn waits_after_power_off() -> Vec<Shown> {
    let (reboot, replace) = (OperationKind::HostReboot, OperationKind::HostReplace);
    vec![
        (
            until(replace, Stage::SettingBoot, |w| {
                w.facts.boot_override = None;
            }),
            "WaitingForBootOverride",
            "network boot",
        ),
        (
            until(reboot, Stage::PoweringOn, |w| w.deaf = true),
            "WaitingForPower",
            "power state On",
        ),
        (
            until(replace, Stage::WaitingRepave, |_| {}),
            "WaitingForNetboot",
            "netboot",
        ),
        (
            until(replace, Stage::WaitingRepave, |w| {
                w.sight(SightingKind::Claimed, "claimed by boot x");
            }),
            "Installing",
            "claimed by boot x",
        ),
        (
            until(replace, Stage::WaitingRepave, |w| {
                w.sight(SightingKind::LoaderRefused, "shimx64.efi did not start");
            }),
            "BootLoaderRefused",
            "shimx64.efi",
        ),
        (
            until(replace, Stage::WaitingRepave, |w| {
                w.sight(SightingKind::Written("cc".into()), "written");
            }),
            "WaitingForBootOverride",
            "no boot override",
        ),
        (
            until(replace, Stage::WaitingRepave, |w| {
                w.sight(SightingKind::Written("cc".into()), "written");
                w.until(Stage::WaitingBoot);
            }),
            "WaitingForBoot",
            "first boot",
        ),
        (
            until(replace, Stage::WaitingRepave, |w| {
                w.facts.machine.as_mut().unwrap().kubernetes = true;
                w.sight(SightingKind::Written("cc".into()), "written");
                w.until(Stage::WaitingBoot);
                let (boot_id, first_seen) = ("b2".into(), at(w.now));
                w.facts.boot = Some(BootSeen {
                    boot_id,
                    first_seen,
                });
            }),
            "WaitingForNode",
            "the Node",
        ),
        (
            until(reboot, Stage::PoweringOn, |w| {
                let (reason, message) = ("Unauthorized".into(), "BMC refused user admin".into());
                let at = at(w.now);
                w.facts.trouble = Some(Trouble {
                    reason,
                    message,
                    transient: false,
                    at,
                });
            }),
            "WaitingForPassword",
            "refused user admin",
        ),
    ]
}

#[test]
fn every_wait_is_on_the_status_with_what_is_awaited() {
    let early = waits_before_the_network_boot().into_iter();
    for (world, reason, says) in early.chain(waits_after_power_off()) {
        assert!(!world.state.phase.is_terminal(), "{:?}", world.state);
        let targets = [("n1".to_owned(), world.state)];
        let status = operation_status(&targets, &[], None);
        let completed = &status.conditions[0];
        assert_eq!(completed.reason, reason, "{status:?}");
        assert!(completed.message.contains(says), "{reason}: {completed:?}");
        let of_target = status.targets[0].message.as_deref().unwrap();
        assert!(of_target.contains(says), "{reason}: {of_target}");
    }
}

#[test]
fn a_resumed_operation_says_what_it_waits_for_and_until_when() {
    for (stage, says) in [
        (Stage::WaitingRepave, "netboot"),
        (Stage::WaitingBoot, "boot"),
    ] {
        let mut world = World::new(OperationKind::HostReplace);
        world.until(Stage::WaitingRepave);
        if stage == Stage::WaitingBoot {
            world.sight(SightingKind::Written("cc".into()), "written");
            world.until(stage);
        }
        world.facts.suspended = true;
        world.tick();
        assert_eq!(world.state.reason, "Suspended");
        world.facts.suspended = false;
        world.tick();
        assert!(world.state.message.contains(says), "{:?}", world.state);
        assert!(world.state.deadline.is_some(), "{:?}", world.state);
    }
}
