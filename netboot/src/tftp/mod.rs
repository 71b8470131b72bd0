//! Read-only TFTP for firmware, shim and GRUB (RFC 1350, 2347, 2348, 2349, 7440).
//!
//! The session is our own and pure. One task runs all transfers: it receives and sends in batches on
//! a few ports that transfers share, hands whole windows to the kernel as one segmented send, and
//! never touches a disk; files are opened and read ahead on the blocking pool. A request that
//! nobody follows costs a table entry. `ARCHITECTURE.md` has the measurements behind this.
//!
//! Invariant: nothing but `server`, `port`, `socket`, `fault` and `content` touches a socket or a file, and
//! only `server` reads the clock.

mod content;
mod engine;
mod fault;
mod outbox;
mod packet;
mod port;
pub mod request;
mod rtt;
pub mod server;
pub mod session;
mod socket;
mod table;
mod transfer;
