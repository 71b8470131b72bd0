//! A site's own certificate authorities, as one bundle for all its BMCs.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::handshake::provider;

/// The bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Not PEM, or damaged.
    #[error("certificate bundle is not PEM")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// PEM without a single certificate.
    #[error("certificate bundle holds no certificate")]
    Empty,
    /// A certificate that cannot be an authority.
    #[error("certificate number {number} of the bundle is no authority")]
    Unusable {
        number: usize,
        #[source]
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS configuration")]
    Tls(#[source] rustls::Error),
}

/// Authorities that may issue BMC certificates. Clones share one TLS configuration: make one per
/// bundle, not one per BMC.
#[derive(Clone)]
pub struct Authority {
    config: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Authority {
    /// Reads a bundle of one or more certificates in PEM.
    ///
    /// # Errors
    /// [`AuthorityError`] when there is no certificate, or one that cannot be an authority.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, AuthorityError> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(bundle).enumerate() {
            let certificate = certificate.map_err(AuthorityError::Pem)?;
            roots
                .add(certificate)
                .map_err(|source| AuthorityError::Unusable {
                    number: index.saturating_add(1),
                    source,
                })?;
        }
        if roots.is_empty() {
            return Err(AuthorityError::Empty);
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            server_name: None,
        })
    }

    /// The same authorities, for a certificate that is issued to `name` instead of to the host in
    /// the BMC's address.
    #[must_use]
    pub fn expecting(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Equal when they are the same bundle, loaded once.
impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.server_name == other.server_name
    }
}

impl Eq for Authority {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundle_without_authorities_is_refused() {
        assert!(matches!(
            Authority::from_pem(b""),
            Err(AuthorityError::Empty)
        ));
        assert!(matches!(
            Authority::from_pem(b"hello"),
            Err(AuthorityError::Empty)
        ));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(
            Authority::from_pem(broken),
            Err(AuthorityError::Unusable { number: 1, .. })
        ));
    }
}
