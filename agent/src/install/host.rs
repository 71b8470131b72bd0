//! What an installation asks of the operating system: the port that lets a test install into
//! files and folders.

use std::io;
use std::path::{Path, PathBuf};

use metalman_api::disk::DiskFacts;

use super::gpt::{FileSystem, Partition};

/// The machine an image is installed on.
pub trait Host {
    /// Every disk as it is now.
    ///
    /// # Errors
    /// They cannot be listed.
    fn disks(&self) -> io::Result<Vec<DiskFacts>>;

    /// Path that opens a disk as a whole.
    fn device(&self, disk: &DiskFacts) -> PathBuf;

    /// Makes the partitions of a freshly written disk known and mounts one; the path of the
    /// mounted root.
    ///
    /// # Errors
    /// The partition does not appear or cannot be mounted.
    fn mount(
        &self,
        disk: &DiskFacts,
        partition: &Partition,
        file_system: FileSystem,
    ) -> io::Result<PathBuf>;

    /// Unmounts what [`Self::mount`] has mounted; everything written is on the disk afterwards.
    ///
    /// # Errors
    /// It is in use or the disk failed.
    fn unmount(&self, root: &Path) -> io::Result<()>;

    /// Folder of the EFI variables; `None` when the firmware is not UEFI.
    fn efi_variables(&self) -> Option<PathBuf>;

    /// The agent's own binary.
    fn agent_binary(&self) -> PathBuf;
}
