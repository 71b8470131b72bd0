//! Which of our addresses the machines reach us at, and on which interface it is. Not a watch: the
//! interfaces are read once, at start-up. Invariant: never guesses between several
//! equally good answers.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context, Result, anyhow, bail};
use netboot::dhcp::interface::Interface;

use crate::config::DhcpMode;

/// Where we are in the boot network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The address machines reach us at.
    pub(super) address: Ipv4Addr,
    /// The interface DHCP broadcasts are answered on; `None` in relay mode.
    pub(super) interface: Option<String>,
}

/// Finds our place from the bind address, the DHCP mode and what the host has.
///
/// # Errors
/// The interface does not exist or has no address, or several fit; with flag and cure.
pub(super) fn place(
    bind: Ipv4Addr,
    dhcp: &DhcpMode,
    interfaces: &[Interface],
    outbound: impl FnOnce() -> Result<Ipv4Addr>,
) -> Result<Place> {
    match dhcp {
        DhcpMode::Relay => {
            let address = if bind.is_unspecified() {
                outbound()?
            } else {
                bind
            };
            Ok(Place {
                address,
                interface: None,
            })
        }
        DhcpMode::Interface(name) => {
            let address = if bind.is_unspecified() {
                only_address(name, interfaces)?
            } else {
                bind
            };
            Ok(Place {
                address,
                interface: Some(name.clone()),
            })
        }
        DhcpMode::AutoInterface => {
            let address = if bind.is_unspecified() {
                outbound()?
            } else {
                bind
            };
            let found = interfaces.iter().find(|entry| entry.address == address);
            let interface = found.map(|entry| entry.name.clone()).ok_or_else(|| {
                anyhow!(
                    "no interface has the address {address}; set --dhcp-interface, or \
                     --bind-address to one that `ip addr` lists"
                )
            })?;
            Ok(Place {
                address,
                interface: Some(interface),
            })
        }
    }
}

fn only_address(name: &str, interfaces: &[Interface]) -> Result<Ipv4Addr> {
    let mut of_name = interfaces.iter().filter(|entry| entry.name == name);
    match (of_name.next(), of_name.next()) {
        (Some(one), None) => Ok(one.address),
        (Some(_), Some(_)) => {
            bail!("interface {name} has several IPv4 addresses; choose one with --bind-address")
        }
        (None, _) => bail!(
            "interface {name} does not exist or has no IPv4 address; see `ip addr`, then correct \
             --dhcp-interface or set --bind-address"
        ),
    }
}

/// The address the host would use towards the outside. Sends nothing: connecting a UDP socket only
/// asks the routing table. The target is from the block for documentation (RFC 5737).
///
/// # Errors
/// There is no default route.
pub(super) fn outbound() -> Result<Ipv4Addr> {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| {
            socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
            socket.local_addr()
        })
        .context("find the address of this host (no default route); set --bind-address")?;
    match found.ip() {
        std::net::IpAddr::V4(address) => Ok(address),
        std::net::IpAddr::V6(address) => bail!("{address} is not IPv4; set --bind-address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    const RACK: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const OFFICE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 5);

    fn host() -> Vec<Interface> {
        [
            ("eth0", OFFICE),
            ("br0", RACK),
            ("two", RACK),
            ("two", OFFICE),
        ]
        .map(|(name, address)| Interface {
            name: name.to_owned(),
            address,
        })
        .to_vec()
    }

    fn find(bind: Ipv4Addr, dhcp: &DhcpMode) -> Result<(Ipv4Addr, Option<String>), String> {
        place(bind, dhcp, &host(), || Ok(OFFICE))
            .map(|place| (place.address, place.interface))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_bind_address_wins_then_the_interface_then_the_way_out() {
        let named = |name: &str| DhcpMode::Interface(name.to_owned());
        let on = |name: &str| Some(name.to_owned());
        assert_eq!(find(RACK, &DhcpMode::Relay), Ok((RACK, None)));
        assert_eq!(find(ANY, &DhcpMode::Relay), Ok((OFFICE, None)));
        assert_eq!(find(ANY, &named("br0")), Ok((RACK, on("br0"))));
        assert_eq!(find(RACK, &named("two")), Ok((RACK, on("two"))));
        assert_eq!(find(RACK, &DhcpMode::AutoInterface), Ok((RACK, on("br0"))));
        assert_eq!(
            find(ANY, &DhcpMode::AutoInterface),
            Ok((OFFICE, on("eth0")))
        );
    }

    #[test]
    fn a_missing_or_ambiguous_address_is_refused_with_the_flag() {
        let refusal = find(ANY, &DhcpMode::Interface("eth9".to_owned())).unwrap_err();
        assert!(
            refusal.contains("eth9") && refusal.contains("--dhcp-interface"),
            "{refusal}"
        );
        let refusal = find(ANY, &DhcpMode::Interface("two".to_owned())).unwrap_err();
        assert!(
            refusal.contains("several") && refusal.contains("--bind-address"),
            "{refusal}"
        );
        let refusal = find(Ipv4Addr::LOCALHOST, &DhcpMode::AutoInterface).unwrap_err();
        assert!(refusal.contains("--dhcp-interface"), "{refusal}");
    }
}
