//! Answers firmware: DHCP, TFTP, HTTP boot, template rendering and the image cache.
//!
//! Knows no database and no Kubernetes: it asks a [`directory::BootDirectory`] port. It reads no
//! clock: whoever starts a server hands one in.

pub mod dhcp;
pub mod directory;
pub mod event;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
pub mod images;
pub mod mac;
pub mod metrics;
pub mod render;
pub mod sbat;
pub mod source;
pub mod tftp;
