//! What is kept of a certificate that a BMC presented.
//!
//! Not a judgement: see `judge`. A certificate that cannot be parsed still has a fingerprint.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Fingerprint;

/// A leaf certificate as it was presented in a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the DER encoding.
    pub fingerprint: Fingerprint,
    /// Start of validity, if it can be read.
    pub not_before: Option<Timestamp>,
    /// End of validity, if it can be read.
    pub not_after: Option<Timestamp>,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub(crate) fn of_der(der: &CertificateDer<'_>) -> Self {
        let parsed = X509Certificate::from_der(der).ok();
        let validity = parsed.as_ref().map(|(_, parsed)| parsed.validity());
        let second = |seconds| Timestamp::from_second(seconds).ok();
        Self {
            fingerprint: Fingerprint::of_der(der),
            not_before: validity.and_then(|validity| second(validity.not_before.timestamp())),
            not_after: validity.and_then(|validity| second(validity.not_after.timestamp())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_has_a_fingerprint_and_no_dates() {
        let read = Certificate::of_der(&CertificateDer::from(b"garbage".to_vec()));
        assert_eq!(read.fingerprint, Fingerprint::of_der(b"garbage"));
        assert_eq!((read.not_before, read.not_after), (None, None));
    }
}
