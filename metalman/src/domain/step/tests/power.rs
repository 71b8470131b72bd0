//! Power off, on and restart.

use jiff::SignedDuration;
use metalman_api::operation::{OperationKind, Phase, Stage};

use super::world::{World, at};
use crate::domain::{
    facts::{BootSeen, Power, Trouble},
    step::Action,
};

#[test]
fn power_off_ends_by_a_reading() {
    let mut world = World::new(OperationKind::HostPowerOff);
    world.run(5);
    assert_eq!(world.state.phase, Phase::Complete, "{:?}", world.state);
    assert_eq!(world.count(&Action::ForceOff), 1);
    assert_eq!(world.state.evidence[0].kind, "PowerOff");
}

#[test]
fn the_operating_system_is_asked_first_and_power_cut_when_it_does_not_follow() {
    // obeys, how often power is cut, seconds it takes at least
    for (polite, cuts, least) in [(true, 0, 0), (false, 1, 30)] {
        for kind in [OperationKind::HostPowerOff, OperationKind::HostReboot] {
            let mut world = World::new(kind);
            world.polite = polite;
            world.limits.shutdown = SignedDuration::from_secs(30);
            while world.count(&Action::ForceOff) < cuts && world.now < 100 {
                world.tick();
            }
            assert!(world.now >= least, "{kind:?} after {} s", world.now);
            world.run(10);
            assert_eq!(world.state.phase, Phase::Complete, "{:?}", world.state);
            assert_eq!(world.count(&Action::ShutDown), 1);
            assert_eq!(world.count(&Action::ForceOff), cuts);
        }
    }
}

#[test]
fn a_bmc_that_cannot_ask_the_system_is_not_waited_for() {
    let mut world = World::new(OperationKind::HostPowerOff);
    world.limits.shutdown = SignedDuration::from_mins(5);
    while world.count(&Action::ShutDown) == 0 {
        world.tick();
    }
    world.facts.trouble = Some(Trouble {
        reason: "Rejected".into(),
        message: "BMC b: no".into(),
        transient: false,
        at: at(world.now),
    });
    world.tick();
    // The next reading succeeds, as it would.
    world.facts.trouble = None;
    world.run(5);
    assert_eq!(world.state.phase, Phase::Complete, "{:?}", world.state);
    assert_eq!(world.count(&Action::ForceOff), 1);
}

#[test]
fn a_repave_cuts_power_at_once() {
    let mut world = World::new(OperationKind::HostReplace);
    world.limits.shutdown = SignedDuration::from_mins(5);
    world.until(Stage::SettingBoot);
    assert_eq!(world.count(&Action::ShutDown), 0);
    assert_eq!(world.count(&Action::ForceOff), 1);
}

#[test]
fn power_off_of_an_off_machine_sends_nothing() {
    let mut world = World::new(OperationKind::HostPowerOff);
    world.power(Power::Off);
    world.run(5);
    assert_eq!(world.state.phase, Phase::Complete);
    assert_eq!(world.count(&Action::ForceOff), 0);
}

#[test]
fn power_on_of_a_running_machine_sends_nothing() {
    let mut world = World::new(OperationKind::HostPowerOn);
    world.run(5);
    assert_eq!(world.state.phase, Phase::Complete);
    assert_eq!(world.count(&Action::PowerOn), 0);
}

#[test]
fn a_reboot_is_one_off_and_one_on() {
    let mut world = World::new(OperationKind::HostReboot);
    world.run(20);
    assert_eq!(world.state.phase, Phase::Complete, "{:?}", world.state);
    assert_eq!(
        (
            world.count(&Action::ForceOff),
            world.count(&Action::PowerOn)
        ),
        (1, 1)
    );
    assert_eq!(world.count(&Action::ClearBootOverride), 1);
}

#[test]
fn a_reboot_of_a_reporting_host_needs_a_new_boot_id() {
    let mut world = World::new(OperationKind::HostReboot);
    world.facts.boot = Some(BootSeen {
        boot_id: "old".into(),
        first_seen: at(-100),
    });
    world.run(20);
    assert_eq!(world.state.stage, Some(Stage::WaitingBoot));
    world.facts.boot = Some(BootSeen {
        boot_id: "new".into(),
        first_seen: at(world.now),
    });
    world.run(1);
    assert_eq!(world.state.phase, Phase::Complete);
}

#[test]
fn a_bmc_that_says_yes_and_does_nothing_fails_after_bounded_tries() {
    let mut world = World::new(OperationKind::HostPowerOff);
    world.deaf = true;
    world.run(400);
    assert_eq!(world.state.phase, Phase::Failed);
    assert_eq!(world.state.reason, "PowerStateNotReached");
    assert_eq!(world.count(&Action::ForceOff), 3);
}

#[test]
fn a_reading_that_ends_a_step_begins_the_next_while_it_is_young() {
    // Seconds that pass before the reading is looked at, and whether it is made again.
    for (pause, readings) in [(0, 0), (3600, 1)] {
        let mut world = World::new(OperationKind::HostReboot);
        world.until(Stage::ClearingBoot);
        // A real BMC shows both in one answer.
        world.power(Power::On);
        world.now += pause;
        world.until(Stage::WaitingOff);
        assert_eq!(world.count(&Action::ReadSystem), readings, "{pause} s");
        world.until(Stage::WaitingOn);
        world.run(3);
        assert_eq!(world.state.phase, Phase::Complete, "{:?}", world.state);
        assert_eq!(world.count(&Action::ForceOff), 1);
        assert_eq!(world.count(&Action::PowerOn), 1);
    }
}
