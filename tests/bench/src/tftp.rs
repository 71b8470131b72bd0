//! TFTP clients (RFC 1350, 2347, 2348, 7440).

pub mod client;
pub mod half_open;
pub mod load;
