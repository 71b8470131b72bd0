//! Serves boot files and machine images over plain HTTP.
//!
//! Not the web UI and not the API: its clients are firmware, boot loaders and installers.
//! Invariant: who asks is decided by the peer's address alone.

mod answer;
mod body;
mod conditional;
mod connection;
mod files;
mod path;
mod range;
mod router;
mod serve;

pub use files::BootFiles;
pub use router::router;
pub use serve::{HttpLimits, serve};
