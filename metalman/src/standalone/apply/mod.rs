//! Server-side apply: who owns which field, and what that means for a write. Pure.
//!
//! Differences from the real server: a merged list keeps the stored order and appends what is new;
//! managers of other versions of a kind do not exist, because every kind is served in one version;
//! the number of managers is not capped. Invariant: a field that another manager owns is never
//! changed by an apply without `force`.

mod fieldset;
mod managers;
mod merge;

pub use managers::{Manager, Operation, Owner, Ownership, Scope};

#[cfg(test)]
mod tests;
