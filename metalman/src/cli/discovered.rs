//! `metalman discovered`: network cards that nobody owns, as DHCP saw them. Reads the store directly,
//! so it also works while the appliance is stopped. Invariant: only reads.

use std::{collections::HashSet, fmt::Write as _, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use metalman_api::machine::{Machine, SITE_LABEL};
use netboot::mac::MacAddr;

use super::{table::or_dash, timeline::refuse_missing_file};
use crate::{
    config::{ConfigArgs, WireConfig},
    serve,
    store::{Store, UnknownMac},
};

/// Which card, and where the store is.
#[derive(Debug, Args)]
pub(super) struct DiscoveredArgs {
    /// Print a Machine for the card with this MAC address, ready for `kubectl apply -f -`
    #[arg(long, value_name = "MAC")]
    yaml: Option<MacAddr>,
    /// Name of that Machine [default: node- and the last three bytes of the MAC]
    #[arg(long, value_name = "NAME", requires = "yaml")]
    name: Option<String>,
    /// Address to reserve for it
    #[arg(long, value_name = "IP", requires = "yaml")]
    ipv4: Option<std::net::Ipv4Addr>,
    /// Configuration file of the appliance
    #[arg(long, value_name = "FILE", env = "METALMAN_CONFIG")]
    config: Option<PathBuf>,
    /// State folder of the appliance
    #[arg(long, value_name = "DIR", env = "METALMAN_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

/// The list, or one card as a Machine.
///
/// # Errors
/// There is no store there, it cannot be read, or it does not know the card.
pub(super) async fn run(args: DiscoveredArgs) -> Result<String> {
    let flags = WireConfig {
        state_dir: args.state_dir,
        ..WireConfig::default()
    };
    let config = ConfigArgs {
        file: args.config,
        flags,
    }
    .load()?;
    refuse_missing_file(&config.database)?;
    let store = serve::open_database(&config.database).await?;
    let cards = unowned(&store).await?;
    let Some(mac) = args.yaml else {
        return Ok(cards_table(&cards));
    };
    let card = cards.iter().find(|card| card.mac == mac.to_string());
    let card = card.with_context(|| {
        format!(
            "no card {mac} was seen that belongs to no Machine; `metalman discovered` lists them"
        )
    })?;
    let name = args.name.unwrap_or_else(|| name_of(mac));
    let address = args.ipv4.map(|address| address.to_string());
    Ok(machine(card, &name, address.as_deref(), &config.site))
}

/// Cards that no known Machine claims by now.
async fn unowned(store: &Store) -> Result<Vec<UnknownMac>> {
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

fn name_of(mac: MacAddr) -> String {
    let text = mac.to_string().replace(':', "");
    format!("node-{}", text.get(6..).unwrap_or(&text))
}

/// One line per card, last seen first; columns as wide as their widest value.
fn cards_table(cards: &[UnknownMac]) -> String {
    if cards.is_empty() {
        return "no unknown network card has asked for an address\n".to_owned();
    }
    let time = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let head = [
        "MAC",
        "FIRST SEEN",
        "LAST SEEN",
        "ASKED",
        "FIRMWARE",
        "RELAY",
        "PORT",
        "CLASS",
    ];
    let row = |card: &UnknownMac| {
        [
            card.mac.clone(),
            time(card.first_seen),
            time(card.last_seen),
            card.count.to_string(),
            or_dash(card.arch.as_ref()),
            or_dash(card.relay.as_ref()),
            or_dash(card.circuit_id.as_ref()),
            or_dash(card.vendor_class.as_ref()),
        ]
    };
    super::table::table(head, cards.iter().map(row).collect())
}

/// What the card told, as a Machine; what it could not tell is marked.
fn machine(card: &UnknownMac, name: &str, ipv4: Option<&str>, site: &str) -> String {
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn card(mac: &str, arch: Option<&str>, relay: Option<&str>) -> UnknownMac {
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

    #[test]
    fn cards_are_listed_with_where_they_are() {
        let cards = [
            card(
                "52:54:00:77:00:99",
                Some("x86-64 UEFI PXE"),
                Some("10.1.0.1"),
            ),
            card("02:00:00:00:00:09", None, None),
        ];
        insta::assert_snapshot!(cards_table(&cards), @r"
        MAC                FIRST SEEN            LAST SEEN             ASKED  FIRMWARE         RELAY     PORT    CLASS
        52:54:00:77:00:99  1970-01-01 00:00:00Z  1970-01-01 01:00:00Z  12     x86-64 UEFI PXE  10.1.0.1  Eth1/7  PXEClient:Arch:00007
        02:00:00:00:00:09  1970-01-01 00:00:00Z  1970-01-01 01:00:00Z  12     -                -         -       -
        ");
        assert!(cards_table(&[]).starts_with("no unknown"));
    }

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
