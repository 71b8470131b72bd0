//! The sockets of the servers that answer firmware: DHCP, TFTP and HTTP, bound and not yet answering.
//! Invariant: a refusal names the flag to look at.

use std::{error::Error as _, io, time::Duration};

use anyhow::{Result, anyhow};
use netboot::{
    dhcp::{
        decide::Role,
        relay::RelayPolicy,
        server::{DhcpConfig, DhcpError, DhcpMode, DhcpServer},
    },
    metrics::{DhcpMetrics, HttpMetrics, TftpMetrics},
    render::ServerContext,
    tftp::server::{TftpConfig, TftpServer},
};
use tokio::net::TcpListener;
use url::Url;

use super::{
    address::Place,
    boot_tls,
    listen::{self, ListenError},
};
use crate::{clock, config::Config, health::Metrics};

/// How long a machine may use its reserved address without asking again.
const LEASE: Duration = Duration::from_hours(24);

/// The sockets of the boot services, bound and silent.
#[derive(Debug)]
pub(super) struct BootSockets {
    dhcp: DhcpServer,
    files: FileSockets,
}

/// Those that serve files, bound and silent.
#[derive(Debug)]
pub(super) struct FileSockets {
    pub(super) tftp: TftpServer,
    pub(super) http: TcpListener,
    pub(super) https: Option<TcpListener>,
    pub(super) http_metrics: HttpMetrics,
}

impl BootSockets {
    /// Binds all three.
    ///
    /// # Errors
    /// The first that is refused, with flag and cure.
    pub(super) async fn bind(
        config: &Config,
        place: &Place,
        server: &ServerContext,
        metrics: &mut Metrics,
    ) -> Result<Self> {
        let http = config.listen(config.http_port);
        let https = match &config.http_tls {
            Some(tls) => {
                let address = config.listen(tls.port);
                let flag = "--http-tls-port";
                Some(listen::tcp("boot files with TLS", flag, address).await?)
            }
            None => None,
        };
        let http_metrics = HttpMetrics::default();
        http_metrics.register(metrics.registry());
        Ok(Self {
            dhcp: dhcp(config, place, server, metrics)?,
            files: FileSockets {
                tftp: tftp(config, metrics)?,
                http: listen::tcp("boot files", "--http-port", http).await?,
                https,
                http_metrics,
            },
        })
    }

    /// DHCP answers before files can be served.
    pub(super) fn into_parts(self) -> (Option<DhcpServer>, FileSockets) {
        (Some(self.dhcp), self.files)
    }
}

/// Binds DHCP: on the interface of our place, or for relays.
fn dhcp(
    config: &Config,
    place: &Place,
    server: &ServerContext,
    metrics: &mut Metrics,
) -> Result<DhcpServer> {
    let counters = DhcpMetrics::default();
    counters.register(metrics.registry());
    let mode = match &place.interface {
        Some(name) => DhcpMode::Interface { name: name.clone() },
        None => DhcpMode::Relay {
            bind: config.bind_address,
            server: place.address,
        },
    };
    let relays = if config.dhcp_relays.is_empty() {
        RelayPolicy::Any
    } else {
        RelayPolicy::Only(config.dhcp_relays.clone())
    };
    let settings = DhcpConfig {
        mode,
        port: config.dhcp_port,
        serve_url: boot_tls::boot_url(config, place, server),
        lease: LEASE,
        domain: config.dhcp_domain.clone(),
        ntp: config.dhcp_ntp_servers.clone(),
        role: if config.dhcp_proxy {
            Role::Proxy
        } else {
            Role::Authority
        },
        known_servers: config.dhcp_known_servers.clone(),
        relays,
        clock: clock::now,
    };
    DhcpServer::bind(settings, counters).map_err(|error| match error {
        DhcpError::Interface(error) => {
            anyhow!(error).context("choose the DHCP interface (--dhcp-interface)")
        }
        DhcpError::Socket {
            address, source, ..
        } => {
            anyhow!(ListenError::udp("DHCP", "--dhcp-port", address, source))
        }
    })
}

/// Binds TFTP on the bind address.
fn tftp(config: &Config, metrics: &mut Metrics) -> Result<TftpServer> {
    let counters = TftpMetrics::default();
    counters.register(metrics.registry());
    let address = config.listen(config.tftp_port);
    TftpServer::bind(TftpConfig::new(address, clock::now), counters).map_err(|error| {
        let source = error
            .source()
            .and_then(|cause| cause.downcast_ref::<io::Error>());
        let source = source.map_or_else(
            || io::Error::other(error.to_string()),
            |cause| {
                cause
                    .raw_os_error()
                    .map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error)
            },
        );
        anyhow!(ListenError::udp("TFTP", "--tftp-port", address, source))
    })
}

/// Where hosts reach us: as configured, else by our address in the boot network.
pub(super) fn server(config: &Config, place: &Place) -> Result<ServerContext> {
    let url = match &config.serve_url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{}:{}", place.address, config.http_port))?,
    };
    Ok(ServerContext {
        http_url: url.as_str().trim_end_matches('/').to_owned(),
        address: place.address,
        port: url.port_or_known_default().unwrap_or(config.http_port),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::parse;

    fn served(text: &str) -> ServerContext {
        let config = Config::try_from(parse(text).unwrap()).unwrap();
        let place = Place {
            address: Ipv4Addr::new(10, 77, 0, 1),
            interface: None,
        };
        server(&config, &place).unwrap()
    }

    #[test]
    fn hosts_reach_us_at_our_address_unless_said_otherwise() {
        let own = served("");
        assert_eq!(
            (own.http_url.as_str(), own.port),
            ("http://10.77.0.1:8880", 8880)
        );
        let given = served("serve_url = 'http://boot.example/rack/'");
        assert_eq!(
            (given.http_url.as_str(), given.port),
            ("http://boot.example/rack", 80)
        );
    }
}
