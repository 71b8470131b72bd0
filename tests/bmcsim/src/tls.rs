//! A self-signed certificate, kept in the state folder so that a pin survives a restart.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with what serves it.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) pem: String,
    pub(crate) server: Arc<ServerConfig>,
}

/// First and last day of every certificate made here.
pub(crate) const VALID: (&str, &str) = ("2025-01-01T00:00:00+00:00", "2035-01-01T00:00:00+00:00");

impl Certificate {
    /// The certificate of `dir`, made there when absent.
    pub(crate) fn kept_in(dir: &Path, ip: IpAddr) -> anyhow::Result<Self> {
        let (cert_file, key_file) = (dir.join("tls.crt"), dir.join("tls.key"));
        if cert_file.exists() && key_file.exists() {
            return Self::of(
                fs::read_to_string(cert_file)?,
                &fs::read_to_string(key_file)?,
            );
        }
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let (certificate, key) = generate(ip)?;
        write_secret(&key_file, &key)?;
        fs::write(&cert_file, &certificate)
            .with_context(|| format!("write {}", cert_file.display()))?;
        Self::of(certificate, &key)
    }

    /// A new one that nobody keeps.
    pub(crate) fn generate(ip: IpAddr) -> anyhow::Result<Self> {
        let (certificate, key) = generate(ip)?;
        Self::of(certificate, &key)
    }

    /// A certificate and its key, in PEM.
    pub(crate) fn of(pem: String, key: &str) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(pem.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?;
        // A BMC keeps no store of tickets; a thousand of them in one process should not either.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        // What is shown must not have the key in it.
        let end = "-----END CERTIFICATE-----";
        let pem = match (pem.find("-----BEGIN CERTIFICATE-----"), pem.find(end)) {
            (Some(from), Some(to)) => pem.get(from..to + end.len()).unwrap_or_default().to_owned(),
            _ => pem,
        };
        Ok(Self {
            pem,
            server: Arc::new(server),
        })
    }
}

fn generate(ip: IpAddr) -> anyhow::Result<(String, String)> {
    let names = vec![ip.to_string(), "localhost".to_owned()];
    let key = rcgen::KeyPair::generate().context("make a key")?;
    let mut wanted = rcgen::CertificateParams::new(names)?;
    wanted.not_before = rcgen::date_time_ymd(2025, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(2035, 1, 1);
    let made = wanted.self_signed(&key).context("make a certificate")?;
    Ok((made.pem(), key.serialize_pem()))
}

fn write_secret(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut open| open.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", file.display()))
}
