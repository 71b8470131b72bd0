//! What ends, or waits, before anything is touched.

use metalman_api::operation::{OperationKind, Phase};

use super::world::{World, at};
use crate::domain::{
    facts::{Images, Trouble},
    step::Action,
};

#[test]
fn bad_inputs_end_before_power_is_touched() {
    let mut world = World::new(OperationKind::HostReplace);
    world.facts.machine.as_mut().unwrap().conflict = Some("MAC x is also claimed by n2".into());
    world.run(3);
    assert_eq!(world.state.reason, "AddressConflict");
    assert!(world.sent.is_empty());
}

#[test]
fn a_failed_image_ends_before_power_is_touched() {
    let mut world = World::new(OperationKind::HostReplace);
    world.tick();
    world.facts.images = Images::Failed(Trouble {
        reason: "DigestMismatch".into(),
        message: "layer 1".into(),
        transient: false,
        at: at(world.now),
    });
    world.tick();
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.count(&Action::ForceOff), 0);
}

#[test]
fn a_suspended_operation_takes_no_action() {
    let mut world = World::new(OperationKind::HostReboot);
    world.facts.suspended = true;
    world.run(10);
    assert!(world.sent.is_empty());
    world.facts.suspended = false;
    world.run(20);
    assert_eq!(world.state.phase, Phase::Complete);
}

#[test]
fn a_younger_operation_waits() {
    let mut world = World::new(OperationKind::HostReboot);
    world.facts.waiting_for = Some("older".into());
    world.run(3);
    assert_eq!(world.state.phase, Phase::Pending);
    assert!(world.state.message.contains("older"));
}
