//! The resources a provisioning client reads, out of loosely typed JSON.

mod json;
mod message;
mod root;
mod system;
mod task;

pub(crate) use json::{link, members};
pub(crate) use message::{Messages, error_in_success};
pub use root::ServiceRoot;
pub(crate) use system::reset_types_of_action_info;
pub use system::{Boot, System};
pub(crate) use task::{TaskOutcome, task_outcome};

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
