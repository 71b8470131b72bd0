//! The two places images come from, behind one face.
//!
//! Resolves a reference to the digest of one platform's manifest. Invariant: what
//! [`ImageSource::image`] returns has the digest that was asked for.

use tokio::io::AsyncRead;

use super::error::ImageError;
use super::layout::{Candidates, Layout};
use super::manifest::{self, Document, Layer, Manifest, check_config, select_platform};
use super::registry::Registry;
use super::store::ResolvedImage;
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
    /// What the reference means for `architecture`. If it means what it meant when `known` was
    /// found, a registry is only asked for a digest.
    pub(crate) async fn resolve(
        &self,
        architecture: Architecture,
        known: Option<&ResolvedImage>,
    ) -> Result<ResolvedImage, ImageError> {
        let name = self.name();
        let (mut digest, index) = match self {
            Self::Layout(layout) => match layout.candidates().await? {
                Candidates::Pinned(digest) => (digest.clone(), digest),
                Candidates::Entries(entries) => {
                    let entry = select_platform(&entries, architecture, &name)?;
                    (entry.digest.clone(), entry.digest.clone())
                }
            },
            Self::Registry(registry) => {
                if let Some(known) = known
                    && registry.digest_now().await.as_ref() == Some(&known.index)
                {
                    return Ok(known.clone());
                }
                let (bytes, index) = registry.manifest(None).await?;
                match manifest::parse(&bytes, &name)? {
                    Document::Manifest(manifest) => {
                        self.check_platform(&manifest, architecture).await?;
                        let digest = index.clone();
                        return Ok(ResolvedImage { digest, index });
                    }
                    Document::Index(entries) => {
                        let entry = select_platform(&entries, architecture, &name)?;
                        (entry.digest.clone(), index)
                    }
                }
            }
        };
        for _ in 0..MAX_INDEX_DEPTH {
            match manifest::parse(&self.document(&digest).await?, &digest)? {
                Document::Manifest(manifest) => {
                    self.check_platform(&manifest, architecture).await?;
                    return Ok(ResolvedImage { digest, index });
                }
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

    /// Asks the configuration, because a single manifest names no platform and an index may err.
    async fn check_platform(
        &self,
        manifest: &Manifest,
        architecture: Architecture,
    ) -> Result<(), ImageError> {
        let Some(config) = &manifest.config else {
            return Ok(());
        };
        let bytes = self.small_blob(config).await?;
        check_config(&bytes, architecture, &self.name())
    }

    /// The reference, for errors.
    pub(crate) fn name(&self) -> String {
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

    /// A blob of at most [`manifest::MAX_MANIFEST_BYTES`]; verified.
    pub(crate) async fn small_blob(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Layout(layout) => layout.manifest(digest).await,
            Self::Registry(registry) => registry.small_blob(digest).await,
        }
    }

    /// Manifests that may hold cosign signatures of `digest`; none when there is none.
    pub(crate) async fn signature_manifests(
        &self,
        digest: &str,
    ) -> Result<Vec<Vec<u8>>, ImageError> {
        let tag = format!("{}.sig", digest.replace(':', "-"));
        match self {
            Self::Layout(layout) => layout.signature_manifests(&tag).await,
            Self::Registry(registry) => match registry.manifest(Some(&tag)).await {
                Ok((bytes, _)) => Ok(vec![bytes]),
                Err(ImageError::NotFound { .. }) => Ok(Vec::new()),
                Err(error) => Err(error),
            },
        }
    }

    /// Layers of the manifest with `digest`.
    pub(crate) async fn image(&self, digest: &str) -> Result<Vec<Layer>, ImageError> {
        match manifest::parse(&self.document(digest).await?, digest)? {
            Document::Manifest(manifest) => Ok(manifest.layers),
            Document::Index(_) => Err(ImageError::InvalidManifest {
                subject: digest.to_owned(),
                problem: "it is an index, not the manifest of one image".to_owned(),
            }),
        }
    }

    /// Whether the layer that turned out to be wrong may be right elsewhere, where the next call asks.
    pub(crate) fn has_another_place(&self, digest: &str) -> bool {
        match self {
            Self::Layout(_) => false,
            Self::Registry(registry) => registry.leave_mirrors(digest),
        }
    }

    /// Opens a layer for streaming.
    pub(crate) async fn blob(
        &self,
        layer: &Layer,
    ) -> Result<Box<dyn AsyncRead + Send + Unpin>, ImageError> {
        Ok(match self {
            Self::Layout(layout) => Box::new(layout.blob(&layer.digest).await?),
            Self::Registry(registry) => Box::new(registry.blob(&layer.digest, layer.size).await?),
        })
    }
}
