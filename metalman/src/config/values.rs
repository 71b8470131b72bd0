//! One value at a time: text to checked value, or a problem and a stand-in. Invariant: a stand-in is
//! never used, because a configuration with a problem is not handed out.

use std::{
    net::Ipv4Addr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::SignedDuration;
use netboot::sbat::Level;
use url::Url;

use super::problem::Problems;

const DURATION_CURE: &str = "write a duration such as 5s, 500ms or 2m";

pub(super) fn site(p: &mut Problems, value: &str) -> String {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = value.len() <= 63
        && value.chars().all(inner)
        && edge(value.chars().next())
        && edge(value.chars().last());
    if !good {
        p.add(
            "site",
            value,
            "not a Kubernetes label value",
            "use at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
        );
    }
    value.to_owned()
}

pub(super) fn folder(p: &mut Problems, key: &'static str, path: &Path) -> PathBuf {
    match std::path::absolute(path) {
        Ok(path) => path,
        Err(error) => {
            let value = path.display().to_string();
            p.add(
                key,
                value,
                format!("not a usable path ({error})"),
                "write an absolute path",
            );
            path.to_owned()
        }
    }
}

pub(super) fn https_url(p: &mut Problems, value: &str) -> Option<Url> {
    let url = Url::parse(value)
        .ok()
        .filter(|u| u.scheme() == "https" && u.has_host());
    if url.is_none() {
        p.add(
            "apiserver_url",
            value,
            "not an https URL",
            "write https://HOST:PORT",
        );
    }
    url
}

pub(super) fn serve_url(p: &mut Problems, value: &str) -> Option<Url> {
    let good = |u: &Url| {
        u.scheme() == "http" && u.has_host() && u.query().is_none() && u.fragment().is_none()
    };
    let url = Url::parse(value).ok().filter(good);
    if url.is_none() {
        p.add(
            "serve_url",
            value,
            "not a plain http URL (firmware and GRUB speak no TLS here)",
            "write http://ADDRESS:PORT",
        );
    }
    url
}

pub(super) fn address(p: &mut Problems, value: &str) -> Ipv4Addr {
    value.parse().unwrap_or_else(|_| {
        p.add(
            "bind_address",
            value,
            "not an IPv4 address",
            "write the address of this appliance in the boot network, or 0.0.0.0 for all",
        );
        Ipv4Addr::UNSPECIFIED
    })
}

pub(super) fn addresses(
    p: &mut Problems,
    key: &'static str,
    values: Option<&[String]>,
    cure: &'static str,
) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    for value in values.unwrap_or_default() {
        match value.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => p.add(key, value, "not an IPv4 address", cure),
        }
    }
    addresses
}

/// A DNS name as option 15 carries it: labels of letters, digits and hyphens.
pub(super) fn domain(p: &mut Problems, value: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = value.len() <= 253 && value.split('.').all(label);
    if !good {
        let cure = "write a name such as rack-a.example.com";
        p.add("dhcp.domain", value, "not a domain name", cure);
    }
    good.then(|| value.to_owned())
}

pub(super) fn hosts(p: &mut Problems, key: &'static str, hosts: Vec<String>) -> Vec<String> {
    for host in &hosts {
        if host.is_empty() || host.contains(['/', ' ']) {
            p.add(
                key,
                host,
                "not a host",
                "write HOST or HOST:PORT, without http://",
            );
        }
    }
    hosts
}

/// The built-in level, or a later one that was set.
pub(super) fn sbat_level(p: &mut Problems, text: Option<&str>) -> Level {
    let known = Level::default();
    match text.map(Level::parse) {
        None => known,
        Some(Ok(level)) => known.later(level),
        Some(Err(error)) => {
            p.add(
                "images.sbat_level",
                text.unwrap_or_default(),
                error.to_string(),
                "copy the list from shim's SbatLevel_Variable.txt",
            );
            known
        }
    }
}

/// Bytes, written with a unit: `500MB`, `50GiB`.
pub(super) fn size(
    p: &mut Problems,
    key: &'static str,
    value: Option<&str>,
    range: RangeInclusive<u64>,
) -> u64 {
    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let value = value.unwrap_or_default().trim();
    let bytes = UNITS.iter().find_map(|(unit, factor)| {
        let number = value.strip_suffix(unit)?.trim_end();
        number.parse::<u64>().ok()?.checked_mul(*factor)
    });
    match bytes {
        Some(bytes) if range.contains(&bytes) => bytes,
        Some(_) => {
            let least = range.start() >> 20;
            let cure = format!("write at least {least}MiB");
            p.add(key, value, "out of range", cure);
            *range.start()
        }
        None => {
            let cure = "write a whole number and a unit, such as 50GiB or 500MB";
            p.add(key, value, "not a size", cure);
            *range.start()
        }
    }
}

pub(super) fn port(p: &mut Problems, key: &'static str, value: Option<i64>) -> u16 {
    let value = value.unwrap_or_default();
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .unwrap_or_else(|| {
            p.add(
                key,
                value.to_string(),
                "not a port",
                "write a number from 1 to 65535",
            );
            0
        })
}

pub(super) fn count<T>(
    p: &mut Problems,
    key: &'static str,
    value: Option<i64>,
    range: RangeInclusive<T>,
) -> T
where
    T: TryFrom<i64> + PartialOrd + Copy + std::fmt::Display,
{
    let value = value.unwrap_or_default();
    T::try_from(value)
        .ok()
        .filter(|n| range.contains(n))
        .unwrap_or_else(|| {
            let cure = format!("write a number from {} to {}", range.start(), range.end());
            p.add(key, value.to_string(), "out of range", cure);
            *range.start()
        })
}

pub(super) fn duration(
    p: &mut Problems,
    key: &'static str,
    value: Option<&str>,
    range: RangeInclusive<Duration>,
) -> Duration {
    let value = value.unwrap_or_default();
    let parsed = value
        .parse::<SignedDuration>()
        .ok()
        .and_then(|d| Duration::try_from(d).ok());
    match parsed {
        Some(duration) if range.contains(&duration) => duration,
        Some(_) => {
            let cure = format!("write one from {:?} to {:?}", range.start(), range.end());
            p.add(key, value, "out of range", cure);
            *range.start()
        }
        None => {
            p.add(key, value, "not a duration", DURATION_CURE);
            *range.start()
        }
    }
}
