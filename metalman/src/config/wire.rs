//! What may be written: one type for the file, the flags and the environment, so that each setting
//! is named and described once. Not checked; that is `check.rs`.
//!
//! Invariant: the clap id of a setting is its key path in the file, and the flag is the key path
//! with hyphens (`dhcp.auto_interface` is `--dhcp-auto-interface`). A test holds this.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

/// Where the configuration comes from: a file and what is laid over it.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML); flags and environment win over it
    #[arg(
        long = "config",
        id = "config",
        value_name = "FILE",
        env = "METALMAN_CONFIG"
    )]
    pub file: Option<PathBuf>,
    /// Settings given on the command line.
    #[command(flatten)]
    pub flags: WireConfig,
}

/// Defines a table of the file: every field is an `Option`, every field is also a flag.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ident $(<$item:ident>)?,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize, Serialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_meta])* pub $field: Option<$kind $(<$item>)?>,)* }

        impl $name {
            /// `self` where it says something, else `below`.
            fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.or(below.$field),)* }
            }
        }
    };
}

/// Everything that can be set. Numbers and addresses are kept as written, so that one run of the
/// checks can name every mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WireConfig {
    /// Site this appliance serves: it owns machines whose label unbounded-cloud.io/site has this
    /// value; empty means machines without that label
    #[arg(long, id = "site", value_name = "NAME")]
    pub site: Option<String>,
    /// Folder for everything that must survive a restart: database, keys, kubeconfig
    #[arg(long, id = "state_dir", value_name = "DIR", env = "METALMAN_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Folder for unpacked images; may be emptied while metalman is stopped [default: cache in the
    /// state folder]
    #[arg(long, id = "cache_dir", value_name = "DIR", env = "METALMAN_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Serve a Kubernetes-compatible API of our own instead of using a cluster
    #[arg(long, id = "standalone", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub standalone: Option<bool>,
    /// Kubeconfig of the cluster [default: in-cluster credentials, else the usual kubeconfig]
    #[arg(
        long,
        id = "kubeconfig",
        value_name = "FILE",
        env = "METALMAN_KUBECONFIG"
    )]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server that hosts are told when they join Kubernetes, if it differs from what
    /// the cluster says
    #[arg(
        long,
        id = "apiserver_url",
        value_name = "URL",
        env = "METALMAN_APISERVER_URL"
    )]
    pub apiserver_url: Option<String>,
    /// IPv4 address of this appliance that all services listen on
    #[arg(long, id = "bind_address", value_name = "IP")]
    pub bind_address: Option<String>,
    /// URL of the HTTP server as hosts reach it [default: http:// with the bind address (or the
    /// address of the DHCP interface) and the HTTP port]
    #[arg(long, id = "serve_url", value_name = "URL")]
    pub serve_url: Option<String>,
    /// Database without a password: sqlite://FILE or postgres://USER@HOST/NAME [default:
    /// metalman.db in the state folder]
    #[arg(long, id = "database_url", value_name = "URL")]
    pub database_url: Option<String>,
    /// File that holds the database URL, for one with a password
    #[arg(
        long,
        id = "database_url_file",
        value_name = "FILE",
        env = "METALMAN_DATABASE_URL_FILE"
    )]
    pub database_url_file: Option<PathBuf>,
    /// Netboot image of machines that name none: a registry reference or oci-layout:DIR
    #[arg(long, id = "default_netboot_image", value_name = "IMAGE")]
    pub default_netboot_image: Option<String>,
    /// How long a graceful stop may take
    #[arg(long, id = "stop_timeout", value_name = "DURATION")]
    pub stop_timeout: Option<String>,
    /// The DHCP server.
    #[command(flatten)]
    pub dhcp: WireDhcp,
    /// The TFTP server.
    #[command(flatten)]
    pub tftp: WireTftp,
    /// The HTTP server.
    #[command(flatten)]
    pub http: WireHttp,
    /// Health and metrics.
    #[command(flatten)]
    pub health: WireHealth,
    /// The embedded API.
    #[command(flatten)]
    pub api: WireApi,
    /// The web UI.
    #[command(flatten)]
    pub web: WireWeb,
    /// Where images come from.
    #[command(flatten)]
    pub images: WireImages,
    /// How BMCs are called.
    #[command(flatten)]
    pub bmc: WireBmc,
    /// The operation engine.
    #[command(flatten)]
    pub operation: WireOperation,
    /// Logs.
    #[command(flatten)]
    pub log: WireLog,
}

