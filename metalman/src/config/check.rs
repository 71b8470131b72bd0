//! From what is written to what the program runs on. Reads the files that settings name (secrets),
//! touches nothing else. Invariant: keeps going after a mistake, so that one run names them all.

use std::{path::Path, time::Duration};

use netboot::dhcp::PROXY_PORT;
use secrecy::SecretString;
use url::Url;

use super::{
    checked::{
        ApiSettings, BmcConfig, ClusterConfig, Config, DatabaseConfig, DhcpMode, HttpTlsConfig,
        LogConfig, OperationConfig,
    },
    images::images,
    problem::Problems,
    values::{
        address, addresses, count, domain, duration, folder, https_url, port, sbat_level,
        serve_url, site,
    },
    wire::{WireApi, WireBmc, WireConfig, WireDhcp, WireHttp, WireOperation, defaults},
};
use crate::{
    standalone::http::Quota,
    telemetry::{self, LogFormat},
};

impl TryFrom<WireConfig> for Config {
    type Error = Problems;

    fn try_from(wire: WireConfig) -> Result<Self, Problems> {
        let wire = wire.over(defaults());
        let mut problems = Problems::default();
        let p = &mut problems;
        let state_dir = folder(p, "state_dir", &wire.state_dir.clone().unwrap_or_default());
        let cache_dir = match &wire.cache_dir {
            Some(dir) => folder(p, "cache_dir", dir),
            None => state_dir.join("cache"),
        };
        let config = Self {
            site: site(p, wire.site.as_deref().unwrap_or_default()),
            cache_dir,
            cluster: cluster(p, &wire),
            api: api(p, &wire.api),
            apiserver_url: wire.apiserver_url.as_deref().and_then(|u| https_url(p, u)),
            bind_address: address(p, wire.bind_address.as_deref().unwrap_or_default()),
            serve_url: wire.serve_url.as_deref().and_then(|u| serve_url(p, u)),
            database: database(p, &wire, &state_dir),
            default_netboot_image: wire.default_netboot_image.clone(),
            stop_timeout: duration(
                p,
                "stop_timeout",
                wire.stop_timeout.as_deref(),
                Duration::from_secs(1)..=Duration::from_mins(10),
            ),
            dhcp: dhcp_mode(p, &wire.dhcp),
            dhcp_port: port(p, "dhcp.port", wire.dhcp.port),
            dhcp_relays: addresses(
                p,
                "dhcp.relays",
                wire.dhcp.relays.as_deref(),
                "write the address of the relay in the machines' network (giaddr)",
            ),
            dhcp_proxy: wire.dhcp.proxy.unwrap_or(false),
            dhcp_known_servers: addresses(
                p,
                "dhcp.known_servers",
                wire.dhcp.known_servers.as_deref(),
                "write the address the server names in its answers (option 54)",
            ),
            dhcp_domain: wire.dhcp.domain.as_deref().and_then(|name| domain(p, name)),
            dhcp_ntp_servers: addresses(
                p,
                "dhcp.ntp_servers",
                wire.dhcp.ntp_servers.as_deref(),
                "write the address of a time server",
            ),
            tftp_port: port(p, "tftp.port", wire.tftp.port),
            http_port: port(p, "http.port", wire.http.port),
            http_tls: http_tls(p, &wire.http),
            health_port: port(p, "health.port", wire.health.port),
            web_port: port(p, "web.port", wire.web.port),
            images: images(p, &wire.images),
            sbat_level: sbat_level(p, wire.images.sbat_level.as_deref()),
            bmc: bmc(p, &wire.bmc),
            operation: operation(p, &wire.operation),
            log: log(p, wire.log.format.as_deref(), wire.log.filter.as_deref()),
            state_dir,
        };
        distinct_ports(p, &config);
        if problems.0.is_empty() {
            Ok(config)
        } else {
            Err(problems)
        }
    }
}

