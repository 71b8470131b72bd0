//! What a fetched image contains: its metadata and its disk artifact.
//!
//! Reads files below one verified directory. Runs on a blocking thread. Invariant: the sizes and
//! the hash of a [`DiskArtifact`] were measured on the file it names.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::digest::hex;
use super::error::ImageError;
use super::progress::{FetchPhase, Progress, ProgressSink};
use super::unpacked::{Compression, DiskArtifact, ImageMetadata};

/// Names of the disk artifact, best first.
const DISK_NAMES: [(&str, Compression); 3] = [
    ("disk.img.zst", Compression::Zstd),
    ("disk.img.gz", Compression::Gzip),
    ("disk.img", Compression::None),
];
const METADATA_NAME: &str = "metadata.yaml";
const MAX_METADATA_BYTES: u64 = 64 << 10;
const BLOCK_BYTES: usize = 1 << 20;

/// Reads `metadata.yaml`; an image without one has empty metadata.
pub(crate) fn read_metadata(root: &Path, digest: &str) -> Result<ImageMetadata, ImageError> {
    let invalid = |problem: String| ImageError::InvalidContent {
        digest: digest.to_owned(),
        problem,
    };
    let path = root.join(METADATA_NAME);
    let failed = |source| ImageError::Cache {
        operation: "read",
        path: path.clone(),
        source,
    };
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(ImageMetadata::default());
        }
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_file() || found.len() > MAX_METADATA_BYTES => {
            return Err(invalid(format!(
                "{METADATA_NAME} is not a small plain file"
            )));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    if text.trim().is_empty() {
        return Ok(ImageMetadata::default());
    }
    let metadata: ImageMetadata =
        yaml::from_str(&text).map_err(|error| invalid(format!("{METADATA_NAME}: {error}")))?;
    for (field, name) in [
        ("dhcpBootImageName", &metadata.dhcp_boot_image_name),
        ("httpBootPath", &metadata.http_boot_path),
    ] {
        if let Some(name) = name
            && !is_file_below(root, name)
        {
            return Err(invalid(format!(
                "{METADATA_NAME} says {field} {name:?}, which is not a file of the image"
            )));
        }
    }
    Ok(metadata)
}

fn is_file_below(root: &Path, name: &str) -> bool {
    let relative = Path::new(name.trim_start_matches('/'));
    let plain = relative
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    plain && fs::metadata(root.join(relative)).is_ok_and(|found| found.is_file())
}

/// Finds the disk artifact and reads it once to learn the size and hash of the raw disk.
pub(crate) fn measure_disk(
    root: &Path,
    digest: &str,
    max_raw_bytes: u64,
    sink: &ProgressSink,
    cancelled: &CancellationToken,
) -> Result<Option<DiskArtifact>, ImageError> {
    for (name, compression) in DISK_NAMES {
        let path = root.join(name);
        let failed = |source| ImageError::Cache {
            operation: "read",
            path: path.clone(),
            source,
        };
        let found = match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => found,
            Ok(_) => {
                return Err(ImageError::InvalidContent {
                    digest: digest.to_owned(),
                    problem: format!("{name} is not a plain file"),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let compressed_size = found.len();
        let file = Counted {
            inner: File::open(&path).map_err(failed)?,
            progress: Progress::new(sink, FetchPhase::Hashing, compressed_size),
        };
        let file = BufReader::with_capacity(BLOCK_BYTES, file);
        let measured = match compression {
            Compression::Gzip => hash_all(MultiGzDecoder::new(file), max_raw_bytes, cancelled),
            Compression::Zstd => zstd::Decoder::with_buffer(file)
                .map_err(Unmeasured::Corrupt)
                .and_then(|decoder| hash_all(decoder, max_raw_bytes, cancelled)),
            Compression::None => hash_all(file, max_raw_bytes, cancelled),
        };
        let (raw_size, raw_sha256) = measured.map_err(|error| match error {
            Unmeasured::Cancelled => ImageError::Cancelled,
            Unmeasured::TooLarge => ImageError::TooLarge {
                what: "raw disk size in bytes",
                limit: max_raw_bytes,
            },
            Unmeasured::Corrupt(source) => ImageError::InvalidContent {
                digest: digest.to_owned(),
                problem: format!("{name} cannot be decompressed: {source}"),
            },
        })?;
        if raw_size == 0 {
            return Err(ImageError::InvalidContent {
                digest: digest.to_owned(),
                problem: format!("{name} is empty"),
            });
        }
        return Ok(Some(DiskArtifact {
            path,
            compression,
            compressed_size,
            raw_size,
            raw_sha256,
        }));
    }
    Ok(None)
}

enum Unmeasured {
    Cancelled,
    TooLarge,
    Corrupt(io::Error),
}

fn hash_all(
    mut reader: impl Read,
    limit: u64,
    cancelled: &CancellationToken,
) -> Result<(u64, String), Unmeasured> {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut size = 0;
    loop {
        if cancelled.is_cancelled() {
            return Err(Unmeasured::Cancelled);
        }
        let read = match reader.read(&mut block) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unmeasured::Corrupt(error)),
        };
        let Some(new) = block.get(..read).filter(|new| !new.is_empty()) else {
            return Ok((size, hex(&hasher.finalize())));
        };
        size += read as u64;
        if size > limit {
            return Err(Unmeasured::TooLarge);
        }
        hasher.update(new);
    }
}

/// Counts compressed bytes as they are read.
struct Counted {
    inner: File,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}