table! {
/// DHCP: on an interface, or for relays when no interface is given.
WireDhcp {
    /// Answer DHCP broadcasts on this interface; without it only relayed requests are answered
    #[arg(long = "dhcp-interface", id = "dhcp.interface", value_name = "NAME")]
    interface: String,
    /// Find the interface by the bind address instead of by name
    #[arg(long = "dhcp-auto-interface", id = "dhcp.auto_interface", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    auto_interface: bool,
    /// UDP port of the DHCP server
    #[arg(long = "dhcp-port", id = "dhcp.port", value_name = "PORT")]
    port: i64,
    /// Addresses (giaddr) of the relays that are answered; none means every relay
    #[arg(long = "dhcp-relays", id = "dhcp.relays", value_name = "IP", value_delimiter = ',')]
    relays: Vec<String>,
    /// Only add the boot file to what another DHCP server of the site answers (ProxyDHCP, also on
    /// UDP port 4011). That server must give each machine the address its Machine reserves, and must
    /// name this appliance as next server (siaddr): GRUB asks that address for its files
    #[arg(long = "dhcp-proxy", id = "dhcp.proxy", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    proxy: bool,
    /// Other DHCP servers that are meant to be in the machines' network; any other is reported as an
    /// Event. With dhcp.proxy and none listed, no server is reported
    #[arg(long = "dhcp-known-servers", id = "dhcp.known_servers", value_name = "IP", value_delimiter = ',')]
    known_servers: Vec<String>,
    /// Domain name told to machines that ask for it (option 15)
    #[arg(long = "dhcp-domain", id = "dhcp.domain", value_name = "NAME")]
    domain: String,
    /// Time servers told to machines that ask for them (option 42)
    #[arg(long = "dhcp-ntp-servers", id = "dhcp.ntp_servers", value_name = "IP", value_delimiter = ',')]
    ntp_servers: Vec<String>,
}}

table! {
/// TFTP: first boot files only.
WireTftp {
    /// UDP port of the TFTP server
    #[arg(long = "tftp-port", id = "tftp.port", value_name = "PORT")]
    port: i64,
}}

table! {
/// HTTP: boot files, images, callbacks of hosts.
WireHttp {
    /// TCP port of the HTTP server for hosts
    #[arg(long = "http-port", id = "http.port", value_name = "PORT")]
    port: i64,
    /// TCP port of the same with TLS 1.2 and 1.3; 0 means none
    #[arg(long = "http-tls-port", id = "http.tls_port", value_name = "PORT")]
    tls_port: i64,
    /// Certificate of the TLS port with its chain (PEM) [default: one of the site CA, which is
    /// ca.crt in the folder api, or web with a cluster, of the state folder]
    #[arg(long = "http-tls-certificate-file", id = "http.tls_certificate_file", value_name = "FILE")]
    tls_certificate_file: PathBuf,
    /// Private key of that certificate (PEM)
    #[arg(long = "http-tls-key-file", id = "http.tls_key_file", value_name = "FILE")]
    tls_key_file: PathBuf,
    /// Tell machines that boot by UEFI HTTP the https URL of their first file; their firmware must
    /// trust the certificate and know ECDHE or TLS 1.3. What GRUB loads stays plain
    #[arg(long = "http-tls-boot", id = "http.tls_boot", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_boot: bool,
}}

table! {
/// Health and metrics.
WireHealth {
    /// TCP port of /healthz, /readyz and /metrics
    #[arg(long = "health-port", id = "health.port", value_name = "PORT")]
    port: i64,
}}

table! {
/// The embedded API of standalone mode.
WireApi {
    /// TCP port of the embedded API (TLS); only used in standalone mode
    #[arg(long = "api-port", id = "api.port", value_name = "PORT")]
    port: i64,
    /// How long Events are kept after their last change; only in standalone mode
    #[arg(long = "api-event-ttl", id = "api.event_ttl", value_name = "DURATION")]
    event_ttl: String,
    /// Requests per second that one user of the embedded API may make at length; more are answered
    /// 429. Administrators, and so the appliance itself, are not counted
    #[arg(long = "api-requests-per-second", id = "api.requests_per_second", value_name = "COUNT")]
    requests_per_second: i64,
    /// Requests that one user of the embedded API may make at once
    #[arg(long = "api-request-burst", id = "api.request_burst", value_name = "COUNT")]
    request_burst: i64,
    /// Watches that one user of the embedded API may have open; administrators are not counted
    #[arg(long = "api-watches-per-user", id = "api.watches_per_user", value_name = "COUNT")]
    watches_per_user: i64,
    /// Watches of all users of the embedded API together; administrators are not counted
    #[arg(long = "api-watches", id = "api.watches", value_name = "COUNT")]
    watches: i64,
}}