/// TLS for hosts: a port, and either both files of an identity or none.
fn http_tls(p: &mut Problems, wire: &WireHttp) -> Option<HttpTlsConfig> {
    let identity = match (&wire.tls_certificate_file, &wire.tls_key_file) {
        (Some(certificate), Some(key)) => Some((
            folder(p, "http.tls_certificate_file", certificate),
            folder(p, "http.tls_key_file", key),
        )),
        (None, None) => None,
        (Some(only), None) => {
            let cure = "name its private key in http.tls_key_file too";
            p.add(
                "http.tls_certificate_file",
                only.display().to_string(),
                "has no key",
                cure,
            );
            None
        }
        (None, Some(only)) => {
            let cure = "name the certificate in http.tls_certificate_file too";
            p.add(
                "http.tls_key_file",
                only.display().to_string(),
                "has no certificate",
                cure,
            );
            None
        }
    };
    let boot = wire.tls_boot.unwrap_or(false);
    if wire.tls_port.is_some_and(|port| port != 0) {
        let port = port(p, "http.tls_port", wire.tls_port);
        return Some(HttpTlsConfig {
            port,
            identity,
            boot,
        });
    }
    if boot {
        let problem = "there is no TLS port to boot from";
        p.add("http.tls_boot", "true", problem, "set http.tls_port");
    }
    None
}

fn api(p: &mut Problems, wire: &WireApi) -> ApiSettings {
    ApiSettings {
        event_ttl: duration(
            p,
            "api.event_ttl",
            wire.event_ttl.as_deref(),
            Duration::from_mins(1)..=Duration::from_hours(31 * 24),
        ),
        quota: Quota {
            rate: count(
                p,
                "api.requests_per_second",
                wire.requests_per_second,
                1..=100_000,
            ),
            burst: count(p, "api.request_burst", wire.request_burst, 1..=100_000),
            watches_per_user: count(
                p,
                "api.watches_per_user",
                wire.watches_per_user,
                1..=100_000,
            ),
            watches: count(p, "api.watches", wire.watches, 1..=100_000),
        },
    }
}

fn cluster(p: &mut Problems, wire: &WireConfig) -> ClusterConfig {
    let port = port(p, "api.port", wire.api.port);
    match (wire.standalone.unwrap_or(false), &wire.kubeconfig) {
        (true, None) => ClusterConfig::Embedded { port },
        (false, Some(path)) => ClusterConfig::Kubeconfig(folder(p, "kubeconfig", path)),
        (false, None) => ClusterConfig::Inferred,
        (true, Some(path)) => {
            p.add(
                "kubeconfig",
                path.display().to_string(),
                "standalone mode serves its own API and writes its own kubeconfig",
                "remove either kubeconfig or standalone",
            );
            ClusterConfig::Embedded { port }
        }
    }
}

fn database(p: &mut Problems, wire: &WireConfig, state_dir: &Path) -> DatabaseConfig {
    let embedded = || DatabaseConfig::Url(sqlite_url(&state_dir.join("metalman.db")));
    match (&wire.database_url, &wire.database_url_file) {
        (None, None) => embedded(),
        (Some(url), None) => {
            check_database_url(p, "database_url", url);
            if Url::parse(url).is_ok_and(|u| u.password().is_some()) {
                p.add(
                    "database_url",
                    "(hidden)",
                    "a password in a flag or in this file can be read by others",
                    "put the URL into a file of its own and name it in database_url_file",
                );
            }
            DatabaseConfig::Url(url.clone())
        }
        (None, Some(path)) => match std::fs::read_to_string(path) {
            Ok(text) => {
                check_database_url(p, "database_url_file", text.trim());
                DatabaseConfig::Secret(SecretString::from(text.trim().to_owned()))
            }
            Err(error) => {
                let value = path.display().to_string();
                p.add(
                    "database_url_file",
                    value,
                    format!("cannot be read ({error})"),
                    "write a file this user can read, holding only the URL",
                );
                embedded()
            }
        },
        (Some(_), Some(path)) => {
            let value = path.display().to_string();
            p.add(
                "database_url_file",
                value,
                "database_url is set too",
                "keep one of the two",
            );
            embedded()
        }
    }
}

fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

fn check_database_url(p: &mut Problems, key: &'static str, url: &str) {
    let known = ["sqlite:", "postgres://", "postgresql://"];
    if !known.iter().any(|scheme| url.starts_with(scheme)) {
        p.add(
            key,
            "(hidden)",
            "neither SQLite nor PostgreSQL",
            "write sqlite://FILE or postgres://USER@HOST/NAME",
        );
    }
}

