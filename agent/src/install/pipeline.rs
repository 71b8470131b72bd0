//! One installation, from the list of disks to the boot entry.
//!
//! It talks to the machine through [`Host`] and to the appliance through [`Reporter`]; it does
//! not restart anything. Invariant: before `choose_disk` has named one disk nothing is opened
//! for writing, and success means that the hash was read back from the disk.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use metalman_api::disk::{DiskFacts, choose_disk};
use metalman_api::install::{InstallPlan, InstallStage};
use tracing::info;

use super::decompress::decompress;
use super::error::InstallError;
use super::gpt::{FileSystem, Partition, PartitionTable, SUPERBLOCK_BYTES, TableError};
use super::host::Host;
use super::report::Reporter;
use super::stream::ImageStream;
use super::target::Target;
use super::verify::hash_target;
use super::write::DiskWriter;
use super::{blocks, efivars, seed};
use crate::backoff::Backoff;
use crate::client::Client;

/// What an installation needs beside its plan.
#[derive(Debug)]
pub struct Pipeline<'a, H> {
    /// The machine.
    pub host: &'a H,
    /// Way to the image.
    pub client: &'a Client,
    /// Way for reports.
    pub reporter: &'a Reporter,
    /// Tries of the download.
    pub download: Backoff,
}

/// The written disk.
struct Written {
    sha256: String,
    table: PartitionTable,
    root: (Partition, FileSystem),
}

impl<H: Host> Pipeline<'_, H> {
    /// Carries out the plan. Returns the SHA-256 of the image as read back.
    ///
    /// # Errors
    /// The reason why the machine cannot start from its disk.
    pub fn install(&self, plan: &InstallPlan) -> Result<String, InstallError> {
        self.reporter
            .stage(InstallStage::ChoosingDisk, "looking at the disks");
        let disks = self.host.disks().map_err(InstallError::DisksUnknown)?;
        let disk = choose_disk(&plan.disk, &disks, plan.image.raw_size, &plan.mark)?;
        let device = self.host.device(disk);
        let written = self.write_disk(plan, disk, &device)?;
        self.complete(plan, disk, &written)?;
        self.make_boot_entry(plan, &written.table)?;
        Ok(written.sha256)
    }

    /// Writes, verifies and marks the disk; it is closed afterwards.
    fn write_disk(
        &self,
        plan: &InstallPlan,
        disk: &DiskFacts,
        device: &Path,
    ) -> Result<Written, InstallError> {
        let name = device.display().to_string();
        let failed = |action| {
            let device = name.clone();
            move |source| InstallError::WriteFailed {
                action,
                device,
                source,
            }
        };
        let image = &plan.image;
        let report = |stage, total| move |done| self.reporter.progress(stage, done, total);

        self.reporter
            .stage(InstallStage::Discarding, format!("emptying {disk}"));
        let target = Target::open(device).map_err(failed("opening"))?;
        let writer = DiskWriter {
            target: &target,
            device: &name,
            size: disk.size,
        };
        let zeroed = writer.discard(report(InstallStage::Discarding, disk.size))?;

        self.reporter.stage(
            InstallStage::Writing,
            format!(
                "writing {} bytes of {} to {name}, {zeroed} bytes of the disk were emptied",
                image.raw_size, image.digest
            ),
        );
        let stream = ImageStream::new(
            self.client.clone(),
            &image.url,
            image.compressed_size,
            self.download,
        );
        let raw =
            decompress(image.compression, stream).map_err(|error| InstallError::ImageCorrupt {
                detail: error.to_string(),
            })?;
        writer.write(
            raw,
            image.raw_size,
            zeroed,
            report(InstallStage::Writing, image.raw_size),
        )?;

        self.reporter
            .stage(InstallStage::Verifying, format!("reading {name} back"));
        let progress = report(InstallStage::Verifying, image.raw_size);
        let sha256 = hash_target(&target, &name, image.raw_size, progress)?;
        if !sha256.eq_ignore_ascii_case(&image.raw_sha256) {
            return Err(InstallError::DigestMismatch {
                device: name,
                expected: image.raw_sha256.clone(),
                found: sha256,
            });
        }

        let table = PartitionTable::read(target.file()).map_err(InstallError::Table)?;
        let root = table.root().map_err(InstallError::Table)?.clone();
        let file_system = recognise(&target, &table, &root)
            .map_err(failed("reading"))?
            .ok_or(InstallError::Table(TableError::UnknownFileSystem {
                number: root.number,
            }))?;
        Self::write_mark(plan, &target, &table).map_err(failed("marking"))?;
        Ok(Written {
            sha256,
            table,
            root: (root, file_system),
        })
    }

    fn write_mark(
        plan: &InstallPlan,
        target: &Target,
        table: &PartitionTable,
    ) -> std::io::Result<()> {
        let (Some(offset), Some(sector)) = (table.mark_offset(), plan.mark.encode_sector()) else {
            info!("no install mark: the image leaves no room for it, or its names are too long");
            return Ok(());
        };
        let mut found = vec![0; sector.len()];
        target.read_at(&mut found, offset)?;
        if found.iter().any(|byte| *byte != 0) {
            info!("no install mark: the image uses its place");
            return Ok(());
        }
        target.write_at(&sector, offset)?;
        target.settle()
    }

    /// Puts seed files, agent and unit on the root file system.
    fn complete(
        &self,
        plan: &InstallPlan,
        disk: &DiskFacts,
        written: &Written,
    ) -> Result<(), InstallError> {
        let (partition, file_system) = &written.root;
        self.reporter.stage(
            InstallStage::Seeding,
            format!(
                "writing {} files to partition {} ({}) of {}",
                plan.files.len(),
                partition.number,
                file_system.name(),
                disk.name
            ),
        );
        let failed = |action: &str| {
            let action = format!("{action} partition {} of {}", partition.number, disk.name);
            move |source| InstallError::SeedFailed { action, source }
        };
        let root = self
            .host
            .mount(disk, partition, *file_system)
            .map_err(failed("mount"))?;
        let seeded = seed::seed(&root, &plan.files, &self.host.agent_binary());
        let unmounted = self.host.unmount(&root).map_err(failed("unmount"));
        seeded.and(unmounted)
    }

    fn make_boot_entry(
        &self,
        plan: &InstallPlan,
        table: &PartitionTable,
    ) -> Result<(), InstallError> {
        let Some(variables) = self.host.efi_variables() else {
            self.reporter
                .stage(InstallStage::BootEntry, "skipped, the firmware is not UEFI");
            return Ok(());
        };
        let Some(esp) = table.esp() else {
            self.reporter
                .stage(InstallStage::BootEntry, "skipped, the image has no ESP");
            return Ok(());
        };
        self.reporter.stage(
            InstallStage::BootEntry,
            format!(
                "making the boot entry \"{}\" for {}",
                plan.efi.label, plan.efi.loader
            ),
        );
        let number = efivars::install(&variables, &plan.efi, &esp)?;
        info!("boot entry {number:04X} is first in the boot order");
        Ok(())
    }
}

fn recognise(
    target: &Target,
    table: &PartitionTable,
    root: &Partition,
) -> std::io::Result<Option<FileSystem>> {
    let mut start = vec![0; SUPERBLOCK_BYTES];
    let mut file = target.file();
    file.seek(SeekFrom::Start(table.start_bytes(root)))?;
    let length = blocks::read_full(&mut Read::by_ref(&mut file), &mut start)?;
    Ok(FileSystem::recognise(
        start.get(..length).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests;
