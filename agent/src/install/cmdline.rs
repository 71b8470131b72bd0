//! The kernel command line as the installer reads it. Pure.
//!
//! Words are split as the kernel does: at blanks outside double quotes, quotes are dropped
//! (Linux `lib/cmdline.c`, `next_arg`). Unknown words are ignored; the last of a repeated word
//! holds. Invariant: parsed arguments name a plain HTTP server, a token, a MAC and an address.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr};
use std::str::FromStr;

/// Everything the boot loader tells the installer.
#[derive(Clone, PartialEq, Eq)]
pub struct BootArguments {
    /// `unbounded.server`, without a trailing slash.
    pub server: String,
    /// `unbounded.token`: the install capability. A secret.
    pub token: String,
    /// `unbounded.mac`: the interface to use.
    pub mac: Mac,
    /// `ip=`: its address.
    pub address: StaticAddress,
    /// `unbounded.dns`: name servers, may be empty.
    pub dns: Vec<IpAddr>,
}

/// A static IPv4 address (`ip=<client>:<server>:<gateway>:<netmask>:…`, Linux
/// `Documentation/admin-guide/nfs/nfsroot.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticAddress {
    /// Own address.
    pub ip: Ipv4Addr,
    /// Bits of the network, 0–32.
    pub prefix_len: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// A command line the installer cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// A required word is absent.
    #[error("the kernel command line has no {0}; the boot template must set it")]
    Missing(&'static str),
    /// A word has a value that cannot be used.
    #[error("{key} on the kernel command line is unusable: {why}")]
    Unusable {
        /// The word.
        key: &'static str,
        /// What is wrong with it; never the value of a secret.
        why: String,
    },
}

impl BootArguments {
    /// Reads a kernel command line.
    ///
    /// # Errors
    /// A required word is absent or unusable.
    pub fn parse(line: &str) -> Result<Self, CmdlineError> {
        let words = split(line);
        let last = |key: &'static str| {
            words
                .iter()
                .rev()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.as_str())
        };
        let required = |key| {
            last(key)
                .filter(|value| !value.is_empty())
                .ok_or(CmdlineError::Missing(key))
        };
        let server = required("unbounded.server")?
            .trim_end_matches('/')
            .to_owned();
        if !server.starts_with("http://") {
            return Err(unusable("unbounded.server", "it must begin with http://"));
        }
        let token = required("unbounded.token")?.to_owned();
        if !token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        {
            return Err(unusable("unbounded.token", "it is not URL-safe base64"));
        }
        let mac = required("unbounded.mac")?;
        let mac = mac.parse().map_err(|()| unusable("unbounded.mac", mac))?;
        let address = parse_ip(required("ip")?)?;
        let dns = last("unbounded.dns")
            .unwrap_or_default()
            .split(',')
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().map_err(|_| unusable("unbounded.dns", text)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            server,
            token,
            mac,
            address,
            dns,
        })
    }
}

impl fmt::Debug for BootArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootArguments")
            .field("server", &self.server)
            .field("mac", &self.mac)
            .field("address", &self.address)
            .field("dns", &self.dns)
            .finish_non_exhaustive()
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() {
            Err(())
        } else {
            Ok(Self(octets))
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, octet) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ":" };
            write!(f, "{separator}{octet:02x}")?;
        }
        Ok(())
    }
}

fn unusable(key: &'static str, why: impl Into<String>) -> CmdlineError {
    CmdlineError::Unusable {
        key,
        why: why.into(),
    }
}

fn parse_ip(value: &str) -> Result<StaticAddress, CmdlineError> {
    let mut fields = value.split(':');
    let mut field = || fields.next().unwrap_or_default();
    let (client, _server, gateway, netmask) = (field(), field(), field(), field());
    let bad = |what: &'static str| {
        move |error: AddrParseError| unusable("ip", format!("{what}: {error}"))
    };
    let ip = client.parse().map_err(bad("address"))?;
    let gateway = match gateway {
        "" => None,
        text => Some(text.parse().map_err(bad("gateway"))?),
    };
    let netmask: Ipv4Addr = netmask.parse().map_err(bad("netmask"))?;
    let bits = netmask.to_bits();
    if bits.leading_ones() + bits.trailing_zeros() < u32::BITS {
        return Err(unusable("ip", format!("netmask {netmask} has a gap")));
    }
    // At most 32.
    let prefix_len = u8::try_from(bits.leading_ones()).unwrap_or(32);
    Ok(StaticAddress {
        ip,
        prefix_len,
        gateway,
    })
}

/// Words as (name, value); a word without `=` has an empty value.
fn split(line: &str) -> Vec<(String, String)> {
    let mut words = vec![];
    let mut word = String::new();
    let mut is_quoted = false;
    for c in line.chars().chain([' ']) {
        match c {
            '"' => is_quoted = !is_quoted,
            c if c.is_whitespace() && !is_quoted => {
                if !word.is_empty() {
                    let (name, value) = word.split_once('=').unwrap_or((&word, ""));
                    words.push((name.to_owned(), value.to_owned()));
                    word.clear();
                }
            }
            c => word.push(c),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "BOOT_IMAGE=/vmlinuz unbounded.server=http://10.77.0.1:8880/ \
        unbounded.token=Ab-_9 unbounded.mac=52:54:00:77:00:11 \
        ip=10.77.0.11::10.77.0.1:255.255.255.0:::none unbounded.dns=10.77.0.1,1.1.1.1 \
        console=tty0 console=ttyS0,115200n8 panic=30 dyndbg=\"file drivers/usb/* +p\"";

    #[test]
    fn the_rendered_line_is_understood() {
        let arguments = BootArguments::parse(LINE).unwrap();
        assert_eq!(arguments.server, "http://10.77.0.1:8880");
        assert_eq!(arguments.token, "Ab-_9");
        assert_eq!(arguments.mac.to_string(), "52:54:00:77:00:11");
        assert_eq!(
            arguments.address,
            StaticAddress {
                ip: Ipv4Addr::new(10, 77, 0, 11),
                prefix_len: 24,
                gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
            }
        );
        assert_eq!(arguments.dns.len(), 2);
        assert!(
            !format!("{arguments:?}").contains("Ab-_9"),
            "the token is a secret"
        );
    }

    #[test]
    fn quotes_hold_blanks_and_the_last_word_counts() {
        let words = split("a=\"1 2\" b a=3");
        assert_eq!(
            words,
            [
                ("a".into(), "1 2".into()),
                ("b".into(), String::new()),
                ("a".into(), "3".into())
            ]
        );
        let twice = format!("{LINE} unbounded.token=second");
        assert_eq!(BootArguments::parse(&twice).unwrap().token, "second");
    }

    #[test]
    fn every_missing_or_bad_word_is_named() {
        for (from, to, key) in [
            (
                "unbounded.server=http://10.77.0.1:8880/",
                "",
                "unbounded.server",
            ),
            ("http://10.77", "https://10.77", "unbounded.server"),
            (
                "unbounded.token=Ab-_9",
                "unbounded.token=",
                "unbounded.token",
            ),
            ("Ab-_9", "../x", "unbounded.token"),
            ("00:77:00:11", "00:77:00", "unbounded.mac"),
            ("255.255.255.0", "255.0.255.0", "ip"),
            (
                "ip=10.77.0.11::10.77.0.1:255.255.255.0:::none",
                "ip=dhcp",
                "ip",
            ),
            ("1.1.1.1", "one", "unbounded.dns"),
        ] {
            let error = BootArguments::parse(&LINE.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_parsed_or_refused(line in "\\PC*") {
            drop(BootArguments::parse(&line));
        }
    }
}
