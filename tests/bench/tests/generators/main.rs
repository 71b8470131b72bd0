//! The load generators against our own servers.

#[cfg(test)]
mod smoke;
