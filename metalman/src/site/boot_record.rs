//! What DHCP needs of a Machine, in few bytes: written with every Machine, read at a start before
//! the Machines themselves. Pure.
//!
//! Not a cache of decisions: conflicts are decided among all records as among all Machines.

use metalman_api::{
    machine::{Architecture, BootProtocol, Machine, SITE_LABEL},
    scope,
};
use netboot::directory::Reservation;
use serde::{Deserialize, Serialize};

use super::{NetbootWish, boot};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// Name of the Machine.
    #[serde(rename = "n")]
    pub name: String,
    /// Value of its site label.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Its reservations; mostly one, for which a list that may grow has room for four.
    #[serde(rename = "l")]
    pub leases: Box<[Reservation]>,
    /// What its processor runs.
    #[serde(rename = "a")]
    pub architecture: Architecture,
    /// How its firmware boots.
    #[serde(rename = "p")]
    pub protocol: BootProtocol,
    /// Its own netboot image.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl BootRecord {
    /// The record of a Machine; `None` when it does not boot from the network here.
    pub fn of(machine: &Machine) -> Option<Self> {
        let meta = &machine.metadata;
        let site = meta.labels.as_ref().and_then(|l| l.get(SITE_LABEL));
        let pxe = machine.spec.pxe.as_ref()?;
        // Whichever site this appliance will be of.
        let is_ours = scope::owns(site.map_or("", String::as_str), machine);
        is_ours.then_some(Self {
            name: meta.name.clone()?,
            site: site.cloned(),
            leases: boot::reservations(pxe).into(),
            architecture: pxe.architecture,
            protocol: pxe.boot_protocol,
            image: pxe.netboot_image.clone(),
        })
    }

    /// One line of text, empty for no record.
    pub fn line(machine: &Machine) -> String {
        let record = Self::of(machine);
        record.map_or_else(String::new, |record| {
            serde_json::to_string(&record).unwrap_or_default()
        })
    }

    /// Whether the appliance of `site` answers for it.
    pub fn is_of(&self, site: &str) -> bool {
        scope::owns_label(site, self.site.as_deref())
    }

    /// Which boot environment it wants.
    pub fn wish(&self) -> NetbootWish {
        NetbootWish {
            image: self.image.as_deref().map(Into::into),
            secret: None,
            architecture: self.architecture,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(spec: &serde_json::Value) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": { "name": "n1", "labels": { "unbounded-cloud.io/site": "lab" } },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn a_record_comes_back_as_it_was_and_says_whose_it_is() {
        let machine = machine(&json!({ "pxe": {
            "netbootImage": "own:1", "architecture": "arm64", "bootProtocol": "HTTP",
            "dhcpLeases": [
                { "mac": "52:54:00:00:00:01", "ipv4": "10.0.0.11", "subnetMask": "255.255.255.0",
                  "gateway": "10.0.0.1", "dns": ["10.0.0.2"], "mtu": 9000 },
                { "mac": "nonsense", "ipv4": "10.0.0.12", "subnetMask": "255.255.255.0" },
            ] } }));
        let line = BootRecord::line(&machine);
        assert!(!line.contains('\n'));
        let record: BootRecord = serde_json::from_str(&line).unwrap();
        assert_eq!(Some(&record), BootRecord::of(&machine).as_ref());
        assert_eq!(record.leases.len(), 1, "as the boot view leaves it out");
        assert_eq!(record.leases[0].mtu, Some(9000));
        assert!(record.is_of("lab") && !record.is_of("other") && !record.is_of(""));
        assert_eq!(Some(record.wish()), NetbootWish::of(&machine));
    }

    #[test]
    fn machines_that_others_drive_or_that_do_not_netboot_have_none() {
        assert_eq!(BootRecord::line(&machine(&json!({}))), "");
        let foreign = json!({ "provider": "cloud", "pxe": {} });
        assert_eq!(BootRecord::line(&machine(&foreign)), "");
    }
}
