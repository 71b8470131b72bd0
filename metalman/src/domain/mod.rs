//! The rules of the appliance as pure functions: they take facts and a time and return decisions.
//!
//! Nothing here reads a clock, a socket, a file or a database; nothing here is async.

pub mod conflicts;
pub mod counters;
pub mod facts;
pub mod health;
pub mod inputs;
pub mod machine_status;
mod password;
pub mod power;
pub mod replace;
mod shutdown;
pub mod state;
pub mod status;
pub mod step;
pub mod targets;
pub mod waits;

pub use facts::Facts;
pub use state::TargetState;
pub use step::{Action, Limits, Step, step};
