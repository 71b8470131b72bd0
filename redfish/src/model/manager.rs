//! The manager (the BMC itself) and the chassis, as far as they lead to other resources.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{flag, health, id, link, links, text, whole, words};

/// The BMC itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    pub id: String,
    /// Path of the resource.
    pub path: String,
    pub kind: Option<String>,
    pub model: Option<String>,
    pub firmware_version: Option<String>,
    pub health: Option<String>,
    /// Its clock, as it writes it.
    pub date_time: Option<String>,
    pub graphical_console: Option<Console>,
    pub serial_console: Option<Console>,
    #[serde(skip)]
    pub(crate) servers: Vec<String>,
    #[serde(skip)]
    pub(crate) log_services: Option<String>,
    #[serde(skip)]
    pub(crate) virtual_media: Option<String>,
}

/// A console that the BMC offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Console {
    pub enabled: bool,
    /// `KVMIP`, `SSH`, `IPMI`.
    pub kinds: Vec<String>,
    pub port: Option<u64>,
    /// What to type on an SSH console to reach the host's serial line.
    pub entry_command: Option<String>,
    pub max_sessions: Option<u64>,
}

impl Console {
    /// Reads a `GraphicalConsole`, or a `SerialConsole` in its old or new form.
    pub(crate) fn parse(body: &Value) -> Option<Self> {
        if !body.is_object() {
            return None;
        }
        let mut kinds = words(body.get("ConnectTypesSupported"));
        let mut enabled = flag(body, "ServiceEnabled").unwrap_or(false);
        let mut port = whole(body, "Port");
        let mut entry_command = None;
        for kind in ["SSH", "Telnet", "IPMI"] {
            let Some(way) = body.get(kind).filter(|way| way.is_object()) else {
                continue;
            };
            if flag(way, "ServiceEnabled") == Some(true) {
                kinds.push(kind.to_owned());
                if !enabled {
                    enabled = true;
                    port = whole(way, "Port");
                    entry_command = text(way, "ConsoleEntryCommand");
                }
            }
        }
        Some(Self {
            enabled,
            kinds,
            port,
            entry_command,
            max_sessions: whole(body, "MaxConcurrentSessions"),
        })
    }
}

impl Manager {
    pub(crate) fn parse(body: &Value) -> Self {
        let servers = body
            .get("Links")
            .map(|to| links(to, "ManagerForServers"))
            .unwrap_or_default();
        Self {
            id: id(body),
            path: text(body, "@odata.id").unwrap_or_default(),
            kind: text(body, "ManagerType"),
            model: text(body, "Model"),
            firmware_version: text(body, "FirmwareVersion"),
            health: health(body),
            date_time: text(body, "DateTime"),
            graphical_console: body.get("GraphicalConsole").and_then(Console::parse),
            serial_console: body.get("SerialConsole").and_then(Console::parse),
            servers,
            log_services: link(body, "LogServices"),
            virtual_media: link(body, "VirtualMedia"),
        }
    }
}

/// A chassis, as far as it leads to sensors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chassis {
    pub(crate) path: String,
    pub(crate) systems: Vec<String>,
    pub(crate) thermal: Option<String>,
    pub(crate) power: Option<String>,
    pub(crate) thermal_subsystem: Option<String>,
    pub(crate) power_subsystem: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) sensors: Option<String>,
    pub(crate) log_services: Option<String>,
    pub(crate) network_adapters: Option<String>,
}

impl Chassis {
    pub(crate) fn parse(body: &Value) -> Self {
        let systems = body
            .get("Links")
            .map(|to| links(to, "ComputerSystems"))
            .unwrap_or_default();
        Self {
            path: text(body, "@odata.id").unwrap_or_default(),
            systems,
            thermal: link(body, "Thermal"),
            power: link(body, "Power"),
            thermal_subsystem: link(body, "ThermalSubsystem"),
            power_subsystem: link(body, "PowerSubsystem"),
            environment: link(body, "EnvironmentMetrics"),
            sensors: link(body, "Sensors"),
            log_services: link(body, "LogServices"),
            network_adapters: link(body, "NetworkAdapters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn consoles_are_read_in_both_forms() {
        let new = Console::parse(&json!({
            "MaxConcurrentSessions": 1,
            "SSH": {"ServiceEnabled": true, "Port": 22, "ConsoleEntryCommand": "start"},
            "IPMI": {"ServiceEnabled": true, "Port": 623},
        }));
        let new = new.unwrap();
        assert!(new.enabled);
        assert_eq!((new.port, new.kinds.len()), (Some(22), 2));
        assert_eq!(new.entry_command.as_deref(), Some("start"));
        let old =
            Console::parse(&json!({"ServiceEnabled": true, "ConnectTypesSupported": ["KVMIP"]}));
        assert_eq!(old.unwrap().kinds, ["KVMIP"]);
        assert_eq!(Console::parse(&json!("none")), None);
    }
}
