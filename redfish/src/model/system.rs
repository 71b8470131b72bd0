//! `ComputerSystem`: identity, power, boot override, and how it is reset.

use serde_json::Value;

use super::json::{link, text, word_list};
use crate::boot::{
    BootOverride, BootSourceOverrideEnabled, BootSourceOverrideMode, BootSourceOverrideTarget,
};
use crate::power::{PowerState, ResetType};

/// A computer system as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Path of the resource.
    pub odata_id: String,
    /// `Id`, or the last segment of the path.
    pub id: String,
    /// `PowerState`.
    pub power_state: PowerState,
    /// The boot override; absent on systems that cannot be booted over Redfish.
    pub boot: Option<Boot>,
    pub serial_number: Option<String>,
    pub uuid: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub bios_version: Option<String>,
    /// `Status.Health`.
    pub health: Option<String>,
    /// Reset types the BMC offers, listed inline or in ActionInfo; empty if it does not say.
    pub reset_types: Vec<ResetType>,
    /// Where `ComputerSystem.Reset` is posted to.
    pub reset_target: Option<String>,
    pub(crate) reset_action_info: Option<String>,
    /// `@Redfish.Settings`: where changes for the next boot are written, if not here.
    pub(crate) settings: Option<String>,
    pub(crate) etag: Option<String>,
}

impl System {
    /// Reads a system; `etag` is the header of the answer and wins over the body. `None` when the
    /// body is no resource at all, or one without a name.
    pub(crate) fn parse(body: &Value, etag: Option<String>) -> Option<Self> {
        let odata_id = text(body, "@odata.id")?;
        let last = odata_id
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        let named = || (!last.trim().is_empty()).then(|| last.to_owned());
        let id = text(body, "Id").or_else(named)?;
        let reset = body
            .get("Actions")
            .and_then(|actions| actions.get("#ComputerSystem.Reset"));
        let power_state = text(body, "PowerState").and_then(|word| PowerState::parse(&word));
        let settings = body.get("@Redfish.Settings");
        Some(Self {
            id,
            power_state: power_state.unwrap_or(PowerState::Unknown),
            boot: body
                .get("Boot")
                .filter(|boot| boot.is_object())
                .map(Boot::parse),
            serial_number: text(body, "SerialNumber"),
            uuid: text(body, "UUID"),
            manufacturer: text(body, "Manufacturer"),
            model: text(body, "Model"),
            bios_version: text(body, "BiosVersion"),
            health: body.get("Status").and_then(|status| text(status, "Health")),
            reset_types: word_list(
                reset.and_then(|reset| reset.get("ResetType@Redfish.AllowableValues")),
                ResetType::parse,
            ),
            reset_target: reset.and_then(|reset| text(reset, "target")),
            reset_action_info: reset.and_then(|reset| link(reset, "@Redfish.ActionInfo")),
            settings: settings.and_then(|settings| link(settings, "SettingsObject")),
            etag: etag.or_else(|| text(body, "@odata.etag")),
            odata_id,
        })
    }

    /// Whether the system shows a boot override.
    pub fn is_bootable(&self) -> bool {
        self.boot.as_ref().is_some_and(|boot| boot.reports_target)
    }
}

/// `ComputerSystem.Boot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The override as the BMC reports it.
    pub current: BootOverride,
    /// Targets it accepts; empty if it does not say.
    pub allowed_targets: Vec<BootSourceOverrideTarget>,
    /// Durations it accepts; empty if it does not say.
    pub allowed_enabled: Vec<BootSourceOverrideEnabled>,
    /// Whether there is an override at all.
    pub reports_target: bool,
    /// Whether there is a mode to set.
    pub reports_mode: bool,
    /// `BootOrder`, the persistent order.
    pub boot_order: Vec<String>,
}

impl Boot {
    /// Reads the `Boot` object; whatever is missing or unknown stays so.
    pub(crate) fn parse(boot: &Value) -> Self {
        let target = text(boot, "BootSourceOverrideTarget");
        let enabled = text(boot, "BootSourceOverrideEnabled");
        let mode = text(boot, "BootSourceOverrideMode");
        let allowed = |key: &str| boot.get(format!("{key}@Redfish.AllowableValues"));
        let target_list = allowed("BootSourceOverrideTarget");
        Self {
            current: BootOverride {
                target: target
                    .as_deref()
                    .and_then(BootSourceOverrideTarget::parse)
                    .unwrap_or(BootSourceOverrideTarget::Unknown),
                enabled: enabled
                    .as_deref()
                    .and_then(BootSourceOverrideEnabled::parse)
                    .unwrap_or(BootSourceOverrideEnabled::Unknown),
                mode: mode.as_deref().and_then(BootSourceOverrideMode::parse),
                http_boot_uri: text(boot, "HttpBootUri"),
            },
            allowed_targets: word_list(target_list, BootSourceOverrideTarget::parse),
            allowed_enabled: word_list(
                allowed("BootSourceOverrideEnabled"),
                BootSourceOverrideEnabled::parse,
            ),
            reports_target: boot.get("BootSourceOverrideTarget").is_some() || target_list.is_some(),
            reports_mode: mode.is_some() || allowed("BootSourceOverrideMode").is_some(),
            boot_order: word_list(boot.get("BootOrder"), |word| Some(word.to_owned())),
        }
    }
}

/// The reset types that an ActionInfo resource lists.
pub(crate) fn reset_types_of_action_info(body: &Value) -> Vec<ResetType> {
    let parameters = body.get("Parameters").and_then(Value::as_array);
    parameters
        .into_iter()
        .flatten()
        .filter(|parameter| text(parameter, "Name").is_some_and(|name| name == "ResetType"))
        .flat_map(|parameter| word_list(parameter.get("AllowableValues"), ResetType::parse))
        .collect()
}
