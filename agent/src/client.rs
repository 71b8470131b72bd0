//! Plain HTTP to the appliance: JSON posts and ranged downloads, every call bounded in time.
//!
//! Invariant: redirects and proxies are never followed; what the plan names is what is asked.

use std::io;
use std::time::Duration;

use serde::Serialize;
use ureq::http::{Response, StatusCode, header};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole JSON exchange.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the headers of a download are there.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// A download that delivers nothing for so long counts as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Plans carry seed files; nothing the appliance answers is larger.
const LARGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// An HTTP client without TLS, redirects or proxies.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
}

/// A call that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer to {method} {path}")]
pub struct Unanswered {
    method: &'static str,
    /// Without the token: capability URLs are secrets.
    path: String,
    #[source]
    source: ureq::Error,
}

/// An answer with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// `Retry-After` in seconds, when it was given in seconds.
    pub retry_after: Option<Duration>,
    /// Body, at most 16 MiB.
    pub body: Vec<u8>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client that opens connections as needed.
    pub fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("unbounded-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
        }
    }

    /// Posts `message` as JSON.
    ///
    /// # Errors
    /// No complete answer came within ten seconds.
    pub fn post<T: Serialize>(&self, url: &str, message: &T) -> Result<Answer, Unanswered> {
        let unanswered = |source| Unanswered {
            method: "POST",
            path: redacted(url).to_owned(),
            source,
        };
        let body = serde_json::to_vec(message)
            .map_err(|error| unanswered(ureq::Error::Io(io::Error::other(error))))?;
        let mut response = self
            .agent
            .post(url)
            .config()
            .timeout_global(Some(POST_TIMEOUT))
            .build()
            .content_type("application/json")
            .send(&body[..])
            .map_err(unanswered)?;
        let retry_after = retry_after(&response);
        let body = response
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_vec()
            .map_err(unanswered)?;
        Ok(Answer {
            status: response.status(),
            retry_after,
            body,
        })
    }

    /// Opens a download at `offset`; with `etag` the range holds only while the file is the same.
    ///
    /// # Errors
    /// No answer headers came in time.
    pub fn download(
        &self,
        url: &str,
        offset: u64,
        etag: Option<&str>,
    ) -> Result<Response<ureq::Body>, Unanswered> {
        let mut request = self.agent.get(url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
            if let Some(etag) = etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        request
            .config()
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .build()
            .call()
            .map_err(|source| Unanswered {
                method: "GET",
                path: redacted(url).to_owned(),
                source,
            })
    }
}

/// `Retry-After` in seconds; dates are ignored.
pub fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// Scheme and authority of a URL: the path of ours carries a secret.
pub fn redacted(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let authority_end = url
        .get(after_scheme..)
        .and_then(|rest| rest.find('/'))
        .map_or(url.len(), |at| after_scheme + at);
    url.get(..authority_end).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_url_keeps_only_the_server() {
        assert_eq!(
            redacted("http://10.0.0.1:8880/install/secret/claim"),
            "http://10.0.0.1:8880"
        );
        assert_eq!(redacted("http://10.0.0.1"), "http://10.0.0.1");
        assert_eq!(redacted("nonsense"), "nonsense");
    }
}
