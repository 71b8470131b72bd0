//! The boot loaders of an unpacked netboot image, and which of them are revoked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{Level, Loader, Revoked, read};

/// How deep loaders are looked for: `EFI/BOOT/BOOTX64.EFI` is at three.
const MAX_DEPTH: usize = 3;
/// More loaders than an image has.
const MAX_LOADERS: usize = 64;

/// What the loaders of one image say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaders {
    files: BTreeMap<String, Loader>,
    level: Level,
}

impl Loaders {
    /// Reads every `.efi` file below `root`. They are held against `floor`, or against the list that
    /// one of them carries if that is later.
    ///
    /// # Errors
    /// A folder or file cannot be read.
    pub fn of_folder(root: &Path, floor: &Level) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        collect(root, "", MAX_DEPTH, &mut files)?;
        let level = files
            .values()
            .filter_map(|loader| loader.level.clone())
            .fold(floor.clone(), Level::later);
        Ok(Self { files, level })
    }

    /// The level they are held against.
    pub fn level(&self) -> &Level {
        &self.level
    }

    /// Path below the root, and what the file says.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Loader)> {
        self.files
            .iter()
            .map(|(path, loader)| (path.as_str(), loader))
    }

    /// What is revoked, by file.
    pub fn revoked(&self) -> Vec<(&str, Revoked)> {
        self.files()
            .flat_map(|(path, loader)| {
                let revoked = self.level.revoked(&loader.components);
                revoked.into_iter().map(move |revoked| (path, revoked))
            })
            .collect()
    }

    /// One file in words, such as `shim 4, shim.debian 1 (16.1)`; `None` when it is not there or
    /// has no SBAT section.
    pub fn describe(&self, path: &str) -> Option<String> {
        let loader = self.files.get(path.trim_start_matches('/'))?;
        let mut text = String::new();
        let ours = |name: &str| name != "sbat";
        for component in loader.components.iter().filter(|c| ours(&c.name)) {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a String does not fail.
            write!(text, "{comma}{} {}", component.name, component.generation).ok();
        }
        if text.is_empty() {
            return None;
        }
        // The most particular component has the version of the package.
        if let Some(last) = loader.components.last().filter(|c| !c.version.is_empty()) {
            write!(text, " ({})", last.version).ok();
        }
        for revoked in self.level.revoked(&loader.components) {
            write!(text, "; REVOKED: {revoked} (level {})", self.level.date()).ok();
        }
        Some(text)
    }
}

fn collect(
    dir: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, Loader>,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kind = entry.file_type()?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() && depth > 1 {
            collect(&entry.path(), &format!("{path}/"), depth - 1, files)?;
        } else if kind.is_file()
            && name.to_ascii_lowercase().ends_with(".efi")
            && files.len() < MAX_LOADERS
            && let Some(loader) = read(&mut File::open(entry.path())?)?
        {
            files.insert(path, loader);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::section::testing::pe;
    use super::*;

    #[test]
    fn the_loaders_of_an_image_are_held_against_the_latest_list() {
        let folder = tempfile::tempdir().unwrap();
        let shim = b"sbat,1,SBAT Version,sbat,1,u\nshim,4,UEFI shim,shim,1,u\nshim.debian,1,Debian,shim,16.1,u\n";
        let grub = b"sbat,1,SBAT Version,sbat,1,u\ngrub,4,FSF,grub,2.06,u\n";
        fs::create_dir_all(folder.path().join("EFI/BOOT")).unwrap();
        let write = |path: &str, content: &[u8]| fs::write(folder.path().join(path), content);
        write("shimx64.efi", &pe(&[(b".sbat", shim)])).unwrap();
        write("EFI/BOOT/grubx64.EFI", &pe(&[(b".sbat", grub)])).unwrap();
        write("vmlinuz", b"MZ").unwrap();
        let floor = Level::parse("sbat,1,2024010900 shim,4 grub,3").unwrap();
        let old = Loaders::of_folder(folder.path(), &floor).unwrap();
        assert_eq!(old.revoked(), []);
        let told = old.describe("/shimx64.efi").unwrap();
        assert_eq!(told, "shim 4, shim.debian 1 (16.1)");
        let now = Loaders::of_folder(folder.path(), &Level::default()).unwrap();
        assert_eq!(now.revoked().len(), 1);
        assert_eq!(
            now.describe("EFI/BOOT/grubx64.EFI").unwrap(),
            "grub 4 (2.06); REVOKED: grub generation 4 is revoked, 5 is the lowest that is not \
             (level 2025051000)"
        );
        assert_eq!(now.describe("vmlinuz"), None);
    }
}
