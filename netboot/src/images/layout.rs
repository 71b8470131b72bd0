//! Reads OCI image layout directories (image-spec, image-layout.md).
//!
//! Read only. Invariant: every path opened is the layout directory joined with fixed names and a
//! checked digest.

use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;

use super::digest::{digest_of, hex_part};
use super::error::ImageError;
use super::manifest::{self, Document, IndexEntry, MAX_MANIFEST_BYTES};
use super::reference::LayoutVersion;

/// Kind annotation of signatures in a layout made by `cosign save`.
const COSIGN_KIND: &str = "dev.cosignproject.cosign/sigs";
/// Signature manifests looked at.
const MAX_SIGNATURE_MANIFESTS: usize = 16;

/// One layout directory, and the reference it was named by for errors.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) directory: PathBuf,
    pub(crate) version: LayoutVersion,
    pub(crate) reference: String,
}

/// What the version of a reference leaves to choose from.
pub(crate) enum Candidates {
    Pinned(String),
    Entries(Vec<IndexEntry>),
}

impl Layout {
    /// The entries of `index.json` that the version may mean.
    pub(crate) async fn candidates(&self) -> Result<Candidates, ImageError> {
        if let LayoutVersion::Digest(digest) = &self.version {
            return Ok(Candidates::Pinned(digest.clone()));
        }
        let path = self.directory.join("index.json");
        let bytes = self.read(&path, MAX_MANIFEST_BYTES).await?;
        let Document::Index(mut entries) = manifest::parse(&bytes, &path.display().to_string())?
        else {
            return Err(ImageError::InvalidManifest {
                subject: path.display().to_string(),
                problem: "it is not an index".to_owned(),
            });
        };
        entries.retain(|entry| !is_signature(entry));
        let entries = match &self.version {
            LayoutVersion::Only => self.only(entries)?,
            LayoutVersion::Tag(tag) => entries
                .into_iter()
                .filter(|entry| entry.tag.as_ref() == Some(tag))
                .collect(),
            LayoutVersion::Digest(_) => entries,
        };
        if entries.is_empty() {
            Err(self.not_found())
        } else {
            Ok(Candidates::Entries(entries))
        }
    }

    /// Without a tag all entries must be platforms of one image: at most one tag among them.
    fn only(&self, entries: Vec<IndexEntry>) -> Result<Vec<IndexEntry>, ImageError> {
        let mut tags: Vec<&str> = entries
            .iter()
            .filter_map(|entry| entry.tag.as_deref())
            .collect();
        tags.sort_unstable();
        tags.dedup();
        match tags.as_slice() {
            [] | [_] => Ok(entries),
            several => Err(ImageError::Ambiguous {
                reference: self.reference.clone(),
                tags: several.join(", "),
            }),
        }
    }

    /// A manifest or index by digest, verified.
    pub(crate) async fn manifest(&self, digest: &str) -> Result<Vec<u8>, ImageError> {
        let bytes = self
            .read(&self.blob_path(digest)?, MAX_MANIFEST_BYTES)
            .await?;
        let found = digest_of(&bytes);
        if found == digest {
            Ok(bytes)
        } else {
            let problem = format!("its content hashes to {found}");
            Err(ImageError::DigestMismatch {
                digest: digest.to_owned(),
                problem,
            })
        }
    }

    /// Manifests tagged as signatures, by tag or as `cosign save` marks them; verified.
    pub(crate) async fn signature_manifests(&self, tag: &str) -> Result<Vec<Vec<u8>>, ImageError> {
        let bytes = self
            .read(&self.directory.join("index.json"), MAX_MANIFEST_BYTES)
            .await?;
        let mut found = Vec::new();
        if let Document::Index(entries) = manifest::parse(&bytes, "index.json")? {
            let signatures = entries.iter().filter(|entry| {
                entry.tag.as_deref() == Some(tag) || entry.kind.as_deref() == Some(COSIGN_KIND)
            });
            for entry in signatures.take(MAX_SIGNATURE_MANIFESTS) {
                found.push(self.manifest(&entry.digest).await?);
            }
        }
        Ok(found)
    }

    /// Opens a blob for streaming; the reader verifies it.
    pub(crate) async fn blob(&self, digest: &str) -> Result<tokio::fs::File, ImageError> {
        let path = self.blob_path(digest)?;
        tokio::fs::File::open(&path)
            .await
            .map_err(|source| self.failed(&path, source))
    }

    fn blob_path(&self, digest: &str) -> Result<PathBuf, ImageError> {
        let hex = hex_part(digest).ok_or_else(|| self.not_found())?;
        Ok(self.directory.join("blobs").join("sha256").join(hex))
    }

    async fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, ImageError> {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(|source| self.failed(path, source))?;
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(|source| self.failed(path, source))?;
        if bytes.len() as u64 > limit {
            return Err(ImageError::TooLarge {
                what: "manifest size in bytes",
                limit,
            });
        }
        Ok(bytes)
    }

    fn failed(&self, path: &Path, source: std::io::Error) -> ImageError {
        if matches!(
            source.kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
        ) {
            return self.not_found();
        }
        ImageError::Cache {
            operation: "read layout file",
            path: path.to_owned(),
            source,
        }
    }

    fn not_found(&self) -> ImageError {
        ImageError::NotFound {
            reference: self.reference.clone(),
        }
    }
}

/// Signatures stand beside the images they are for and are never meant themselves.
fn is_signature(entry: &IndexEntry) -> bool {
    let tagged = entry
        .tag
        .as_deref()
        .and_then(|tag| tag.strip_prefix("sha256-")?.strip_suffix(".sig"))
        .is_some();
    tagged || entry.kind.as_deref() == Some(COSIGN_KIND)
}
