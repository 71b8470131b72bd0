//! Who may look: a bearer token, in the header or in a cookie set by the log-in form.
//!
//! Tokens are never logged. Invariant: a request without an accepted token reaches no handler behind
//! this layer.

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::Ui;
use super::problem::Problem;

/// The cookie. The prefix makes browsers insist on `Secure`, the whole host and path `/`.
pub(super) const COOKIE: &str = "__Host-metalman";

/// Scripts, styles and requests only from ourselves; nothing inline, nobody may frame us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The answer about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenVerdict {
    /// It belongs to this user.
    Accepted {
        user: String,
    },
    Refused,
    /// Whoever knows does not answer now.
    Unavailable,
}

/// What a token is to be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Look at the site.
    Read,
    /// Act on its machines.
    Operate,
    /// Change the Secrets of its machines.
    ChangeSecrets,
}

/// Whose token came with a request; for the audit log.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) user: String,
}

/// Decides about tokens: a TokenReview of the API server.
#[async_trait]
pub trait TokenCheck: Send + Sync + 'static {
    /// Whether this token is good for `right`.
    async fn check(&self, token: &str, right: Right) -> TokenVerdict;
}

/// Lets a request through if its token is accepted. One that may change something must carry it in
/// the header: a browser adds the cookie to whatever another site makes it send.
pub(super) async fn require(State(ui): State<Ui>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let (right, token) = if request.method().is_safe() {
        (Right::Read, bearer(headers).or_else(|| cookie(headers)))
    } else if request.uri().path().ends_with(super::bmc::PASSWORD) {
        (Right::ChangeSecrets, bearer(headers))
    } else {
        (Right::Operate, bearer(headers))
    };
    let verdict = match token {
        Some(token) => ui.token.check(token, right).await,
        None => TokenVerdict::Refused,
    };
    match verdict {
        TokenVerdict::Accepted { user } => {
            request.extensions_mut().insert(Caller { user });
            next.run(request).await
        }
        TokenVerdict::Refused => refusal(&request),
        TokenVerdict::Unavailable => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "TokenCheckUnavailable",
            "the token cannot be checked now, try again",
        )
        .into_response(),
    }
}

/// Adds to every answer what keeps browsers from doing more than was meant.
pub(super) async fn harden(request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Browsers are sent to the form; programs are told.
fn refusal(request: &Request) -> Response {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let form = format!("/login?next={}", encoded(path));
    let headers = request.headers();
    if headers.contains_key("hx-request") {
        let Ok(form) = HeaderValue::from_str(&form) else {
            return StatusCode::UNAUTHORIZED.into_response();
        };
        return (
            StatusCode::UNAUTHORIZED,
            [(HeaderName::from_static("hx-redirect"), form)],
        )
            .into_response();
    }
    let accepts_pages = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if accepts_pages && request.method().is_safe() {
        return Redirect::to(&form).into_response();
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "TokenRequired",
        "send the token as Authorization: Bearer",
    );
    ([(header::WWW_AUTHENTICATE, "Bearer")], problem).into_response()
}

fn encoded(path: &str) -> String {
    url::form_urlencoded::byte_serialize(path.as_bytes()).collect()
}
