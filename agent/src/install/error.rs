//! Why an installation ended: one variant per reaction of the operator.
//!
//! Invariant: `reason` is one of the failure reasons of the install messages.

use std::io;

use metalman_api::disk::DiskRefusal;
use metalman_api::install::InstallFailure;

use super::cmdline::CmdlineError;
use super::gpt::TableError;

/// An installation that ended without a bootable disk.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The kernel command line cannot be used; nothing was contacted.
    #[error("the boot arguments cannot be used")]
    Arguments(#[source] CmdlineError),
    /// The network interface could not be set up.
    #[error("network interface {interface} could not be set up")]
    NetworkFailed {
        /// MAC or name.
        interface: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The appliance refused the claim, or never answered it.
    #[error("the install claim was not granted: {message}")]
    ClaimRefused {
        /// Reason and text of the appliance, or of the last failed try.
        message: String,
    },
    /// The facts of the machine could not be read.
    #[error("the disks of the machine could not be listed")]
    DisksUnknown(#[source] io::Error),
    /// No disk may be written.
    #[error(transparent)]
    Disk(#[from] DiskRefusal),
    /// The image could not be fetched to its end.
    #[error("the image could not be downloaded")]
    DownloadFailed(#[source] io::Error),
    /// The image ends before its announced size.
    #[error("the image ends after {got} of {expected} bytes; publish it again")]
    ImageTruncated {
        /// Bytes it should have.
        expected: u64,
        /// Bytes there were.
        got: u64,
    },
    /// The image cannot be unpacked or is longer than announced.
    #[error("the image is damaged: {detail}; publish it again")]
    ImageCorrupt {
        /// What was seen.
        detail: String,
    },
    /// The disk holds something else than was written to it.
    #[error("{device} does not hold the image: SHA-256 is {found}, expected {expected}")]
    DigestMismatch {
        /// Device path.
        device: String,
        /// Digest of the plan.
        expected: String,
        /// Digest read back.
        found: String,
    },
    /// The disk refused to be opened, written or read.
    #[error("{action} {device} failed")]
    WriteFailed {
        /// Verb.
        action: &'static str,
        /// Device path.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The written image has no usable partition table.
    #[error("the installed system cannot be completed")]
    Table(#[source] TableError),
    /// A file could not be put on the root file system.
    #[error("the installed system cannot be completed: {action}")]
    SeedFailed {
        /// Verb and object.
        action: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The firmware boot entry could not be written.
    #[error("the firmware boot entry cannot be made: {action}")]
    BootEntryFailed {
        /// Verb and object.
        action: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A defect of the installer itself.
    #[error("the installer stopped: {0}")]
    Defect(String),
}

impl InstallError {
    /// CamelCase reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Arguments(_) | Self::NetworkFailed { .. } => "NetworkFailed",
            Self::ClaimRefused { .. } => "ClaimRefused",
            Self::DisksUnknown(_) => "NoSuitableDisk",
            Self::Disk(refusal) => refusal.reason(),
            Self::DownloadFailed(_) => "DownloadFailed",
            Self::ImageTruncated { .. } => "ImageTruncated",
            Self::ImageCorrupt { .. } => "ImageCorrupt",
            Self::DigestMismatch { .. } => "DigestMismatch",
            Self::WriteFailed { .. } | Self::Defect(_) => "WriteFailed",
            Self::Table(_) | Self::SeedFailed { .. } => "SeedFailed",
            Self::BootEntryFailed { .. } => "BootEntryFailed",
        }
    }

    /// Reason and the whole chain of causes, for the report.
    pub fn to_failure(&self) -> InstallFailure {
        InstallFailure {
            reason: self.reason().to_owned(),
            message: chain(self),
        }
    }
}

/// An error with its causes, separated by colons.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
