//! Listening sockets, with refusals that name the flag and the cure. Invariant: every socket is
//! bound before the first request is answered, so a port in use stops the start, not the rack.

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
};

use thiserror::Error;
use tokio::net::TcpListener;
use tracing::info;

/// A socket could not be bound.
#[derive(Debug, Error)]
#[error("cannot listen on {address}/{protocol} for {service}: {}", cure(source, *address, flag))]
pub struct ListenError {
    service: &'static str,
    address: SocketAddr,
    protocol: &'static str,
    flag: &'static str,
    source: io::Error,
}

impl ListenError {
    /// A TCP socket of `service`, whose port is set by `flag`.
    pub fn tcp(
        service: &'static str,
        flag: &'static str,
        address: impl Into<SocketAddr>,
        source: io::Error,
    ) -> Self {
        Self {
            protocol: "tcp",
            ..Self::udp(service, flag, address, source)
        }
    }

    /// A UDP socket of `service`, whose port is set by `flag`.
    pub fn udp(
        service: &'static str,
        flag: &'static str,
        address: impl Into<SocketAddr>,
        source: io::Error,
    ) -> Self {
        Self {
            service,
            address: address.into(),
            protocol: "udp",
            flag,
            source,
        }
    }
}

/// Binds a TCP port for `service`, whose port is set by `flag`.
///
/// # Errors
/// With what is in the way and what to do about it.
pub(super) async fn tcp(
    service: &'static str,
    flag: &'static str,
    address: SocketAddrV4,
) -> Result<TcpListener, ListenError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::tcp(service, flag, address, source))?;
    info!(%address, "listening for {service}");
    Ok(listener)
}

fn cure(error: &io::Error, address: SocketAddr, flag: &str) -> String {
    let (port, ip) = (address.port(), address.ip());
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        format!(
            "the port is in use; stop the program that has it (`ss -lntup` lists them) or choose \
             another port with {flag}"
        )
    } else if kind == io::ErrorKind::PermissionDenied && port < 1024 {
        format!(
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; run as root, grant it \
             (AmbientCapabilities= in the systemd unit), or choose another port with {flag}"
        )
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("no interface has the address {ip}; set --bind-address to one `ip addr` lists")
    } else {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_port_in_use_names_the_flag() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let SocketAddr::V4(address) = taken.local_addr().unwrap() else {
            panic!("not IPv4")
        };
        let error = tcp("boot files", "--http-port", address)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("cannot listen on {address}/tcp for boot files")));
        assert!(
            error.contains("the port is in use") && error.contains("--http-port"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_address_nobody_has_names_the_bind_address() {
        // 192.0.2.0/24 is for documentation (RFC 5737).
        let address = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 8880);
        let error = tcp("boot files", "--http-port", address)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("--bind-address"), "{error}");
    }

    #[test]
    fn a_port_that_needs_a_capability_says_so() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 67);
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = ListenError::udp("DHCP", "--dhcp-port", address, refused).to_string();
        assert_eq!(
            error,
            "cannot listen on 127.0.0.1:67/udp for DHCP: ports below 1024 need the capability \
             CAP_NET_BIND_SERVICE; run as root, grant it (AmbientCapabilities= in the systemd \
             unit), or choose another port with --dhcp-port"
        );
    }
}
