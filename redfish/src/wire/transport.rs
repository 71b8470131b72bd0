//! One HTTP request to one BMC: bounded in time and size, never redirected, never proxied.
//!
//! It knows no sessions and gives every status back as it came; only a missing or unusable answer
//! is an error here. Invariant: no request leaves the origin of the configured address, whatever
//! links the BMC sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use http::{Method, StatusCode};
use http_body_util::Full;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tracing::{Instrument, debug, debug_span};

use super::connection::{Answer, Broken, Connection, Stream};
use super::encoding::decoded;
use super::failure::WireError;
use super::origin::Origin;
use super::pool::Pool;
use super::retry_after::retry_after;
use crate::config::{ClientConfig, Timeouts};
use crate::error::Error;
use crate::operation::Operation;
use crate::trust::{self, Certificate, Fingerprint, Judge, TlsTrust, Verdict};

/// Longest answer that is read, before and after decompression.
pub(crate) const BODY_LIMIT_BYTES: usize = 8 * 1024 * 1024;

const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// A request. `path` may come from a BMC.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<&'a Value>,
    pub(crate) timeout: Option<Duration>,
}

/// An answer of any status. `body` is null when it was empty or no JSON.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)?
            .to_str()
            .ok()
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn etag(&self) -> Option<String> {
        self.header(ETAG.as_str()).map(ToOwned::to_owned)
    }

    /// `Retry-After` in seconds or as a date, which is measured against the answer's own `Date`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.header("date"))
    }
}

/// TLS to one BMC.
#[derive(Debug)]
struct Tls {
    config: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
    judge: Judge,
}

/// The connections of one BMC.
#[derive(Debug)]
pub(crate) struct Transport {
    origin: Origin,
    tls: Option<Tls>,
    timeouts: Timeouts,
    pool: Pool,
    requests: AtomicU64,
}

