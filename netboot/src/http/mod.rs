//! Serves boot files and machine images over HTTP, plain and with TLS.
//!
//! Not the web UI and not the API: its clients are firmware, boot loaders and installers.
//! Invariant: who asks is decided by the peer's address alone.

mod answer;
mod boot;
pub(crate) mod conditional;
mod connection;
mod date;
mod files;
mod general;
mod pace;
pub(crate) mod path;
mod plain;
mod prepared;
pub(crate) mod range;
mod record;
mod reply;
pub(crate) mod request;
mod serve;
mod server;
pub(crate) mod statics;
mod transfer;
mod waiting;

pub use files::BootFiles;
pub use serve::{HttpLimits, serve};
pub use server::BootServer;
