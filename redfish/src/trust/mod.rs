//! Whom the client believes to be the BMC.
//!
//! BMC certificates are mostly self-signed, expired and carry wrong names, so the usual answer is a
//! pin of the leaf. A site with its own authority names its bundle instead. One TLS configuration
//! is shared by all clients of a kind: it costs more memory than everything else of a client.

mod authority;
mod certificate;
mod fingerprint;
mod handshake;
mod judge;

pub use authority::{Authority, AuthorityError};
pub use certificate::Certificate;
pub use fingerprint::{Fingerprint, FingerprintError};
pub(crate) use handshake::any_leaf;
pub(crate) use judge::{Judge, Verdict};

/// How the BMC's certificate is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsTrust {
    /// Accept the first certificate seen by this client and hold on to it. The owner stores
    /// [`crate::Client::observed_fingerprint`] and pins it from then on.
    FirstUse,
    /// Only the certificate with this fingerprint.
    Pin(Fingerprint),
    /// A certificate that one of these authorities issued for the address.
    Authority(Authority),
    /// Any certificate at all: who can answer at the address, gets the password. For single BMCs
    /// that change their certificate by themselves.
    Unverified,
    /// No TLS at all; the only mode in which an `http://` address is accepted.
    Plaintext,
}
