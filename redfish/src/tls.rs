//! Certificate pinning: the leaf certificate's SHA-256 instead of names and authorities.
//!
//! Not a chain check: BMC certificates are self-signed, expired and carry wrong names. What holds
//! is that the handshake is signed by the key of exactly the pinned certificate.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate in DER. Written as 32 lower-case hex pairs with colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// The text is not a SHA-256 fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 fingerprint: expected 64 hexadecimal digits, optionally with colons")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Accepts upper and lower case, with or without colons, and an optional `sha256:` in front.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let text = text.trim();
        let text = match text.get(..7) {
            Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => text.get(7..).unwrap_or(""),
            Some(_) | None => text,
        };
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(FingerprintError)?;
        let mut bytes = [0_u8; 32];
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(FingerprintError);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

/// Accepts exactly one leaf certificate: the pinned one, or the first it meets.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    algorithms: WebPkiSupportedAlgorithms,
    state: Mutex<PinState>,
}

#[derive(Debug, Clone, Copy)]
struct PinState {
    pinned: Option<Fingerprint>,
    observed: Option<Fingerprint>,
}

impl PinVerifier {
    pub(crate) fn new(provider: &CryptoProvider, pinned: Option<Fingerprint>) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
            state: Mutex::new(PinState {
                pinned,
                observed: None,
            }),
        }
    }

    /// The leaf certificate of the latest handshake, good or refused.
    pub(crate) fn observed(&self) -> Option<Fingerprint> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .observed
    }

    /// `(pinned, found)` if the latest handshake showed another certificate.
    pub(crate) fn mismatch(&self) -> Option<(Fingerprint, Fingerprint)> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.pinned, state.observed) {
            (Some(pinned), Some(found)) if pinned != found => Some((pinned, found)),
            (Some(_) | None, Some(_) | None) => None,
        }
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of_der(end_entity);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.observed = Some(found);
        if *state.pinned.get_or_insert(found) == found {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The TLS configuration that judges by `verifier` alone.
pub(crate) fn client_config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<PinVerifier>,
) -> Result<rustls::ClientConfig, rustls::Error> {
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fingerprint_is_lower_case_hex_with_colons() {
        let text = Fingerprint::of_der(b"").to_string();
        assert!(text.starts_with("e3:b0:c4:42:98:fc:1c:14"));
        assert_eq!(text.len(), 95);
    }

    #[test]
    fn fingerprint_accepts_openssl_and_bare_spelling() {
        let wanted = Fingerprint::of_der(b"x");
        let text = wanted.to_string();
        assert_eq!(text.to_uppercase().parse(), Ok(wanted));
        assert_eq!(text.replace(':', "").parse(), Ok(wanted));
        assert_eq!(format!("SHA256:{text}").parse(), Ok(wanted));
        assert_eq!("".parse::<Fingerprint>(), Err(FingerprintError));
        assert_eq!("0".repeat(63).parse::<Fingerprint>(), Err(FingerprintError));
        assert_eq!("0".repeat(66).parse::<Fingerprint>(), Err(FingerprintError));
    }

    proptest! {
        #[test]
        fn fingerprint_text_reads_back(bytes in proptest::array::uniform32(any::<u8>())) {
            let fingerprint = Fingerprint(bytes);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC*") {
            text.parse::<Fingerprint>().ok();
        }
    }
}
