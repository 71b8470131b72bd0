//! Boot options: the entries of the firmware's persistent boot order.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::inventory::canonical_mac;
use super::json::{flag, id, text};

/// One entry of the boot menu.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootOption {
    /// How `BootOrder` names it, such as `Boot0003`.
    pub reference: String,
    /// What the firmware shows.
    pub name: Option<String>,
    /// `Pxe`, `UefiHttp`, `Hdd`, if told.
    pub alias: Option<String>,
    pub enabled: Option<bool>,
    pub uefi_device_path: Option<String>,
}

impl BootOption {
    pub(crate) fn parse(body: &Value) -> Self {
        Self {
            reference: text(body, "BootOptionReference").unwrap_or_else(|| id(body)),
            name: text(body, "DisplayName").or_else(|| text(body, "Name")),
            alias: text(body, "Alias"),
            enabled: flag(body, "BootOptionEnabled"),
            uefi_device_path: text(body, "UefiDevicePath"),
        }
    }

    /// Whether it boots from the network, by alias, device path or the words firmware uses.
    pub fn is_network(&self) -> bool {
        if let Some(alias) = &self.alias {
            return matches!(alias.as_str(), "Pxe" | "UefiHttp");
        }
        let path = self.uefi_device_path.as_deref().unwrap_or_default();
        let name = self
            .name
            .as_deref()
            .unwrap_or_default()
            .to_ascii_uppercase();
        ["/MAC(", "/IPv4(", "/IPv6(", "/Uri("]
            .iter()
            .any(|node| path.contains(node))
            || name
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|word| matches!(word, "PXE" | "HTTP" | "HTTPV4" | "HTTPV6" | "NETWORK"))
    }

    /// Whether it belongs to the interface with this address, as far as name or path say.
    pub fn mentions_mac(&self, mac: &str) -> bool {
        let Some(wanted) = canonical_mac(mac).map(|mac| mac.replace(':', "")) else {
            return false;
        };
        [&self.uefi_device_path, &self.name]
            .into_iter()
            .flatten()
            .any(|text| {
                let bare: String = text
                    .chars()
                    .filter(|c| !matches!(c, ':' | '-'))
                    .map(|c| c.to_ascii_lowercase())
                    .collect();
                bare.contains(&wanted)
            })
    }
}

/// `order` with the options that `first` holds moved to the front, otherwise unchanged.
pub fn promote(order: &[String], first: impl Fn(&str) -> bool) -> Vec<String> {
    let (mut front, back): (Vec<String>, Vec<String>) =
        order.iter().cloned().partition(|option| first(option));
    front.extend(back);
    front
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn network_options_are_recognised() {
        let named = |name: &str| BootOption::parse(&json!({"Id": "Boot0001", "DisplayName": name}));
        let long = "(B101/D0/F0) UEFI PXE IPv4 Nvidia Network Adapter - 94:6D:AE:91:67:6A";
        assert!(named(long).is_network());
        assert!(named(long).mentions_mac("946dae91676a"));
        assert!(!named(long).mentions_mac("946dae91676b"));
        assert!(named("HTTP Device 1: NIC in Slot 5 Port 1").is_network());
        assert!(!named("UEFI OS").is_network());
        assert_eq!(named("x").reference, "Boot0001");
        let path = "PciRoot(0x0)/Pci(0x2,0x0)/MAC(525400123456,0x1)/IPv4(0.0.0.0)";
        let option = BootOption::parse(&json!({"UefiDevicePath": path}));
        assert!(option.is_network() && option.mentions_mac("52:54:00:12:34:56"));
        let disk = BootOption::parse(&json!({"Alias": "Hdd", "DisplayName": "PXE-less disk"}));
        assert!(!disk.is_network());
    }

    #[test]
    fn promotion_keeps_everything_and_the_rest_in_order() {
        let order: Vec<String> = ["a", "b", "c", "d"].map(String::from).to_vec();
        assert_eq!(
            promote(&order, |option| option == "c" || option == "b"),
            ["b", "c", "a", "d"]
        );
    }
}
