//! What the appliance remembers about one target of one operation: the journal's content.
//!
//! Invariant: only the driver writes it, and only with what [`crate::domain::step()`] returned.

use jiff::{SignedDuration, Timestamp};
use metalman_api::operation::{OperationKind, Phase, Stage};
use serde::{Deserialize, Serialize};

use super::step::Limits;

/// State of one machine inside one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetState {
    /// What is done.
    pub kind: OperationKind,
    /// Where it stands.
    pub phase: Phase,
    /// Current step; `None` before the start and after the end.
    pub stage: Option<Stage>,
    /// When the current step began.
    pub stage_since: Timestamp,
    /// When the target left Pending.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// End of the current wait.
    pub deadline: Option<Timestamp>,
    /// External actions tried in the current step.
    pub attempts: i32,
    /// When the last one was tried.
    pub last_attempt_at: Option<Timestamp>,
    /// Install attempts, each with its own token.
    pub install_attempts: i32,
    /// When the current install attempt was armed; older sightings do not count.
    #[serde(default)]
    pub armed_at: Option<Timestamp>,
    /// Percent of the image written.
    pub percent: Option<u8>,
    /// CamelCase reason: of the failure, or of the wait.
    pub reason: String,
    /// What it waits for, or why it ended.
    pub message: String,
    /// Machine generation when it started.
    pub machine_generation: Option<i64>,
    /// Boot id the host last reported before the start.
    pub boot_id_before: Option<String>,
    /// Frozen inputs of a repave.
    pub input: Option<FrozenInput>,
    /// When the installer proved the write.
    pub image_written_at: Option<Timestamp>,
    /// The BMC cannot remove a boot override.
    #[serde(default)]
    pub clear_unsupported: bool,
    /// When the operating system was asked to shut down.
    #[serde(default)]
    pub shutdown_at: Option<Timestamp>,
    /// It did not, or the BMC would not ask it: power is cut.
    #[serde(default)]
    pub shutdown_over: bool,
    /// Proofs, oldest first.
    pub evidence: Vec<Evidence>,
}

/// Images of a repave, resolved once and kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrozenInput {
    /// Machine image as the Machine asks for it.
    pub host_image: String,
    /// Its digest.
    pub host_image_digest: String,
    /// Boot environment as the Machine or the appliance asks for it.
    pub netboot_image: String,
    /// Its digest.
    pub netboot_image_digest: String,
    /// SHA-256 the disk must have.
    pub raw_sha256: String,
}

/// One proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was seen.
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// Detail for people.
    #[serde(default)]
    pub detail: String,
}

/// What a step waits for: as a reason, and for people.
fn awaited(stage: Stage) -> (&'static str, &'static str) {
    match stage {
        Stage::Preparing => ("FetchingImages", "the images"),
        Stage::PoweringOff | Stage::WaitingOff => ("WaitingForPower", "power state Off"),
        Stage::PoweringOn | Stage::WaitingOn => ("WaitingForPower", "power state On"),
        Stage::SettingBoot => (
            "WaitingForBootOverride",
            "the BMC to show network boot for the next start",
        ),
        Stage::ClearingBoot => (
            "WaitingForBootOverride",
            "the BMC to show no boot override any more",
        ),
        Stage::WaitingRepave => ("WaitingForNetboot", "the machine to netboot and install"),
        Stage::WaitingCloudInit => ("WaitingForCloudInit", "cloud-init to end"),
        Stage::WaitingBoot => ("WaitingForBoot", "the host to report its new boot"),
        Stage::WaitingNode => ("WaitingForNode", "the Node to register"),
    }
}

impl TargetState {
    /// A target that has not started.
    pub fn new(kind: OperationKind, now: Timestamp) -> Self {
        Self {
            kind,
            phase: Phase::Pending,
            stage: None,
            stage_since: now,
            started_at: None,
            completed_at: None,
            deadline: None,
            attempts: 0,
            last_attempt_at: None,
            install_attempts: 0,
            armed_at: None,
            percent: None,
            reason: "WaitingForPlace".into(),
            message: "waiting for a free place: operation.max_concurrent_machines Machines are worked on at one time"
                .into(),
            machine_generation: None,
            boot_id_before: None,
            input: None,
            image_written_at: None,
            clear_unsupported: false,
            shutdown_at: None,
            shutdown_over: false,
            evidence: Vec::new(),
        }
    }

    /// Whether it is past the point up to which it works with the Machine as it finds it.
    pub fn has_begun(&self) -> bool {
        self.started_at.is_some() && self.stage != Some(Stage::Preparing)
    }

    /// Enters a step: attempts and deadline start afresh.
    pub(super) fn enter(&mut self, stage: Stage, now: Timestamp, message: impl Into<String>) {
        self.phase = Phase::InProgress;
        self.stage = Some(stage);
        self.stage_since = now;
        self.attempts = 0;
        self.last_attempt_at = None;
        self.deadline = None;
        self.reason = awaited(stage).0.into();
        self.message = message.into();
    }

    /// Has the step that was just entered begin with the reading that ended the one before, if that
    /// is young: the BMC is not asked twice for the same.
    pub(super) fn begin_with_reading(&mut self, read_at: Timestamp) {
        const YOUNG: SignedDuration = SignedDuration::from_secs(1);
        let age = self.stage_since.duration_since(read_at);
        if age >= SignedDuration::ZERO && age <= YOUNG {
            self.stage_since = read_at;
        }
    }

    /// Goes on after a suspension: says again what is awaited, for as long as a wait of this step
    /// takes from now on.
    pub(super) fn resume(&mut self, now: Timestamp, limits: &Limits) {
        let Some(stage) = self.stage else { return };
        let (reason, what) = awaited(stage);
        self.reason = reason.into();
        self.message = format!("resumed; waiting for {what}");
        let wait = match stage {
            Stage::WaitingRepave => limits.netboot,
            Stage::WaitingBoot => limits.first_boot,
            Stage::WaitingNode => limits.node,
            // Their steps set it.
            Stage::Preparing
            | Stage::PoweringOff
            | Stage::WaitingOff
            | Stage::SettingBoot
            | Stage::PoweringOn
            | Stage::WaitingOn
            | Stage::ClearingBoot
            | Stage::WaitingCloudInit => return,
        };
        self.deadline = now.checked_add(wait).ok();
    }

    /// Ends the target with proof.
    pub(super) fn complete(&mut self, now: Timestamp, message: impl Into<String>) {
        self.phase = Phase::Complete;
        self.end(now, "Succeeded", message);
    }

    /// Ends the target without effect.
    pub(super) fn fail(&mut self, now: Timestamp, reason: &str, message: impl Into<String>) {
        self.phase = Phase::Failed;
        self.end(now, reason, message);
    }

    fn end(&mut self, now: Timestamp, reason: &str, message: impl Into<String>) {
        self.completed_at = Some(now);
        self.deadline = None;
        self.reason = reason.into();
        self.message = message.into();
    }

    /// Counts one external action.
    pub(super) fn attempt(&mut self, now: Timestamp) {
        self.attempts = self.attempts.saturating_add(1);
        self.last_attempt_at = Some(now);
    }

    /// Keeps a proof; the list stays short.
    pub(super) fn prove(&mut self, kind: &str, at: Timestamp, detail: impl Into<String>) {
        const KEPT: usize = 16;
        let detail = detail.into();
        if self.evidence.iter().any(|e| e.kind == kind && e.at == at) {
            return;
        }
        self.evidence.push(Evidence {
            kind: kind.into(),
            at,
            detail,
        });
        if self.evidence.len() > KEPT {
            self.evidence.remove(0);
        }
    }
}
