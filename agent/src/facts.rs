//! What this machine says about itself, read from `/proc` and `/sys`.
//!
//! Invariant: only the boot id is required; everything else may be missing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Root folders the facts are read from.
#[derive(Debug, Clone)]
pub struct FactSource {
    proc: PathBuf,
    sys: PathBuf,
}

impl FactSource {
    /// The running system.
    pub fn system() -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
        }
    }

    /// Other folders of the same layout.
    pub fn at(proc: impl Into<PathBuf>, sys: impl Into<PathBuf>) -> Self {
        Self {
            proc: proc.into(),
            sys: sys.into(),
        }
    }

    /// `/proc/sys/kernel/random/boot_id`, new at every boot.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn boot_id(&self) -> io::Result<String> {
        fs::read_to_string(self.proc.join("sys/kernel/random/boot_id"))
            .map(|text| text.trim().to_owned())
    }

    /// SMBIOS system UUID in lower case; readable by root only.
    pub fn machine_uuid(&self) -> Option<String> {
        read_line(&self.sys.join("class/dmi/id/product_uuid")).map(|text| text.to_ascii_lowercase())
    }

    /// Kernel release, such as `6.1.0-56-cloud-amd64`.
    pub fn kernel(&self) -> String {
        read_line(&self.proc.join("sys/kernel/osrelease")).unwrap_or_default()
    }

    /// Whole seconds since boot.
    pub fn uptime_seconds(&self) -> u64 {
        read_line(&self.proc.join("uptime"))
            .and_then(|text| text.split('.').next()?.parse().ok())
            .unwrap_or_default()
    }
}

/// First line of a file without surrounding blanks; `None` when unreadable or empty.
pub fn read_line(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text
        .lines()
        .next()?
        .trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_from_the_given_folders_and_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path().join("proc");
        fs::create_dir_all(proc.join("sys/kernel/random")).unwrap();
        fs::write(proc.join("sys/kernel/random/boot_id"), "abc\n").unwrap();
        fs::write(proc.join("uptime"), "12.34 20.00\n").unwrap();
        let facts = FactSource::at(&proc, folder.path().join("sys"));
        assert_eq!(facts.boot_id().unwrap(), "abc");
        assert_eq!(facts.uptime_seconds(), 12);
        assert_eq!(facts.machine_uuid(), None);
        assert_eq!(facts.kernel(), "");
    }
}
