//! The certificate of HTTP with TLS for hosts: the operator's own, or one of the site CA, which is
//! the CA of the embedded API (or of the web page, with a cluster). There is no third CA.
//!
//! Invariant: an https URL is handed out only when the operator said so.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use netboot::render::ServerContext;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::address::Place;
use crate::config::{Config, HttpTlsConfig};

/// What the TLS port shows; `site` is the identity that the site CA has signed.
///
/// # Errors
/// Files that are not a certificate with its key.
pub(super) fn identity(
    config: &HttpTlsConfig,
    site: &Arc<ArcSwap<ServerConfig>>,
) -> Result<Arc<ArcSwap<ServerConfig>>> {
    match &config.identity {
        None => Ok(Arc::clone(site)),
        Some((certificate, key)) => {
            let own = own(certificate, key)?;
            Ok(Arc::new(ArcSwap::from_pointee(own)))
        }
    }
}

fn own(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let read = |what, flag, path: &Path| format!("read {what} {} ({flag})", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| {
            read(
                "the certificate",
                "--http-tls-certificate-file",
                certificate,
            )
        })?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .with_context(|| read("the private key", "--http-tls-key-file", key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("use {} with {}", certificate.display(), key.display()))
}

/// Where firmware finds its first file by UEFI HTTP boot.
pub(super) fn boot_url(config: &Config, place: &Place, server: &ServerContext) -> String {
    match config.http_tls.as_ref().filter(|tls| tls.boot) {
        None => server.http_url.clone(),
        Some(tls) => format!("https://{}:{}", host(config, place), tls.port),
    }
}

/// The name or address in the certificate besides those of the API.
pub(super) fn host(config: &Config, place: &Place) -> String {
    let given = config.serve_url.as_ref().and_then(|url| url.host_str());
    given.map_or_else(|| place.address.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{config::parse, serve::firmware};

    fn told(text: &str) -> String {
        let config = Config::try_from(parse(text).unwrap()).unwrap();
        let place = Place {
            address: Ipv4Addr::new(10, 77, 0, 1),
            interface: None,
        };
        let server = firmware::server(&config, &place).unwrap();
        boot_url(&config, &place, &server)
    }

    #[test]
    fn firmware_is_told_https_only_when_the_operator_says_so() {
        assert_eq!(told(""), "http://10.77.0.1:8880");
        assert_eq!(told("[http]\ntls_port = 8843"), "http://10.77.0.1:8880");
        let tls = "[http]\ntls_port = 8843\ntls_boot = true";
        assert_eq!(told(tls), "https://10.77.0.1:8843");
        let named = format!("serve_url = 'http://boot.example:81'\n{tls}");
        assert_eq!(told(&named), "https://boot.example:8843");
    }

    #[test]
    fn files_that_are_no_identity_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        std::fs::write(&certificate, "").unwrap();
        let error = format!("{:#}", own(&certificate, &key).unwrap_err());
        assert!(error.contains("k.pem (--http-tls-key-file)"), "{error}");
    }
}
