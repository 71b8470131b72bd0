//! The image store: resolves references, fetches each digest once, remembers both.
//!
//! Not a policy: when to resolve again and which images to keep is the owner's business.
//! Invariant: an image handed out is complete and verified, and stays on disk.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::credentials::RegistryCredentials;
use super::digest::is_digest;
use super::error::ImageError;
use super::fetch::FetchJob;
use super::manifest::oci_architecture;
use super::progress::ProgressSink;
use super::reference::ImageReference;
use super::source::ImageSource;
use super::unpacked::UnpackedImage;
use crate::directory::Architecture;

/// Limits and permissions of an [`ImageStore`].
#[derive(Debug, Clone)]
pub struct ImageStoreOptions {
    /// Registries, as `host` or `host:port`, that are spoken to without TLS. No other is, be it on
    /// the loopback or in a private network.
    pub plain_http_hosts: Vec<String>,
    /// Most bytes of all files of an image together.
    pub max_unpacked_bytes: u64,
    /// Most entries of all layers together.
    pub max_entries: u64,
    /// Most bytes of a raw disk.
    pub max_raw_disk_bytes: u64,
    /// How long a registry may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a registry may be silent.
    pub read_timeout: Duration,
}

impl Default for ImageStoreOptions {
    fn default() -> Self {
        Self {
            plain_http_hosts: Vec::new(),
            max_unpacked_bytes: 32 << 30,
            max_entries: 50_000,
            max_raw_disk_bytes: 1 << 40,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// What a reference means at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// `sha256:…` of the manifest for the asked architecture.
    pub digest: String,
}

/// Verified images on local disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cache: Arc<Cache>,
    options: ImageStoreOptions,
    images: RwLock<HashMap<String, Arc<UnpackedImage>>>,
    references: Mutex<BTreeMap<String, String>>,
    /// One lock per digest being fetched; whoever waits finds the image when it gets the lock.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl ImageStore {
    /// Opens or creates the cache below `cache_dir` and loads what it holds. Blocks on local disk.
    pub fn open(cache_dir: &Path, options: ImageStoreOptions) -> Result<Self, ImageError> {
        let cache = Cache::open(cache_dir)?;
        let images = cache.load()?;
        let references = cache.load_references();
        Ok(Self {
            inner: Arc::new(Inner {
                cache: Arc::new(cache),
                options,
                images: RwLock::new(images),
                references: Mutex::new(references),
                fetching: Mutex::default(),
            }),
        })
    }

    /// Asks the registry or the layout what `reference` means for `architecture` now, and
    /// remembers the answer across restarts.
    pub async fn resolve(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<ResolvedImage, ImageError> {
        let source = ImageSource::open(reference, &self.inner.options, credentials)?;
        let digest = source.resolve(architecture).await?;
        self.remember(reference, architecture, &digest).await?;
        Ok(ResolvedImage { digest })
    }

    /// What `reference` meant when it was last resolved; needs no registry.
    pub fn remembered(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
    ) -> Option<ResolvedImage> {
        let references = self
            .inner
            .references
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let digest = references
            .get(&reference_key(reference, architecture))?
            .clone();
        Some(ResolvedImage { digest })
    }

    async fn remember(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
        digest: &str,
    ) -> Result<(), ImageError> {
        let key = reference_key(reference, architecture);
        let digest = digest.to_owned();
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            // Held while writing, so that an older map never replaces a newer one on disk.
            let mut references = inner
                .references
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if references.get(&key) == Some(&digest) {
                return Ok(());
            }
            references.insert(key, digest);
            inner.cache.save_references(&references)
        })
        .await
    }

    /// The image with this digest, if it is in the cache.
    pub fn get(&self, digest: &str) -> Option<Arc<UnpackedImage>> {
        self.inner
            .images
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)
            .cloned()
    }

    /// The image with this digest, fetched from where `reference` points unless it is in the cache.
    /// Concurrent calls for one digest fetch once. Dropping the future gives the fetch up.
    pub async fn fetch(
        &self,
        reference: &ImageReference,
        digest: &str,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        if !is_digest(digest) {
            return Err(ImageError::InvalidReference {
                reference: digest.to_owned(),
                problem: "it is not a sha256 digest".to_owned(),
            });
        }
        if let Some(image) = self.get(digest) {
            return Ok(image);
        }
        let turn = {
            let mut fetching = self
                .inner
                .fetching
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(fetching.entry(digest.to_owned()).or_default())
        };
        let guard = turn.lock().await;
        let outcome = match self.get(digest) {
            Some(image) => Ok(image),
            None => {
                self.fetch_now(reference, digest, credentials, progress)
                    .await
            }
        };
        drop(guard);
        let mut fetching = self
            .inner
            .fetching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Two references: the map's and ours; more means that somebody waits.
        if Arc::strong_count(&turn) <= 2 {
            fetching.remove(digest);
        }
        outcome
    }

    async fn fetch_now(
        &self,
        reference: &ImageReference,
        digest: &str,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        let cancelled = CancellationToken::new();
        let give_up_on_drop = cancelled.clone().drop_guard();
        let job = FetchJob {
            cache: Arc::clone(&self.inner.cache),
            source: ImageSource::open(reference, &self.inner.options, credentials)?,
            digest: digest.to_owned(),
            options: self.inner.options.clone(),
            progress,
            cancelled,
        };
        let runtime = Handle::current();
        let image = blocking(move || job.run(&runtime)).await.map(Arc::new)?;
        give_up_on_drop.disarm();
        self.inner
            .images
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.to_owned(), Arc::clone(&image));
        Ok(image)
    }
}

fn reference_key(reference: &ImageReference, architecture: Architecture) -> String {
    format!("{reference} linux/{}", oci_architecture(architecture))
}

/// Runs on a worker thread; a panic there is passed on as a failure of the cache.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_stopped) => Err(ImageError::Cancelled),
    }
}

#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod tests;
