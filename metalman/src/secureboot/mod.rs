//! Keys of the site for UEFI Secure Boot, and the files by which firmware learns them.
//!
//! Not a signer of boot loaders: `sbsign` does that, with the key made here. Pure but for
//! [`Folder::write`]. Invariant: a key that exists is never overwritten, and no private key leaves
//! its file.

mod auth;
mod certificate;
mod folder;
mod guide;
mod signature_list;

pub use certificate::{Identity, KeyError};
pub use folder::{Folder, FolderError, make};
