//! The Redfish service of one BMC.
//!
//! A request passes the [`gate`], which logs, injects faults and asks who it is; then it is routed by method. What
//! there is to read is a [`view`] of the tree and of the state, taken under one lock.

mod accounts;
mod actions;
mod document;
mod facts;
mod gate;
mod live;
mod message;
mod patch;
mod query;
mod route;
mod sessions;
mod tasks;
mod view;

pub(crate) use gate::pass;

/// Longest request body.
const BODY_LIMIT_BYTES: usize = 1024 * 1024;
