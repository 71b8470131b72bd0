//! The two places images come from, behind one face.
//!
//! Resolves a reference to the digest of one platform's manifest. Invariant: what
//! [`ImageSource::image`] returns has the digest that was asked for.

use tokio::io::AsyncRead;

use super::credentials::RegistryCredentials;
use super::error::ImageError;
use super::layout::{Candidates, Layout};
use super::manifest::{self, Document, Layer, select_platform};
use super::reference::ImageReference;
use super::registry::Registry;
use super::store::ImageStoreOptions;
use crate::directory::Architecture;

/// Indexes may point at indexes; deeper than this is nonsense.
const MAX_INDEX_DEPTH: usize = 4;

/// Where one image's blobs are.
#[derive(Clone)]
pub(crate) enum ImageSource {
    Layout(Layout),
    Registry(Box<Registry>),
}

impl ImageSource {
    pub(crate) fn open(
        reference: &ImageReference,
        options: &ImageStoreOptions,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Self, ImageError> {
        Ok(match reference {
            ImageReference::Layout { directory, version } => Self::Layout(Layout {
                directory: directory.clone(),
                version: version.clone(),
                reference: reference.to_string(),
            }),
            ImageReference::Registry(image) => {
                Self::Registry(Box::new(Registry::new(image, options, credentials)?))
            }
        })
    }

    /// Digest of the manifest for `architecture`.
    pub(crate) async fn resolve(&self, architecture: Architecture) -> Result<String, ImageError> {
        let name = self.name();
        let mut digest = match self {
            Self::Layout(layout) => match layout.candidates().await? {
                Candidates::Pinned(digest) => digest,
                Candidates::Entries(entries) => select_platform(&entries, architecture, &name)?
                    .digest
                    .clone(),
            },
            Self::Registry(registry) => {
                let (bytes, digest) = registry.manifest(None).await?;
                match manifest::parse(&bytes, &name)? {
                    Document::Manifest(_) => return Ok(digest),
                    Document::Index(entries) => select_platform(&entries, architecture, &name)?
                        .digest
                        .clone(),
                }
            }
        };
        for _ in 0..MAX_INDEX_DEPTH {
            match manifest::parse(&self.document(&digest).await?, &digest)? {
                Document::Manifest(_) => return Ok(digest),
                Document::Index(entries) => {
                    digest = select_platform(&entries, architecture, &name)?
                        .digest
                        .clone();
                }
            }
        }
        Err(ImageError::InvalidManifest {
            subject: name,
            problem: "its indexes are nested too deeply".to_owned(),
        })
    }

    fn name(&self) -> String {
        match self {
            Self::Layout(layout) => layout.reference.clone(),
            Self::Registry(registry) => registry.name(),
        }
    }

    async fn document(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Layout(layout) => layout.manifest(digest).await,
            Self::Registry(registry) => registry
                .manifest(Some(digest))
                .await
                .map(|(bytes, _)| bytes),
        }
    }

    /// Layers of the manifest with `digest`.
    pub(crate) async fn image(&self, digest: &str) -> Result<Vec<Layer>, ImageError> {
        match manifest::parse(&self.document(digest).await?, digest)? {
            Document::Manifest(layers) => Ok(layers),
            Document::Index(_) => Err(ImageError::InvalidManifest {
                subject: digest.to_owned(),
                problem: "it is an index, not the manifest of one image".to_owned(),
            }),
        }
    }

    /// Opens a layer for streaming.
    pub(crate) async fn blob(
        &self,
        digest: &str,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, ImageError> {
        Ok(match self {
            Self::Layout(layout) => Box::new(layout.blob(digest).await?),
            Self::Registry(registry) => Box::new(registry.blob(digest).await?),
        })
    }
}
