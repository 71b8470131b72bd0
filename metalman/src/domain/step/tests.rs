use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{OperationKind, Phase, Stage};
use proptest::prelude::*;

use super::super::facts::{
    BootOverride, BootSeen, Facts, Images, MachineFacts, NodeSeen, Power, Reading, Sighting,
    SightingKind, Trouble,
};
use super::super::state::{FrozenInput, TargetState};
use super::super::status::operation_status;
use super::{Action, Limits, step};

const LIMITS: Limits = Limits {
    shutdown: SignedDuration::ZERO,
    max_attempts: 3,
    poll: SignedDuration::from_secs(5),
    resend: SignedDuration::from_secs(60),
    password: SignedDuration::from_mins(5),
    prepare: SignedDuration::from_mins(60),
    netboot: SignedDuration::from_mins(20),
    refusal: SignedDuration::from_secs(120),
    install_silence: SignedDuration::from_mins(5),
    first_boot: SignedDuration::from_mins(20),
    node: SignedDuration::from_mins(30),
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn frozen() -> FrozenInput {
    FrozenInput {
        host_image: "oci-layout:/host".into(),
        host_image_digest: "sha256:aa".into(),
        netboot_image: "oci-layout:/netboot".into(),
        netboot_image_digest: "sha256:bb".into(),
        raw_sha256: "cc".into(),
    }
}

fn facts() -> Facts {
    Facts {
        machine: Some(MachineFacts {
            name: "n1".into(),
            generation: Some(3),
            owned: true,
            has_redfish: true,
            leases: 1,
            image: Some("oci-layout:/host".into()),
            netboot_image: Some("oci-layout:/netboot".into()),
            kubernetes: false,
            conflict: None,
        }),
        suspended: false,
        waiting_for: None,
        power: None,
        boot_override: None,
        trouble: None,
        images: Images::Unknown,
        sightings: Vec::new(),
        boot: None,
        node: None,
    }
}

/// A machine and its BMC that obey at once: plays actions into facts.
struct World {
    now: i64,
    facts: Facts,
    state: TargetState,
    sent: Vec<Action>,
    deaf: bool,
    /// The operating system shuts down when asked.
    polite: bool,
    limits: Limits,
}

impl World {
    fn new(kind: OperationKind) -> Self {
        Self {
            now: 0,
            facts: facts(),
            state: TargetState::new(kind, at(0)),
            sent: Vec::new(),
            deaf: false,
            polite: false,
            limits: LIMITS,
        }
    }

    fn power(&mut self, power: Power) {
        self.facts.power = Some(Reading {
            value: power,
            at: at(self.now),
        });
    }

    fn tick(&mut self) {
        self.now += 1;
        let decided = step(at(self.now), &self.state, &self.facts, &self.limits);
        self.state = decided.state;
        for action in decided.actions {
            self.play(&action);
            self.sent.push(action);
        }
    }

    fn play(&mut self, action: &Action) {
        let now = at(self.now);
        let current = self.facts.power.as_ref().map_or(Power::On, |r| r.value);
        match action {
            Action::ReadSystem => self.power(current),
            Action::ShutDown if self.polite => self.power(Power::Off),
            Action::ShutDown => self.power(current),
            Action::ForceOff if !self.deaf => self.power(Power::Off),
            Action::PowerOn if !self.deaf => self.power(Power::On),
            Action::ForceOff | Action::PowerOn => self.power(current),
            Action::SetNetworkBoot => {
                self.facts.boot_override = Some(Reading {
                    value: BootOverride::Network,
                    at: now,
                });
            }
            Action::ClearBootOverride => {
                self.facts.boot_override = Some(Reading {
                    value: BootOverride::None,
                    at: now,
                });
            }
            Action::PrepareImages => self.facts.images = Images::Ready(frozen()),
            Action::MintToken { .. } | Action::RevokeTokens => {}
        }
    }

    fn sight(&mut self, kind: SightingKind, detail: &str) {
        let at = at(self.now + 1);
        self.facts.sightings.push(Sighting {
            kind,
            at,
            detail: detail.into(),
        });
        self.now += 1;
    }

    fn until(&mut self, stage: Stage) {
        for _ in 0..100 {
            if self.state.stage == Some(stage) || self.state.phase.is_terminal() {
                break;
            }
            self.tick();
        }
        assert_eq!(self.state.stage, Some(stage), "{:?}", self.state);
    }

    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    fn count(&self, action: &Action) -> usize {
        self.sent.iter().filter(|a| *a == action).count()
    }
}

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

fn sighting_kinds() -> impl Strategy<Value = SightingKind> {
    prop_oneof![
        Just(SightingKind::Dhcp),
        Just(SightingKind::BootFile),
        Just(SightingKind::LoaderRefused),
        Just(SightingKind::GrubInstall),
        Just(SightingKind::Claimed),
        (0_u8..=100).prop_map(|p| SightingKind::Progress(Some(p))),
        Just(SightingKind::Written("cc".into())),
        Just(SightingKind::InstallFailed("WriteFailed".into())),
    ]
}

proptest! {
    /// Whatever is seen in whatever order, with the state stored and loaded between any two
    /// steps: power is never touched after a proved write, attempts are bounded, the end is final.
    #[test]
    fn any_order_of_sightings_keeps_the_invariants(
        script in proptest::collection::vec((0_u16..400, proptest::option::of(sighting_kinds())), 0..40)
    ) {
        let mut world = World::new(OperationKind::HostReplace);
        for (seconds, sighting) in script {
            if let Some(kind) = sighting {
                world.sight(kind, "seen");
            }
            world.now += i64::from(seconds);
            let written = world.state.image_written_at.is_some();
            let (offs, ended) = (world.count(&Action::ForceOff), world.state.phase.is_terminal());
            let stored = serde_json::to_string(&world.state).unwrap();
            world.state = serde_json::from_str(&stored).unwrap();
            world.tick();
            if written || ended {
                prop_assert_eq!(world.count(&Action::ForceOff), offs);
            }
            prop_assert!(world.state.install_attempts <= LIMITS.max_attempts);
            if ended {
                prop_assert_eq!(serde_json::to_string(&world.state).unwrap(), stored);
            }
        }
    }
}

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
