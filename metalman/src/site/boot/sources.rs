//! What a snapshot was made of besides objects: install tokens and images. A site at rest is asked
//! for these every second, and its thousands of machines are left alone.

use std::collections::HashMap;

use jiff::Timestamp;
use metalman_api::machine::Architecture;

use super::BootView;
use crate::{
    site::NetbootWish,
    store::{InstallToken, StoreError},
};

/// An image that machines want, as their objects name it.
type Wished = (Option<Box<str>>, Architecture);

/// What only the store knows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// Live install tokens.
    pub(super) tokens: Vec<InstallToken>,
    /// Netboot image digests of machines that are being installed.
    pub(super) frozen: HashMap<String, String>,
}

/// Which images were found, by what was looked for. To look for one is to use it, so it is not
/// collected.
#[derive(Debug, Default)]
pub(super) struct Found {
    wished: HashMap<Wished, Option<String>>,
    digests: HashMap<String, bool>,
}

impl BootView {
    /// What the store says now.
    pub(super) async fn sources(&self, now: Timestamp) -> Result<Sources, StoreError> {
        let tokens = self.store.install_tokens().live(now).await?;
        let frozen = self.frozen(&tokens).await?;
        Ok(Sources { tokens, frozen })
    }
}

impl Found {
    /// Looks for everything that may be part of a snapshot.
    pub(super) fn of<'w>(
        view: &BootView,
        sources: &Sources,
        wishes: impl Iterator<Item = &'w NetbootWish>,
    ) -> Self {
        let mut found = Self::default();
        for wish in wishes {
            let key = (wish.image.clone(), wish.architecture);
            let digest = || view.find_image(wish).map(|image| image.digest.clone());
            found.wished.entry(key).or_insert_with(digest);
        }
        let tokens = sources.tokens.iter().map(|token| &token.image_digest);
        for digest in tokens.chain(sources.frozen.values()) {
            let is_there = view.images.get(digest).is_some();
            found.digests.insert(digest.clone(), is_there);
        }
        found
    }

    /// Whether looking again finds the same.
    pub(super) fn is_still_so(&self, view: &BootView) -> bool {
        let wish = |(image, architecture): &Wished| NetbootWish {
            image: image.clone(),
            secret: None,
            architecture: *architecture,
        };
        self.wished.iter().all(|(wished, digest)| {
            let image = view.find_image(&wish(wished));
            image.as_ref().map(|image| &image.digest) == digest.as_ref()
        }) && self
            .digests
            .iter()
            .all(|(digest, is_there)| view.images.get(digest).is_some() == *is_there)
    }
}
