//! What kind of BMC is simulated: the habits in which vendors differ.
//!
//! Facts only, no behaviour: the service asks the profile.

use serde::Deserialize;

use crate::boot::{Enabled, TARGETS};
use crate::machine::ResetType;

/// How resources are versioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtagMode {
    /// No ETag anywhere; If-Match is ignored.
    None,
    /// ETag sent; a wrong If-Match is 412, a missing one is fine.
    Strong,
    /// The same with weak tags.
    Weak,
    /// ETag sent; a PATCH without If-Match is 428.
    Required,
    /// ETag sent, and any If-Match is refused with 412.
    Refused,
}

/// Where reset types are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTypes {
    Inline,
    ActionInfo,
    /// Nowhere.
    Unlisted,
}

/// Where the boot override is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootPlace {
    /// At the system.
    System,
    /// At `<system>/SD`; the system itself refuses it.
    SettingsObject,
}

/// A kind of BMC.
#[derive(Debug, Clone)]
pub struct Profile {
    pub vendor: Option<&'static str>,
    pub product: &'static str,
    pub manufacturer: &'static str,
    pub model: &'static str,
    pub system_id: &'static str,
    pub etag: EtagMode,
    pub reset_types: ResetTypes,
    pub resets: Vec<ResetType>,
    pub boot_targets: Vec<String>,
    pub boot_enabled: Vec<Enabled>,
    /// Whether the two lists above are shown as AllowableValues.
    pub lists_boot_targets: bool,
    pub lists_boot_enabled: bool,
    /// Where the boot override is changed.
    pub boot_place: BootPlace,
    /// A baseboard without a boot override is listed before the system.
    pub baseboard_first: bool,
    /// How many sessions may be open; `None`: there is no SessionService.
    pub session_limit: Option<usize>,
    /// Polls that a task takes; 0 = answers at once, without a task.
    pub task_polls: u32,
}

impl Default for Profile {
    fn default() -> Self {
        Self::generic()
    }
}

impl Profile {
    /// Names of all profiles.
    pub const NAMES: &'static [&'static str] = &[
        "generic",
        "dell",
        "hpe",
        "lenovo",
        "supermicro",
        "ami",
        "basic-only",
    ];

    /// A profile by name; `None` if there is no such name.
    pub fn named(name: &str) -> Option<Self> {
        let base = Self::generic();
        Some(match name {
            "generic" => base,
            "dell" => Self {
                vendor: Some("Dell"),
                product: "Integrated Dell Remote Access Controller",
                manufacturer: "Dell Inc.",
                model: "PowerEdge R750",
                system_id: "System.Embedded.1",
                etag: EtagMode::None,
                lists_boot_enabled: false,
                ..base
            },
            "hpe" => Self {
                vendor: Some("HPE"),
                product: "ProLiant DL385 Gen10 Plus v2",
                manufacturer: "HPE",
                model: "ProLiant DL385 Gen10 Plus v2",
                etag: EtagMode::Weak,
                resets: without(&base.resets, ResetType::PowerCycle),
                lists_boot_enabled: false,
                ..base
            },
            "lenovo" => Self {
                vendor: Some("Lenovo"),
                product: "ThinkSystem SR670 V2",
                manufacturer: "Lenovo",
                model: "ThinkSystem SR670 V2",
                resets: without(&base.resets, ResetType::PowerCycle),
                boot_targets: base
                    .boot_targets
                    .iter()
                    .filter(|target| *target != "UefiHttp")
                    .cloned()
                    .collect(),
                boot_enabled: vec![Enabled::Disabled, Enabled::Once],
                ..base
            },
            "supermicro" => Self {
                vendor: None,
                product: "SYS-821GE-TNHR",
                manufacturer: "Supermicro",
                model: "SYS-821GE-TNHR",
                reset_types: ResetTypes::ActionInfo,
                lists_boot_enabled: false,
                ..base
            },
            "ami" => Self {
                vendor: None,
                product: "AMI Redfish Server",
                manufacturer: "NVIDIA",
                model: "DGXH100",
                system_id: "DGX",
                etag: EtagMode::Required,
                reset_types: ResetTypes::ActionInfo,
                resets: vec![
                    ResetType::ForceOff,
                    ResetType::ForceRestart,
                    ResetType::GracefulShutdown,
                    ResetType::On,
                ],
                lists_boot_targets: false,
                lists_boot_enabled: false,
                boot_place: BootPlace::SettingsObject,
                baseboard_first: true,
                ..base
            },
            "basic-only" => Self {
                session_limit: None,
                etag: EtagMode::None,
                ..base
            },
            _ => return None,
        })
    }

    fn generic() -> Self {
        Self {
            vendor: Some("Simulated"),
            product: "Simulated BMC",
            manufacturer: "Simulated",
            model: "Virtual Machine",
            system_id: "1",
            etag: EtagMode::Strong,
            reset_types: ResetTypes::Inline,
            resets: ResetType::OFFERED.to_vec(),
            boot_targets: TARGETS.iter().map(ToString::to_string).collect(),
            boot_enabled: vec![Enabled::Disabled, Enabled::Once, Enabled::Continuous],
            lists_boot_targets: true,
            lists_boot_enabled: true,
            boot_place: BootPlace::System,
            baseboard_first: false,
            session_limit: Some(8),
            task_polls: 0,
        }
    }
}

fn without(resets: &[ResetType], left_out: ResetType) -> Vec<ResetType> {
    resets
        .iter()
        .copied()
        .filter(|reset| *reset != left_out)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_profile_and_nothing_else_is() {
        assert!(
            Profile::NAMES
                .iter()
                .all(|name| Profile::named(name).is_some())
        );
        assert!(Profile::named("").is_none());
    }
}