impl Transport {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let origin = Origin::parse(&config.base)?;
        if origin.is_tls() == (config.trust == TlsTrust::Plaintext) {
            return Err(Error::InvalidConfig {
                what: "http:// needs, and only http:// allows, plaintext trust".to_owned(),
            });
        }
        let shared = match &config.trust {
            TlsTrust::Plaintext => None,
            TlsTrust::Authority(authority) => {
                let name = origin.server_name(authority.server_name())?;
                Some((authority.config(), name))
            }
            TlsTrust::FirstUse | TlsTrust::Pin(_) | TlsTrust::Unverified => {
                let shared = trust::any_leaf().map_err(|error| Error::InvalidConfig {
                    what: format!("TLS: {error}"),
                })?;
                Some((shared, origin.server_name(None)?))
            }
        };
        Ok(Self {
            origin,
            tls: shared.map(|(config_of_kind, name)| Tls {
                config: config_of_kind,
                name,
                judge: Judge::new(&config.trust),
            }),
            timeouts: config.timeouts,
            pool: Pool::default(),
            requests: AtomicU64::new(0),
        })
    }

    /// Address for texts.
    pub(crate) fn bmc(&self) -> &str {
        self.origin.authority()
    }

    /// Requests sent so far, answered or not.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The address of a page of the BMC's web interface.
    pub(crate) fn page(&self, path: &str) -> String {
        let scheme = if self.origin.is_tls() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{path}", self.bmc())
    }

    /// The certificate of the latest handshake that was to carry requests.
    pub(crate) fn certificate(&self) -> Option<Certificate> {
        self.tls.as_ref()?.judge.presented()
    }

    /// Shakes hands, sends nothing, and gives back the certificate without judging it.
    pub(crate) async fn present(&self) -> Result<Option<Certificate>, Error> {
        let operation = Operation::ReadCertificate;
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let deadline = Instant::now() + self.timeouts.connect;
        let shake = async {
            let tcp = self.tcp().await?;
            let config = trust::any_leaf().map_err(|error| {
                WireError::Tls(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
            })?;
            let stream = TlsConnector::from(config)
                .connect(tls.name.clone(), tcp)
                .await
                .map_err(WireError::Tls)?;
            Ok(leaf(&stream))
        };
        match timeout_at(deadline, shake).await {
            Ok(Ok(certificate)) => Ok(certificate),
            Ok(Err(source)) => Err(self.unreachable(operation, source)),
            Err(_) => Err(self.unreachable(operation, WireError::Deadline("connecting"))),
        }
    }

    /// Trusts another certificate from now on; open connections belong to the old one.
    pub(crate) fn repin(&self, fingerprint: Fingerprint) {
        if let Some(tls) = &self.tls {
            tls.judge.repin(fingerprint);
        }
        self.pool.clear();
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Response, Error> {
        let span = debug_span!(
            "redfish.call",
            bmc.addr = self.bmc(),
            operation = request.operation.label(),
            method = %request.method,
            path = request.path
        );
        async {
            let deadline = Instant::now() + request.timeout.unwrap_or(self.timeouts.request);
            let operation = request.operation;
            let answer = match timeout_at(deadline, self.exchange(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::TimedOut {
                    bmc: self.bmc().to_owned(),
                    operation,
                    source: WireError::Deadline("the request"),
                }),
            };
            match &answer {
                Ok(response) => debug!(status = response.status.as_u16(), "BMC answered"),
                Err(error) => debug!(error.reason = error.reason(), "BMC did not answer"),
            }
            answer
        }
        .instrument(span)
        .await
    }

    async fn exchange(&self, request: Request<'_>) -> Result<Response, Error> {
        let operation = request.operation;
        let is_repeatable = matches!(request.method, Method::GET | Method::DELETE);
        let mut message = self.message(&request)?;
        // A kept connection may die under our hands; what can be repeated is then asked again on a
        // new one, and so is anything of which not a byte went out.
        let mut kept = self.pool.take(!is_repeatable).await;
        loop {
            let is_kept = kept.is_some();
            let again = (is_kept && is_repeatable).then(|| message.clone());
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.connect(operation).await?,
            };
            self.requests.fetch_add(1, Ordering::Relaxed);
            let broken = match connection.exchange(message, BODY_LIMIT_BYTES).await {
                Ok(answer) => {
                    if keeps_alive(&answer.head) {
                        self.pool.keep(connection);
                    }
                    return self.response(operation, answer);
                }
                Err(broken) => broken,
            };
            message = match (broken, again) {
                (Broken::TooLong, _) => {
                    return Err(Error::BodyTooLarge {
                        operation,
                        limit_bytes: BODY_LIMIT_BYTES,
                    });
                }
                (Broken::Unsent(message), _) if is_kept => *message,
                (Broken::Unanswered(_), Some(message)) => message,
                (Broken::Unsent(_), _) => {
                    return Err(self.unreachable(operation, WireError::Closed));
                }
                (Broken::Unanswered(source) | Broken::Cut(source), _) => {
                    return Err(self.lost(operation, source));
                }
            };
        }
    }

    fn message(&self, request: &Request<'_>) -> Result<http::Request<Full<Bytes>>, Error> {
        let body = match request.body {
            Some(body) => body.to_string().into_bytes(),
            None => Vec::new(),
        };
        let mut message = http::Request::builder()
            .method(request.method.clone())
            .uri(self.origin.target(request.path))
            .header(HOST, self.bmc())
            .header(ACCEPT, "application/json")
            .header(ODATA_VERSION, "4.0")
            .header(
                USER_AGENT,
                concat!("metalman-redfish/", env!("CARGO_PKG_VERSION")),
            );
        if request.body.is_some() {
            message = message.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in &request.headers {
            message = message.header(name, value);
        }
        message
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.lost(request.operation, WireError::Request(error)))
    }

    fn response(&self, operation: Operation, answer: Answer) -> Result<Response, Error> {
        let Answer { head, body } = answer;
        let encoding = head
            .headers
            .get(CONTENT_ENCODING)
            .and_then(|value| value.to_str().ok());
        let body = decoded(encoding, body, BODY_LIMIT_BYTES)
            .map_err(|source| self.lost(operation, WireError::Encoding(source)))?
            .ok_or(Error::BodyTooLarge {
                operation,
                limit_bytes: BODY_LIMIT_BYTES,
            })?;
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }

    async fn connect(&self, operation: Operation) -> Result<Connection, Error> {
        let deadline = Instant::now() + self.timeouts.connect;
        match timeout_at(deadline, self.open(operation)).await {
            Ok(connection) => connection,
            Err(_) => Err(self.unreachable(operation, WireError::Deadline("connecting"))),
        }
    }

    async fn open(&self, operation: Operation) -> Result<Connection, Error> {
        let failed = |source| self.unreachable(operation, source);
        let tcp = self.tcp().await.map_err(failed)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(tls) => Box::new(self.shake_hands(operation, tls, tcp).await?),
        };
        Connection::over(stream).await.map_err(failed)
    }

    async fn tcp(&self) -> Result<TcpStream, WireError> {
        let stream = TcpStream::connect((self.origin.host(), self.origin.port()))
            .await
            .map_err(WireError::Tcp)?;
        stream.set_nodelay(true).map_err(WireError::Tcp)?;
        Ok(stream)
    }

    async fn shake_hands(
        &self,
        operation: Operation,
        tls: &Tls,
        tcp: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let connector = TlsConnector::from(Arc::clone(&tls.config));
        let stream = match connector.connect(tls.name.clone(), tcp).await {
            Ok(stream) => stream,
            Err(source) if is_certificate_refusal(&source) => {
                return Err(Error::CertificateUntrusted {
                    bmc: self.bmc().to_owned(),
                    source: WireError::Tls(source),
                });
            }
            Err(source) => return Err(self.unreachable(operation, WireError::Tls(source))),
        };
        let Some(certificate) = leaf(&stream) else {
            return Err(self.unreachable(operation, WireError::Closed));
        };
        match tls.judge.judge(certificate) {
            Verdict::Accepted => Ok(stream),
            Verdict::Mismatch { pinned, found } => {
                Err(Error::CertificateMismatch { pinned, found })
            }
        }
    }

    fn unreachable(&self, operation: Operation, source: WireError) -> Error {
        Error::Unreachable {
            bmc: self.bmc().to_owned(),
            operation,
            source,
        }
    }

    fn lost(&self, operation: Operation, source: WireError) -> Error {
        Error::ConnectionLost {
            bmc: self.bmc().to_owned(),
            operation,
            source,
        }
    }
}

