//! The embedded Kubernetes-compatible API of one appliance.
//!
//! It serves our own resources and the few core ones that metalman, its agent and their users
//! need, from the store, over TLS. It is not a cluster: no pods, no controllers, one process, one
//! writer.

pub mod api;
pub mod apply;
pub mod core;
pub mod event_view;
pub mod fields;
pub mod http;
pub mod hub;
pub mod identity;
pub mod jsonpath;
pub mod meta;
pub mod ops;
pub mod patch;
pub mod resource;
pub mod schema;
pub mod select;
pub mod status;
pub mod storage;
pub mod strategy;
pub mod table;
pub mod writer;

pub use api::{Api, ApiConfig, ApiFailure};