fn dhcp_mode(p: &mut Problems, wire: &WireDhcp) -> DhcpMode {
    match (&wire.interface, wire.auto_interface.unwrap_or(false)) {
        (None, false) => DhcpMode::Relay,
        (None, true) => DhcpMode::AutoInterface,
        (Some(name), auto) => {
            if auto {
                let cure = "keep one of the two";
                p.add(
                    "dhcp.auto_interface",
                    "true",
                    "dhcp.interface is set too",
                    cure,
                );
            }
            // IFNAMSIZ is 16 with the closing NUL.
            if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
                let cure = "write a name that `ip link` lists";
                p.add("dhcp.interface", name, "not the name of an interface", cure);
            }
            DhcpMode::Interface(name.clone())
        }
    }
}

fn bmc(p: &mut Problems, wire: &WireBmc) -> BmcConfig {
    BmcConfig {
        poll_interval: duration(
            p,
            "bmc.poll_interval",
            wire.poll_interval.as_deref(),
            Duration::from_secs(1)..=Duration::from_hours(1),
        ),
        readings_interval: duration(
            p,
            "bmc.readings_interval",
            wire.readings_interval.as_deref(),
            Duration::from_secs(1)..=Duration::from_hours(24),
        ),
        max_connections: count(p, "bmc.max_connections", wire.max_connections, 1..=10_000),
    }
}

fn operation(p: &mut Problems, wire: &WireOperation) -> OperationConfig {
    OperationConfig {
        max_attempts: count(p, "operation.max_attempts", wire.max_attempts, 1..=100),
        poll_interval: duration(
            p,
            "operation.poll_interval",
            wire.poll_interval.as_deref(),
            Duration::from_millis(100)..=Duration::from_hours(1),
        ),
        shutdown_timeout: duration(
            p,
            "operation.shutdown_timeout",
            wire.shutdown_timeout.as_deref(),
            Duration::ZERO..=Duration::from_hours(1),
        ),
        max_concurrent_machines: count(
            p,
            "operation.max_concurrent_machines",
            wire.max_concurrent_machines,
            1..=1000,
        ),
    }
}

fn log(p: &mut Problems, format: Option<&str>, filter: Option<&str>) -> LogConfig {
    let format = match format.unwrap_or_default() {
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        other => {
            p.add("log.format", other, "no such format", "write text or json");
            LogFormat::Text
        }
    };
    let filter = filter.unwrap_or_default();
    if let Err(wrong) = telemetry::check_filter(filter) {
        p.add(
            "log.filter",
            filter,
            wrong,
            "write a level, or directives such as metalman=debug",
        );
    }
    LogConfig {
        format,
        filter: filter.to_owned(),
    }
}

/// Two services on one port of one protocol cannot both start; said here rather than by the second
/// bind.
fn distinct_ports(p: &mut Problems, config: &Config) {
    let api = match config.cluster {
        ClusterConfig::Embedded { port } => port,
        ClusterConfig::Kubeconfig(_) | ClusterConfig::Inferred => 0,
    };
    let tcp = [
        ("http.port", config.http_port),
        (
            "http.tls_port",
            config.http_tls.as_ref().map_or(0, |tls| tls.port),
        ),
        ("health.port", config.health_port),
        ("web.port", config.web_port),
        ("api.port", api),
    ];
    let udp = [
        ("dhcp.port", config.dhcp_port),
        ("tftp.port", config.tftp_port),
        ("dhcp.proxy", if config.dhcp_proxy { PROXY_PORT } else { 0 }),
    ];
    for family in [&tcp[..], &udp[..]] {
        for (at, (key, port)) in family.iter().enumerate() {
            let earlier = family
                .iter()
                .take(at)
                .find(|(_, other)| other == port && *port != 0);
            if let Some((other, _)) = earlier {
                p.add(
                    key,
                    port.to_string(),
                    format!("{other} is the same"),
                    "choose another port",
                );
            }
        }
    }
}
