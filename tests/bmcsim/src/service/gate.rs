//! What every request passes: the log, the fault rules, and the question who is asking.
//!
//! The order matters: a fault strikes before credentials are looked at, as a broken BMC would.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::message::{Refusal, error_body};
use super::{BODY_LIMIT_BYTES, resources};
use crate::bmc::Bmc;
use crate::clock;
use crate::faults::{self, Cut, Fault};
use crate::log::Call;
use crate::serve::CutConnection;

pub(super) async fn pass(State(bmc): State<Arc<Bmc>>, request: Request, next: Next) -> Response {
    let at = clock::now();
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let path = parts.uri.path().to_owned();
    let bytes = to_bytes(body, BODY_LIMIT_BYTES).await.unwrap_or_default();
    let fault = bmc.take_fault(method.as_str(), &path);
    let faulty = fault.is_some();
    let logged = loggable(&path, &bytes);
    let authorised = authorised(&bmc, &method, &path, &parts.headers);
    let request = Request::from_parts(parts, Body::from(bytes));
    let response = with_fault(fault.unwrap_or_default(), || async {
        match authorised {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    })
    .await;
    let cut = response.extensions().get::<CutConnection>().is_some();
    bmc.record_call(Call {
        at,
        bmc: bmc.name().to_owned(),
        method: method.to_string(),
        path,
        status: (!cut).then_some(response.status().as_u16()),
        body: logged,
        fault: faulty,
        duration_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    response
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
    let mut response = match fault
        .status
        .and_then(|status| StatusCode::from_u16(status).ok())
    {
        Some(status) => {
            let body = fault.body.unwrap_or_else(|| {
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
    match fault.merge {
        Some(patch) => merged(response, &patch).await,
        None => response,
    }
}

async fn merged(response: Response, patch: &Value) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    faults::merge(&mut value, patch);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(value.to_string()))
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

fn authorised(bmc: &Bmc, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let open = match *method {
        Method::GET | Method::HEAD => resources::is_public(path),
        Method::POST => path == resources::SESSIONS,
        _ => false,
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let accepted = if let Some(token) = text("x-auth-token") {
        bmc.state().sessions.accepts(token)
    } else {
        text(AUTHORIZATION.as_str()).is_some_and(|value| basic(bmc, value))
    };
    if open || accepted {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        "NoValidSession",
        "There is no valid session established with the implementation.",
    ))
}

fn basic(bmc: &Bmc, value: &str) -> bool {
    let pair = value
        .strip_prefix("Basic ")
        .and_then(|pair| STANDARD.decode(pair).ok());
    let wanted = format!("{}:{}", bmc.identity.user, bmc.identity.password);
    pair.is_some_and(|pair| pair == wanted.as_bytes())
}
