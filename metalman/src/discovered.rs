//! Network cards that asked for an address and belong to nobody: which, and the Machine that would
//! own one. Knows the store, not who asks. Invariant: only reads.

use std::{collections::HashSet, fmt::Write as _};

use metalman_api::machine::{Machine, SITE_LABEL};
use netboot::mac::MacAddr;

use crate::store::{Store, StoreError, UnknownMac};

/// Cards that no known Machine claims by now.
///
/// # Errors
/// When the store cannot be read.
pub async fn unowned(store: &Store) -> Result<Vec<UnknownMac>, StoreError> {
    let mut owned = HashSet::new();
    for object in store.site_objects().all("Machine").await? {
        let Ok(machine) = serde_json::from_str::<Machine>(&object.body) else {
            continue;
        };
        let leases = machine.spec.pxe.unwrap_or_default().dhcp_leases;
        owned.extend(leases.iter().filter_map(|l| l.mac.parse::<MacAddr>().ok()));
    }
    let is_free = |card: &UnknownMac| card.mac.parse().is_ok_and(|mac| !owned.contains(&mac));
    let mut cards = store.unknown_macs().all().await?;
    cards.retain(is_free);
    Ok(cards)
}

/// What a machine with this card is called unless somebody says otherwise.
pub fn name_of(mac: MacAddr) -> String {
    let text = mac.to_string().replace(':', "");
    format!("node-{}", text.get(6..).unwrap_or(&text))
}

/// What the card told, as a Machine; what it could not tell is marked.
pub fn machine(card: &UnknownMac, name: &str, ipv4: Option<&str>, site: &str) -> String {
    let arm = card
        .arch
        .as_deref()
        .is_some_and(|arch| arch.contains("arm64"));
    let http = card
        .arch
        .as_deref()
        .is_some_and(|arch| arch.contains("HTTP"));
    let mut text = String::from("apiVersion: unbounded-cloud.io/v1alpha3\nkind: Machine\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a String does not fail.
        writeln!(text, "{line}").ok();
    };
    line(format_args!("metadata:"));
    line(format_args!("  name: {name}"));
    if !site.is_empty() {
        line(format_args!("  labels:"));
        line(format_args!("    {SITE_LABEL}: \"{site}\""));
    }
    line(format_args!("spec:"));
    line(format_args!("  pxe:"));
    line(format_args!(
        "    architecture: {}",
        if arm { "arm64" } else { "amd64" }
    ));
    line(format_args!(
        "    bootProtocol: {}",
        if http { "HTTP" } else { "PXE" }
    ));
    line(format_args!("    dhcpLeases:"));
    line(format_args!("      - mac: \"{}\"", card.mac));
    match ipv4 {
        Some(ipv4) => line(format_args!("        ipv4: {ipv4}")),
        None => line(format_args!("        ipv4: \"\"  # the address to reserve")),
    }
    line(format_args!("        subnetMask: 255.255.255.0"));
    if let Some(relay) = &card.relay {
        line(format_args!(
            "        gateway: {relay}  # the relay it asked through"
        ));
    }
    line(format_args!(
        "    # image: what to install; redfish: how to reach the BMC"
    ));
    text
}

/// Cards for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use jiff::Timestamp;

    use crate::store::UnknownMac;

    /// A card that was seen a dozen times within an hour.
    pub(crate) fn card(mac: &str, arch: Option<&str>, relay: Option<&str>) -> UnknownMac {
        UnknownMac {
            mac: mac.into(),
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::from_second(3600).unwrap(),
            count: 12,
            arch: arch.map(Into::into),
            vendor_class: arch.map(|_| "PXEClient:Arch:00007".into()),
            relay: relay.map(Into::into),
            circuit_id: relay.map(|_| "Eth1/7".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::card, *};

    #[test]
    fn a_card_becomes_a_machine_that_the_api_reads() {
        let arm = card(
            "52:54:00:77:00:99",
            Some("arm64 UEFI HTTP boot"),
            Some("10.1.0.1"),
        );
        let text = machine(&arm, "node-9", Some("10.1.0.99"), "rack-a");
        let read: Machine = yaml::from_str(&text).unwrap();
        let pxe = read.spec.pxe.unwrap();
        assert_eq!(pxe.architecture, metalman_api::machine::Architecture::Arm64);
        assert_eq!(pxe.boot_protocol, metalman_api::machine::BootProtocol::Http);
        assert_eq!(pxe.dhcp_leases[0].mac, "52:54:00:77:00:99");
        assert_eq!(pxe.dhcp_leases[0].gateway.as_deref(), Some("10.1.0.1"));
        assert_eq!(read.metadata.labels.unwrap()[SITE_LABEL], "rack-a");
        let open = machine(&card("52:54:00:77:00:99", None, None), "x", None, "");
        assert!(
            open.contains("ipv4: \"\"  # the address to reserve"),
            "{open}"
        );
        let mac = MacAddr::new([0x52, 0x54, 0, 0x77, 0, 0x99]);
        assert_eq!(name_of(mac), "node-770099");
    }
}
