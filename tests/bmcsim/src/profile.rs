//! What kind of BMC is simulated: the habits in which vendors differ.
//!
//! Facts only, no behaviour: the service asks the profile. A profile is one YAML file; what it does not say is as
//! `generic` has it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetTypes {
    Inline,
    ActionInfo,
    /// Nowhere.
    Unlisted,
}

/// Where the boot override is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootPlace {
    /// At the system.
    System,
    /// At `<system>/SD`; the system itself refuses it.
    SettingsObject,
}

/// After how many wrong passwords in a row an account is locked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockout {
    pub strikes: u32,
    pub seconds: u64,
}

/// A kind of BMC.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a yes or no of its own"
)]
pub struct Profile {
    pub vendor: Option<String>,
    pub product: String,
    pub manufacturer: String,
    pub model: String,
    pub system_id: String,
    pub etag: EtagMode,
    pub reset_types: ResetTypes,
    pub resets: Vec<ResetType>,
    /// ForceRestart and PowerCycle of a machine that is off are answered with 409 instead of turning it on.
    pub refuses_restart_when_off: bool,
    pub boot_targets: Vec<String>,
    pub boot_enabled: Vec<Enabled>,
    /// Whether the two lists above are shown as AllowableValues.
    pub lists_boot_targets: bool,
    pub lists_boot_enabled: bool,
    /// Where the boot override is changed.
    pub boot_place: BootPlace,
    /// The override of the settings object counts from the next start of a machine that was off, or from a restart by
    /// force; until then only the settings object shows it.
    pub settings_apply_on_reset: bool,
    /// A one-time override that is spent leaves its target behind, with `Disabled`.
    pub keeps_spent_target: bool,
    /// How many sessions may be open; `None`: there is no SessionService.
    pub session_limit: Option<usize>,
    /// Seconds without a request after which a session is gone.
    pub session_timeout_s: u64,
    /// `None`: wrong passwords have no consequence.
    pub lockout: Option<Lockout>,
    /// Polls that a task takes; 0 = answers at once, without a task.
    pub task_polls: u32,
    /// Milliseconds before every answer.
    pub latency_ms: u64,
    /// Entries in the event log of a new machine.
    pub sel_entries: usize,
    /// Whether the log is listed from its end.
    pub sel_newest_first: bool,
    /// Members of a page of a long collection.
    pub page: usize,
    /// Refuses `Inserted` and `WriteProtected` when media are inserted.
    pub refuses_media_flags: bool,
    /// Shows only the action that is possible: insert when empty, eject when not.
    pub hides_media_actions: bool,
    /// Goes on showing the name of an image that was ejected.
    pub keeps_image_name: bool,
    /// NICs and drives of a machine that does not say what it has.
    pub nics: usize,
    pub drives: usize,
    /// Names of resources, where they differ; see `data/base.yaml`.
    pub names: BTreeMap<String, String>,
    /// Merge patches (RFC 7396) over the resources; null takes one away with all below it.
    pub tree: BTreeMap<String, Value>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            vendor: Some("Simulated".to_owned()),
            product: "Simulated BMC".to_owned(),
            manufacturer: "Simulated".to_owned(),
            model: "Virtual Machine".to_owned(),
            system_id: "1".to_owned(),
            etag: EtagMode::Strong,
            reset_types: ResetTypes::Inline,
            resets: ResetType::OFFERED.to_vec(),
            refuses_restart_when_off: false,
            boot_targets: TARGETS.iter().map(ToString::to_string).collect(),
            boot_enabled: vec![Enabled::Disabled, Enabled::Once, Enabled::Continuous],
            lists_boot_targets: true,
            lists_boot_enabled: true,
            boot_place: BootPlace::System,
            settings_apply_on_reset: false,
            keeps_spent_target: false,
            session_limit: Some(8),
            session_timeout_s: 1800,
            lockout: None,
            task_polls: 0,
            latency_ms: 0,
            sel_entries: 12,
            sel_newest_first: false,
            page: 50,
            refuses_media_flags: false,
            hides_media_actions: false,
            keeps_image_name: false,
            nics: 2,
            drives: 2,
            names: BTreeMap::new(),
            tree: BTreeMap::new(),
        }
    }
}

const FILES: &[(&str, &str)] = &[
    ("dell", include_str!("../profiles/dell.yaml")),
    ("hpe", include_str!("../profiles/hpe.yaml")),
    ("lenovo", include_str!("../profiles/lenovo.yaml")),
    ("supermicro", include_str!("../profiles/supermicro.yaml")),
    ("ami", include_str!("../profiles/ami.yaml")),
    ("gb200", include_str!("../profiles/gb200.yaml")),
    ("bluefield", include_str!("../profiles/bluefield.yaml")),
    ("basic-only", include_str!("../profiles/basic-only.yaml")),
];

impl Profile {
    /// Names of all profiles that come with the program.
    pub const NAMES: &'static [&'static str] = &[
        "generic",
        "dell",
        "hpe",
        "lenovo",
        "supermicro",
        "ami",
        "gb200",
        "bluefield",
        "basic-only",
    ];

    /// A profile by name; `None` if there is no such name.
    pub fn named(name: &str) -> Option<Self> {
        if name == "generic" {
            return Some(Self::default());
        }
        let (_, text) = FILES.iter().find(|(known, _)| *known == name)?;
        Self::parse(text).ok()
    }

    /// A profile by name, or from a file when the name has a dot or a slash in it.
    ///
    /// # Errors
    /// A name that is not known, a file that cannot be read.
    pub fn find(name: &str) -> anyhow::Result<Self> {
        if name.contains(['.', '/']) {
            let text = std::fs::read_to_string(Path::new(name))
                .with_context(|| format!("read profile {name}"))?;
            return Self::parse(&text).with_context(|| format!("profile {name}"));
        }
        Self::named(name)
            .with_context(|| format!("profile {name:?} is not one of {}", Self::NAMES.join(", ")))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(yaml::from_str(text)?)
    }

    /// The time a session may be idle.
    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_secs(self.session_timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_profile_and_nothing_else_is() {
        for (name, text) in FILES {
            Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        }
        assert!(
            Profile::NAMES
                .iter()
                .all(|name| Profile::named(name).is_some())
        );
        assert!(Profile::named("").is_none());
        assert!(Profile::find("no/such/file.yaml").is_err());
    }
}
