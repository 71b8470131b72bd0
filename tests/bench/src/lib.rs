//! Load generators for the boot servers, and the tables made of what they measured.
//!
//! Not a test of correctness: `tests/bench/run` starts servers and calls these. Invariant: every
//! generator ends by itself within the time it was given and prints one JSON object.

pub mod api;
pub mod bmc;
pub mod dhcp;
pub mod embedded;
pub mod fill;
pub mod hist;
pub mod http;
pub mod link;
pub mod random;
pub mod report;
pub mod tftp;
pub mod udp;
