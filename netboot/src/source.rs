//! The one resolver of boot files, asked by TFTP and by HTTP alike.
//!
//! Not a file server: it says what a path means for a peer, the servers move the bytes.
//! Invariant: both protocols give one peer the same bytes for the same path.

use std::{net::Ipv4Addr, path::PathBuf};

use bytes::Bytes;

/// Finds the file that `path` means for the machine at `peer`.
///
/// Leading slashes (also doubled ones) are ignored; `..` and NUL are refused.
#[async_trait::async_trait]
pub trait FileSource: Send + Sync + 'static {
    /// Resolves without moving the content of static files.
    async fn open(&self, peer: Ipv4Addr, path: &str) -> Result<FileContent, SourceError>;
}

/// A file that may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// Rendered for this machine; small.
    Bytes(Bytes),
    /// A static file of a verified image. It does not change while it exists.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
}

impl FileContent {
    /// Bytes that will be sent when the whole file is read.
    pub fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::File { length, .. } => *length,
        }
    }
}

/// Why there is nothing to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// No machine has this address.
    #[error("no machine has the address {peer}")]
    UnknownPeer {
        /// The address that asked.
        peer: Ipv4Addr,
    },
    /// The machine's netboot image has no such file.
    #[error("no file {path:?}")]
    NotFound {
        /// As asked for.
        path: String,
    },
    /// The machine's netboot image has not been fetched yet; asking again later helps.
    #[error("the netboot image of {machine} is not fetched yet")]
    NotReady {
        /// The machine's name.
        machine: String,
    },
    /// The path tries to leave the image.
    #[error("path {path:?} is refused")]
    Refused {
        /// As asked for.
        path: String,
    },
    /// The file exists and could not be rendered or read; the text says why.
    #[error("cannot serve {path:?}: {reason}")]
    Failed {
        /// As asked for.
        path: String,
        /// What went wrong; no secrets.
        reason: String,
    },
}

impl SourceError {
    /// Bounded label for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UnknownPeer { .. } => "unknown_peer",
            Self::NotFound { .. } => "not_found",
            Self::NotReady { .. } => "not_ready",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
        }
    }
}
