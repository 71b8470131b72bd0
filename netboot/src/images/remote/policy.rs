//! Which URLs and addresses image transfers may reach.
//!
//! Pure. The text of a Machine or the answer of a registry must not make the appliance call its own
//! loopback, the metadata service of a cloud or a neighbour on the link. Invariant: a host the
//! operator has not listed is reached by TLS only, and never at such an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// `HOST` or `HOST:PORT` of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// Without a port, the usual one of the scheme is meant.
    pub(crate) fn parse(text: &str) -> Self {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                match port.parse() {
                    Ok(port) => (host, Some(port)),
                    Err(_) => (text, None),
                }
            }
            Some(_) | None => (text, None),
        };
        Self {
            host: host.to_ascii_lowercase(),
            port,
        }
    }

    fn is(&self, url: &Url) -> bool {
        let usual = match url.scheme() {
            "http" => 80,
            _ => 443,
        };
        url.host_str() == Some(self.host.as_str())
            && url.port_or_known_default() == Some(self.port.unwrap_or(usual))
    }
}

/// What a target may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Wherever its name leads: the operator listed it.
    Anywhere,
    /// Public and private addresses.
    Site,
    /// Public addresses only: a public host sent us here.
    Public,
}

/// Why a URL or an address is not contacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{target} is not contacted: {problem}")]
pub(crate) struct Forbidden {
    pub(crate) target: String,
    pub(crate) problem: &'static str,
}

/// The rules of this site.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    plain: Vec<HostPort>,
    trusted: Vec<HostPort>,
}

impl Policy {
    /// `plain` may be spoken to without TLS; `plain` and `trusted` may be at any address.
    pub(crate) fn new<'a>(
        plain: impl IntoIterator<Item = &'a str>,
        trusted: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            plain: plain.into_iter().map(HostPort::parse).collect(),
            trusted: trusted.into_iter().map(HostPort::parse).collect(),
        }
    }

    /// `http` for hosts that are listed for it, else `https`.
    pub(crate) fn scheme(&self, authority: &str) -> &'static str {
        let plain = Url::parse(&format!("http://{authority}/"))
            .is_ok_and(|url| self.plain.iter().any(|host| host.is(&url)));
        if plain { "http" } else { "https" }
    }

    /// Checks a URL before it is contacted. `from_public` says that a public host named it.
    pub(crate) fn admit(&self, url: &Url, from_public: bool) -> Result<Reach, Forbidden> {
        let refuse = |problem| {
            Err(Forbidden {
                target: shown(url),
                problem,
            })
        };
        let plain = self.plain.iter().any(|host| host.is(url));
        match url.scheme() {
            "https" => {}
            "http" if plain => {}
            "http" => {
                return refuse("plain HTTP is spoken only where images.plain_http_hosts says");
            }
            _ => return refuse("only https is spoken"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("it carries a user name");
        }
        let reach = if plain || self.trusted.iter().any(|host| host.is(url)) {
            Reach::Anywhere
        } else if from_public {
            Reach::Public
        } else {
            Reach::Site
        };
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            // RFC 6761, section 6.3: whatever a resolver says of them.
            Some(Host::Domain(name)) if is_localhost(name) => Some(Ipv4Addr::LOCALHOST.into()),
            Some(Host::Domain("")) | None => return refuse("it names no host"),
            Some(Host::Domain(_)) => None,
        };
        match literal.map(|ip| reach.allows(ip)) {
            Some(Err(problem)) => refuse(problem),
            Some(Ok(())) | None => Ok(reach),
        }
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

impl Reach {
    /// Whether a connection may go to `ip`; else what is wrong with it.
    pub(crate) fn allows(self, ip: IpAddr) -> Result<(), &'static str> {
        match (self, kind_of(ip)) {
            (Self::Anywhere, _) | (Self::Site | Self::Public, Kind::Public) => Ok(()),
            (Self::Site, Kind::Private) => Ok(()),
            (Self::Public, Kind::Private) => Err(
                "a public host led to a private address; list it in images.trusted_hosts if it is yours",
            ),
            (Self::Site | Self::Public, Kind::Special(problem)) => Err(problem),
        }
    }
}

/// Whether an address is one of the public internet.
pub(crate) fn is_public(ip: IpAddr) -> bool {
    kind_of(ip) == Kind::Public
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Special(&'static str),
}

const METADATA: &str = "it is the address of a cloud's metadata service; list it in images.trusted_hosts if you mean it";
const LOOPBACK: &str =
    "it is a loopback address; list it in images.trusted_hosts if a registry runs here";
const LINK_LOCAL: &str =
    "it is a link-local address; list it in images.trusted_hosts if you mean it";
const NO_HOST: &str = "it is not the address of a host";

fn kind_of(ip: IpAddr) -> Kind {
    match ip {
        IpAddr::V4(ip) => kind_of_v4(ip),
        IpAddr::V6(ip) => kind_of_v6(ip),
    }
}

fn kind_of_v4(ip: Ipv4Addr) -> Kind {
    let metadata = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    let [a, b, ..] = ip.octets();
    if metadata.contains(&ip) {
        Kind::Special(METADATA)
    } else if ip.is_loopback() {
        Kind::Special(LOOPBACK)
    } else if ip.is_link_local() {
        Kind::Special(LINK_LOCAL)
    } else if a == 0 || a >= 224 {
        // "This network", multicast, reserved, broadcast.
        Kind::Special(NO_HOST)
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        // RFC 1918 and the shared space of RFC 6598.
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_of_v6(ip: Ipv6Addr) -> Kind {
    if let Some(inner) = embedded_v4(ip) {
        return kind_of_v4(inner);
    }
    let [first, ..] = ip.segments();
    if ip == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254) {
        Kind::Special(METADATA)
    } else if ip.is_loopback() {
        Kind::Special(LOOPBACK)
    } else if ip.is_unicast_link_local() || (0xfec0..=0xfeff).contains(&first) {
        Kind::Special(LINK_LOCAL)
    } else if ip.is_unspecified() || ip.is_multicast() {
        Kind::Special(NO_HOST)
    } else if ip.is_unique_local() {
        Kind::Private
    } else {
        Kind::Public
    }
}

/// The IPv4 address inside a mapped (RFC 4291), translated (RFC 6052, RFC 8215) or 6to4 (RFC 3056)
/// address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(from(high, low)),
        // But :: and ::1 mean themselves.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(from(high, low)),
        [0, 0, 0, 0, 0xffff, 0, high, low] => Some(from(high, low)),
        [0x64, 0xff9b, _, _, _, _, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

/// A URL without what may be secret in it.
fn shown(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Some(host), None) => format!("{}://{host}", url.scheme()),
        (None, _) => format!("{}:", url.scheme()),
    }
}
