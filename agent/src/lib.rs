//! The host agent: installs a machine from the install ramdisk and speaks for the installed host.
//!
//! Everything is synchronous: one thread decides, at most two more move bytes. The installer speaks
//! no TLS: it runs in the provisioning network before any trust has been placed on the disk. The
//! installed host trusts the CA that came with its installation.
//!
//! Invariant: the installer writes to no disk before it holds a plan from the appliance and
//! [`metalman_api::disk::choose_disk`] has named exactly one disk.

pub mod backoff;
pub mod client;
pub mod config;
pub mod daemon;
pub mod facts;
pub mod install;
pub mod presence;
pub mod telemetry;

/// Version of this agent, as it appears in claims and boot reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
