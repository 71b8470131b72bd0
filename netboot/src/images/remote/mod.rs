//! How a registry is reached over the network: which addresses may be contacted, requests that
//! follow redirects by those rules, credentials, and blobs that survive a broken connection.
//!
//! Knows URLs, not images. Invariant: no request leaves here that [`policy::Policy`] has not admitted.

pub(crate) mod auth;
pub(crate) mod blob;
pub(crate) mod policy;
pub(crate) mod transport;

#[cfg(test)]
mod tests;
