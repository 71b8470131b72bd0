//! OCI images: references, registries and layouts, verified unpacking, and the cache of it all.
//!
//! Not a container runtime: only the `disk/` directory of an image is kept. Invariant: an
//! [`UnpackedImage`] exists only after its digest has been verified.

mod cache;
mod credentials;
pub(crate) mod digest;
mod disk;
mod entry;
mod error;
mod fetch;
mod layout;
pub(crate) mod manifest;
mod options;
pub(crate) mod progress;
pub(crate) mod reader;
mod reference;
mod registry;
mod remote;
mod signature;
mod source;
mod store;
mod tree;
pub(crate) mod unpack;
mod unpacked;

pub use credentials::{Keyring, PullSecretKind, RegistryCredentials, parse_pull_secret};
pub use error::ImageError;
pub use options::{ImageStoreOptions, Mirror};
pub use progress::{FetchPhase, FetchProgress, ProgressSink};
pub use reference::{ImageReference, LayoutVersion};
pub use signature::CosignKey;
pub use store::{Collected, CollectionGoal, CollectionRound, ImageStore, ResolvedImage};
pub use unpacked::{Compression, DiskArtifact, ImageMetadata, UnpackedImage};
