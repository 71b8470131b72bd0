//! The writing verbs, as jobs of the writer: create, update, patch, delete.
//!
//! Each reads the current object, asks the pure rules, and puts the result. It knows no HTTP.
//! Invariant: a dry run does everything but the put.

mod collect;
mod create;
mod delete;
mod propagation;
mod server_side_apply;
mod target;
mod update;

pub use collect::{Step, collect};
pub use create::create;
pub use delete::{delete, delete_collection};
pub use propagation::{FOREGROUND, ORPHAN, Propagation, has_finalizer};
pub use target::{DeleteOptions, Patch, Target, WriteOptions};
pub use update::{patch, update};
