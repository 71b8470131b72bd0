//! HTTP to one BMC: connections, deadlines, bounds.
//!
//! It knows no Redfish. There is no background task: a connection moves only while somebody waits
//! for its answer, so a dropped call leaves nothing behind.

mod connection;
mod encoding;
mod failure;
mod origin;
mod pool;
mod retry_after;
mod transport;

pub use failure::WireError;
pub(crate) use transport::{Request, Response, Transport, secret_header};
