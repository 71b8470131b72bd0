//! End-to-end tests: the real binary, a simulated BMC over TLS, and a scripted installer.
//!
//! What needs real firmware runs in the lab (`tests/lab`); here everything is on the loopback and
//! needs neither root nor QEMU. Invariant: tests wait for states with a deadline, never for time.

pub mod apis;
pub mod appliance;
pub mod dhcp;
pub mod host;
pub mod image;
pub mod postgres;
pub mod proxy;
pub mod rack;
pub mod registry;
pub mod vendors;
pub mod wait;

/// TLS needs a provider before the first client is made; the first call installs it.
pub(crate) fn install_crypto_provider() {
    // An error means that it is there.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
}
