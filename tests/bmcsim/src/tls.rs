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

/// A TLS configuration with the certificate of `dir`, made there when absent.
pub(crate) fn server_config(dir: Option<&Path>, ip: IpAddr) -> anyhow::Result<Arc<ServerConfig>> {
    let (certificate, key) = match dir {
        None => generate(ip)?,
        Some(dir) => {
            let (cert_file, key_file) = (dir.join("tls.crt"), dir.join("tls.key"));
            if cert_file.exists() && key_file.exists() {
                (
                    fs::read_to_string(cert_file)?,
                    fs::read_to_string(key_file)?,
                )
            } else {
                fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
                let (certificate, key) = generate(ip)?;
                write_secret(&key_file, &key)?;
                fs::write(&cert_file, &certificate)
                    .with_context(|| format!("write {}", cert_file.display()))?;
                (certificate, key)
            }
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    Ok(Arc::new(config))
}

fn generate(ip: IpAddr) -> anyhow::Result<(String, String)> {
    let names = vec![ip.to_string(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
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
