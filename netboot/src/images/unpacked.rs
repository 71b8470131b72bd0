//! What is known about an image that has been fetched, verified and unpacked.
//!
//! Data only; the store makes it. Invariant: an [`UnpackedImage`] exists only after its digest has been verified.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A verified image on local disk; immutable, addressed by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedImage {
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// The unpacked `disk/` directory.
    pub root: PathBuf,
    /// What `metadata.yaml` says; empty when the image has none.
    pub metadata: ImageMetadata,
    /// The disk artifact of a machine image; `None` for a netboot image.
    pub disk: Option<DiskArtifact>,
}

/// `metadata.yaml` of a netboot image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageMetadata {
    /// First file by TFTP, relative to the root of the image.
    pub dhcp_boot_image_name: Option<String>,
    /// First file by UEFI HTTP boot, relative to the root of the image.
    pub http_boot_path: Option<String>,
}

impl ImageMetadata {
    /// First file by UEFI HTTP boot: the one named for it, else the one named for DHCP.
    pub fn http_boot_file(&self) -> Option<&str> {
        let named = |name: &&str| !name.is_empty();
        let own = self.http_boot_path.as_deref().filter(named);
        own.or(self.dhcp_boot_image_name.as_deref().filter(named))
    }
}

/// The compressed raw disk inside a machine image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskArtifact {
    /// Where the compressed file is.
    pub path: PathBuf,
    /// How it is compressed.
    pub compression: Compression,
    /// Bytes of the file as stored.
    pub compressed_size: u64,
    /// Bytes of the raw disk.
    pub raw_size: u64,
    /// Lower-case hex SHA-256 of the whole raw disk.
    pub raw_sha256: String,
}

/// How a disk artifact is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Raw bytes.
    None,
}
