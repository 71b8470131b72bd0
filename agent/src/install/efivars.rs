//! Boot variables through efivarfs (Linux `Documentation/filesystems/efivarfs.rst`).
//!
//! A variable file is four bytes of attributes and the content, written by one call; files can
//! be immutable. Invariant: the new entry is written before the order that names it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use metalman_api::install::EfiEntry;
use rustix::fs::IFlags;
use tracing::warn;

use super::efi::{self, ATTRIBUTES, EspLocation, GLOBAL_GUID};
use super::error::InstallError;

const ATTRIBUTE_BYTES: usize = 4;

/// Content of a global variable without its attributes; `None` when it does not exist.
pub fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let bytes = fs::read(folder.join(format!("{name}-{GLOBAL_GUID}"))).ok()?;
    bytes.get(ATTRIBUTE_BYTES..).map(<[u8]>::to_vec)
}

/// Whether the firmware enforces Secure Boot (UEFI 2.10 §3.3).
pub fn is_secure_boot(folder: &Path) -> bool {
    read(folder, "SecureBoot").is_some_and(|content| content == [1])
}

/// Makes one boot entry with our label, first in the boot order. Returns its number.
///
/// # Errors
/// The firmware refused a variable.
pub fn install(folder: &Path, entry: &EfiEntry, esp: &EspLocation) -> Result<u16, InstallError> {
    let entries = entries(folder).map_err(failed("list boot entries"))?;
    let order = efi::parse_order(&read(folder, "BootOrder").unwrap_or_default());
    let option = efi::load_option(&entry.label, esp, &entry.loader);
    let Some(change) = efi::plan_boot(&entries, &order, &entry.label, option) else {
        let source = io::Error::from(io::ErrorKind::StorageFull);
        return Err(failed("find a free boot entry")(source));
    };
    let (number, content) = &change.entry;
    let file = efi::entry_file(*number);
    write(&folder.join(&file), content).map_err(failed(format!("write {file}")))?;
    let file = format!("BootOrder-{GLOBAL_GUID}");
    write(&folder.join(&file), &efi::encode_order(&change.order))
        .map_err(failed(format!("write {file}")))?;
    for old in change.delete {
        let path = folder.join(efi::entry_file(old));
        // An entry that nothing names any more is clutter, not a failure.
        if let Err(error) = make_mutable(&path).and_then(|()| fs::remove_file(&path)) {
            warn!(%error, "old boot entry {old:04X} stays");
        }
    }
    Ok(*number)
}

fn entries(folder: &Path) -> io::Result<BTreeMap<u16, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let Some(number) = file.file_name().to_str().and_then(efi::entry_number) else {
            continue;
        };
        // An unreadable entry keeps its number taken.
        let bytes = fs::read(file.path()).unwrap_or_default();
        found.insert(
            number,
            bytes.get(ATTRIBUTE_BYTES..).unwrap_or_default().to_vec(),
        );
    }
    Ok(found)
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    make_mutable(path)?;
    let bytes = [&ATTRIBUTES.to_le_bytes(), content].concat();
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    // A second call would be another variable write, so a short one is an error.
    let written = file.write(&bytes)?;
    if written == bytes.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Clears the immutable flag of an existing variable.
fn make_mutable(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // File systems without flags have no immutable files.
    let Ok(flags) = rustix::fs::ioctl_getflags(&file) else {
        return Ok(());
    };
    if flags.contains(IFlags::IMMUTABLE) {
        rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
    }
    Ok(())
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> InstallError {
    let action = action.into();
    move |source| InstallError::BootEntryFailed { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_installations_leave_one_first_entry() {
        let folder = tempfile::tempdir().unwrap();
        let order = folder.path().join(format!("BootOrder-{GLOBAL_GUID}"));
        fs::write(&order, [7, 0, 0, 0, 1, 0]).unwrap();
        fs::write(folder.path().join(efi::entry_file(1)), [7, 0, 0, 0, 1]).unwrap();
        let esp = EspLocation {
            number: 1,
            start_lba: 2048,
            size_lba: 10,
            guid: [3; 16],
        };
        let entry = EfiEntry {
            label: "unbounded".into(),
            loader: "/EFI/BOOT/BOOTX64.EFI".into(),
        };
        for _ in 0..2 {
            assert_eq!(install(folder.path(), &entry, &esp).unwrap(), 0);
            assert_eq!(fs::read(&order).unwrap(), [7, 0, 0, 0, 0, 0, 1, 0]);
        }
        assert_eq!(entries(folder.path()).unwrap().len(), 2);
        assert!(!is_secure_boot(folder.path()));
    }
}
