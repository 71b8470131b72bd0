//! What the boot loaders of netboot images say of themselves, read once per image.
//!
//! Information, not a gate: firmware refuses what is revoked, we say so beforehand. Invariant: an
//! image is read at most once, however often it is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use netboot::{
    images::UnpackedImage,
    sbat::{Level, Loaders},
};
use tracing::warn;

use super::Site;

/// Loaders by digest of their image.
#[derive(Debug, Default)]
pub struct LoadersSeen {
    floor: RwLock<Level>,
    images: RwLock<HashMap<String, Arc<Loaders>>>,
}

/// Whether firmware with current revocations starts a machine's boot loaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderVerdict {
    /// None of them is revoked.
    pub is_current: bool,
    /// Each loader with its generations, or what is revoked.
    pub message: String,
}

impl LoadersSeen {
    /// Sets the level that loaders are held against; to be called before images are seen.
    pub fn hold_against(&self, floor: Level) {
        *self.floor.write().unwrap_or_else(PoisonError::into_inner) = floor;
    }

    /// Reads the loaders of an image that is new.
    pub(super) fn learn(&self, image: &UnpackedImage) {
        if self.of_image(&image.digest).is_some() {
            return;
        }
        let floor = self.floor.read().unwrap_or_else(PoisonError::into_inner);
        match Loaders::of_folder(&image.root, &floor) {
            Ok(loaders) => {
                for (file, revoked) in loaders.revoked() {
                    warn!(
                        image.digest = %image.digest, file, %revoked,
                        level = loaders.level().date(),
                        "a boot loader is revoked: machines with current firmware refuse it"
                    );
                }
                self.images
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(image.digest.clone(), Arc::new(loaders));
            }
            Err(error) => {
                warn!(image.digest = %image.digest, %error, "could not read the boot loaders of an image");
            }
        }
    }

    fn of_image(&self, digest: &str) -> Option<Arc<Loaders>> {
        let images = self.images.read().unwrap_or_else(PoisonError::into_inner);
        images.get(digest).cloned()
    }
}

impl Site {
    fn loaders_of(&self, machine: &str) -> Option<Arc<Loaders>> {
        let object = self.machine(machine)?;
        let snapshot = self.boot_snapshot();
        // By MAC, because the snapshot has no index of names.
        let leases = object.spec.pxe.iter().flat_map(|pxe| &pxe.dhcp_leases);
        let boot = leases
            .filter_map(|lease| snapshot.by_mac(lease.mac.parse().ok()?))
            .find(|boot| boot.name == machine)?;
        self.loaders.of_image(&boot.netboot.as_ref()?.digest)
    }

    /// SBAT generations of a file served to a machine, when it is a boot loader.
    pub fn loader_words(&self, machine: &str, file: &str) -> Option<String> {
        self.loaders_of(machine)?.describe(file)
    }

    /// What is to be said of the boot loaders of a machine; `None` until its image is there.
    pub fn loader_verdict(&self, machine: &str) -> Option<LoaderVerdict> {
        let loaders = self.loaders_of(machine)?;
        let revoked = loaders.revoked();
        let told: Vec<String> = if revoked.is_empty() {
            let describe = |(file, _)| Some(format!("{file}: {}", loaders.describe(file)?));
            loaders.files().filter_map(describe).collect()
        } else {
            revoked
                .iter()
                .map(|(file, revoked)| format!("{file}: {revoked}"))
                .collect()
        };
        Some(LoaderVerdict {
            is_current: revoked.is_empty(),
            message: format!(
                "{} (SBAT level {})",
                told.join("; "),
                loaders.level().date()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use netboot::images::ImageMetadata;

    use super::*;

    #[test]
    fn an_image_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let image = UnpackedImage {
            digest: "sha256:1".into(),
            root: folder.path().to_owned(),
            metadata: ImageMetadata::default(),
            disk: None,
        };
        let seen = LoadersSeen::default();
        seen.learn(&image);
        let first = seen.of_image("sha256:1").unwrap();
        drop(folder);
        seen.learn(&image);
        assert!(Arc::ptr_eq(&first, &seen.of_image("sha256:1").unwrap()));
        assert_eq!(seen.of_image("sha256:2"), None);
    }
}
