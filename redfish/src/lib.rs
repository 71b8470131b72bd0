//! Redfish client for provisioning: power, boot, inventory, sensors, logs, media and accounts of one
//! machine, and what is needed to reach them.
//!
//! It knows URLs and JSON, not machines: no retries of writes, no pacing, no memory beyond one
//! session and one pinned certificate. Whoever owns a BMC owns one [`Client`].
//!
//! Invariant: an answer of a BMC is never taken as proof. A write that can be read back is read
//! back, and everything a BMC sends is parsed leniently, bounded, and without panics.

mod bios_dialect;
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
mod trust;
mod wire;
mod words;

pub use boot::{
    BootOverride, BootSourceOverrideEnabled, BootSourceOverrideMode, BootSourceOverrideTarget,
};
pub use client::{
    BiosSettings, Client, Consoles, HttpBootReport, HttpBootWay, IndicatorState, StaticAddress,
};
pub use config::{ClientConfig, Timeouts};
pub use discovery::{SystemRefusal, choose_system};
pub use error::Error;
pub use model::{
    Account, Boot, BootOption, Console, Drive, EventLog, Firmware, Interface, Inventory,
    LockoutPolicy, LogEntry, Manager, MemoryModule, PowerSupply, Processor, Reading, Sensors,
    ServiceRoot, System, VirtualMedia, promote,
};
pub use operation::Operation;
pub use power::{PowerState, ResetPlan, ResetReport, ResetType, choose_reset};
pub use quirks::Platform;
pub use trust::{Authority, AuthorityError, Certificate, Fingerprint, FingerprintError, TlsTrust};
pub use wire::WireError;
