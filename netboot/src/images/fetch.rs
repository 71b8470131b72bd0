//! One fetch: layers into a staging directory, checks, measurement, commit.
//!
//! Runs on a blocking thread, so that decompression and hashing never stall the packet path.
//! Invariant: nothing gets its final name before every layer has been verified.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::disk::{measure_disk, read_metadata};
use super::error::ImageError;
use super::options::ImageStoreOptions;
use super::progress::{FetchPhase, Progress, ProgressSink};
use super::reader::DigestReader;
use super::source::ImageSource;
use super::unpack::{Budget, DISK_DIRECTORY, unpack_layer};
use super::unpacked::UnpackedImage;

/// Everything one fetch needs.
pub(crate) struct FetchJob {
    pub(crate) cache: Arc<Cache>,
    pub(crate) source: ImageSource,
    pub(crate) digest: String,
    pub(crate) options: ImageStoreOptions,
    pub(crate) progress: ProgressSink,
    pub(crate) cancelled: CancellationToken,
}

impl FetchJob {
    /// Fetches the image and says how many bytes it takes; `runtime` drives the network while this thread waits for it.
    pub(crate) fn run(self, runtime: &Handle) -> Result<(UnpackedImage, u64), ImageError> {
        let limit = self.options.max_fetch_time;
        let outcome =
            runtime.block_on(async { tokio::time::timeout(limit, self.unpack_verified()).await });
        if self.cancelled.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        let staging = outcome.map_err(|_| ImageError::TooSlow {
            digest: self.digest.clone(),
            limit,
        })??;
        let root = staging.path().join(DISK_DIRECTORY);
        if !fs::symlink_metadata(&root).is_ok_and(|found| found.is_dir()) {
            return Err(ImageError::InvalidContent {
                digest: self.digest,
                problem: "it has no disk directory".to_owned(),
            });
        }
        let metadata = read_metadata(&root, &self.digest)?;
        let limit = self.options.max_raw_disk_bytes;
        let disk = measure_disk(&root, &self.digest, limit, &self.progress, &self.cancelled)?;
        self.cache
            .commit(staging, &self.digest, metadata, disk.as_ref())
    }

    /// All layers in a staging directory of their own; from the beginning, elsewhere, when a mirror
    /// gave wrong bytes, or not all of them.
    async fn unpack_verified(&self) -> Result<TempDir, ImageError> {
        loop {
            let staging = self.cache.staging()?;
            match self.unpack_layers(staging.path()).await {
                Ok(()) => return Ok(staging),
                Err(
                    ImageError::DigestMismatch { digest, .. }
                    | ImageError::Unreachable {
                        reference: digest, ..
                    },
                ) if self.source.has_another_place(&digest) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn unpack_layers(&self, staging: &std::path::Path) -> Result<(), ImageError> {
        let layers = self.source.image(&self.digest).await?;
        let total_bytes = layers
            .iter()
            .try_fold(0_u64, |sum, layer| sum.checked_add(layer.size))
            .filter(|total| *total <= self.options.max_unpacked_bytes)
            .ok_or(ImageError::TooLarge {
                what: "compressed size in bytes",
                limit: self.options.max_unpacked_bytes,
            })?;
        let progress = Progress::new(&self.progress, FetchPhase::Layers, total_bytes);
        let mut budget = Budget {
            bytes: self.options.max_unpacked_bytes,
            entries: self.options.max_entries,
        };
        for layer in &layers {
            let blob = self.source.blob(layer).await?;
            let blob =
                DigestReader::new(blob, layer.size, progress.clone(), self.cancelled.clone());
            unpack_layer(layer, blob, staging, &mut budget).await?;
        }
        Ok(())
    }
}
