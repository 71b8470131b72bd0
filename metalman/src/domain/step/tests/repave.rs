//! A repave from the images to the first boot.

use metalman_api::operation::{OperationKind, Phase, Stage};

use super::world::{World, at};
use crate::domain::{
    facts::{BootSeen, NodeSeen, SightingKind},
    step::Action,
};

#[test]
fn a_repave_goes_through_its_stages_once() {
    let mut world = World::new(OperationKind::HostReplace);
    world.until(Stage::WaitingRepave);
    assert_eq!(
        (
            world.count(&Action::ForceOff),
            world.count(&Action::PowerOn)
        ),
        (1, 1)
    );
    world.sight(SightingKind::Dhcp, "DHCP");
    world.sight(SightingKind::GrubInstall, "GRUB");
    world.sight(SightingKind::Claimed, "claimed");
    world.sight(SightingKind::Progress(Some(40)), "writing 40 %");
    world.tick();
    assert_eq!(world.state.percent, Some(40));
    world.sight(SightingKind::Written("cc".into()), "written");
    world.until(Stage::WaitingBoot);
    assert_eq!(world.count(&Action::RevokeTokens), 1);
    world.facts.boot = Some(BootSeen {
        boot_id: "b2".into(),
        first_seen: at(world.now),
    });
    world.tick();
    assert_eq!(world.state.phase, Phase::Complete, "{:?}", world.state);
    assert_eq!(
        (
            world.count(&Action::ForceOff),
            world.count(&Action::PowerOn)
        ),
        (1, 1)
    );
}

#[test]
fn an_old_boot_report_proves_nothing() {
    let mut world = World::new(OperationKind::HostReplace);
    world.facts.boot = Some(BootSeen {
        boot_id: "b1".into(),
        first_seen: at(-50),
    });
    world.until(Stage::WaitingRepave);
    world.sight(SightingKind::Written("cc".into()), "written");
    world.until(Stage::WaitingBoot);
    world.run(10);
    assert_eq!(world.state.phase, Phase::InProgress);
}

#[test]
fn with_kubernetes_the_node_must_register() {
    let mut world = World::new(OperationKind::HostReplace);
    world.facts.machine.as_mut().unwrap().kubernetes = true;
    world.facts.node = Some(NodeSeen {
        created_at: at(-500),
        boot_id: "b1".into(),
    });
    world.until(Stage::WaitingRepave);
    world.sight(SightingKind::Written("cc".into()), "written");
    world.until(Stage::WaitingBoot);
    world.facts.boot = Some(BootSeen {
        boot_id: "b2".into(),
        first_seen: at(world.now),
    });
    world.run(3);
    assert_eq!(world.state.stage, Some(Stage::WaitingNode));
    world.facts.node = Some(NodeSeen {
        created_at: at(-500),
        boot_id: "b2".into(),
    });
    world.run(1);
    assert_eq!(world.state.phase, Phase::Complete);
}

#[test]
fn a_wrong_hash_fails_and_disarms() {
    let mut world = World::new(OperationKind::HostReplace);
    world.until(Stage::WaitingRepave);
    world.sight(SightingKind::Written("dd".into()), "written");
    world.tick();
    assert_eq!(world.state.reason, "DigestMismatch");
    assert_eq!(world.count(&Action::RevokeTokens), 1);
}

#[test]
fn a_disk_refusal_is_final_and_a_lost_download_is_tried_again() {
    let mut world = World::new(OperationKind::HostReplace);
    world.until(Stage::WaitingRepave);
    world.sight(
        SightingKind::InstallFailed("DownloadFailed".into()),
        "lost the server",
    );
    world.tick();
    assert_eq!(world.state.stage, Some(Stage::PoweringOff));
    world.until(Stage::WaitingRepave);
    assert_eq!(world.state.install_attempts, 2);
    world.sight(
        SightingKind::InstallFailed("AmbiguousDisk".into()),
        "two disks",
    );
    world.tick();
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.state.reason, "AmbiguousDisk");
}

#[test]
fn silence_is_diagnosed_and_bounded() {
    let mut world = World::new(OperationKind::HostReplace);
    world.run(3 * 1300 + 100);
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.state.reason, "NoBootProgress");
    assert!(
        world.state.message.contains("no DHCP request"),
        "{}",
        world.state.message
    );
    assert_eq!(world.state.install_attempts, 3);
}

#[test]
fn a_refused_loader_ends_the_repave_with_its_diagnosis() {
    let mut world = World::new(OperationKind::HostReplace);
    world.until(Stage::WaitingRepave);
    world.sight(SightingKind::BootFile, "the machine fetched shimx64.efi");
    world.sight(SightingKind::LoaderRefused, "firmware refused shimx64.efi");
    // The old system on the disk starts.
    world.sight(SightingKind::Dhcp, "DHCP");
    world.tick();
    assert_eq!(world.state.reason, "BootLoaderRefused");
    assert_eq!(world.state.phase, Phase::InProgress);
    world.run(130);
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.state.message, "firmware refused shimx64.efi");
    assert_eq!(world.state.install_attempts, 1, "another try is in vain");
}

#[test]
fn a_loader_that_runs_after_a_refused_one_is_good() {
    let mut world = World::new(OperationKind::HostReplace);
    world.until(Stage::WaitingRepave);
    world.sight(SightingKind::LoaderRefused, "firmware refused shimx64.efi");
    world.tick();
    world.sight(SightingKind::GrubInstall, "GRUB");
    world.run(130);
    assert_eq!(world.state.reason, "Installing");
    assert_eq!(world.state.stage, Some(Stage::WaitingRepave));
}
