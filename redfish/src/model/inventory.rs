//! What a machine is made of: processors, memory, drives, network interfaces, firmware.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{flag, health, id, items, number, text, text_in, whole};

/// The parts of a machine as its BMC lists them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub sku: Option<String>,
    pub uuid: Option<String>,
    pub bios_version: Option<String>,
    /// `FirmwareVersion` of the manager.
    pub bmc_version: Option<String>,
    /// Sum as the BMC tells it, in GiB.
    pub memory_gib: Option<f64>,
    pub processors: Vec<Processor>,
    pub memory: Vec<MemoryModule>,
    pub drives: Vec<Drive>,
    pub interfaces: Vec<Interface>,
    pub firmware: Vec<Firmware>,
    /// Resources that are listed and could not be read.
    pub gaps: Vec<String>,
}

/// A processor or accelerator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Processor {
    pub id: String,
    /// `CPU`, `GPU`, …
    pub kind: Option<String>,
    pub socket: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub cores: Option<u64>,
    pub threads: Option<u64>,
    pub max_mhz: Option<u64>,
    pub health: Option<String>,
}

impl Processor {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            id: id(body),
            kind: text(body, "ProcessorType"),
            socket: text(body, "Socket"),
            manufacturer: text(body, "Manufacturer"),
            model: text(body, "Model"),
            serial_number: text(body, "SerialNumber"),
            cores: whole(body, "TotalCores"),
            threads: whole(body, "TotalThreads"),
            max_mhz: whole(body, "MaxSpeedMHz"),
            health: health(body),
        }
    }
}

/// A memory module.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryModule {
    pub id: String,
    /// Where it sits, as printed on the board.
    pub locator: Option<String>,
    /// Capacity in MiB.
    pub capacity_mib: Option<u64>,
    /// `DDR5`, …
    pub kind: Option<String>,
    pub speed_mhz: Option<u64>,
    pub manufacturer: Option<String>,
    pub part_number: Option<String>,
    pub serial_number: Option<String>,
    pub health: Option<String>,
}

impl MemoryModule {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            id: id(body),
            locator: text(body, "DeviceLocator").or_else(|| text(body, "Name")),
            capacity_mib: whole(body, "CapacityMiB"),
            kind: text(body, "MemoryDeviceType"),
            speed_mhz: whole(body, "OperatingSpeedMhz"),
            manufacturer: text(body, "Manufacturer"),
            part_number: text(body, "PartNumber"),
            serial_number: text(body, "SerialNumber"),
            health: health(body),
        }
    }
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drive {
    pub id: String,
    pub name: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
    pub firmware_version: Option<String>,
    /// Capacity in bytes.
    pub capacity_bytes: Option<u64>,
    /// `SSD`, `HDD`.
    pub media: Option<String>,
    /// `NVMe`, `SATA`, `SAS`.
    pub protocol: Option<String>,
    /// World-wide name (NAA, EUI, NGUID), if told.
    pub wwn: Option<String>,
    pub health: Option<String>,
    /// Percent of the write endurance that is left.
    pub life_left_percent: Option<f64>,
}

impl Drive {
    pub(crate) fn parse(body: &Value) -> Self {
        let wwn = items(body, "Identifiers")
            .filter(|name| {
                text(name, "DurableNameFormat")
                    .is_none_or(|format| matches!(format.as_str(), "NAA" | "EUI" | "NGUID"))
            })
            .find_map(|name| text(name, "DurableName"));
        Self {
            id: id(body),
            name: text(body, "Name"),
            manufacturer: text(body, "Manufacturer"),
            model: text(body, "Model"),
            serial_number: text(body, "SerialNumber"),
            firmware_version: text(body, "Revision").or_else(|| text(body, "FirmwareVersion")),
            capacity_bytes: whole(body, "CapacityBytes"),
            media: text(body, "MediaType"),
            protocol: text(body, "Protocol"),
            wwn,
            health: health(body),
            life_left_percent: number(body, "PredictedMediaLifeLeftPercent"),
        }
    }

    /// A device of the old `SimpleStorage` schema, which has no resource of its own.
    pub(crate) fn parse_simple(body: &Value, index: usize) -> Self {
        Self {
            id: index.to_string(),
            ..Self::parse(body)
        }
    }
}

