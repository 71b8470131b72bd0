//! Removal of images nobody needs, the longest unused first.
//!
//! The owner says what is needed; the store knows what is held and what was used meanwhile.
//! Invariant: an image that somebody holds, that is needed, or that was used after the round began
//! is never removed, whatever the limit says.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use super::{ImageStore, blocking};
use crate::images::error::ImageError;

/// The moment before the owner began to find out what is needed.
#[derive(Debug, Clone, Copy)]
pub struct CollectionRound {
    uses: u64,
}

/// How much is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectionGoal {
    /// As much as brings the cache below its limit; nothing when it has none.
    Limit,
    /// Everything that is not needed, because the disk is full.
    Everything,
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Digests of the removed images.
    pub removed: Vec<String>,
    /// Bytes they took.
    pub freed_bytes: u64,
    /// Bytes the cache takes now.
    pub cache_bytes: u64,
    /// The cache is still larger than its limit, because the rest is needed.
    pub over_limit: bool,
}

impl ImageStore {
    /// Begins a round. Whatever is used from now on will not be removed by it.
    pub fn begin_collection(&self) -> CollectionRound {
        let entries = self
            .inner
            .entries
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        CollectionRound {
            uses: entries.now(),
        }
    }

    /// Removes images until `goal` is reached, except the digests in `needed`.
    ///
    /// # Errors
    /// When the cache cannot be changed; what was removed until then stays removed.
    pub async fn collect(
        &self,
        round: CollectionRound,
        needed: HashSet<String>,
        goal: CollectionGoal,
    ) -> Result<Collected, ImageError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let limit = match goal {
                CollectionGoal::Limit => inner.options.cache_size.unwrap_or(u64::MAX),
                CollectionGoal::Everything => 0,
            };
            let mut collected = Collected::default();
            let mut graves = Vec::new();
            let mut entries = inner
                .entries
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            let mut bytes = entries.bytes();
            for digest in entries.idle(round.uses) {
                if bytes <= limit {
                    break;
                }
                if needed.contains(&digest) {
                    continue;
                }
                // The directory goes while nobody can ask for the image; its files go later.
                graves.extend(inner.cache.take_out(&digest)?);
                if let Some(entry) = entries.remove(&digest) {
                    bytes -= entry.bytes;
                    collected.freed_bytes += entry.bytes;
                    inner.metrics.evicted();
                    collected.removed.push(digest);
                }
            }
            inner.metrics.cached(entries.len(), bytes);
            collected.cache_bytes = bytes;
            collected.over_limit = inner.options.cache_size.is_some_and(|size| bytes > size);
            let (uses, signatures) = (entries.last_uses(), entries.signatures().clone());
            drop(entries);
            drop(graves);
            inner.cache.save_uses(&uses)?;
            if !collected.removed.is_empty() {
                inner.cache.save_signatures(&signatures)?;
            }
            Ok(collected)
        })
        .await
    }
}
