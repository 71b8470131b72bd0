//! One RSA key with its self-signed certificate.
//!
//! RSA with 2048 bits, because that is what all firmware verifies; UEFI asks for no more.

use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _, date_time_ymd,
};

/// Firmware does not look at dates, people do.
const YEARS: i32 = 20;

/// A key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The crypto library refused.
    #[error("cannot make or use the key {name}")]
    Crypto {
        /// Common name of the certificate.
        name: String,
        /// Its words.
        #[source]
        source: rcgen::Error,
    },
    /// What was just made does not parse, or is too large for a signature list.
    #[error("the certificate of {0} is malformed")]
    Malformed(String),
}

/// A key and who it says it is. Its Debug form has no key.
pub struct Identity {
    pub(super) name: String,
    key: KeyPair,
    der: Vec<u8>,
    pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a key and a certificate with this common name, valid from the day of `now`.
    ///
    /// # Errors
    /// The crypto library has no randomness or refuses.
    pub fn new(name: &str, now: Timestamp) -> Result<Self, KeyError> {
        let crypto = |source| KeyError::Crypto {
            name: name.to_owned(),
            source,
        };
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(crypto)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(crypto)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let day = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let date = |year: i32| {
            let month = u8::try_from(day.month()).unwrap_or(1);
            // 29 February has no anniversary.
            let day = u8::try_from(day.day()).unwrap_or(1).min(28);
            date_time_ymd(year, month, day)
        };
        params.not_before = date(i32::from(day.year()));
        params.not_after = date(i32::from(day.year()).saturating_add(YEARS));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let certificate = params.self_signed(&key).map_err(crypto)?;
        Ok(Self {
            name: name.to_owned(),
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key,
        })
    }

    /// The certificate as firmware wants it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as `sbsign` wants it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The private key, PKCS#8. For its file and for nothing else.
    pub(super) fn private_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.key.sign(message).map_err(|source| KeyError::Crypto {
            name: self.name.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_names_its_key_and_hides_it() {
        let now = "2028-02-29T12:00:00Z".parse().expect("a time");
        let identity = Identity::new("rack-a db", now).expect("makes a key");
        let (_, parsed) = x509_parser::parse_x509_certificate(identity.der()).expect("parses");
        assert_eq!(parsed.subject().to_string(), "CN=rack-a db");
        assert_eq!(parsed.subject(), parsed.issuer());
        let key = parsed.public_key().parsed().expect("a key");
        assert_eq!(key.key_size(), 2048);
        assert!(parsed.validity().not_after.to_string().contains("2048"));
        let shown = format!("{identity:?}");
        assert!(!shown.contains("PRIVATE") && shown.contains("rack-a db"));
        assert!(
            identity
                .private_pem()
                .starts_with("-----BEGIN PRIVATE KEY-----")
        );
    }
}
