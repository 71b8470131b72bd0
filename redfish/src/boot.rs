//! The boot override: its values, the PATCH bodies, and when a read-back counts as applied.
//!
//! Pure. It does not decide what a machine should boot.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::model::Boot;
use crate::quirks::{self, Platform};
use crate::words::redfish_words;

redfish_words! {
    /// `Boot.BootSourceOverrideTarget`.
    BootSourceOverrideTarget {
        None = "None",
        Pxe = "Pxe",
        Hdd = "Hdd",
        Cd = "Cd",
        Usb = "Usb",
        Floppy = "Floppy",
        SdCard = "SDCard",
        UefiHttp = "UefiHttp",
        UefiTarget = "UefiTarget",
        UefiShell = "UefiShell",
        UefiBootNext = "UefiBootNext",
        BiosSetup = "BiosSetup",
        Utilities = "Utilities",
        Diags = "Diags",
        RemoteDrive = "RemoteDrive",
        Recovery = "Recovery",
        /// The BMC did not say, or said something else.
        Unknown = "Unknown",
    }
}

redfish_words! {
    /// `Boot.BootSourceOverrideEnabled`.
    BootSourceOverrideEnabled {
        Disabled = "Disabled",
        Once = "Once",
        Continuous = "Continuous",
        /// The BMC did not say, or said something else.
        Unknown = "Unknown",
    }
}

redfish_words! {
    /// `Boot.BootSourceOverrideMode`.
    BootSourceOverrideMode {
        Uefi = "UEFI",
        Legacy = "Legacy",
    }
}

/// A boot override, wanted or found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootOverride {
    /// What to boot.
    pub target: BootSourceOverrideTarget,
    /// For how long.
    pub enabled: BootSourceOverrideEnabled,
    /// Firmware mode. Wanted: sent only to BMCs that report it. `None`: left alone.
    pub mode: Option<BootSourceOverrideMode>,
    /// Loader URL for `UefiHttp`. `None`: left alone.
    pub http_boot_uri: Option<String>,
}

impl BootOverride {
    /// An override for one boot, in UEFI mode.
    pub fn once(target: BootSourceOverrideTarget) -> Self {
        Self::uefi(target, BootSourceOverrideEnabled::Once)
    }

    /// An override that stays until it is cleared, in UEFI mode.
    pub fn continuous(target: BootSourceOverrideTarget) -> Self {
        Self::uefi(target, BootSourceOverrideEnabled::Continuous)
    }

    /// No override.
    pub fn disabled() -> Self {
        Self {
            target: BootSourceOverrideTarget::None,
            enabled: BootSourceOverrideEnabled::Disabled,
            mode: None,
            http_boot_uri: None,
        }
    }

    fn uefi(target: BootSourceOverrideTarget, enabled: BootSourceOverrideEnabled) -> Self {
        Self {
            target,
            enabled,
            mode: Some(BootSourceOverrideMode::Uefi),
            http_boot_uri: None,
        }
    }

    /// Whether this override changes nothing at the next boot.
    pub fn is_cleared(&self) -> bool {
        self.enabled == BootSourceOverrideEnabled::Disabled
            || self.target == BootSourceOverrideTarget::None
    }
}

impl fmt::Display for BootOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target, self.enabled)?;
        if let Some(mode) = self.mode {
            write!(f, "/{mode}")?;
        }
        if let Some(uri) = &self.http_boot_uri {
            write!(f, " {uri:?}")?;
        }
        Ok(())
    }
}

/// Fits `wanted` to what the BMC offers: `Once` and `Continuous` stand in for each other when only
/// one is allowed, and the mode is dropped when the BMC does not report one.
pub(crate) fn fit(wanted: &BootOverride, offered: &Boot) -> Result<BootOverride, Error> {
    let targets = &offered.allowed_targets;
    if !targets.is_empty() && !targets.contains(&wanted.target) {
        return Err(Error::BootUnsupported {
            wanted: wanted.target,
            allowed: targets.clone(),
        });
    }
    let mut fitted = wanted.clone();
    let allowed = &offered.allowed_enabled;
    if !allowed.is_empty() && !allowed.contains(&wanted.enabled) {
        let other = match wanted.enabled {
            BootSourceOverrideEnabled::Once => BootSourceOverrideEnabled::Continuous,
            BootSourceOverrideEnabled::Continuous => BootSourceOverrideEnabled::Once,
            BootSourceOverrideEnabled::Disabled | BootSourceOverrideEnabled::Unknown => {
                wanted.enabled
            }
        };
        if allowed.contains(&other) {
            fitted.enabled = other;
        }
    }
    if !offered.reports_mode {
        fitted.mode = None;
    }
    Ok(fitted)
}