/// A network interface of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    pub id: String,
    /// Path of the resource; empty where it was found otherwise.
    pub path: String,
    pub name: Option<String>,
    /// Address in use, lower case with colons.
    pub mac: Option<String>,
    /// Address from the factory, lower case with colons.
    pub permanent_mac: Option<String>,
    /// `LinkUp`, `LinkDown`, `NoLink`.
    pub link: Option<String>,
    pub speed_mbps: Option<u64>,
    pub uefi_device_path: Option<String>,
}

impl Interface {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            id: id(body),
            path: text(body, "@odata.id").unwrap_or_default(),
            name: text(body, "Name"),
            mac: text(body, "MACAddress").and_then(|mac| canonical_mac(&mac)),
            permanent_mac: text(body, "PermanentMACAddress").and_then(|mac| canonical_mac(&mac)),
            link: text(body, "LinkStatus"),
            speed_mbps: whole(body, "SpeedMbps"),
            uefi_device_path: text(body, "UefiDevicePath"),
        }
    }

    /// An interface known only as a function of an adapter.
    pub(crate) fn parse_function(body: &Value) -> Self {
        let mac = |key| text_in(body, "Ethernet", key).and_then(|mac| canonical_mac(&mac));
        Self {
            id: id(body),
            name: text(body, "Name"),
            mac: mac("MACAddress"),
            permanent_mac: mac("PermanentMACAddress"),
            ..Self::default()
        }
    }

    /// Whether one of its addresses is `mac`, however that is written.
    pub fn has_mac(&self, mac: &str) -> bool {
        let wanted = canonical_mac(mac);
        wanted.is_some() && (self.mac == wanted || self.permanent_mac == wanted)
    }
}

/// Twelve hexadecimal digits with any separators, as lower case with colons. `None` for anything
/// else, and for the address that is all zeros.
pub(crate) fn canonical_mac(text: &str) -> Option<String> {
    let mut digits = String::with_capacity(12);
    for c in text.chars() {
        match c {
            ':' | '-' | '.' => {}
            c if c.is_ascii_hexdigit() => digits.push(c.to_ascii_lowercase()),
            _ => return None,
        }
    }
    if digits.len() != 12 || digits.bytes().all(|digit| digit == b'0') {
        return None;
    }
    let pairs: Vec<&str> = (0..6)
        .filter_map(|pair| digits.get(2 * pair..2 * pair + 2))
        .collect();
    Some(pairs.join(":"))
}

/// A piece of installed firmware.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Firmware {
    pub id: String,
    pub name: Option<String>,
    pub version: Option<String>,
    pub updateable: Option<bool>,
}

impl Firmware {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            id: id(body),
            name: text(body, "Name"),
            version: text(body, "Version"),
            updateable: flag(body, "Updateable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mac_addresses_are_one_spelling() {
        for text in ["E4:3D:1A:13:27:F0", "e43d1a1327f0", "E4-3D-1A-13-27-F0"] {
            assert_eq!(canonical_mac(text).as_deref(), Some("e4:3d:1a:13:27:f0"));
        }
        for text in [
            "",
            "00:00:00:00:00:00",
            "e4:3d:1a:13:27",
            "not a mac",
            "é43d1a1327f0",
        ] {
            assert_eq!(canonical_mac(text), None, "{text}");
        }
        let nic = Interface::parse(&json!({"MACAddress": "94:6d:ae:91:fb:22"}));
        assert!(nic.has_mac("946DAE91FB22") && !nic.has_mac("x"));
    }

    #[test]
    fn drive_without_a_real_name_has_no_wwn() {
        let drive = Drive::parse(&json!({
            "@odata.id": "/redfish/v1/Chassis/1/Drives/Disk.Bay.0",
            "Identifiers": [{"DurableName": null}, {"DurableName": "x", "DurableNameFormat": "UUID"}],
            "CapacityBytes": 3_840_755_982_336_u64, "Protocol": "NVMe",
        }));
        assert_eq!((drive.id.as_str(), drive.wwn), ("Disk.Bay.0", None));
        assert_eq!(drive.capacity_bytes, Some(3_840_755_982_336));
    }
}
