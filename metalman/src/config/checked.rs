//! What the program runs on. Made only by `check.rs`; every value is present and plausible.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use netboot::sbat::Level;
use secrecy::SecretString;
use url::Url;

use super::images::ImagesConfig;
use crate::{standalone::http::Quota, telemetry::LogFormat};

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Value of the site label; empty for machines without one.
    pub site: String,
    /// Absolute folder for what must survive a restart.
    pub state_dir: PathBuf,
    /// Absolute folder for unpacked images.
    pub cache_dir: PathBuf,
    /// Which API server the appliance works with.
    pub cluster: ClusterConfig,
    /// Limits of the embedded API.
    pub api: ApiSettings,
    /// URL of the API server as hosts reach it, where it differs from what the cluster says.
    pub apiserver_url: Option<Url>,
    /// Address everything listens on; unspecified means all.
    pub bind_address: Ipv4Addr,
    /// URL of the HTTP server as hosts reach it, without a trailing slash; `None` = derive it from
    /// the addresses found at start-up.
    pub serve_url: Option<Url>,
    /// Where the store is.
    pub database: DatabaseConfig,
    /// Netboot image of machines that name none.
    pub default_netboot_image: Option<String>,
    /// Bound of a graceful stop.
    pub stop_timeout: Duration,
    /// How DHCP requests reach us.
    pub dhcp: DhcpMode,
    /// UDP port of the DHCP server.
    pub dhcp_port: u16,
    /// Relays that are answered; empty means every relay.
    pub dhcp_relays: Vec<Ipv4Addr>,
    /// Addresses come from another server, we add the boot file.
    pub dhcp_proxy: bool,
    /// Other DHCP servers that are meant to be there.
    pub dhcp_known_servers: Vec<Ipv4Addr>,
    /// Option 15.
    pub dhcp_domain: Option<String>,
    /// Option 42.
    pub dhcp_ntp_servers: Vec<Ipv4Addr>,
    /// UDP port of the TFTP server.
    pub tftp_port: u16,
    /// TCP port of the HTTP server for hosts.
    pub http_port: u16,
    /// HTTP with TLS for hosts, if there is any.
    pub http_tls: Option<HttpTlsConfig>,
    /// TCP port of health and metrics.
    pub health_port: u16,
    /// TCP port of the web UI.
    pub web_port: u16,
    /// Where images come from and how much room they have.
    pub images: ImagesConfig,
    /// Revocation level that boot loaders are held against, unless their shim carries a later one.
    pub sbat_level: Level,
    /// How BMCs are called.
    pub bmc: BmcConfig,
    /// How operations are run.
    pub operation: OperationConfig,
    /// Logs.
    pub log: LogConfig,
}

/// Which API server the appliance works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterConfig {
    /// Our own, on this TCP port.
    Embedded {
        /// TCP port of the embedded API.
        port: u16,
    },
    /// The one of this kubeconfig.
    Kubeconfig(PathBuf),
    /// In-cluster credentials, else the usual kubeconfig of the user.
    Inferred,
}

/// Limits of the embedded API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiSettings {
    /// How long Events are kept after their last write.
    pub event_ttl: Duration,
    /// What one user may ask.
    pub quota: Quota,
}

/// How DHCP requests reach us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhcpMode {
    /// As broadcasts on this interface.
    Interface(String),
    /// As broadcasts on the interface that has the bind address.
    AutoInterface,
    /// Only through relays.
    Relay,
}

/// Where the store is.
#[derive(Debug, Clone)]
pub enum DatabaseConfig {
    /// A URL without a password.
    Url(String),
    /// A URL read from a file, which may hold a password.
    Secret(SecretString),
}

/// How BMCs are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcConfig {
    /// Pause between two readings of an idle BMC.
    pub poll_interval: Duration,
    /// Pause between two readings of health, sensors and versions.
    pub readings_interval: Duration,
    /// BMCs called at one time, at least 1.
    pub max_connections: usize,
}

/// HTTP with TLS for hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTlsConfig {
    /// TCP port.
    pub port: u16,
    /// Files with certificate chain and private key; `None` = one of the site CA.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether firmware is told the https URL.
    pub boot: bool,
}

/// How operations are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationConfig {
    /// External action attempts per target, at least 1.
    pub max_attempts: i32,
    /// Pause between two looks at a running operation.
    pub poll_interval: Duration,
    /// Longest wait for an operating system to shut down; zero: power is cut at once.
    pub shutdown_timeout: Duration,
    /// Machines of one operation worked on at the same time, at least 1.
    pub max_concurrent_machines: usize,
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Shape of the lines.
    pub format: LogFormat,
    /// Directives that parse.
    pub filter: String,
}

impl Config {
    /// Where a service with this port listens.
    pub fn listen(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.bind_address, port)
    }
}