/// The PATCH body that sets `wanted`.
fn set_body(wanted: &BootOverride) -> Value {
    let mut boot = json!({
        "BootSourceOverrideTarget": wanted.target,
        "BootSourceOverrideEnabled": wanted.enabled,
    });
    if let Some(mode) = wanted.mode {
        insert(&mut boot, "BootSourceOverrideMode", json!(mode));
    }
    if let Some(uri) = &wanted.http_boot_uri {
        insert(&mut boot, "HttpBootUri", json!(uri));
    }
    json!({ "Boot": boot })
}

/// The PATCH bodies that set `wanted`, to be tried in this order while the BMC refuses them: all at
/// once, then without the mode, which some BMCs will not have changed beside the target.
pub(crate) fn set_bodies(wanted: &BootOverride) -> Vec<Value> {
    let mut bodies = vec![set_body(wanted)];
    if wanted.mode.is_some() {
        let without_mode = BootOverride {
            mode: None,
            ..wanted.clone()
        };
        bodies.push(set_body(&without_mode));
    }
    bodies
}

/// The PATCH bodies that clear an override, to be tried in this order while the BMC refuses them
/// or does not show the effect.
pub(crate) fn clear_bodies(platform: Platform, found: &Boot) -> Vec<Value> {
    let bare = json!({ "Boot": { "BootSourceOverrideEnabled": "Disabled" } });
    let mut named = json!({ "BootSourceOverrideEnabled": "Disabled" });
    if !quirks::refuses_disabled_without_target(platform) {
        insert(&mut named, "BootSourceOverrideTarget", json!("None"));
    } else if found.current.target != BootSourceOverrideTarget::None {
        insert(
            &mut named,
            "BootSourceOverrideTarget",
            json!(found.current.target),
        );
    }
    if let Some(mode) = found.current.mode {
        insert(&mut named, "BootSourceOverrideMode", json!(mode));
    }
    vec![bare, json!({ "Boot": named })]
}

/// Whether `found` is what was wanted.
pub(crate) fn is_applied(wanted: &BootOverride, found: &BootOverride) -> bool {
    if wanted.is_cleared() {
        return found.is_cleared();
    }
    wanted.target == found.target
        && wanted.enabled == found.enabled
        && (wanted.mode.is_none() || found.mode.is_none() || wanted.mode == found.mode)
        && (wanted.http_boot_uri.is_none() || wanted.http_boot_uri == found.http_boot_uri)
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(value: &Value) -> Boot {
        Boot::parse(value)
    }

    #[test]
    fn continuous_becomes_once_where_only_once_is_allowed() {
        let offered = boot(&json!({
            "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Once", "Disabled"],
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe"],
        }));
        let fitted = fit(
            &BootOverride::continuous(BootSourceOverrideTarget::Pxe),
            &offered,
        )
        .unwrap();
        assert_eq!(fitted.enabled, BootSourceOverrideEnabled::Once);
        assert_eq!(
            fitted.mode, None,
            "mode is not sent to a BMC that reports none"
        );
    }

    #[test]
    fn target_that_is_not_offered_is_refused_before_anything_is_sent() {
        let offered = boot(&json!({
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe"],
        }));
        let refused = fit(
            &BootOverride::once(BootSourceOverrideTarget::UefiHttp),
            &offered,
        );
        assert!(matches!(refused, Err(Error::BootUnsupported { .. })));
    }

    #[test]
    fn accepted_and_not_applied_is_seen() {
        let wanted = BootOverride::once(BootSourceOverrideTarget::Pxe);
        assert!(is_applied(&wanted, &wanted));
        let mut found = wanted.clone();
        found.enabled = BootSourceOverrideEnabled::Disabled;
        assert!(!is_applied(&wanted, &found));
        let mut found = wanted.clone();
        found.mode = Some(BootSourceOverrideMode::Legacy);
        assert!(!is_applied(&wanted, &found));
    }

    #[test]
    fn hpe_keeps_its_target_when_disabling() {
        let found = boot(&json!({
            "BootSourceOverrideEnabled": "Continuous", "BootSourceOverrideTarget": "Pxe",
        }));
        let bodies = clear_bodies(Platform::Hpe, &found);
        assert_eq!(bodies[1]["Boot"]["BootSourceOverrideTarget"], "Pxe");
        let bodies = clear_bodies(Platform::Generic, &found);
        assert_eq!(bodies[1]["Boot"]["BootSourceOverrideTarget"], "None");
    }
}