fn leaf(stream: &tokio_rustls::client::TlsStream<TcpStream>) -> Option<Certificate> {
    let (_, connection) = stream.get_ref();
    connection
        .peer_certificates()?
        .first()
        .map(Certificate::of_der)
}

fn is_certificate_refusal(error: &std::io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether the connection may be used after this answer. hyper minds `Connection: close` itself;
/// this spares a look at a connection that is known to end.
fn keeps_alive(head: &http::response::Parts) -> bool {
    !head
        .headers
        .get(http::header::CONNECTION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// A header value that is kept out of debug output. `None` if it cannot be one.
pub(crate) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn plaintext_has_to_be_asked_for() {
        let new = |base: &str, trust| {
            Transport::new(&ClientConfig {
                base: base.parse().unwrap(),
                username: "u".into(),
                password: SecretString::from("p"),
                system_id: None,
                trust,
                timeouts: Timeouts::default(),
            })
        };
        let refused = [
            new("http://10.0.0.1", TlsTrust::FirstUse),
            new("https://10.0.0.1", TlsTrust::Plaintext),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(Error::InvalidConfig { .. })));
        }
        assert!(new("http://10.0.0.1", TlsTrust::Plaintext).is_ok());
        assert!(new("https://[fd00::1]", TlsTrust::Unverified).is_ok());
    }
}
