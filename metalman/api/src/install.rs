//! What the installer on a host and the appliance say to each other (JSON over HTTP).
//!
//! Paths: `POST /install/{token}/claim`, `POST /install/{token}/report`, and the absolute
//! `boot_report_url` of the plan. The token in the path is the authority; no header counts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::disk::{DiskFacts, DiskRule, InstallMark};

/// First message of an installer: who it is and what disks it sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallClaim {
    /// `/proc/sys/kernel/random/boot_id` of the running installer.
    pub boot_id: String,
    /// MAC address the installer uses, lower-case with colons.
    pub mac: String,
    /// SMBIOS system UUID, if readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_uuid: Option<String>,
    /// Version of the agent binary.
    pub agent_version: String,
    /// Every disk with its facts.
    #[serde(default)]
    pub disks: Vec<DiskFacts>,
    /// Firmware says Secure Boot is on.
    #[serde(default)]
    pub secure_boot: bool,
}

/// Answer to a claim: everything the installer needs, frozen for this operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallPlan {
    /// Machine name.
    pub machine: String,
    /// Operation name.
    pub operation: String,
    /// What to write.
    pub image: ImagePlan,
    /// Where to write it.
    pub disk: DiskRule,
    /// Files to put on the root file system.
    pub files: Vec<SeedFile>,
    /// Firmware boot entry to make.
    pub efi: EfiEntry,
    /// Mark to leave on the disk.
    pub mark: InstallMark,
    /// Absolute URL that takes [`BootReport`]s of the installed host.
    pub boot_report_url: String,
    /// Seconds to wait after a failure before the machine is restarted.
    pub reboot_delay_seconds: u32,
}

/// How an image file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageCompression {
    /// RFC 1952, one or more members.
    Gzip,
    /// RFC 8878, one or more frames.
    Zstd,
    /// The raw image.
    None,
}

/// The image to write. Sizes are in bytes, hashes lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagePlan {
    /// Absolute URL; answers range requests.
    pub url: String,
    /// Compression of the file behind `url`.
    pub compression: ImageCompression,
    /// Size of the file behind `url`.
    pub compressed_size: u64,
    /// Size of the raw image.
    pub raw_size: u64,
    /// SHA-256 of the raw image.
    pub raw_sha256: String,
    /// Digest of the OCI image it came from.
    pub digest: String,
}

/// One file for the installed root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedFile {
    /// Absolute path inside the installed system.
    pub path: String,
    /// Permission bits, such as `0o600`.
    pub mode: u32,
    /// Text.
    pub content: String,
}

/// UEFI boot entry (UEFI 2.10 §3.1.3 `EFI_LOAD_OPTION`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EfiEntry {
    /// Description; older entries with the same one are removed.
    pub label: String,
    /// Loader path on the EFI system partition, with forward slashes.
    pub loader: String,
}

/// Stages of an installation, in order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum InstallStage {
    /// Claimed, nothing done yet.
    Starting,
    /// Looking at disks.
    ChoosingDisk,
    /// Discarding old content.
    Discarding,
    /// Writing the image.
    Writing,
    /// Reading the disk back and hashing it.
    Verifying,
    /// Writing seed files, agent and unit.
    Seeding,
    /// Writing the firmware boot entry.
    BootEntry,
    /// Done; the machine restarts now.
    Finished,
    /// Ended by an error; see the failure.
    Failed,
}

/// Progress of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallReport {
    /// Boot id of the claim.
    pub boot_id: String,
    /// Current stage.
    pub stage: InstallStage,
    /// Percent of this stage, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Raw bytes done in this stage.
    #[serde(default)]
    pub bytes: u64,
    /// Raw bytes this stage has in all; 0 when unknown.
    #[serde(default)]
    pub total_bytes: u64,
    /// One line for people.
    #[serde(default)]
    pub message: String,
    /// Set with [`InstallStage::Failed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<InstallFailure>,
    /// SHA-256 of the image as read back from the disk; set with [`InstallStage::Finished`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_sha256: Option<String>,
}

/// Why an installation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallFailure {
    /// CamelCase, such as `DigestMismatch`.
    pub reason: String,
    /// Text with object and cure.
    pub message: String,
}

/// A host says that it runs, at every boot and every 60 s after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootReport {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// SMBIOS system UUID, if readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_uuid: Option<String>,
    /// Kernel release.
    #[serde(default)]
    pub kernel: String,
    /// Version of the agent binary.
    #[serde(default)]
    pub agent_version: String,
    /// Seconds since boot.
    #[serde(default)]
    pub uptime_seconds: u64,
}

/// Body of a refusal (HTTP 4xx and 5xx).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// CamelCase, such as `TokenExpired`.
    pub reason: String,
    /// Text with object and cure.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wire form of version 1: if this fails, do not change the test.
    #[test]
    fn the_report_keeps_its_wire_form() {
        let report = InstallReport {
            boot_id: "b".into(),
            stage: InstallStage::Writing,
            percent: Some(40),
            bytes: 4,
            total_bytes: 10,
            message: String::new(),
            failure: None,
            written_sha256: None,
        };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(
            json,
            r#"{"bootId":"b","stage":"Writing","percent":40,"bytes":4,"totalBytes":10,"message":""}"#
        );
    }
}
