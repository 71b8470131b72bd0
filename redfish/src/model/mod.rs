//! The resources a provisioning client reads, out of loosely typed JSON.

mod account;
mod boot_option;
mod inventory;
mod json;
mod log;
mod manager;
mod media;
mod message;
mod root;
pub(crate) mod sensors;
mod system;
mod task;

pub use account::{Account, LockoutPolicy};
pub use boot_option::{BootOption, promote};
pub(crate) use inventory::canonical_mac;
pub use inventory::{Drive, Firmware, Interface, Inventory, MemoryModule, Processor};
pub(crate) use json::{is_absent, items, link, links, members, number, text, words};
pub(crate) use log::rank as log_rank;
pub use log::{EventLog, LogEntry};
pub(crate) use manager::Chassis;
pub use manager::{Console, Manager};
pub use media::VirtualMedia;
pub(crate) use message::{Messages, error_in_success};
pub use root::ServiceRoot;
pub use sensors::{PowerSupply, Reading, Sensors};
pub use system::{Boot, System};
pub(crate) use system::{Indicator, action_parameter, action_parameters};
pub(crate) use task::{TaskOutcome, task_outcome};

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
