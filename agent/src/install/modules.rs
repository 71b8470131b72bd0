//! Loading the kernel modules that the devices present ask for.
//!
//! Distribution kernels build many drivers in, so a module that is not shipped is normal.
//! Invariant: each module is tried once; a failure never stops the installation.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tracing::{debug, info, warn};

use super::module_index::{ModuleIndex, module_name};
use crate::facts::FactSource;

/// Wanted whatever devices there are: SCSI disks, packet sockets, EFI variables.
const ALWAYS: [&str; 3] = ["sd_mod", "af_packet", "efivarfs"];
/// Checksums that file systems ask for by name when they are mounted.
const CHECKSUMS: [&str; 3] = ["crc32c_generic", "crc32c_intel", "libcrc32c"];
/// Buses appear behind buses; real machines need three or four passes.
const MOST_PASSES: usize = 10;
/// `MODULE_INIT_COMPRESSED_FILE` of `finit_module(2)`.
const COMPRESSED: i32 = 4;

/// Loads modules of one release.
#[derive(Debug)]
pub struct ModuleLoader {
    folder: PathBuf,
    index: ModuleIndex,
    tried: HashSet<String>,
    loaded: usize,
}

impl ModuleLoader {
    /// For the running kernel.
    pub fn system() -> Self {
        Self::new(Path::new("/lib/modules").join(FactSource::system().kernel()))
    }

    /// Reads the index in `/lib/modules/<release>`; an absent folder means that everything is
    /// built in.
    pub fn new(folder: PathBuf) -> Self {
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let index = ModuleIndex::parse(&read("modules.alias"), &read("modules.dep"));
        Self {
            folder,
            index,
            tried: HashSet::new(),
            loaded: 0,
        }
    }

    /// Loads what is always wanted and what the devices under `sys/devices` ask for, until
    /// nothing new appears.
    pub fn load_all(&mut self, sys: &Path) {
        for name in ALWAYS {
            self.load(name);
        }
        for _ in 0..MOST_PASSES {
            let before = self.tried.len();
            let mut wanted = HashSet::new();
            collect_modaliases(&sys.join("devices"), &mut wanted);
            let modules: HashSet<String> = wanted
                .iter()
                .flat_map(|modalias| self.index.modules_for(modalias))
                .map(str::to_owned)
                .collect();
            for module in modules {
                self.load(&module);
            }
            if self.tried.len() == before {
                break;
            }
        }
        info!("{} kernel modules loaded", self.loaded);
    }

    /// Loads a file system and what it asks for.
    pub fn load_file_system(&mut self, name: &str) {
        for module in CHECKSUMS.into_iter().chain([name]) {
            self.load(module);
        }
    }

    fn load(&mut self, module: &str) {
        let files: Vec<String> = self
            .index
            .load_order(module)
            .into_iter()
            .map(str::to_owned)
            .collect();
        for file in files {
            if !self.tried.insert(module_name(&file)) {
                continue;
            }
            match insert(&self.folder.join(&file)) {
                Ok(()) => self.loaded += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    debug!("module {file} is not shipped");
                }
                Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
                // Many drivers answer so when their device turns out not to be there.
                Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {}
                Err(error) => warn!(%error, "module {file} not loaded"),
            }
        }
    }
}

fn insert(file: &Path) -> io::Result<()> {
    let is_plain = file.extension().is_some_and(|suffix| suffix == "ko");
    let flags = if is_plain { 0 } else { COMPRESSED };
    Ok(rustix::system::finit_module(File::open(file)?, c"", flags)?)
}

/// Every `modalias` below `folder`; links are not followed, sysfs has loops.
fn collect_modaliases(folder: &Path, found: &mut HashSet<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            collect_modaliases(&entry.path(), found);
        } else if entry.file_name() == "modalias"
            && let Ok(text) = fs::read_to_string(entry.path())
            && !text.trim().is_empty()
        {
            found.insert(text.trim().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modaliases_are_found_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("pci0000:00/0000:00:01.0/virtio0");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("modalias"), "virtio:d00000002v00001AF4\n").unwrap();
        std::os::unix::fs::symlink(folder.path(), deep.join("subsystem")).unwrap();
        let mut found = HashSet::new();
        collect_modaliases(folder.path(), &mut found);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["virtio:d00000002v00001AF4"]
        );
    }
}
