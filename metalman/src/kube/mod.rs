//! The Kubernetes edge: watches fill the site view, the writer makes statuses true.
//!
//! Invariant: the same code speaks to a cluster and to the embedded API.

mod backlog;
mod compare;
pub mod current;
pub mod events;
pub mod foreign;
mod merge;
mod put;
pub mod secrets;
pub mod watch;
pub mod writer;