table! {
/// The web UI.
WireWeb {
    /// TCP port of the web UI (TLS)
    #[arg(long = "web-port", id = "web.port", value_name = "PORT")]
    port: i64,
}}

table! {
/// Registries.
WireImages {
    /// Registries, as HOST or HOST:PORT, that are spoken to without TLS; no other is
    #[arg(long = "images-plain-http-hosts", id = "images.plain_http_hosts", value_name = "HOST", value_delimiter = ',')]
    plain_http_hosts: Vec<String>,
    /// Lowest SBAT generations of boot loaders that are not reported as revoked, such as
    /// "sbat,1,2025051000 shim,4 grub,5" [default: the later of the list built in and the one in
    /// the image's shim]
    #[arg(long = "images-sbat-level", id = "images.sbat_level", value_name = "LEVEL")]
    sbat_level: String,
    /// Registries, as HOST or HOST:PORT, that may be at loopback, link-local or metadata addresses,
    /// or be where a public registry redirects to in a private network
    #[arg(long = "images-trusted-hosts", id = "images.trusted_hosts", value_name = "HOST", value_delimiter = ',')]
    trusted_hosts: Vec<String>,
    /// Mirrors, as REGISTRY=MIRROR[:PORT][/PREFIX], asked in this order before the registry
    #[arg(long = "images-mirrors", id = "images.mirrors", value_name = "MIRROR", value_delimiter = ',')]
    mirrors: Vec<String>,
    /// File with registry credentials (config.json of docker login) for the default netboot image
    /// and for mirrors; images that a Machine names have pull secrets of their own
    #[arg(long = "images-pull-secret-file", id = "images.pull_secret_file", value_name = "FILE")]
    pull_secret_file: PathBuf,
    /// File with certificate authorities (PEM) that registries may use besides the known ones
    #[arg(long = "images-ca-file", id = "images.ca_file", value_name = "FILE")]
    ca_file: PathBuf,
    /// File with a cosign public key (PEM, ECDSA P-256); with it, only images signed with that key
    /// are used. No transparency log is asked
    #[arg(long = "images-cosign-public-key-file", id = "images.cosign_public_key_file", value_name = "FILE")]
    cosign_public_key_file: PathBuf,
    /// Space the unpacked images may take; the longest unused go first, never one that is needed
    #[arg(long = "images-cache-size", id = "images.cache_size", value_name = "SIZE")]
    cache_size: String,
    /// How often it is asked what the tags of netboot images mean
    #[arg(long = "images-refresh-interval", id = "images.refresh_interval", value_name = "DURATION")]
    refresh_interval: String,
}}

table! {
/// How BMCs are called.
WireBmc {
    /// How often the BMC of a machine without a running operation is read
    #[arg(long = "bmc-poll-interval", id = "bmc.poll_interval", value_name = "DURATION")]
    poll_interval: String,
    /// How often health, sensors, firmware versions, event log and certificate of a BMC are read
    #[arg(long = "bmc-readings-interval", id = "bmc.readings_interval", value_name = "DURATION")]
    readings_interval: String,
    /// How many BMCs are called at the same time
    #[arg(long = "bmc-max-connections", id = "bmc.max_connections", value_name = "COUNT")]
    max_connections: i64,
}}

table! {
/// How operations are run.
WireOperation {
    /// How often an action on a machine is tried before its target fails
    #[arg(long = "operation-max-attempts", id = "operation.max_attempts", value_name = "COUNT")]
    max_attempts: i64,
    /// How often a running operation looks at its machines
    #[arg(long = "operation-poll-interval", id = "operation.poll_interval", value_name = "DURATION")]
    poll_interval: String,
    /// How long HostReboot and HostPowerOff wait for the operating system to shut down before power
    /// is cut; 0s cuts it at once. HostReplace always does
    #[arg(long = "operation-shutdown-timeout", id = "operation.shutdown_timeout", value_name = "DURATION")]
    shutdown_timeout: String,
    /// How many machines of one operation are worked on at the same time
    #[arg(long = "operation-max-concurrent-machines", id = "operation.max_concurrent_machines", value_name = "COUNT")]
    max_concurrent_machines: i64,
}}

