//! A plain HTTPS client that shares nothing with the Redfish client: the tests look at raw answers through it.

use std::sync::Arc;
use std::time::Duration;

use bmcsim::{Bmc, BmcConfig, Config, Profile, Running};
use http::{HeaderMap, StatusCode};
use rustls::DigitallySignedStruct;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

/// One simulated BMC and somebody who calls it.
pub(crate) struct Rig {
    pub(crate) running: Running,
    pub(crate) bmc: Arc<Bmc>,
    pub(crate) http: reqwest::Client,
    pub(crate) url: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Rig {
    pub(crate) async fn new(profile: Profile) -> Self {
        let bmc = BmcConfig {
            system_id: profile.system_id.clone(),
            profile,
            ..BmcConfig::memory("bmc-1", "right")
        };
        let config = Config {
            admin: None,
            bmcs: vec![bmc],
        };
        let running = bmcsim::start(config).await.unwrap();
        let (address, bmc) = running.bmcs()[0].clone();
        Self {
            running,
            bmc,
            http: client(),
            url: format!("https://{address}"),
        }
    }

    /// A request with the administrator's name and password.
    pub(crate) fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.raw(method, path).basic_auth("admin", Some("right"))
    }

    /// A request without credentials.
    pub(crate) fn raw(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/redfish/v1/{path}")
        };
        self.http
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        read(self.ask("GET", path)).await.unwrap()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        read(self.ask(method, path).json(&body)).await.unwrap()
    }
}

/// Sends a request and reads its answer; the body is null when there is none.
pub(crate) async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await?;
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer {
        status,
        headers,
        body,
    })
}

/// A client that takes every certificate and waits two seconds at most.
pub(crate) fn client() -> reqwest::Client {
    patient(Duration::from_secs(2))
}

/// A client that takes every certificate.
pub(crate) fn patient(timeout: Duration) -> reqwest::Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .tls_info(true)
        .build()
        .unwrap()
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
