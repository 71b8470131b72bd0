//! The disk (or in tests the file) an image is written to.
//!
//! Whole blocks bypass the page cache where the device allows it, so that progress is real,
//! memory stays free and a read-back comes from the medium. Invariant: while a target is open
//! nobody else can mount the disk or a partition of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags, OFlags};

use super::blocks::ALIGNMENT;

/// An open target.
#[derive(Debug)]
pub struct Target {
    plain: File,
    direct: Option<File>,
}

impl Target {
    /// Opens a block device (or file) for reading and writing.
    ///
    /// # Errors
    /// It does not exist, is read-only, or is in use.
    pub fn open(path: &Path) -> io::Result<Self> {
        let open = |flags: OFlags| {
            let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags)
                .open(path)
        };
        // Without CREATE, EXCL claims a block device and means nothing for a file.
        let plain = open(OFlags::EXCL)?;
        let direct = open(OFlags::DIRECT).ok();
        Ok(Self { plain, direct })
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The device failed.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.direct_for(bytes, offset) {
            Some(direct) => direct.write_all_at(bytes, offset),
            None => self.plain.write_all_at(bytes, offset),
        }
    }

    /// Fills all of `room` from the medium.
    ///
    /// # Errors
    /// The device failed or ends.
    pub fn read_at(&self, room: &mut [u8], offset: u64) -> io::Result<()> {
        match self.direct_for(room, offset) {
            Some(direct) => direct.read_exact_at(room, offset),
            None => self.plain.read_exact_at(room, offset),
        }
    }

    /// Makes a range read as zeros without writing it, where the device can.
    ///
    /// Linux maps this call on a block device to WRITE ZEROES with deallocation and without the
    /// fallback to writing, so that success means zeros.
    ///
    /// # Errors
    /// The device cannot.
    pub fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.plain, mode, offset, length)?)
    }

    /// Waits until everything written is on the medium, and forgets what was cached.
    ///
    /// # Errors
    /// The device failed to keep something.
    pub fn settle(&self) -> io::Result<()> {
        self.plain.sync_all()?;
        Ok(rustix::fs::fadvise(&self.plain, 0, None, Advice::DontNeed)?)
    }

    /// The target as an ordinary file.
    pub fn file(&self) -> &File {
        &self.plain
    }

    fn direct_for(&self, bytes: &[u8], offset: u64) -> Option<&File> {
        let is_aligned = bytes.len().is_multiple_of(ALIGNMENT)
            && offset.is_multiple_of(ALIGNMENT as u64)
            && bytes.as_ptr().align_offset(ALIGNMENT) == 0;
        self.direct.as_ref().filter(|_| is_aligned)
    }
}
