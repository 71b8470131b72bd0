//! The appliance: reconciles machines and operations of one site, answers firmware, drives BMCs.
//!
//! `main.rs` is only the command line; everything that runs is here, so that tests can run it.

pub mod bmc;
pub mod callbacks;
pub mod cli;
pub mod clock;
pub mod config;
pub mod discovered;
pub mod domain;
pub mod driver;
pub mod health;
pub mod kube;
pub mod packed;
pub mod secureboot;
pub mod serve;
pub mod site;
pub mod standalone;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod timeline;
pub mod transfer;
pub mod web;
