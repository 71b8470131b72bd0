//! What a fleet of simulated BMCs (`bmcsim`) tells about the appliance that works with it.
//!
//! Judged is what the BMCs have seen, never what the appliance says of itself.

pub mod cycle;
mod fleet;
pub mod sessions;

pub use fleet::Fleet;
