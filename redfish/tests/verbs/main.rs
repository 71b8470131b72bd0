//! The client's verbs against small services made of JSON: one habit of real BMCs per test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "../fixture/mod.rs"]
mod fixture;

mod account;
mod boot;
mod boot_order;
mod console;
mod http_boot;
mod indicator;
mod inventory;
mod log;
mod media;
mod power;
mod sensors;
mod systems;

const SYSTEM: &str = "/redfish/v1/Systems/1";
