//! The embedded Kubernetes-compatible API of one appliance.
//!
//! It serves our own resources and the few core ones that metalman, its agent and their users
//! need, from the store, over TLS. It is not a cluster: no pods, no controllers, one process, one
//! writer.

pub mod apply;
pub mod core;
pub mod hub;
pub mod jsonpath;
pub mod meta;
pub mod patch;
pub mod resource;
pub mod schema;
pub mod select;
pub mod status;
pub mod storage;
pub mod table;
pub mod writer;