table! {
/// Logs, written to standard error.
WireLog {
    /// text or json
    #[arg(long = "log-format", id = "log.format", value_name = "FORMAT")]
    format: String,
    /// What is logged: a level, or directives such as info,metalman=debug
    #[arg(long = "log-filter", id = "log.filter", value_name = "DIRECTIVES", env = "METALMAN_LOG")]
    filter: String,
}}

impl WireConfig {
    /// `self` where it says something, else `below`.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            site: self.site.or(below.site),
            state_dir: self.state_dir.or(below.state_dir),
            cache_dir: self.cache_dir.or(below.cache_dir),
            standalone: self.standalone.or(below.standalone),
            kubeconfig: self.kubeconfig.or(below.kubeconfig),
            apiserver_url: self.apiserver_url.or(below.apiserver_url),
            bind_address: self.bind_address.or(below.bind_address),
            serve_url: self.serve_url.or(below.serve_url),
            database_url: self.database_url.or(below.database_url),
            database_url_file: self.database_url_file.or(below.database_url_file),
            default_netboot_image: self.default_netboot_image.or(below.default_netboot_image),
            stop_timeout: self.stop_timeout.or(below.stop_timeout),
            dhcp: self.dhcp.over(below.dhcp),
            tftp: self.tftp.over(below.tftp),
            http: self.http.over(below.http),
            health: self.health.over(below.health),
            api: self.api.over(below.api),
            web: self.web.over(below.web),
            images: self.images.over(below.images),
            bmc: self.bmc.over(below.bmc),
            operation: self.operation.over(below.operation),
            log: self.log.over(below.log),
        }
    }
}

/// What holds when nobody says anything. Settings that are absent here have no default value, or
/// one that depends on others (see their texts).
pub(super) fn defaults() -> WireConfig {
    WireConfig {
        site: Some(String::new()),
        state_dir: Some(PathBuf::from("/var/lib/metalman")),
        standalone: Some(false),
        bind_address: Some("0.0.0.0".to_owned()),
        stop_timeout: Some("30s".to_owned()),
        dhcp: WireDhcp {
            interface: None,
            auto_interface: Some(false),
            port: Some(67),
            relays: Some(Vec::new()),
            proxy: Some(false),
            known_servers: Some(Vec::new()),
            domain: None,
            ntp_servers: Some(Vec::new()),
        },
        images: WireImages {
            plain_http_hosts: Some(Vec::new()),
            sbat_level: None,
            trusted_hosts: Some(Vec::new()),
            mirrors: Some(Vec::new()),
            pull_secret_file: None,
            ca_file: None,
            cosign_public_key_file: None,
            cache_size: Some("50GiB".to_owned()),
            refresh_interval: Some("5m".to_owned()),
        },
        tftp: WireTftp { port: Some(69) },
        http: WireHttp {
            port: Some(8880),
            tls_port: Some(0),
            tls_boot: Some(false),
            ..WireHttp::default()
        },
        health: WireHealth { port: Some(8081) },
        api: WireApi {
            port: Some(6443),
            event_ttl: Some("1h".to_owned()),
            requests_per_second: Some(50),
            request_burst: Some(300),
            watches_per_user: Some(100),
            watches: Some(4096),
        },
        web: WireWeb { port: Some(8443) },
        bmc: WireBmc {
            poll_interval: Some("60s".to_owned()),
            readings_interval: Some("10m".to_owned()),
            max_connections: Some(512),
        },
        operation: WireOperation {
            max_attempts: Some(3),
            poll_interval: Some("5s".to_owned()),
            shutdown_timeout: Some("60s".to_owned()),
            max_concurrent_machines: Some(10),
        },
        log: WireLog {
            format: Some("text".to_owned()),
            filter: Some("info".to_owned()),
        },
        ..WireConfig::default()
    }
}

/// The flag that sets the value at a key path.
pub(super) fn flag_of(key: &str) -> String {
    format!("--{}", key.replace(['.', '_'], "-"))
}
