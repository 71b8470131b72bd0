//! What can go wrong with an image, one variant per reaction of whoever asked for it.
//!
//! Not the place for retries: callers look at [`ImageError::is_transient`]. Invariant: no message
//! repeats its source, and none carries a password.

use std::path::PathBuf;

use thiserror::Error;

/// Failure to resolve, fetch or unpack an image.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The text is not an image reference; the object that names it must be edited.
    #[error("image reference {reference:?} is not valid: {problem}")]
    InvalidReference {
        /// Text as given.
        reference: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A pull secret is not the JSON its type promises.
    #[error("pull secret is not valid {kind}: {problem}")]
    InvalidCredentials {
        /// Secret type.
        kind: &'static str,
        /// What is wrong, without the value.
        problem: String,
    },
    /// The repository, tag, digest or layout directory does not exist.
    #[error("image {reference} was not found")]
    NotFound {
        /// Reference that was looked up.
        reference: String,
    },
    /// The registry wants other credentials.
    #[error("registry refuses access to image {reference}")]
    Unauthorized {
        /// Reference that was looked up.
        reference: String,
    },
    /// No manifest for the wanted architecture.
    #[error("image {reference} has no manifest for linux/{architecture}; it offers {offered}")]
    NoPlatform {
        /// Reference that was looked up.
        reference: String,
        /// Wanted architecture in OCI words.
        architecture: &'static str,
        /// Platforms of the index.
        offered: String,
    },
    /// A layout directory holds several images and the reference names none of them.
    #[error("image {reference} is ambiguous: add one of the tags {tags}")]
    Ambiguous {
        /// Reference that was looked up.
        reference: String,
        /// Tags found.
        tags: String,
    },
    /// The registry did not answer or asked to come back later.
    #[error("registry did not {operation} for image {reference}")]
    Unreachable {
        /// Reference that was looked up.
        reference: String,
        /// What was asked of it.
        operation: &'static str,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry, or where it sends us, is at an address that is not contacted.
    #[error("registry of image {reference} cannot be used")]
    Forbidden {
        /// Reference that was looked up.
        reference: String,
        /// Which address, and why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The site takes signed images only, and this one is not signed as it must be.
    #[error("image {reference} is refused: {problem}")]
    Unsigned {
        /// Reference that was looked up.
        reference: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// The file system of the cache is full.
    #[error(
        "no space is left for the image in {path}; free some, or lower images.cache_size so that old images go earlier"
    )]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// The fetch took longer than a fetch may.
    #[error("image {digest} was not fetched within {limit:?}")]
    TooSlow {
        /// Manifest digest.
        digest: String,
        /// How long it may take.
        limit: std::time::Duration,
    },
    /// Bytes do not have the digest or the size that names them.
    #[error("blob {digest} is corrupt: {problem}")]
    DigestMismatch {
        /// Digest that was asked for.
        digest: String,
        /// What was found.
        problem: String,
    },
    /// A manifest, index or layout file cannot be understood.
    #[error("manifest {subject} is not usable: {problem}")]
    InvalidManifest {
        /// Digest or file.
        subject: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A layer tries something an image has no business doing.
    #[error("layer {layer} is refused: entry {entry:?} {problem}")]
    HostileLayer {
        /// Layer digest.
        layer: String,
        /// Entry of the archive.
        entry: String,
        /// What it tries.
        problem: String,
    },
    /// The image is larger than this site allows.
    #[error("image is larger than allowed: {what} is over {limit}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// Limit of it.
        limit: u64,
    },
    /// The image unpacks, but is not a boot or machine image.
    #[error("image {digest} is not usable: {problem}")]
    InvalidContent {
        /// Manifest digest.
        digest: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// The local cache cannot be read or written.
    #[error("image cache could not {operation} {path}")]
    Cache {
        /// What was tried.
        operation: &'static str,
        /// Where.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The fetch was given up because its caller went away.
    #[error("fetch was cancelled")]
    Cancelled,
}

impl ImageError {
    /// Bounded word for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidReference { .. } => "InvalidImageReference",
            Self::InvalidCredentials { .. } => "InvalidPullSecret",
            Self::NotFound { .. } => "ImageNotFound",
            Self::Unauthorized { .. } => "ImageAccessDenied",
            Self::NoPlatform { .. } => "ImagePlatformMissing",
            Self::Ambiguous { .. } => "ImageAmbiguous",
            Self::Unreachable { .. } => "RegistryUnreachable",
            Self::Forbidden { .. } => "RegistryAddressForbidden",
            Self::Unsigned { .. } => "ImageSignatureRefused",
            Self::DiskFull { .. } => "ImageCacheFull",
            Self::TooSlow { .. } => "ImageFetchTooSlow",
            Self::DigestMismatch { .. } => "ImageDigestMismatch",
            Self::InvalidManifest { .. } => "ImageManifestInvalid",
            Self::HostileLayer { .. } => "ImageRefused",
            Self::TooLarge { .. } => "ImageTooLarge",
            Self::InvalidContent { .. } => "ImageContentInvalid",
            Self::Cache { .. } => "ImageCacheFailed",
            Self::Cancelled => "ImageFetchCancelled",
        }
    }

    /// True when the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::DiskFull { .. }
            | Self::TooSlow { .. }
            | Self::Cache { .. }
            | Self::Cancelled => true,
            Self::InvalidReference { .. }
            | Self::InvalidCredentials { .. }
            | Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::NoPlatform { .. }
            | Self::Ambiguous { .. }
            | Self::Forbidden { .. }
            | Self::Unsigned { .. }
            | Self::DigestMismatch { .. }
            | Self::InvalidManifest { .. }
            | Self::HostileLayer { .. }
            | Self::TooLarge { .. }
            | Self::InvalidContent { .. } => false,
        }
    }
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

/// Failure of a local write; a full disk has a name of its own.
pub(crate) fn cache_failure(
    operation: &'static str,
    path: &std::path::Path,
    source: std::io::Error,
) -> ImageError {
    let full = matches!(
        source.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    );
    let path = path.to_owned();
    if full {
        ImageError::DiskFull { path }
    } else {
        ImageError::Cache {
            operation,
            path,
            source,
        }
    }
}
