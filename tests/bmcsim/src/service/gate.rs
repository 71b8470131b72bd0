//! What every request passes: the log, the fault rules, and the question who is asking.
//!
//! The order matters: a fault strikes before credentials are looked at, as a broken BMC would.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::message::{Refusal, error_body};
use super::route::{self, Asked};
use super::{BODY_LIMIT_BYTES, accounts, document};
use crate::accounts::{Login, Who};
use crate::bmc::Bmc;
use crate::clock;
use crate::faults::{self, Cut, Fault};
use crate::log::Call;
use crate::serve::CutConnection;

/// Where sessions are made.
pub(super) const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Answers one request.
pub(crate) async fn pass(bmc: Arc<Bmc>, request: Request) -> Response {
    let at = clock::now();
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let path = parts.uri.path().to_owned();
    let bytes = to_bytes(body, BODY_LIMIT_BYTES).await.unwrap_or_default();
    if bmc.profile.latency_ms > 0 {
        sleep(Duration::from_millis(bmc.profile.latency_ms)).await;
    }
    let fault = bmc.take_fault(method.as_str(), &path);
    let faulty = fault.is_some();
    let fault = fault.unwrap_or_default();
    if fault.forget_sessions {
        bmc.clear_sessions();
    }
    let logged = loggable(&path, &bytes);
    let asked = Asked {
        method: method.clone(),
        path: path.clone(),
        query: parts.uri.query().map(ToOwned::to_owned),
        headers: parts.headers,
        body: bytes,
        ignore: fault.ignore,
        task: fault.task,
    };
    let record = |status: Option<u16>| {
        bmc.record_call(Call {
            at,
            bmc: bmc.name().to_owned(),
            method: method.to_string(),
            path: path.clone(),
            status,
            body: logged.clone(),
            fault: faulty,
            duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    };
    if fault.silent {
        record(None);
        std::future::pending::<()>().await;
    }
    let response = with_fault(fault, || answer(&bmc, asked)).await;
    let cut = response.extensions().get::<CutConnection>().is_some();
    record((!cut).then_some(response.status().as_u16()));
    response
}

async fn answer(bmc: &Bmc, asked: Asked) -> Response {
    let who = match authorised(bmc, &asked.method, &asked.path, &asked.headers) {
        Ok(who) => who,
        Err(refusal) => return route::dressed(refusal.into_response()),
    };
    route::answer(bmc, who, asked).await
}

/// The true answer, bent by a rule.
async fn with_fault<F: Future<Output = Response>>(
    fault: Fault,
    answer: impl FnOnce() -> F,
) -> Response {
    if fault.delay_ms > 0 {
        sleep(Duration::from_millis(fault.delay_ms)).await;
    }
    if fault.cut == Some(Cut::Before) {
        return cut();
    }
    let status = fault
        .status
        .and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = match status {
        Some(status) => injected(status, fault.body),
        None => answer().await,
    };
    if fault.cut == Some(Cut::After) {
        return cut();
    }
    if let Some(value) = fault
        .retry_after
        .and_then(|text| HeaderValue::from_str(&text).ok())
    {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Some(patch) = fault.merge {
        response = reworked(response, |bytes| {
            let mut value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            faults::merge(&mut value, &patch);
            value.to_string().into()
        })
        .await;
    }
    if fault.pad_bytes > 0 {
        response = reworked(response, |bytes| padded(&bytes, fault.pad_bytes)).await;
    }
    if let Some(raw) = fault.raw {
        response = reworked(response, |_| raw.into()).await;
    }
    if fault.cut == Some(Cut::Middle) {
        return broken_off(response).await;
    }
    match fault.bytes_per_s {
        Some(rate) => trickling(response, rate).await,
        None => response,
    }
}

fn injected(status: StatusCode, body: Option<Value>) -> Response {
    let body = body.unwrap_or_else(|| {
        if status.is_success() {
            Value::Null
        } else {
            error_body("GeneralError", "A fault was injected.")
        }
    });
    if body.is_null() {
        status.into_response()
    } else {
        (status, axum::Json(body)).into_response()
    }
}

async fn reworked(response: Response, rework: impl FnOnce(Bytes) -> Bytes) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(rework(bytes)))
}

/// The same JSON with a property that makes it long.
fn padded(bytes: &Bytes, length: usize) -> Bytes {
    let mut value: Value = serde_json::from_slice(bytes).unwrap_or_else(|_| json!({}));
    faults::merge(&mut value, &json!({"Oem": {"Padding": "x".repeat(length)}}));
    value.to_string().into()
}

/// The length of the whole, the first half, and the end of the connection.
async fn broken_off(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let half = bytes.slice(..bytes.len() / 2);
    let broken = std::io::Error::other("cut on purpose");
    let body = Body::from_stream(stream::unfold(Some((half, broken)), |left| async move {
        let (half, broken) = left?;
        if half.is_empty() {
            return Some((Err(broken), None));
        }
        Some((Ok(half), Some((Bytes::new(), broken))))
    }));
    Response::from_parts(parts, body)
}

/// The answer in small pieces, with its length told in advance.
async fn trickling(response: Response, bytes_per_s: u32) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts
        .headers
        .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let piece = usize::try_from(bytes_per_s / 10).unwrap_or(1).max(1);
    let pause = Duration::from_secs_f64(1.0 / f64::from(bytes_per_s.clamp(1, 10)));
    let body = Body::from_stream(stream::unfold(bytes, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        sleep(pause).await;
        let next = left.split_to(piece.min(left.len()));
        Some((Ok::<_, Infallible>(next), left))
    }));
    Response::from_parts(parts, body)
}

fn cut() -> Response {
    let mut response = StatusCode::OK.into_response();
    response.extensions_mut().insert(CutConnection);
    response
}

/// The body as the log keeps it: JSON of writes that carry no password.
fn loggable(path: &str, bytes: &Bytes) -> Option<Value> {
    if path.contains("/Sessions") || path.contains("/Accounts") {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// Who asks; `None` where nobody need say so.
fn authorised(
    bmc: &Bmc,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Who>, Refusal> {
    let is_open = match *method {
        Method::GET | Method::HEAD => document::is_public(path),
        Method::POST => matches!(
            path.trim_end_matches('/').strip_prefix(SESSIONS),
            Some("" | "/Members")
        ),
        _ => false,
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let now = Instant::now();
    let who = if let Some(token) = text("x-auth-token") {
        let mut state = bmc.state();
        let idle = accounts::session_timeout(bmc, &state);
        let lost = state.sessions.expire(idle, now);
        state.counters.sessions_lost += u64::try_from(lost).unwrap_or(0);
        let account = state.sessions.account(token, now);
        account.and_then(|account| state.accounts.who(account))
    } else {
        text(AUTHORIZATION.as_str())
            .filter(|_| !is_open)
            .and_then(|value| basic(bmc, value, now))
    };
    if is_open || who.is_some() {
        return Ok(who);
    }
    Err(Refusal::unauthorized(
        "NoValidSession",
        "There is no valid session established with the implementation.",
    ))
}

fn basic(bmc: &Bmc, value: &str, now: Instant) -> Option<Who> {
    let pair = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    match accounts::login(bmc, user, password, now) {
        Login::Welcome(who) => Some(who),
        Login::Refused | Login::LockedNow => None,
    }
}
