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
use crate::domain::facts::BootLoaders;

/// Loaders by digest of their image.
#[derive(Debug, Default)]
pub struct LoadersSeen {
    floor: RwLock<Level>,
    images: RwLock<HashMap<String, Arc<Loaders>>>,
}

/// Whether firmware with current revocations starts a machine's boot loaders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderVerdict {
    /// The verdict.
    pub state: BootLoaders,
    /// Each loader with its generations, or what is wrong with them.
    pub message: String,
}

/// The verdict on loaders, and what is to be said of them.
fn judge(loaders: &Loaders) -> LoaderVerdict {
    let date = loaders.level().date();
    let revoked: Vec<String> = loaders
        .revoked()
        .iter()
        .map(|(file, revoked)| format!("{file}: {revoked}"))
        .collect();
    let (described, silent): (Vec<_>, Vec<_>) = loaders
        .files()
        .map(|(file, _)| (file, loaders.describe(file)))
        .partition(|(_, words)| words.is_some());
    let silent: Vec<&str> = silent.into_iter().map(|(file, _)| file).collect();
    let (state, message) = if !revoked.is_empty() {
        (BootLoaders::Revoked, revoked.join("; "))
    } else if !silent.is_empty() {
        let message = format!(
            "{}: no SBAT generation inside, so it cannot be held against the revocations; loaders from before \
             2021 have none and current firmware or shim refuses them: put a current one into the netboot image",
            silent.join(", ")
        );
        (BootLoaders::NoSbat, message)
    } else if described.is_empty() {
        let message = "the netboot image has no EFI boot loader (a PE file named *.efi)".to_owned();
        (BootLoaders::NoLoaders, message)
    } else {
        let words = described.iter();
        let words = words.filter_map(|(file, words)| Some(format!("{file}: {}", words.as_ref()?)));
        (BootLoaders::Current, words.collect::<Vec<_>>().join("; "))
    };
    LoaderVerdict {
        state,
        message: format!("{message} (SBAT level {date})"),
    }
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
        Some(judge(&*self.loaders_of(machine)?))
    }
}

#[cfg(test)]
mod tests {
    use netboot::images::ImageMetadata;

    use super::*;

    /// A PE file, with an `.sbat` section if there is something to say.
    fn loader(sbat: &str) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..2].copy_from_slice(b"MZ");
        file[60] = 64;
        file.extend(b"PE\0\0");
        let mut coff = [0_u8; 20];
        coff[2] = u8::from(!sbat.is_empty());
        file.extend(coff);
        if !sbat.is_empty() {
            let mut header = [0_u8; 40];
            header[..5].copy_from_slice(b".sbat");
            let length = u32::try_from(sbat.len()).unwrap().to_le_bytes();
            header[8..12].copy_from_slice(&length);
            header[16..20].copy_from_slice(&length);
            let offset = u32::try_from(file.len() + header.len()).unwrap();
            header[20..24].copy_from_slice(&offset.to_le_bytes());
            file.extend(header);
            file.extend(sbat.as_bytes());
        }
        file
    }

    #[test]
    fn a_loader_that_says_nothing_of_itself_is_not_called_current() {
        let grub = "sbat,1,SBAT Version,sbat,1,u\ngrub,5,FSF,grub,2.12,u\n";
        let old = "sbat,1,SBAT Version,sbat,1,u\ngrub,1,FSF,grub,2.04,u\n";
        for (files, state, says) in [
            (
                vec![("grubx64.efi", grub)],
                BootLoaders::Current,
                "grub 5 (2.12)",
            ),
            (
                vec![("grubx64.efi", grub), ("shimx64.efi", "")],
                BootLoaders::NoSbat,
                "shimx64.efi: no SBAT generation",
            ),
            (
                vec![("grubx64.efi", old), ("shimx64.efi", "")],
                BootLoaders::Revoked,
                "grubx64.efi: grub generation 1 is revoked",
            ),
            (vec![], BootLoaders::NoLoaders, "has no EFI boot loader"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (name, sbat) in files {
                std::fs::write(folder.path().join(name), loader(sbat)).unwrap();
            }
            let loaders = Loaders::of_folder(folder.path(), &Level::default()).unwrap();
            let verdict = judge(&loaders);
            assert_eq!(verdict.state, state, "{verdict:?}");
            assert!(verdict.message.contains(says), "{verdict:?}");
        }
    }

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
