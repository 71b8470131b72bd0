//! The judge of one BMC's certificate: a pin, the first one seen, an authority, or nobody.
//!
//! A handshake only proves that the peer holds the key of the certificate it shows. For pins, the
//! certificate itself is judged here, after the handshake and before the first byte of a request.
//! A BMC that gets another certificate meanwhile shows it at the next handshake only; a connection
//! that lives goes on, since its peer has proved that it holds the key that was accepted.
//! Invariant: no request goes out on a connection that this judge did not accept.

use std::sync::{Mutex, PoisonError};

use super::{Certificate, Fingerprint, TlsTrust};

/// What the judge thinks of a presented certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// Another one is pinned.
    Mismatch {
        pinned: Fingerprint,
        found: Fingerprint,
    },
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// The first certificate becomes the pin.
    FirstUse,
    Pin(Fingerprint),
    /// The handshake judged already (authority), or nobody does.
    Anything,
}

#[derive(Debug)]
struct State {
    rule: Rule,
    presented: Option<Certificate>,
}

/// Judges the certificates of one BMC and remembers the latest.
#[derive(Debug)]
pub(crate) struct Judge {
    state: Mutex<State>,
}

impl Judge {
    pub(crate) fn new(trust: &TlsTrust) -> Self {
        let rule = match trust {
            TlsTrust::FirstUse => Rule::FirstUse,
            TlsTrust::Pin(pinned) => Rule::Pin(*pinned),
            TlsTrust::Authority(_) | TlsTrust::Unverified | TlsTrust::Plaintext => Rule::Anything,
        };
        Self {
            state: Mutex::new(State {
                rule,
                presented: None,
            }),
        }
    }

    /// The latest certificate, good or refused.
    pub(crate) fn presented(&self) -> Option<Certificate> {
        self.lock().presented
    }

    /// Judges a certificate that was presented to carry requests.
    pub(crate) fn judge(&self, certificate: Certificate) -> Verdict {
        let mut state = self.lock();
        state.presented = Some(certificate);
        let found = certificate.fingerprint;
        match state.rule {
            Rule::Anything => Verdict::Accepted,
            Rule::FirstUse => {
                state.rule = Rule::Pin(found);
                Verdict::Accepted
            }
            Rule::Pin(pinned) if pinned == found => Verdict::Accepted,
            Rule::Pin(pinned) => Verdict::Mismatch { pinned, found },
        }
    }

    /// Pins another certificate from now on.
    pub(crate) fn repin(&self, fingerprint: Fingerprint) {
        self.lock().rule = Rule::Pin(fingerprint);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;

    use super::*;

    fn certificate(text: &'static str) -> Certificate {
        Certificate::of_der(&CertificateDer::from(text.as_bytes()))
    }

    #[test]
    fn first_certificate_is_kept_until_another_is_pinned() {
        let judge = Judge::new(&TlsTrust::FirstUse);
        let (a, b) = (certificate("a"), certificate("b"));
        assert_eq!(judge.presented(), None);
        assert_eq!(judge.judge(a), Verdict::Accepted);
        assert_eq!(judge.judge(a), Verdict::Accepted);
        assert_eq!(
            judge.judge(b),
            Verdict::Mismatch {
                pinned: a.fingerprint,
                found: b.fingerprint
            }
        );
        assert_eq!(judge.presented(), Some(b));
        judge.repin(b.fingerprint);
        assert_eq!(judge.judge(b), Verdict::Accepted);
        assert!(matches!(judge.judge(a), Verdict::Mismatch { .. }));
    }

    #[test]
    fn opt_out_accepts_and_remembers() {
        let judge = Judge::new(&TlsTrust::Unverified);
        assert_eq!(judge.judge(certificate("a")), Verdict::Accepted);
        assert_eq!(judge.judge(certificate("b")), Verdict::Accepted);
        assert_eq!(judge.presented(), Some(certificate("b")));
    }
}
