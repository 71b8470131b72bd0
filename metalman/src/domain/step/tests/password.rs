//! Passwords that are refused.

use metalman_api::operation::{OperationKind, Phase, Stage};

use super::world::{World, at};
use crate::domain::{facts::Trouble, step::Action};

#[test]
fn a_refused_password_ends_it_at_once() {
    let mut world = World::new(OperationKind::HostReplace);
    world.tick();
    world.facts.trouble = Some(Trouble {
        reason: "Unauthorized".into(),
        message: "BMC refused user admin".into(),
        transient: false,
        at: at(world.now),
    });
    world.tick();
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.state.reason, "Unauthorized");
    assert_eq!(world.count(&Action::ForceOff), 0);
}

#[test]
fn a_password_that_was_good_a_moment_ago_is_waited_for() {
    let mut world = World::new(OperationKind::HostReboot);
    world.until(Stage::WaitingOff);
    world.until(Stage::PoweringOn);
    let refused = |now| Trouble {
        reason: "Unauthorized".into(),
        message: "BMC refused user admin".into(),
        transient: false,
        at: at(now),
    };
    world.facts.trouble = Some(refused(world.now));
    world.deaf = true;
    for _ in 0..100 {
        let good = world.facts.power.clone();
        world.tick();
        // Readings are refused too.
        world.facts.power = good;
        world.facts.trouble = Some(refused(world.now));
    }
    assert_eq!(world.state.phase, Phase::InProgress);
    assert_eq!(world.state.reason, "WaitingForPassword");
    assert_eq!(world.count(&Action::PowerOn), 0, "nothing is sent");
    let held = (world.state.clone(), world.facts.clone(), world.now);

    world.facts.trouble = None;
    world.deaf = false;
    world.run(5);
    assert_eq!(world.state.phase, Phase::Complete);
    assert_eq!(world.count(&Action::PowerOn), 1);

    (world.state, world.facts, world.now) = held;
    world.now += 300;
    world.facts.trouble = Some(refused(world.now));
    world.tick();
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.state.reason, "Unauthorized");
}

#[test]
fn a_refused_command_is_sent_again_as_soon_as_the_password_is_right() {
    let mut world = World::new(OperationKind::HostPowerOff);
    world.deaf = true;
    world.until(Stage::WaitingOff);
    world.facts.trouble = Some(Trouble {
        reason: "Unauthorized".into(),
        message: "BMC refused user admin".into(),
        transient: false,
        at: at(world.now),
    });
    world.tick();
    assert_eq!(world.state.reason, "WaitingForPassword");
    world.facts.trouble = None;
    world.deaf = false;
    world.run(3);
    assert_eq!(world.state.phase, Phase::Complete);
    assert_eq!(world.count(&Action::ForceOff), 2);
}
