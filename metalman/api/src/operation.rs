//! `MachineOperation`: one job-like request on one or more machines.
#![expect(
    unreachable_pub,
    reason = "the derive of KubeSchema writes a private twin of each struct"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One request on one machine (`machineRef`) or on several (`machineSelector`); runs once.
#[derive(CustomResource, KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "unbounded-cloud.io",
    version = "v1alpha3",
    kind = "MachineOperation",
    plural = "machineoperations",
    singular = "machineoperation",
    shortname = "mop",
    status = "MachineOperationStatus",
    derive = "PartialEq",
    derive = "Default",
    selectable = ".status.phase",
    selectable = ".spec.operationKind",
    selectable = ".spec.machineRef",
    printcolumn = r#"{"name":"KIND","type":"string","jsonPath":".spec.operationKind"}"#,
    printcolumn = r#"{"name":"MACHINE","type":"string","jsonPath":".spec.machineRef"}"#,
    printcolumn = r#"{"name":"PHASE","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"STAGE","type":"string","priority":1,"jsonPath":".status.targets[0].stage"}"#,
    printcolumn = r#"{"name":"MESSAGE","type":"string","priority":1,"jsonPath":".status.message"}"#
)]
#[x_kube(
    validation = ("has(self.machineRef) != has(self.machineSelector)", "exactly one of machineRef and machineSelector must be set"),
    validation = ("self.operationKind == oldSelf.operationKind && has(self.machineRef) == has(oldSelf.machineRef) && (!has(self.machineRef) || self.machineRef == oldSelf.machineRef) && has(self.machineSelector) == has(oldSelf.machineSelector) && (!has(self.machineSelector) || self.machineSelector == oldSelf.machineSelector) && has(self.parameters) == has(oldSelf.parameters) && (!has(self.parameters) || self.parameters == oldSelf.parameters)", "spec is immutable except suspend and ttlSecondsAfterFinished; create a new MachineOperation instead")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineOperationSpec {
    /// Name of the one Machine to act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub machine_ref: Option<String>,
    /// Labels of the Machines to act on; host kinds must pin `unbounded-cloud.io/site`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_selector: Option<LabelSelector>,
    /// What to do.
    pub operation_kind: OperationKind,
    /// Parameters of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<BTreeMap<String, String>>,
    /// Seconds after which a finished operation is deleted; kept for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// While true no new step is taken; what already runs on a host is not interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What an operation does.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum OperationKind {
    /// Restart the node's container.
    NodeReboot,
    /// Replace the agent binary.
    AgentUpgrade,
    /// Remove the agent and all it manages.
    AgentReset,
    /// Power-cycle the host.
    #[default]
    HostReboot,
    /// Power the host off.
    HostPowerOff,
    /// Power the host on.
    HostPowerOn,
    /// Repave: write the latest image to the host's disk.
    HostReplace,
}

impl OperationKind {
    /// Whether the appliance (not the agent) carries it out.
    pub fn is_host(self) -> bool {
        match self {
            Self::HostReboot | Self::HostPowerOff | Self::HostPowerOn | Self::HostReplace => true,
            Self::NodeReboot | Self::AgentUpgrade | Self::AgentReset => false,
        }
    }

    /// The word as written in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NodeReboot => "NodeReboot",
            Self::AgentUpgrade => "AgentUpgrade",
            Self::AgentReset => "AgentReset",
            Self::HostReboot => "HostReboot",
            Self::HostPowerOff => "HostPowerOff",
            Self::HostPowerOn => "HostPowerOn",
            Self::HostReplace => "HostReplace",
        }
    }
}

/// Where an operation or target stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Not started.
    #[default]
    Pending,
    /// Started.
    InProgress,
    /// Ended, and its effect was proved.
    Complete,
    /// Ended without effect; see the message.
    Failed,
}

impl Phase {
    /// Complete or Failed.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Complete | Self::Failed)
    }
}

/// Step of a target, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Stage {
    /// Resolving and fetching images, checking inputs; power is not touched yet.
    Preparing,
    /// About to power off.
    PoweringOff,
    /// Waiting for the power state Off.
    WaitingOff,
    /// Setting the boot override.
    SettingBoot,
    /// About to power on.
    PoweringOn,
    /// Waiting for the power state On.
    WaitingOn,
    /// Waiting for the host to netboot and the installer to write the disk.
    WaitingRepave,
    /// Removing the boot override.
    ClearingBoot,
    /// Waiting for the installed system to report its first boot.
    WaitingBoot,
    /// Waiting for cloud-init to finish.
    WaitingCloudInit,
    /// Waiting for the Node to register.
    WaitingNode,
}

/// What is known about an operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineOperationStatus {
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// One line for people: what it waits for, or why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the first target started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the last target ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Machine generation an agent acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_machine_generation: Option<i64>,
    /// One entry per machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["machineRef"]))]
    pub targets: Vec<TargetStatus>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One machine inside an operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// Machine name.
    pub machine_ref: String,
    /// Where it stands.
    #[serde(default)]
    pub phase: Phase,
    /// Current step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// What it waits for and until when, or why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Latest moment the current wait ends; then it is retried or fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Machine generation acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// External actions tried in the current step.
    #[serde(default)]
    pub attempts: i32,
    /// When the last one was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<Time>,
    /// Percent of the disk image written, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// What the target was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<TargetInput>,
    /// Facts that prove the effect, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidenceStatus>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Inputs frozen when a target starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetInput {
    /// Machine image reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_image: Option<String>,
    /// Its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_image_digest: Option<String>,
    /// Digest of the boot environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netboot_image_digest: Option<String>,
}

/// One fact that proves an effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceStatus {
    /// What was seen, such as `PowerOff`, `ImageWritten`, `FirstBoot`.
    pub kind: String,
    /// When it was seen.
    pub at: Time,
    /// Detail for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
