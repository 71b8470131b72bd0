//! Removes objects whose owners are gone, as the garbage collector of a cluster does.
//!
//! It follows all changes, keeps in memory who depends on whom, and writes through the same writer as
//! everybody. Owners of kinds that are not served here count as present. Invariant: an object is
//! deleted only when, in the transaction that deletes it, none of its owners exists.

mod decide;
mod index;
mod task;

pub use decide::{OwnerState, decide};
pub use task::Collector;
