//! The BIOS attributes by which vendors configure UEFI HTTP boot.
//!
//! Recognised by the attributes a machine shows, not by its vendor: names differ between
//! generations, and some carry a number that is different on every board.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::client::StaticAddress;

/// A way to write HTTP boot into BIOS attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `UrlBootFile`, `Dhcpv4`, `Ipv4Address`, … (HPE's BIOS attribute registry).
    Hpe,
    /// `HttpDev1Uri`, `HttpDev1DhcpEnDis`, … (recorded PowerEdge R750).
    Dell,
    /// `BootURI_<number>`, `IPv4HTTPSupport_<number>` (recorded SYS-821GE-TNHR).
    Supermicro,
}

impl Dialect {
    /// The dialect of a machine that shows these attributes.
    pub(crate) fn of(current: &BTreeMap<String, Value>) -> Option<Self> {
        if current.contains_key("UrlBootFile") {
            Some(Self::Hpe)
        } else if current.contains_key("HttpDev1Uri") {
            Some(Self::Dell)
        } else if numbered(current, "BootURI").is_some() {
            Some(Self::Supermicro)
        } else {
            None
        }
    }

    /// The attributes that make the machine load `url`.
    pub(crate) fn url(
        self,
        current: &BTreeMap<String, Value>,
        url: &str,
    ) -> BTreeMap<String, Value> {
        match self {
            Self::Hpe => map([("UrlBootFile", json!(url))]),
            Self::Dell => map([
                ("HttpDev1EnDis", json!("Enabled")),
                ("HttpDev1Uri", json!(url)),
            ]),
            Self::Supermicro => {
                let named = |name, value| numbered(current, name).map(|name| (name, value));
                [
                    named("BootURI", json!(url)),
                    named("IPv4HTTPSupport", json!("Enabled")),
                ]
                .into_iter()
                .flatten()
                .collect()
            }
        }
    }

    /// The attributes of a static address; `None` if the dialect has none.
    pub(crate) fn address(self, address: &StaticAddress) -> Option<BTreeMap<String, Value>> {
        let gateway = address.gateway.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let dns = address.name_servers.first();
        let mut attributes = match self {
            Self::Hpe => map([
                ("Dhcpv4", json!("Disabled")),
                ("Ipv4Address", json!(address.address)),
                ("Ipv4SubnetMask", json!(address.mask())),
                ("Ipv4Gateway", json!(gateway)),
            ]),
            Self::Dell => map([
                ("HttpDev1DhcpEnDis", json!("Disabled")),
                ("HttpDev1Ip", json!(address.address)),
                ("HttpDev1Mask", json!(address.mask())),
                ("HttpDev1Gateway", json!(gateway)),
            ]),
            Self::Supermicro => return None,
        };
        if let Some(dns) = dns {
            let name = match self {
                Self::Hpe => "Ipv4PrimaryDNS",
                Self::Dell | Self::Supermicro => "HttpDev1Dns1",
            };
            attributes.insert(name.to_owned(), json!(dns));
        }
        Some(attributes)
    }
}

/// `name`, or `name_` with the number that this board gives it.
fn numbered(current: &BTreeMap<String, Value>, name: &str) -> Option<String> {
    let is_it = |found: &&String| {
        found
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    current.keys().find(is_it).cloned()
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> BTreeMap<String, Value> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> StaticAddress {
        StaticAddress {
            mac: "52:54:00:00:00:01".into(),
            address: Ipv4Addr::new(10, 0, 0, 5),
            prefix: 22,
            gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
            name_servers: vec![Ipv4Addr::new(10, 0, 0, 2)],
        }
    }

    #[test]
    fn dialects_are_told_by_their_attributes() {
        let shows = |name: &str| BTreeMap::from([(name.to_owned(), json!(""))]);
        assert_eq!(Dialect::of(&shows("UrlBootFile")), Some(Dialect::Hpe));
        assert_eq!(Dialect::of(&shows("HttpDev1Uri")), Some(Dialect::Dell));
        assert_eq!(
            Dialect::of(&shows("BootURI_2953")),
            Some(Dialect::Supermicro)
        );
        assert_eq!(Dialect::of(&shows("BootURIs")), None);
    }

    #[test]
    fn numbers_of_the_board_are_kept() {
        let current = BTreeMap::from([
            ("BootURI_2953".to_owned(), json!("")),
            ("IPv4HTTPSupport_00F5".to_owned(), json!("Disabled")),
        ]);
        let wanted = Dialect::Supermicro.url(&current, "http://a/b");
        assert_eq!(wanted.get("BootURI_2953"), Some(&json!("http://a/b")));
        assert_eq!(wanted.get("IPv4HTTPSupport_00F5"), Some(&json!("Enabled")));
    }

    #[test]
    fn static_addresses_are_spelled_out() {
        let hpe = Dialect::Hpe.address(&address()).unwrap();
        assert_eq!(hpe.get("Ipv4SubnetMask"), Some(&json!("255.255.252.0")));
        assert_eq!(hpe.get("Ipv4PrimaryDNS"), Some(&json!("10.0.0.2")));
        let dell = Dialect::Dell.address(&address()).unwrap();
        assert_eq!(dell.get("HttpDev1DhcpEnDis"), Some(&json!("Disabled")));
        assert_eq!(Dialect::Supermicro.address(&address()), None);
    }
}
