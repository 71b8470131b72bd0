//! What is known about a Machine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::OperationCounters;

/// What is known about a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Where the machine stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// SSH facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshStatus>,
    /// BMC facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redfish: Option<RedfishStatus>,
    /// TPM facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmStatus>,
    /// Agent facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentStatus>,
    /// Image the disk was written with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<InstalledImage>,
    /// The running system, as it reports itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootStatus>,
    /// Counters that have been followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<OperationCounters>,
    /// Configuration version in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<ConfigurationStatus>,
    /// Conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a machine stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MachinePhase {
    /// Known, nothing proved yet.
    #[default]
    Pending,
    /// A restart is running.
    Rebooting,
    /// A repave is running.
    Provisioning,
    /// Installed, its Node has not registered yet.
    Joining,
    /// The host reported that it runs.
    Ready,
    /// The last operation failed.
    Failed,
}

/// SSH facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshStatus {
    /// Host key fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// BMC facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedfishStatus {
    /// SHA-256 of the BMC's leaf certificate, pinned on first use unless `spec.pxe.redfish.tls` says
    /// otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_fingerprint: Option<String>,
    /// End of validity of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_not_after: Option<Time>,
    /// Last power state read from the BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<String>,
    /// Health of system and BMC, the worse of the two: OK, Warning or Critical.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// Version of the system firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios_version: Option<String>,
    /// Version of the BMC's firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
}

/// TPM facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TpmStatus {
    /// PEM of the endorsement key, pinned on first use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_public_key: Option<String>,
}

/// Agent facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStatus {
    /// Root file system image last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Version that reported last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Image the disk was written with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstalledImage {
    /// Reference as asked for.
    pub reference: String,
    /// Digest of the OCI image.
    pub digest: String,
    /// SHA-256 of the disk as read back after the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_sha256: Option<String>,
}

/// The running system, as it reports itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootStatus {
    /// Boot id of the kernel.
    #[serde(rename = "bootID")]
    pub boot_id: String,
    /// Kernel release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// When this boot was first reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// Configuration version in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// MachineConfiguration name.
    pub name: String,
    /// Version number.
    pub version: i32,
    /// MachineConfigurationVersion name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_name: Option<String>,
}
