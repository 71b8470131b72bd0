//! `ComputerSystem`: identity, power, boot override, and how it is reset.

use serde_json::Value;

use super::json::{flag, health, id, items, link, links, number, text, text_in, word_list, words};
use super::manager::Console;
use crate::boot::{
    BootOverride, BootSourceOverrideEnabled, BootSourceOverrideMode, BootSourceOverrideTarget,
};
use crate::power::{PowerState, ResetType};

/// A computer system as it was read.
#[derive(Debug, Clone, PartialEq)]
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
    pub sku: Option<String>,
    /// `MemorySummary.TotalSystemMemoryGiB`.
    pub memory_gib: Option<f64>,
    /// `BootProgress.LastState`, how far the firmware or the OS has come.
    pub boot_progress: Option<String>,
    /// `LastResetTime`, as the BMC writes it.
    pub last_reset_time: Option<String>,
    /// `Status.Health`.
    pub health: Option<String>,
    pub graphical_console: Option<Console>,
    pub serial_console: Option<Console>,
    /// Reset types the BMC offers, listed inline or in ActionInfo; empty if it does not say.
    pub reset_types: Vec<ResetType>,
    /// Where `ComputerSystem.Reset` is posted to.
    pub reset_target: Option<String>,
    pub(crate) reset_action_info: Option<String>,
    /// `@Redfish.Settings`: where changes for the next boot are written, if not here.
    pub(crate) settings: Option<String>,
    pub(crate) links: Links,
    pub(crate) indicator: Indicator,
    pub(crate) etag: Option<String>,
}

/// Where a system leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) managers: Vec<String>,
    pub(crate) chassis: Vec<String>,
    pub(crate) bios: Option<String>,
    pub(crate) boot_options: Option<String>,
    pub(crate) processors: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) storage: Option<String>,
    pub(crate) simple_storage: Option<String>,
    pub(crate) interfaces: Option<String>,
    pub(crate) log_services: Option<String>,
    pub(crate) virtual_media: Option<String>,
}

impl Links {
    fn parse(body: &Value) -> Self {
        let to = body.get("Links").unwrap_or(&Value::Null);
        Self {
            managers: links(to, "ManagedBy"),
            chassis: links(to, "Chassis"),
            bios: link(body, "Bios"),
            boot_options: body.get("Boot").and_then(|boot| link(boot, "BootOptions")),
            processors: link(body, "Processors"),
            memory: link(body, "Memory"),
            storage: link(body, "Storage"),
            simple_storage: link(body, "SimpleStorage"),
            interfaces: link(body, "EthernetInterfaces"),
            log_services: link(body, "LogServices"),
            virtual_media: link(body, "VirtualMedia"),
        }
    }
}

/// The lamp that tells a machine from its neighbours, as a resource reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Indicator {
    /// `LocationIndicatorActive`.
    pub(crate) active: Option<bool>,
    /// `IndicatorLED`.
    pub(crate) led: Option<String>,
    /// Values the LED accepts; empty if it does not say.
    pub(crate) led_values: Vec<String>,
}

impl Indicator {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            active: flag(body, "LocationIndicatorActive"),
            led: text(body, "IndicatorLED"),
            led_values: words(body.get("IndicatorLED@Redfish.AllowableValues")),
        }
    }
}

impl System {
    /// Reads a system; `etag` is the header of the answer and wins over the body. `None` when the
    /// body is no resource at all, or one without a name.
    pub(crate) fn parse(body: &Value, etag: Option<String>) -> Option<Self> {
        let odata_id = text(body, "@odata.id")?;
        let id = id(body);
        if id.is_empty() {
            return None;
        }
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
            sku: text(body, "SKU"),
            memory_gib: body
                .get("MemorySummary")
                .and_then(|summary| number(summary, "TotalSystemMemoryGiB")),
            boot_progress: text_in(body, "BootProgress", "LastState"),
            last_reset_time: text(body, "LastResetTime"),
            health: health(body),
            graphical_console: body.get("GraphicalConsole").and_then(Console::parse),
            serial_console: body.get("SerialConsole").and_then(Console::parse),
            reset_types: word_list(
                reset.and_then(|reset| reset.get("ResetType@Redfish.AllowableValues")),
                ResetType::parse,
            ),
            reset_target: reset.and_then(|reset| text(reset, "target")),
            reset_action_info: reset.and_then(|reset| link(reset, "@Redfish.ActionInfo")),
            settings: settings.and_then(|settings| link(settings, "SettingsObject")),
            links: Links::parse(body),
            indicator: Indicator::parse(body),
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
    /// Whether there is an `HttpBootUri` to set.
    pub reports_http_uri: bool,
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
            reports_http_uri: boot.get("HttpBootUri").is_some(),
            boot_order: words(boot.get("BootOrder")),
        }
    }
}

/// The values that an ActionInfo resource lists for a parameter.
pub(crate) fn action_parameter<T>(
    body: &Value,
    name: &str,
    parse: impl Fn(&str) -> Option<T> + Copy,
) -> Vec<T> {
    items(body, "Parameters")
        .filter(|parameter| text(parameter, "Name").is_some_and(|found| found == name))
        .flat_map(|parameter| word_list(parameter.get("AllowableValues"), parse))
        .collect()
}

/// The names of all parameters that an ActionInfo resource lists.
pub(crate) fn action_parameters(body: &Value) -> Vec<String> {
    items(body, "Parameters")
        .filter_map(|parameter| text(parameter, "Name"))
        .collect()
}
