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
            Self::Unreachable { .. } | Self::Cache { .. } | Self::Cancelled => true,
            Self::InvalidReference { .. }
            | Self::InvalidCredentials { .. }
            | Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::NoPlatform { .. }
            | Self::Ambiguous { .. }
            | Self::DigestMismatch { .. }
            | Self::InvalidManifest { .. }
            | Self::HostileLayer { .. }
            | Self::TooLarge { .. }
            | Self::InvalidContent { .. } => false,
        }
    }
}
