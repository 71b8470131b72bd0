//! Serves boot files and machine images over plain HTTP.
//!
//! Not the web UI and not the API: its clients are firmware, boot loaders and installers.
//! Invariant: who asks is decided by the peer's address alone.

mod answer;
mod body;
pub(crate) mod conditional;
mod connection;
pub(crate) mod files;
pub(crate) mod path;
pub(crate) mod range;
mod router;
mod serve;

pub use files::BootFiles;
pub use router::router;
pub use serve::{HttpLimits, serve};
