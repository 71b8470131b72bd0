//! Where images come from and how much room they have: the checked form of the `[images]` table.
//!
//! Reads the files it names, so that a mistake in one is told at start. Invariant: no credential is
//! kept here, only the name of the file that holds it.

use std::{path::Path, path::PathBuf, time::Duration};

use netboot::images::{CosignKey, ImageStoreOptions, Keyring, Mirror};

use super::{
    problem::Problems,
    values::{duration, hosts, size},
    wire::WireImages,
};

/// Images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesConfig {
    /// Registries that are spoken to without TLS.
    pub plain_http_hosts: Vec<String>,
    /// Registries that may be at addresses that are otherwise not contacted.
    pub trusted_hosts: Vec<String>,
    /// Asked before the registries they stand for.
    pub mirrors: Vec<Mirror>,
    /// Credentials for the default netboot image and for mirrors.
    pub pull_secret_file: Option<PathBuf>,
    /// Certificate authorities beside the known ones.
    pub ca_file: Option<PathBuf>,
    /// Only images signed with this key are used.
    pub cosign_key: Option<CosignKey>,
    /// Bytes the cache may take.
    pub cache_size: u64,
    /// Pause between two questions what the tag of a netboot image means.
    pub refresh_interval: Duration,
}

impl ImagesConfig {
    /// These settings as the image store takes them.
    pub fn store_options(&self) -> ImageStoreOptions {
        ImageStoreOptions {
            plain_http_hosts: self.plain_http_hosts.clone(),
            trusted_hosts: self.trusted_hosts.clone(),
            mirrors: self.mirrors.clone(),
            pull_secret_file: self.pull_secret_file.clone(),
            ca_file: self.ca_file.clone(),
            cosign_key: self.cosign_key.clone(),
            cache_size: Some(self.cache_size),
            ..ImageStoreOptions::default()
        }
    }
}

pub(super) fn images(p: &mut Problems, wire: &WireImages) -> ImagesConfig {
    let plain = wire.plain_http_hosts.clone().unwrap_or_default();
    let trusted = wire.trusted_hosts.clone().unwrap_or_default();
    ImagesConfig {
        plain_http_hosts: hosts(p, "images.plain_http_hosts", plain),
        trusted_hosts: hosts(p, "images.trusted_hosts", trusted),
        mirrors: mirrors(p, wire.mirrors.as_deref().unwrap_or_default()),
        pull_secret_file: wire.pull_secret_file.clone().inspect(|file| {
            if let Err(error) = Keyring::read(file) {
                let why = crate::supervisor::chain(&error);
                unusable(
                    p,
                    "images.pull_secret_file",
                    file,
                    &why,
                    "config.json of docker login",
                );
            }
        }),
        ca_file: wire.ca_file.clone().inspect(|file| {
            if let Err(error) = std::fs::metadata(file) {
                let why = error.to_string();
                unusable(
                    p,
                    "images.ca_file",
                    file,
                    &why,
                    "PEM bundle of certificates",
                );
            }
        }),
        cosign_key: wire
            .cosign_public_key_file
            .as_ref()
            .and_then(|file| key(p, file)),
        cache_size: size(
            p,
            "images.cache_size",
            wire.cache_size.as_deref(),
            // Less would not hold one boot environment.
            64 << 20..=u64::MAX >> 1,
        ),
        refresh_interval: duration(
            p,
            "images.refresh_interval",
            wire.refresh_interval.as_deref(),
            Duration::from_secs(1)..=Duration::from_hours(24),
        ),
    }
}

fn mirrors(p: &mut Problems, texts: &[String]) -> Vec<Mirror> {
    let mut mirrors = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(mirror) => mirrors.push(mirror),
            Err(why) => p.add(
                "images.mirrors",
                text,
                why,
                "write REGISTRY=MIRROR[:PORT][/PREFIX], such as docker.io=cache.rack:5000",
            ),
        }
    }
    mirrors
}

fn key(p: &mut Problems, file: &Path) -> Option<CosignKey> {
    CosignKey::read(file)
        .map_err(|why| {
            let what = "cosign.pub of cosign generate-key-pair";
            unusable(p, "images.cosign_public_key_file", file, &why, what);
        })
        .ok()
}

fn unusable(p: &mut Problems, key: &'static str, file: &Path, why: &str, what: &str) {
    p.add(
        key,
        file.display().to_string(),
        format!("cannot be used ({why})"),
        format!("name a file this user can read that holds the {what}"),
    );
}
