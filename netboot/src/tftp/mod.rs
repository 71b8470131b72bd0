//! Read-only TFTP for firmware, shim and GRUB (RFC 1350, 2347, 2348, 2349, 7440).
//!
//! The session is our own and pure; the server gives each one a task, a port and a file. We do not
//! use the async-tftp crate: it ignores a client's ERROR, so that EDK2's usual size probe leaves a
//! zombie that resends for minutes and drops a second request from the same port; it waits a fixed
//! time for a lost window; it has no limits on transfers, windows or memory, answers from whatever
//! address the kernel picks, and offers no way to count or to stop.
//!
//! Files are read 128 KiB at a time on the blocking pool into a buffer of their transfer: no cache
//! to size, no limit on the file, and 200 clients of one initrd cost 25 MiB (the page cache holds
//! the file itself once).
//!
//! Invariant: nothing but `server`, `transfer`, `socket` and `reader` touches a socket, a file or a clock.

mod packet;
mod reader;
pub mod request;
mod rtt;
pub mod server;
pub mod session;
mod socket;
mod transfer;
