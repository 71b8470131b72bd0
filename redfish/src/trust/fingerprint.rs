//! Fingerprints of certificates: SHA-256 of the DER encoding, and how people write it.

use std::fmt;
use std::str::FromStr;

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
