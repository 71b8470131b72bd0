//! The images in memory: how large each is, when it was used, whether it may be used.
//!
//! No IO after loading. Invariant: uses are numbered by one count that only grows, so a higher
//! number is a later use, also across restarts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::images::cache::Cache;
use crate::images::error::ImageError;
use crate::images::unpacked::UnpackedImage;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) image: Arc<UnpackedImage>,
    pub(super) bytes: u64,
    last_use: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    images: HashMap<String, Entry>,
    /// Digest → fingerprint of the key it is signed with.
    signatures: BTreeMap<String, String>,
    uses: AtomicU64,
}

impl Entries {
    pub(super) fn load(cache: &Cache) -> Result<Self, ImageError> {
        let uses = cache.load_uses();
        let images: HashMap<String, Entry> = cache
            .load()?
            .into_iter()
            .map(|(digest, (image, bytes))| {
                let last_use = uses.get(&digest).copied().unwrap_or(0).into();
                let image = Arc::new(image);
                let entry = Entry {
                    image,
                    bytes,
                    last_use,
                };
                (digest, entry)
            })
            .collect();
        Ok(Self {
            images,
            signatures: cache.load_signatures(),
            uses: uses.values().copied().max().unwrap_or(0).into(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.images.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.images.values().map(|entry| entry.bytes).sum()
    }

    /// The image, noted as used. With a key, only one signed with it.
    pub(super) fn use_image(&self, digest: &str, key: Option<&str>) -> Option<Arc<UnpackedImage>> {
        if key.is_some() && self.signatures.get(digest).map(String::as_str) != key {
            return None;
        }
        let entry = self.images.get(digest)?;
        entry.last_use.store(self.next(), Ordering::Relaxed);
        Some(Arc::clone(&entry.image))
    }

    fn next(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The count of uses so far.
    pub(super) fn now(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(super) fn insert(&mut self, image: Arc<UnpackedImage>, bytes: u64) {
        let last_use = self.next().into();
        self.images.insert(
            image.digest.clone(),
            Entry {
                image,
                bytes,
                last_use,
            },
        );
    }

    pub(super) fn remove(&mut self, digest: &str) -> Option<Entry> {
        self.signatures.remove(digest);
        self.images.remove(digest)
    }

    pub(super) fn mark_signed(&mut self, digest: &str, key: &str) {
        self.signatures.insert(digest.to_owned(), key.to_owned());
    }

    pub(super) fn signatures(&self) -> &BTreeMap<String, String> {
        &self.signatures
    }

    /// Digests and their last uses, for the next run.
    pub(super) fn last_uses(&self) -> BTreeMap<String, u64> {
        let used = |(digest, entry): (&String, &Entry)| {
            (digest.clone(), entry.last_use.load(Ordering::Relaxed))
        };
        self.images.iter().map(used).collect()
    }

    /// Images that nobody holds and that were last used before the count was at `before`, the
    /// longest unused first.
    pub(super) fn idle(&self, before: u64) -> Vec<String> {
        let mut idle: Vec<(u64, &String)> = self
            .images
            .iter()
            .filter(|(_, entry)| Arc::strong_count(&entry.image) == 1)
            .map(|(digest, entry)| (entry.last_use.load(Ordering::Relaxed), digest))
            .filter(|(last_use, _)| *last_use <= before)
            .collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, digest)| digest.clone()).collect()
    }
}
