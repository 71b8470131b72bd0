//! The one origin a client talks to, and how links of a BMC are read against it.
//!
//! Invariant: whatever link comes in, only its path and query are used.

use rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::error::Error;

/// Scheme, host and port of a BMC.
#[derive(Debug)]
pub(crate) struct Origin {
    url: Url,
    /// `host[:port]` as it goes into the Host header and into texts.
    authority: String,
    /// Host without the brackets of IPv6.
    host: String,
    port: u16,
}

impl Origin {
    pub(crate) fn parse(base: &Url) -> Result<Self, Error> {
        let invalid = |what: &str| Error::InvalidConfig {
            what: what.to_owned(),
        };
        let (Some(host), "http" | "https") = (base.host(), base.scheme()) else {
            return Err(invalid("address must be https://host[:port]"));
        };
        if !base.username().is_empty() || base.password().is_some() {
            return Err(invalid("address must not carry credentials"));
        }
        let bare = match host {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let authority = match base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let port = base
            .port_or_known_default()
            .ok_or_else(|| invalid("address has no port"))?;
        let mut url = base.clone();
        url.set_path("/");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self {
            url,
            authority,
            host: bare,
            port,
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The name in the TLS handshake.
    pub(crate) fn server_name(&self, wanted: Option<&str>) -> Result<ServerName<'static>, Error> {
        let name = wanted.unwrap_or(&self.host);
        ServerName::try_from(name.to_owned()).map_err(|_| Error::InvalidConfig {
            what: format!("{name:?} is no host name for TLS"),
        })
    }

    /// The request target for a path or link. Scheme and host of absolute links are ignored: BMCs
    /// behind an address translation name themselves wrongly, and credentials go nowhere else.
    pub(crate) fn target(&self, link: &str) -> String {
        let mut url = self.url.clone();
        if let Ok(absolute) = Url::parse(link) {
            url.set_path(absolute.path());
            url.set_query(absolute.query());
        } else {
            let link = link.split_once('#').map_or(link, |(link, _)| link);
            match link.split_once('?') {
                Some((path, query)) => {
                    url.set_path(path);
                    url.set_query(Some(query));
                }
                None => url.set_path(link),
            }
        }
        match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(base: &str) -> Origin {
        Origin::parse(&base.parse().unwrap()).unwrap()
    }

    #[test]
    fn links_are_reduced_to_path_and_query() {
        let origin = origin("https://10.0.0.1:8443/redfish/v1/");
        assert_eq!(origin.authority(), "10.0.0.1:8443");
        for (link, wanted) in [
            ("/redfish/v1/Systems/1", "/redfish/v1/Systems/1"),
            ("https://bmc.evil/redfish/v1/T/1?a=b", "/redfish/v1/T/1?a=b"),
            ("redfish/v1", "/redfish/v1"),
            (
                "/redfish/v1/Chassis/1/Power#/PowerSupplies/0",
                "/redfish/v1/Chassis/1/Power",
            ),
            ("//evil/x", "//evil/x"),
        ] {
            assert_eq!(origin.target(link), wanted);
        }
    }

    #[test]
    fn hosts_are_written_for_headers_and_for_sockets() {
        let six = origin("https://[fd00::1]:444");
        assert_eq!(
            (six.authority(), six.host(), six.port()),
            ("[fd00::1]:444", "fd00::1", 444)
        );
        let plain = origin("http://bmc.lab");
        assert_eq!(
            (plain.authority(), plain.port(), plain.is_tls()),
            ("bmc.lab", 80, false)
        );
        for bad in ["ftp://10.0.0.1", "https://a:b@10.0.0.1"] {
            assert!(Origin::parse(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_link_becomes_a_request_target(link in "\\PC{0,40}") {
            let target = origin("https://10.0.0.1").target(&link);
            prop_assert!(target.starts_with('/'), "{target}");
            prop_assert!(target.parse::<http::Uri>().is_ok(), "{target}");
        }
    }
}
