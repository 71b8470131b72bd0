//! The image store: resolves references, fetches each digest once, remembers both.
//!
//! Not a policy: when to resolve again and which images are needed is the owner's business.
//! Invariant: an image handed out is complete and verified, and stays on disk while it is held.

mod collect;
mod entries;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use super::credentials::Keyring;
use super::digest::is_digest;
use super::error::ImageError;
use super::fetch::FetchJob;
use super::layout::Layout;
use super::manifest::oci_architecture;
use super::options::ImageStoreOptions;
use super::progress::ProgressSink;
use super::reference::ImageReference;
use super::registry::{Registry, ensure_crypto_provider};
use super::remote::policy::Policy;
use super::remote::transport::{Lookup, Patience, Transport, system_lookup};
use super::signature;
use super::source::ImageSource;
use super::unpacked::UnpackedImage;
use crate::directory::Architecture;
use crate::metrics::ImageMetrics;

pub use collect::{Collected, CollectionGoal, CollectionRound};
use entries::Entries;

/// What a reference means at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// `sha256:…` of the manifest for the asked architecture.
    pub digest: String,
    /// `sha256:…` of what the reference itself names: the index the manifest was chosen from, or
    /// the same manifest.
    pub index: String,
}

/// Verified images on local disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Arc<Cache>,
    options: ImageStoreOptions,
    metrics: ImageMetrics,
    lookup: Lookup,
    transport: Mutex<Option<Arc<Transport>>>,
    entries: RwLock<Entries>,
    references: Mutex<BTreeMap<String, ResolvedImage>>,
    /// One lock per digest being fetched; whoever waits finds the image when it gets the lock.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ImageStore {
    /// Opens or creates the cache below `cache_dir` and loads what it holds. Blocks on local disk.
    pub fn open(cache_dir: &Path, options: ImageStoreOptions) -> Result<Self, ImageError> {
        Self::open_with(cache_dir, options, system_lookup())
    }

    fn open_with(
        cache_dir: &Path,
        options: ImageStoreOptions,
        lookup: Lookup,
    ) -> Result<Self, ImageError> {
        let cache = Cache::open(cache_dir)?;
        let entries = Entries::load(&cache)?;
        let references = cache.load_references();
        let metrics = ImageMetrics::default();
        metrics.cached(entries.len(), entries.bytes());
        Ok(Self {
            inner: Arc::new(Inner {
                cache: Arc::new(cache),
                options,
                metrics,
                lookup,
                transport: Mutex::default(),
                entries: RwLock::new(entries),
                references: Mutex::new(references),
                fetching: Mutex::default(),
            }),
        })
    }

    /// What this store counts.
    pub fn metrics(&self) -> &ImageMetrics {
        &self.inner.metrics
    }

    /// The image `reference` means for `architecture` now, fetched unless it is in the cache. What
    /// the reference meant before is remembered until the new image is complete.
    pub async fn obtain(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
        keyring: Option<&Keyring>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        let resolved = self.ask(reference, architecture, keyring).await?;
        let image = self
            .fetch_resolved(reference, &resolved, keyring, progress)
            .await?;
        self.remember(reference, architecture, resolved).await?;
        Ok(image)
    }

    /// Asks the registry or the layout what `reference` means for `architecture` now. The answer is
    /// remembered across restarts, unless that would hide an image that can be used.
    pub async fn resolve(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
        keyring: Option<&Keyring>,
    ) -> Result<ResolvedImage, ImageError> {
        let resolved = self.ask(reference, architecture, keyring).await?;
        let usable = |image: &ResolvedImage| self.get(&image.digest).is_some();
        let known = self.remembered(reference, architecture);
        if usable(&resolved) || !known.as_ref().is_some_and(usable) {
            self.remember(reference, architecture, resolved.clone())
                .await?;
        }
        Ok(resolved)
    }

    async fn ask(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
        keyring: Option<&Keyring>,
    ) -> Result<ResolvedImage, ImageError> {
        let known = self.remembered(reference, architecture);
        match known {
            // A digest never means anything else.
            Some(known) if reference.is_pinned() && self.get(&known.digest).is_some() => Ok(known),
            known => {
                let source = self.source(reference, keyring).await?;
                let outcome = source.resolve(architecture, known.as_ref()).await;
                self.inner.metrics.resolved(outcome_of(&outcome));
                outcome
            }
        }
    }

    /// What `reference` meant when it was last resolved; needs no registry.
    pub fn remembered(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
    ) -> Option<ResolvedImage> {
        self.inner
            .references
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&reference_key(reference, architecture))
            .cloned()
    }

    async fn remember(
        &self,
        reference: &ImageReference,
        architecture: Architecture,
        resolved: ResolvedImage,
    ) -> Result<(), ImageError> {
        let key = reference_key(reference, architecture);
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            // Held while writing, so that an older map never replaces a newer one on disk.
            let mut references = inner
                .references
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if references.get(&key) == Some(&resolved) {
                return Ok(());
            }
            references.insert(key, resolved);
            inner.cache.save_references(&references)
        })
        .await
    }

    /// The image with this digest, if it is in the cache and, where signatures are required, signed.
    pub fn get(&self, digest: &str) -> Option<Arc<UnpackedImage>> {
        self.inner
            .entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .use_image(digest, self.required_key())
    }

    fn required_key(&self) -> Option<&str> {
        self.inner
            .options
            .cosign_key
            .as_ref()
            .map(super::signature::CosignKey::fingerprint)
    }

    /// The image with this digest, fetched from where `reference` points unless it is in the cache.
    /// Concurrent calls for one digest fetch once. Dropping the future gives the fetch up.
    pub async fn fetch(
        &self,
        reference: &ImageReference,
        digest: &str,
        keyring: Option<&Keyring>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        let resolved = ResolvedImage {
            digest: digest.to_owned(),
            index: digest.to_owned(),
        };
        self.fetch_resolved(reference, &resolved, keyring, progress)
            .await
    }

    async fn fetch_resolved(
        &self,
        reference: &ImageReference,
        resolved: &ResolvedImage,
        keyring: Option<&Keyring>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        let digest = resolved.digest.as_str();
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
                let begun = tokio::time::Instant::now();
                let outcome = self.fetch_now(reference, resolved, keyring, progress).await;
                self.inner
                    .metrics
                    .pulled(outcome_of(&outcome), begun.elapsed());
                outcome
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
        resolved: &ResolvedImage,
        keyring: Option<&Keyring>,
        progress: ProgressSink,
    ) -> Result<Arc<UnpackedImage>, ImageError> {
        let source = self.source(reference, keyring).await?;
        if let Some(key) = &self.inner.options.cosign_key {
            signature::verify(&source, resolved, key).await?;
            self.mark_signed(&resolved.digest, key.fingerprint())
                .await?;
            // It may have been fetched before signatures were required.
            if let Some(image) = self.get(&resolved.digest) {
                return Ok(image);
            }
        }
        let cancelled = CancellationToken::new();
        let give_up_on_drop = cancelled.clone().drop_guard();
        let job = FetchJob {
            cache: Arc::clone(&self.inner.cache),
            source,
            digest: resolved.digest.clone(),
            options: self.inner.options.clone(),
            progress,
            cancelled,
        };
        let runtime = Handle::current();
        let (image, bytes) = blocking(move || job.run(&runtime)).await?;
        give_up_on_drop.disarm();
        let image = Arc::new(image);
        let mut entries = self
            .inner
            .entries
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        entries.insert(Arc::clone(&image), bytes);
        self.inner.metrics.cached(entries.len(), entries.bytes());
        Ok(image)
    }

    async fn mark_signed(&self, digest: &str, key: &str) -> Result<(), ImageError> {
        let (inner, digest, key) = (Arc::clone(&self.inner), digest.to_owned(), key.to_owned());
        blocking(move || {
            let mut entries = inner
                .entries
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            entries.mark_signed(&digest, &key);
            inner.cache.save_signatures(entries.signatures())
        })
        .await
    }

    /// The credentials of `pull_secret_file`, as the file is now; none without one.
    pub async fn site_keyring(&self) -> Result<Keyring, ImageError> {
        match self.inner.options.pull_secret_file.clone() {
            Some(file) => blocking(move || Keyring::read(&file)).await,
            None => Ok(Keyring::empty()),
        }
    }

    async fn source(
        &self,
        reference: &ImageReference,
        keyring: Option<&Keyring>,
    ) -> Result<ImageSource, ImageError> {
        let image = match reference {
            ImageReference::Layout { directory, version } => {
                return Ok(ImageSource::Layout(Layout {
                    directory: directory.clone(),
                    version: version.clone(),
                    reference: reference.to_string(),
                }));
            }
            ImageReference::Registry(image) => image,
        };
        let (inner, name) = (Arc::clone(&self.inner), reference.to_string());
        let (transport, mirrors) = blocking(move || inner.connect(&name)).await?;
        let empty = Keyring::empty();
        let keys = (keyring.unwrap_or(&empty), &mirrors);
        let (options, metrics) = (&self.inner.options, &self.inner.metrics);
        Registry::new(image, options, &transport, metrics, keys)
            .map(|registry| ImageSource::Registry(Box::new(registry)))
    }
}

