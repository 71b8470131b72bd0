//! Which interface to serve, and under which address.
//!
//! Reads the kernel's list of interfaces once, at start. Invariant: what is returned existed and
//! was consistent (this name has this address) at that moment.

use std::{io, net::Ipv4Addr};

use nix::ifaddrs::getifaddrs;

/// An interface and the IPv4 address we answer from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Such as `br0`.
    pub name: String,
    /// Its (first) address.
    pub address: Ipv4Addr,
}

/// Why there is no interface to serve.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The kernel did not list its interfaces.
    #[error("cannot list network interfaces")]
    List(#[source] io::Error),
    /// No interface of that name.
    #[error("there is no network interface {name:?}; have {have}")]
    Unknown {
        /// As configured.
        name: String,
        /// Those with an IPv4 address.
        have: String,
    },
    /// No interface has the address that was to be served.
    #[error("no network interface has the address {address}; have {have}")]
    NoneHolds {
        /// As configured.
        address: Ipv4Addr,
        /// Those with an IPv4 address.
        have: String,
    },
}

/// The named interface with its first IPv4 address.
pub fn named(name: &str) -> Result<Interface, InterfaceError> {
    let all = all()?;
    let found = all.iter().find(|interface| interface.name == name).cloned();
    found.ok_or_else(|| InterfaceError::Unknown {
        name: name.to_owned(),
        have: list(&all),
    })
}

/// The interface that holds `address`.
pub fn holding(address: Ipv4Addr) -> Result<Interface, InterfaceError> {
    let all = all()?;
    let found = all
        .iter()
        .find(|interface| interface.address == address)
        .cloned();
    found.ok_or_else(|| InterfaceError::NoneHolds {
        address,
        have: list(&all),
    })
}

/// All interfaces with IPv4 addresses, one entry per address.
pub fn all() -> Result<Vec<Interface>, InterfaceError> {
    let listed = getifaddrs().map_err(|errno| InterfaceError::List(errno.into()))?;
    Ok(listed
        .filter_map(|entry| {
            let address = entry.address?.as_sockaddr_in()?.ip();
            Some(Interface {
                name: entry.interface_name,
                address,
            })
        })
        .collect())
}

fn list(interfaces: &[Interface]) -> String {
    let names: Vec<_> = interfaces
        .iter()
        .map(|i| format!("{} ({})", i.name, i.address))
        .collect();
    if names.is_empty() {
        "none with an IPv4 address".into()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_named_together_with_those_there_are() {
        let error = named("no-such-if").expect_err("does not exist").to_string();
        assert!(
            error.starts_with("there is no network interface \"no-such-if\"; have "),
            "{error}"
        );
        let error = holding(Ipv4Addr::new(203, 0, 113, 77))
            .expect_err("nobody has it")
            .to_string();
        assert!(error.contains("203.0.113.77"), "{error}");
    }
}
