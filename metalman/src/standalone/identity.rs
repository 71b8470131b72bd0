//! The API's identity on disk: site CA, server certificate, administrator token.
//!
//! Everything is made once, kept in the state directory with mode 0600, and made again only when
//! it runs out or the names change. Invariant: a CA that exists is never replaced, because every
//! kubeconfig out there trusts it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

const CA_DAYS: i64 = 20 * 365;
const SERVER_DAYS: i64 = 365;
const RENEW_DAYS: i64 = 30;

/// What can go wrong with identity files.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key cannot be made or read.
    #[error("cannot {operation}: remove {path} to have it made again")]
    Certificate {
        /// What was tried.
        operation: &'static str,
        /// The file it is about.
        path: PathBuf,
        /// Cause.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate does not fit the TLS library.
    #[error("cannot set up TLS from {path}")]
    Tls {
        /// Directory of the files.
        path: PathBuf,
        /// Cause.
        #[source]
        source: rustls::Error,
    },
    /// A PEM file without what it should hold.
    #[error("{path} holds no usable PEM: {problem}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        problem: String,
    },
}

/// The identity, ready for use.
#[derive(Debug, Clone)]
pub struct Identity {
    /// PEM of the CA certificate.
    pub ca_pem: String,
    /// Bearer token of the administrator.
    pub admin_token: secrecy::SecretString,
    directory: PathBuf,
}

impl Identity {
    /// Loads the identity from `directory`, making what is missing or due.
    ///
    /// # Errors
    /// Files that cannot be read or written, or hold something else.
    pub fn open(directory: &Path, names: &[String], now: Timestamp) -> Result<Self, IdentityError> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(file("create", directory))?;
        let (ca_pem, issuer) = ca(directory, now)?;
        server_certificate(directory, names, now, &issuer)?;
        let token_path = directory.join("admin.token");
        let admin_token = match read(&token_path)? {
            Some(token) => token.trim().to_owned(),
            None => {
                let token = base64::engine::general_purpose::URL_SAFE_NO_PAD
                    .encode(rand::random::<[u8; 32]>());
                write_private(&token_path, &token)?;
                token
            }
        };
        Ok(Self {
            ca_pem,
            admin_token: admin_token.into(),
            directory: directory.to_owned(),
        })
    }

    /// TLS settings of the server: HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// # Errors
    /// Files that were damaged since they were opened.
    pub fn tls(&self) -> Result<rustls::ServerConfig, IdentityError> {
        let (certificate, key) = (
            self.directory.join("server.crt"),
            self.directory.join("server.key"),
        );
        let pem = |path: &Path, e: rustls::pki_types::pem::Error| IdentityError::Pem {
            path: path.to_owned(),
            problem: e.to_string(),
        };
        let chain = vec![
            CertificateDer::from_pem_file(&certificate).map_err(|e| pem(&certificate, e))?,
            CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
                .map_err(|e| pem(&self.directory.join("ca.crt"), e))?,
        ];
        let key = PrivateKeyDer::from_pem_file(&key).map_err(|e| pem(&key, e))?;
        let unusable = |source| IdentityError::Tls {
            path: self.directory.clone(),
            source,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn file(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::File {
        operation,
        path,
        source,
    }
}

fn certificate(operation: &'static str, path: &Path) -> impl Fn(rcgen::Error) -> IdentityError {
    let path = path.to_owned();
    move |source| IdentityError::Certificate {
        operation,
        path: path.clone(),
        source,
    }
}

fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("read", path)(error)),
    }
}

/// Writes a file that only its owner can read, atomically.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<(), IdentityError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file("replace", &fresh)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut handle = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(file("create", &fresh))?;
    handle
        .write_all(text.as_bytes())
        .map_err(file("write", &fresh))?;
    handle.sync_all().map_err(file("write", &fresh))?;
    fs::rename(&fresh, path).map_err(file("replace", path))
}

fn ca(
    directory: &Path,
    now: Timestamp,
) -> Result<(String, Issuer<'static, KeyPair>), IdentityError> {
    let (certificate_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
    let mut params = base_params(now, CA_DAYS);
    params
        .distinguished_name
        .push(DnType::CommonName, "metalman site CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if let (Some(pem), Some(key)) = (read(&certificate_path)?, read(&key_path)?) {
        let bad = certificate("read the site CA", &certificate_path);
        // An issuer is its name and its key; both are the same as when the CA was made.
        return Ok((
            pem,
            Issuer::new(params, KeyPair::from_pem(&key).map_err(bad)?),
        ));
    }
    let bad = certificate("make the site CA", &certificate_path);
    let key = KeyPair::generate().map_err(&bad)?;
    let pem = params.self_signed(&key).map_err(&bad)?.pem();
    // Key first: a certificate without its key would look complete.
    write_private(&key_path, &key.serialize_pem())?;
    write_private(&certificate_path, &pem)?;
    Ok((pem, Issuer::new(params, key)))
}

fn server_certificate(
    directory: &Path,
    names: &[String],
    now: Timestamp,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(), IdentityError> {
    let (certificate_path, key_path) = (directory.join("server.crt"), directory.join("server.key"));
    let names_path = directory.join("server.names");
    let wanted = names.join("\n");
    let same = read(&names_path)?.is_some_and(|names| names == wanted) && key_path.exists();
    if let Some(pem) = read(&certificate_path)?.filter(|_| same)
        && expires(&pem).is_some_and(|end| end > now + SignedDuration::from_hours(RENEW_DAYS * 24))
    {
        return Ok(());
    }
    let bad = certificate("make the server certificate", &certificate_path);
    let mut params = base_params(now, SERVER_DAYS);
    let named = CertificateParams::new(names.to_vec()).map_err(&bad)?;
    params.subject_alt_names = named.subject_alt_names;
    params
        .distinguished_name
        .push(DnType::CommonName, "metalman API");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(&bad)?;
    let pem = params.signed_by(&key, issuer).map_err(&bad)?.pem();
    write_private(&key_path, &key.serialize_pem())?;
    write_private(&certificate_path, &pem)?;
    write_private(&names_path, &wanted)
}

fn base_params(now: Timestamp, days: i64) -> CertificateParams {
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        let positive = |n: i8| u8::try_from(n).unwrap_or(1);
        date_time_ymd(
            i32::from(date.year()),
            positive(date.month()),
            positive(date.day()),
        )
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // A day of grace for clients whose clock is behind.
    params.not_before = day(now - SignedDuration::from_hours(24));
    params.not_after = day(now + SignedDuration::from_hours(24 * days));
    let serial: [u8; 16] = rand::random();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn expires(pem: &str) -> Option<Timestamp> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn identity_is_kept_private_and_renewed_when_due() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let first = Identity::open(&path, &names(), now).unwrap();
        first.tls().unwrap();
        let certificate = || fs::read_to_string(path.join("server.crt")).unwrap();
        let made = certificate();
        for entry in fs::read_dir(&path).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let again = Identity::open(&path, &names(), now).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        assert_eq!(
            first.admin_token.expose_secret(),
            again.admin_token.expose_secret()
        );
        assert_eq!(made, certificate());
        let late = now + SignedDuration::from_hours(24 * 340);
        let later = Identity::open(&path, &names(), late).unwrap();
        assert_eq!(first.ca_pem, later.ca_pem);
        let renewed = certificate();
        assert_ne!(made, renewed);
        let more = [names(), vec!["10.77.0.1".to_owned()]].concat();
        Identity::open(&path, &more, late).unwrap();
        assert_ne!(renewed, certificate());
    }
}
