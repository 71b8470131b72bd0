//! The Redfish client against simulated BMCs over TLS: what it must survive.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod certificates;
mod rig;
mod sessions;
mod tasks;
mod trouble;
mod verbs;
