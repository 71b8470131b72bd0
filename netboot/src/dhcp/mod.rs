//! DHCP for machines we own: a pure core and a socket edge.
//!
//! Invariant: nothing but the server module imports a socket, a clock or a runtime.

pub mod arch;
