//! A machine and its BMC, played in seconds.

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{OperationKind, Stage};

use crate::domain::{
    facts::{BootOverride, Facts, Images, MachineFacts, Power, Reading, Sighting, SightingKind},
    state::{FrozenInput, TargetState},
    step::{Action, Limits, step},
};

pub(super) const LIMITS: Limits = Limits {
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

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

pub(super) fn frozen() -> FrozenInput {
    FrozenInput {
        host_image: "oci-layout:/host".into(),
        host_image_digest: "sha256:aa".into(),
        netboot_image: "oci-layout:/netboot".into(),
        netboot_image_digest: "sha256:bb".into(),
        raw_sha256: "cc".into(),
    }
}

pub(super) fn facts() -> Facts {
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
pub(super) struct World {
    pub(super) now: i64,
    pub(super) facts: Facts,
    pub(super) state: TargetState,
    pub(super) sent: Vec<Action>,
    pub(super) deaf: bool,
    /// The operating system shuts down when asked.
    pub(super) polite: bool,
    pub(super) limits: Limits,
}

impl World {
    pub(super) fn new(kind: OperationKind) -> Self {
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

    pub(super) fn power(&mut self, power: Power) {
        self.facts.power = Some(Reading {
            value: power,
            at: at(self.now),
        });
    }

    pub(super) fn tick(&mut self) {
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

    pub(super) fn sight(&mut self, kind: SightingKind, detail: &str) {
        let at = at(self.now + 1);
        self.facts.sightings.push(Sighting {
            kind,
            at,
            detail: detail.into(),
        });
        self.now += 1;
    }

    pub(super) fn until(&mut self, stage: Stage) {
        for _ in 0..100 {
            if self.state.stage == Some(stage) || self.state.phase.is_terminal() {
                break;
            }
            self.tick();
        }
        assert_eq!(self.state.stage, Some(stage), "{:?}", self.state);
    }

    pub(super) fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    pub(super) fn count(&self, action: &Action) -> usize {
        self.sent.iter().filter(|a| *a == action).count()
    }
}
