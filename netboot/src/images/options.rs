//! Limits, permissions and places an image store works with.
//!
//! Data only. Invariant: the defaults permit nothing that has to be asked for.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::signature::CosignKey;

/// Limits and permissions of an [`ImageStore`](super::ImageStore).
#[derive(Debug, Clone)]
pub struct ImageStoreOptions {
    /// Registries, as `host` or `host:port`, that are spoken to without TLS. No other is, be it on
    /// the loopback or in a private network.
    pub plain_http_hosts: Vec<String>,
    /// Registries, as `host` or `host:port`, that may be at loopback, link-local and metadata
    /// addresses, or be where a public registry sends us in a private network. Those of
    /// `plain_http_hosts` and `mirrors` may too.
    pub trusted_hosts: Vec<String>,
    /// Asked before the registry they stand for, in order.
    pub mirrors: Vec<Mirror>,
    /// `config.json` with credentials for mirrors; read at each use.
    pub pull_secret_file: Option<PathBuf>,
    /// PEM file of certificate authorities trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Only images signed with this key are used.
    pub cosign_key: Option<CosignKey>,
    /// Bytes the cache may take; more only for images that are needed.
    pub cache_size: Option<u64>,
    /// Most bytes of all files of an image together.
    pub max_unpacked_bytes: u64,
    /// Most entries of all layers together.
    pub max_entries: u64,
    /// Most bytes of a raw disk.
    pub max_raw_disk_bytes: u64,
    /// How long fetching the layers of one image may take.
    pub max_fetch_time: Duration,
    /// How long a registry may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a registry may be silent.
    pub read_timeout: Duration,
}

impl Default for ImageStoreOptions {
    fn default() -> Self {
        Self {
            plain_http_hosts: Vec::new(),
            trusted_hosts: Vec::new(),
            mirrors: Vec::new(),
            pull_secret_file: None,
            ca_file: None,
            cosign_key: None,
            cache_size: None,
            max_unpacked_bytes: 32 << 30,
            max_entries: 50_000,
            max_raw_disk_bytes: 1 << 40,
            max_fetch_time: Duration::from_hours(6),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// A registry that holds copies of what another has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Host of the registry it stands for, as references name it.
    pub of: String,
    /// Its own host, with a port if it has one.
    pub host: String,
    /// Path put before each repository, without slashes at its ends; mostly empty.
    pub prefix: String,
}

impl FromStr for Mirror {
    type Err = &'static str;

    /// Reads `REGISTRY=MIRROR[:PORT][/PREFIX]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (of, place) = text.split_once('=').ok_or("it has no '='")?;
        let (host, prefix) = place.split_once('/').unwrap_or((place, ""));
        let is_host = |host: &str| {
            let word = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            !host.is_empty() && !host.ends_with(':') && host.chars().all(word)
        };
        let prefix = prefix.trim_end_matches('/');
        let is_prefix = prefix
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c))
            && !prefix.split('/').any(|part| part == "..");
        if is_host(of) && is_host(host) && is_prefix {
            Ok(Self {
                of: of.to_owned(),
                host: host.to_owned(),
                prefix: prefix.to_owned(),
            })
        } else {
            Err("it is not REGISTRY=MIRROR[:PORT][/PREFIX]")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_two_hosts_and_maybe_a_prefix() {
        let mirror: Mirror = "docker.io=cache.rack:5000/hub".parse().unwrap();
        assert_eq!(
            (&*mirror.of, &*mirror.host, &*mirror.prefix),
            ("docker.io", "cache.rack:5000", "hub")
        );
        for wrong in [
            "docker.io",
            "=cache.rack",
            "docker.io=",
            "docker.io=http://cache.rack",
            "docker.io=cache.rack/../x",
            "docker.io=user@cache.rack",
            "docker.io=cache.rack/Hub",
        ] {
            assert!(wrong.parse::<Mirror>().is_err(), "{wrong}");
        }
    }
}
