//! One HTTP request to one BMC: bounded in time and size, never redirected, never proxied.
//!
//! It knows no sessions and gives every status back as it came; only a missing or unusable answer
//! is an error here. Invariant: no request leaves the origin of the configured address, whatever
//! links the BMC sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{ETAG, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::Value;
use tracing::{Instrument, debug, debug_span};
use url::Url;

use crate::config::{ClientConfig, TlsTrust};
use crate::error::Error;
use crate::operation::Operation;
use crate::tls::{self, Fingerprint, PinVerifier};

/// Longest answer that is read.
pub(crate) const BODY_LIMIT_BYTES: usize = 8 * 1024 * 1024;

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

/// The connection pool of one BMC.
#[derive(Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    origin: Url,
    bmc: String,
    verifier: Option<Arc<PinVerifier>>,
    requests: AtomicU64,
}

impl Transport {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let origin = origin(&config.base)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pinned = match (&config.trust, origin.scheme()) {
            (TlsTrust::Plaintext, "http") => None,
            (TlsTrust::FirstUse, "https") => Some(None),
            (TlsTrust::Pin(pinned), "https") => Some(Some(*pinned)),
            (TlsTrust::FirstUse | TlsTrust::Pin(_) | TlsTrust::Plaintext, _) => {
                return Err(invalid(
                    "http:// needs, and only http:// allows, plaintext trust",
                ));
            }
        };
        let verifier = pinned.map(|pinned| Arc::new(PinVerifier::new(&provider, pinned)));
        let any = Arc::new(PinVerifier::new(&provider, None));
        let tls = tls::client_config(provider, verifier.clone().unwrap_or(any))
            .map_err(|error| invalid(&format!("TLS: {error}")))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(config.timeouts.connect)
            .timeout(config.timeouts.request)
            .pool_max_idle_per_host(2)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("redfish/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| invalid(&format!("HTTP client: {error}")))?;
        let bmc = origin
            .host_str()
            .map_or_else(String::new, |host| match origin.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            });
        Ok(Self {
            http,
            origin,
            bmc,
            verifier,
            requests: AtomicU64::new(0),
        })
    }

    /// Address for texts.
    pub(crate) fn bmc(&self) -> &str {
        &self.bmc
    }

    pub(crate) fn observed_fingerprint(&self) -> Option<Fingerprint> {
        self.verifier.as_ref()?.observed()
    }

    /// Requests sent so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Response, Error> {
        let span = debug_span!("redfish.call", bmc.addr = %self.bmc, operation = request.operation.label(), method = %request.method, path = request.path);
        async {
            let answer = self.exchange(request).await;
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
        self.requests.fetch_add(1, Ordering::Relaxed);
        let operation = request.operation;
        let mut call = self
            .http
            .request(request.method, self.resolve(request.path))
            .header("Accept", "application/json")
            .header("OData-Version", "4.0")
            .headers(request.headers);
        if let Some(timeout) = request.timeout {
            call = call.timeout(timeout);
        }
        if let Some(body) = request.body {
            call = call.json(body);
        }
        let failed = |source| self.failure(operation, source);
        let mut answer = call.send().await.map_err(failed)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len().saturating_add(chunk.len()) > BODY_LIMIT_BYTES {
                return Err(Error::BodyTooLarge {
                    operation,
                    limit_bytes: BODY_LIMIT_BYTES,
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Response {
            status: answer.status(),
            headers: answer.headers().clone(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        })
    }

    fn failure(&self, operation: Operation, source: reqwest::Error) -> Error {
        if let Some((pinned, found)) = self.verifier.as_ref().and_then(|pin| pin.mismatch()) {
            return Error::CertificateMismatch { pinned, found };
        }
        let bmc = self.bmc.clone();
        if source.is_connect() {
            Error::Unreachable {
                bmc,
                operation,
                source,
            }
        } else if source.is_timeout() {
            Error::TimedOut {
                bmc,
                operation,
                source,
            }
        } else {
            Error::ConnectionLost {
                bmc,
                operation,
                source,
            }
        }
    }

    /// The URL of a path or link on this BMC. Scheme and host of absolute links are ignored: BMCs
    /// behind an address translation name themselves wrongly, and credentials go nowhere else.
    fn resolve(&self, link: &str) -> Url {
        let mut url = self.origin.clone();
        if let Ok(absolute) = Url::parse(link) {
            url.set_path(absolute.path());
            url.set_query(absolute.query());
        } else if let Some((path, query)) = link.split_once('?') {
            url.set_path(path);
            url.set_query(Some(query));
        } else {
            url.set_path(link);
        }
        url
    }
}

fn origin(base: &Url) -> Result<Url, Error> {
    if base.host_str().is_none() || !matches!(base.scheme(), "http" | "https") {
        return Err(invalid("address must be https://host[:port]"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(invalid("address must not carry credentials"));
    }
    let mut origin = base.clone();
    origin.set_path("/");
    origin.set_query(None);
    origin.set_fragment(None);
    Ok(origin)
}

fn invalid(what: &str) -> Error {
    Error::InvalidConfig {
        what: what.to_owned(),
    }
}

/// Longest pause that is believed.
const RETRY_AFTER_LIMIT: Duration = Duration::from_hours(1);

fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let pause = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        let now = jiff::fmt::rfc2822::parse(date?).ok()?.timestamp();
        Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(pause.min(RETRY_AFTER_LIMIT))
}

/// A header value that is kept out of debug output. `None` if it cannot be one.
pub(crate) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::SecretString;

    use super::*;
    use crate::config::Timeouts;

    fn config(base: &str, trust: TlsTrust) -> ClientConfig {
        ClientConfig {
            base: base.parse().unwrap(),
            username: "u".into(),
            password: SecretString::from("p"),
            system_id: None,
            trust,
            timeouts: Timeouts::default(),
        }
    }

    #[test]
    fn plaintext_has_to_be_asked_for() {
        let new = |base, trust| Transport::new(&config(base, trust));
        assert!(matches!(
            new("http://10.0.0.1", TlsTrust::FirstUse),
            Err(Error::InvalidConfig { .. })
        ));
        assert!(new("http://10.0.0.1", TlsTrust::Plaintext).is_ok());
        assert!(matches!(
            new("https://10.0.0.1", TlsTrust::Plaintext),
            Err(Error::InvalidConfig { .. })
        ));
        assert!(matches!(
            new("https://a:b@10.0.0.1", TlsTrust::FirstUse),
            Err(Error::InvalidConfig { .. })
        ));
    }

    #[test]
    fn links_never_leave_the_origin() {
        let transport = Transport::new(&config(
            "https://10.0.0.1:8443/redfish/v1/",
            TlsTrust::FirstUse,
        ))
        .unwrap();
        for (link, wanted) in [
            (
                "/redfish/v1/Systems/1",
                "https://10.0.0.1:8443/redfish/v1/Systems/1",
            ),
            (
                "https://bmc.evil/redfish/v1/T/1?a=b",
                "https://10.0.0.1:8443/redfish/v1/T/1?a=b",
            ),
            ("redfish/v1", "https://10.0.0.1:8443/redfish/v1"),
        ] {
            assert_eq!(transport.resolve(link).as_str(), wanted);
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_against_the_answers_own_clock() {
        assert_eq!(retry_after("7", None), Some(Duration::from_secs(7)));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:00:00 GMT", date),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
        assert_eq!(retry_after("soon", None), None);
        assert_eq!(
            retry_after("18446744073709551615", None),
            Some(RETRY_AFTER_LIMIT)
        );
    }

    proptest! {
        #[test]
        fn any_link_stays_on_the_bmc(link in "\\PC{0,40}") {
            let transport =
                Transport::new(&config("https://10.0.0.1", TlsTrust::FirstUse)).unwrap();
            let url = transport.resolve(&link);
            prop_assert_eq!(url.host_str(), Some("10.0.0.1"));
            prop_assert_eq!(url.scheme(), "https");
        }

        #[test]
        fn any_retry_after_is_bounded(value in "\\PC{0,40}", date in proptest::option::of("\\PC{0,40}")) {
            let pause = retry_after(&value, date.as_deref());
            prop_assert!(pause.is_none_or(|pause| pause <= RETRY_AFTER_LIMIT));
        }
    }
}
