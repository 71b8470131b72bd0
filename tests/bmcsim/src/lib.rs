//! A simulated BMC: a Redfish service over TLS, with state that behaves and faults on demand.
//!
//! Behind the service is either memory alone or a QEMU machine that really starts, stops and boots
//! what the boot override says. An admin plane injects faults and tells what was called and what
//! the power did. It shares no code with the client it judges.
//!
//! Invariant: the power history is written by the machine task only, from what really happened.

mod admin;
pub mod backend;
mod bmc;
mod boot;
pub mod cli;
mod clock;
mod config;
mod faults;
mod log;
mod machine;
mod profile;
mod run;
mod serve;
mod service;
mod sessions;
mod tasks;
mod tls;

pub use bmc::{Bmc, Power};
pub use boot::{BootChoice, BootOverride, Enabled};
pub use config::{BackendConfig, BmcConfig, Config, DiskConfig, QemuConfig};
pub use faults::{Cut, Fault};
pub use log::{Call, Log, PowerEvent, PowerKind};
pub use profile::{BootPlace, EtagMode, Profile, ResetTypes};
pub use run::{Running, start};
