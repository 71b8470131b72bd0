//! Redfish client for provisioning: power, boot override, and what is needed to reach them.
//!
//! It knows URLs and JSON, not machines: no retries of writes, no pacing, no memory beyond one
//! session and one pinned certificate. Whoever owns a BMC owns one [`Client`].
//!
//! Invariant: an answer of a BMC is never taken as proof. A write that can be read back is read
//! back, and everything a BMC sends is parsed leniently, bounded, and without panics.

mod boot;
mod call;
mod client;
mod config;
mod discovery;
mod error;
mod etag;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod model;
mod operation;
mod power;
mod quirks;
mod session;
mod task;
mod tls;
mod transport;
mod words;

pub use boot::{
    BootOverride, BootSourceOverrideEnabled, BootSourceOverrideMode, BootSourceOverrideTarget,
};
pub use client::Client;
pub use config::{ClientConfig, Timeouts, TlsTrust};
pub use discovery::{SystemRefusal, choose_system};
pub use error::Error;
pub use model::{Boot, ServiceRoot, System};
pub use operation::Operation;
pub use power::{PowerState, ResetPlan, ResetReport, ResetType, choose_reset};
pub use quirks::Platform;
pub use tls::{Fingerprint, FingerprintError};
