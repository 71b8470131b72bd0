//! `metalman discovered`: network cards that nobody owns, as DHCP saw them. Reads the store directly,
//! so it also works while the appliance is stopped. Invariant: only reads.

use anyhow::{Context, Result};
use clap::Args;
use netboot::mac::MacAddr;

use super::{stored::StoredArgs, table::or_dash};
use crate::{
    discovered::{machine, name_of, unowned},
    store::UnknownMac,
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
    #[command(flatten)]
    stored: StoredArgs,
}

/// The list, or one card as a Machine.
///
/// # Errors
/// There is no store there, it cannot be read, or it does not know the card.
pub(super) async fn run(args: DiscoveredArgs) -> Result<String> {
    let (config, store) = args.stored.open().await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovered::fixture::card;

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
}
