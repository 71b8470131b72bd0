//! The real machine behind [`Host`]: `/sys`, `/dev`, mounts.
//!
//! Invariant: nothing here chooses; it does what the pipeline names.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use metalman_api::disk::DiskFacts;
use rustix::mount::{MountFlags, UnmountFlags};
use tracing::debug;

use super::disks;
use super::gpt::{FileSystem, Partition};
use super::host::Host;
use super::modules::ModuleLoader;
use crate::facts::read_line;

const SYS: &str = "/sys";
const DEV: &str = "/dev";
const MOUNT_POINT: &str = "/run/unbounded-root";
/// Where efivarfs is mounted.
pub const EFI_VARIABLES: &str = "/sys/firmware/efi/efivars";
const PARTITION_WAIT: Duration = Duration::from_secs(15);
const LONGEST_SETTLING: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// This machine.
#[derive(Debug)]
pub struct ThisMachine;

impl ThisMachine {
    /// Waits until no further disk appears: "the only disk" must not mean "the first one".
    ///
    /// # Errors
    /// The disks cannot be listed.
    pub fn settled_disks(&self) -> io::Result<Vec<DiskFacts>> {
        let give_up = Instant::now() + LONGEST_SETTLING;
        let mut found = self.disks()?;
        let mut since = Instant::now();
        loop {
            thread::sleep(POLL);
            let now = Instant::now();
            let disks = self.disks()?;
            if disks != found {
                found = disks;
                since = now;
            }
            let has_scsi = fs::read_dir(Path::new(SYS).join("class/scsi_host"))
                .is_ok_and(|mut hosts| hosts.next().is_some());
            let quiet = now.saturating_duration_since(since);
            if quiet >= quiet_period(found.is_empty(), has_scsi) || now >= give_up {
                return Ok(found);
            }
        }
    }
}

/// How long nothing must change: buses behind SCSI hosts are searched in the background and
/// disks there spin up one after the other.
fn quiet_period(is_empty: bool, has_scsi: bool) -> Duration {
    match (is_empty, has_scsi) {
        (true, true | false) => LONGEST_SETTLING,
        (false, true) => Duration::from_secs(5),
        (false, false) => Duration::from_secs(1),
    }
}

impl Host for ThisMachine {
    fn disks(&self) -> io::Result<Vec<DiskFacts>> {
        disks::inventory(Path::new(SYS), Path::new(DEV))
    }

    fn device(&self, disk: &DiskFacts) -> PathBuf {
        Path::new(DEV).join(&disk.name)
    }

    fn mount(
        &self,
        disk: &DiskFacts,
        partition: &Partition,
        file_system: FileSystem,
    ) -> io::Result<PathBuf> {
        let device = self.device(disk);
        let block = Path::new(SYS).join("block").join(&disk.name);
        let deadline = Instant::now() + PARTITION_WAIT;
        let node = loop {
            // Somebody may still hold a partition of the old table for a moment.
            if let Err(error) = reread(&device) {
                debug!(%error, "partition table not read yet");
            } else if let Some(name) = partition_name(&block, partition) {
                break Path::new(DEV).join(name);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!(
                        "partition {} of {} did not appear",
                        partition.number, disk.name
                    ),
                ));
            }
            thread::sleep(POLL);
        };
        ModuleLoader::system().load_file_system(file_system.name());
        fs::create_dir_all(MOUNT_POINT)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
        rustix::mount::mount(&node, MOUNT_POINT, file_system.name(), flags, None)?;
        Ok(MOUNT_POINT.into())
    }

    fn unmount(&self, root: &Path) -> io::Result<()> {
        rustix::mount::unmount(root, UnmountFlags::empty())?;
        rustix::fs::sync();
        Ok(())
    }

    fn efi_variables(&self) -> Option<PathBuf> {
        let folder = PathBuf::from(EFI_VARIABLES);
        // An empty folder is the mount point without the file system.
        let has_variables = fs::read_dir(&folder).ok()?.next().is_some();
        has_variables.then_some(folder)
    }

    fn agent_binary(&self) -> PathBuf {
        "/proc/self/exe".into()
    }
}

fn reread(device: &Path) -> io::Result<()> {
    let mut disk = File::open(device)?;
    gptman::linux::reread_partition_table(&mut disk).map_err(io::Error::other)
}

/// Kernel name of a partition with the number of the new table.
fn partition_name(block: &Path, partition: &Partition) -> Option<String> {
    let entries = fs::read_dir(block).ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let number: u32 = read_line(&entry.path().join("partition"))?.parse().ok()?;
        (number == partition.number).then(|| entry.file_name().to_string_lossy().into_owned())
    })
}