impl Inner {
    /// The clients, made at first use, and the credentials for mirrors. Blocks on local disk.
    fn connect(&self, reference: &str) -> Result<(Arc<Transport>, Keyring), ImageError> {
        let mirrors = match &self.options.pull_secret_file {
            Some(file) if !self.options.mirrors.is_empty() => Keyring::read(file)?,
            Some(_) | None => Keyring::empty(),
        };
        let mut transport = self
            .transport
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(transport) = transport.as_ref() {
            return Ok((Arc::clone(transport), mirrors));
        }
        ensure_crypto_provider();
        let roots = match &self.options.ca_file {
            Some(file) => authorities(file)?,
            None => Vec::new(),
        };
        let options = &self.options;
        let plain = options.plain_http_hosts.iter().map(String::as_str);
        let trusted = options
            .trusted_hosts
            .iter()
            .chain(options.mirrors.iter().map(|mirror| &mirror.host));
        let policy = Policy::new(plain, trusted.map(String::as_str));
        let patience = Patience {
            connect: options.connect_timeout,
            read: options.read_timeout,
        };
        let made = Transport::new(policy, patience, &roots, &self.lookup).map_err(|error| {
            ImageError::Unreachable {
                reference: reference.to_owned(),
                operation: "connect",
                source: Box::new(error),
            }
        })?;
        let made = Arc::new(made);
        *transport = Some(Arc::clone(&made));
        Ok((made, mirrors))
    }
}

fn authorities(file: &Path) -> Result<Vec<reqwest::Certificate>, ImageError> {
    let failed = |source| ImageError::Cache {
        operation: "read the certificate authorities",
        path: file.to_owned(),
        source,
    };
    let text = std::fs::read(file).map_err(failed)?;
    reqwest::Certificate::from_pem_bundle(&text)
        .map_err(|error| failed(std::io::Error::other(error)))
}

/// Bounded word for metrics.
fn outcome_of<T>(outcome: &Result<T, ImageError>) -> &'static str {
    outcome.as_ref().map_or_else(ImageError::reason, |_| "ok")
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
mod keep_tests;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod remote_tests;
#[cfg(test)]
mod tests;
