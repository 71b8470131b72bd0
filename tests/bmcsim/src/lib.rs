//! A simulated BMC: a Redfish service over TLS, with state that behaves and faults on demand.
//!
//! Behind the service is either memory alone or a QEMU machine that really starts, stops and boots
//! what the boot override says. An admin plane injects faults and tells what was called and what
//! the power did. It shares no code with the client it judges.
//!
//! Invariant: the power history is written by the machine task only, from what really happened.

mod accounts;
mod admin;
pub mod backend;
mod bmc;
mod boot;
pub mod cli;
mod clock;
mod config;
mod counters;
mod faults;
mod habits;
mod line;
mod log;
mod machine;
mod profile;
mod run;
mod sel;
mod serve;
mod service;
mod sessions;
mod tasks;
mod tls;
mod tree;

pub use bmc::{Bmc, Power};
pub use boot::{BootChoice, BootOverride, Enabled};
pub use config::{BackendConfig, BmcConfig, Config, DiskConfig, Fleet, QemuConfig};
pub use counters::Counters;
pub use faults::{Cut, Fault};
pub use habits::Habits;
pub use line::Door;
pub use log::{Call, Log, PowerEvent, PowerKind};
pub use machine::ResetType;
pub use profile::{BootPlace, EtagMode, Lockout, Profile, ResetTypes};
pub use run::{Running, start};
pub use tasks::TaskPlan;
