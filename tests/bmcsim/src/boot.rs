//! The boot override of a simulated machine and what a launch makes of it.
//!
//! Pure. `Once` is used up by the launch that honours it, `Continuous` stays.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How long an override lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enabled {
    Disabled,
    Once,
    Continuous,
}

/// What a launch boots first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootChoice {
    /// The firmware's own order.
    Default,
    Pxe,
    Hdd,
    UefiHttp,
}

/// The override as Redfish shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOverride {
    pub enabled: Enabled,
    pub target: String,
    pub mode: String,
    pub http_boot_uri: Option<String>,
}

impl Default for BootOverride {
    fn default() -> Self {
        Self {
            enabled: Enabled::Disabled,
            target: "None".to_owned(),
            mode: "UEFI".to_owned(),
            http_boot_uri: None,
        }
    }
}

/// Properties of a `Boot` object that make up the override; the others are the caller's.
pub(crate) const PROPERTIES: &[&str] = &[
    "BootSourceOverrideTarget",
    "BootSourceOverrideEnabled",
    "BootSourceOverrideMode",
    "HttpBootUri",
];

/// Targets this simulator knows.
pub(crate) const TARGETS: &[&str] = &["None", "Pxe", "Hdd", "UefiHttp", "Cd", "Usb", "BiosSetup"];

/// A property that a PATCH may not carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BootRefusal {
    #[error(
        "The value {value} for the property {property} is not in the list of acceptable values."
    )]
    NotInList { property: String, value: String },
    #[error("The property {0} is unknown or read-only.")]
    Unknown(String),
    #[error("The body is not a JSON object with a Boot object.")]
    Malformed,
}

impl BootOverride {
    /// The override after a PATCH with this `Boot` object.
    pub(crate) fn patched(
        &self,
        boot: &Value,
        targets: &[String],
        enabled: &[Enabled],
    ) -> Result<Self, BootRefusal> {
        let mut patched = self.clone();
        for (property, value) in boot.as_object().ok_or(BootRefusal::Malformed)? {
            let not_in_list = || BootRefusal::NotInList {
                property: property.clone(),
                value: value.to_string(),
            };
            let word = value.as_str();
            match property.as_str() {
                "BootSourceOverrideTarget" => {
                    let known = targets.iter().find(|target| Some(target.as_str()) == word);
                    patched.target.clone_from(known.ok_or_else(not_in_list)?);
                }
                "BootSourceOverrideEnabled" => {
                    let known = enabled.iter().find(|enabled| json!(enabled) == *value);
                    patched.enabled = *known.ok_or_else(not_in_list)?;
                }
                "BootSourceOverrideMode" => match word {
                    Some(word @ ("UEFI" | "Legacy")) => word.clone_into(&mut patched.mode),
                    Some(_) | None => return Err(not_in_list()),
                },
                "HttpBootUri" => patched.http_boot_uri = word.map(ToOwned::to_owned),
                _ => return Err(BootRefusal::Unknown(property.clone())),
            }
        }
        Ok(patched)
    }

    /// What a launch boots, and the override that remains after it.
    pub(crate) fn launched(&self) -> (BootChoice, Self) {
        let wanted = match self.target.as_str() {
            "Pxe" => BootChoice::Pxe,
            "Hdd" => BootChoice::Hdd,
            "UefiHttp" => BootChoice::UefiHttp,
            _ => BootChoice::Default,
        };
        match self.enabled {
            Enabled::Disabled => (BootChoice::Default, self.clone()),
            Enabled::Continuous => (wanted, self.clone()),
            Enabled::Once => {
                let mut rest = self.clone();
                rest.enabled = Enabled::Disabled;
                "None".clone_into(&mut rest.target);
                (wanted, rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(target: &str, enabled: Enabled) -> BootOverride {
        BootOverride {
            target: target.to_owned(),
            enabled,
            ..BootOverride::default()
        }
    }

    #[test]
    fn once_is_used_up_and_continuous_stays() {
        let (choice, rest) = set("Pxe", Enabled::Once).launched();
        assert_eq!(choice, BootChoice::Pxe);
        assert_eq!(rest, BootOverride::default());
        let continuous = set("Hdd", Enabled::Continuous);
        assert_eq!(continuous.launched(), (BootChoice::Hdd, continuous.clone()));
        assert_eq!(
            set("Pxe", Enabled::Disabled).launched().0,
            BootChoice::Default
        );
    }

    #[test]
    fn words_that_are_not_offered_are_refused() {
        let targets = ["None".to_owned(), "Pxe".to_owned()];
        let patch = |body| BootOverride::default().patched(&body, &targets, &[Enabled::Once]);
        assert!(patch(json!({"BootSourceOverrideTarget": "Hdd"})).is_err());
        assert!(patch(json!({"BootSourceOverrideEnabled": "Continuous"})).is_err());
        assert!(patch(json!({"Surprise": 1})).is_err());
        assert!(patch(json!(7)).is_err());
        let patched = patch(json!({
            "BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once",
        }));
        assert_eq!(patched, Ok(set("Pxe", Enabled::Once)));
    }
}
