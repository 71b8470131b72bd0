//! From a request to its handler, and from a result to a response.
//!
//! Nothing is anonymous but `/version`, `/livez` and `/readyz`. Invariant: every write that was
//! tried leaves one audit line, without bodies and tokens.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::access::{self as gate, authenticate, authorize, authorize_path};
use super::meter::Meter;
use super::metrics::ApiMetrics;
use super::negotiate::Shape;
use super::request::{ListOptions, Location, Query};
use super::{audit, discovery, openapi, openapi_v2, read, watch, write};
use crate::standalone::access::{self, Access, Asked, Attributes, REVIEWS, User, Verb};
use crate::standalone::audit::Audit;
use crate::standalone::core::NAMESPACE_SLOT;
use crate::standalone::hub::{Hub, News};
use crate::standalone::resource::{Catalog, Family};
use crate::standalone::status::ApiError;
use crate::standalone::strategy::Door;
use crate::standalone::writer::{Reply, Submitter};

const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Everything a handler needs.
#[derive(Debug, Clone)]
pub struct Server {
    /// What is served.
    pub catalog: Arc<Catalog>,
    /// Objects.
    pub hub: Arc<Hub>,
    /// Where writes go.
    pub writer: Submitter,
    /// Who may ask.
    pub access: Access,
    /// What each user may ask.
    pub meter: Arc<Meter>,
    /// Counters.
    pub metrics: ApiMetrics,
    /// Where writes are noted.
    pub audit: Audit,
    /// Ends the watches.
    pub shutdown: CancellationToken,
    /// Clock.
    pub clock: fn() -> Timestamp,
}

impl Server {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The same server, with writes that are held against what `user` may change.
    fn acting_for(&self, user: &User, is_patch: bool) -> Self {
        if user.role == access::Role::Admin {
            return self.clone();
        }
        let (catalog, user) = (Arc::clone(&self.catalog), user.clone());
        let guard = move |news: &News| gate::guard(&catalog, &user, is_patch, news);
        Self {
            writer: self.writer.guarded(guard),
            ..self.clone()
        }
    }
}

/// Answers a question about access.
async fn review(
    server: &Server,
    user: &User,
    path: &str,
    body: Body,
) -> Result<Response, ApiError> {
    let mut words = path.rsplit('/');
    let resource = words.next().unwrap_or_default().to_owned();
    let group = words.nth(1).unwrap_or_default().to_owned();
    let asked = Attributes {
        verb: Some(Verb::Create),
        group,
        resource,
        ..Attributes::default()
    };
    gate::decide(user, &asked, None)?;
    let body = super::write::review_body(&read_body(body).await?)?;
    let asked = Asked {
        user,
        by_token: &|token| server.access.user(token),
        object: &|asked| gate::stored(server, asked),
    };
    let answer = access::answer(path, &asked, body).ok_or_else(ApiError::no_such_resource)?;
    Ok(with_code(json_response(&answer), 201))
}

/// The router of the whole API.
pub fn router(server: Server) -> Router {
    Router::new().fallback(handle).with_state(server)
}

async fn handle(State(server): State<Server>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match route(&server, &parts, body).await {
        Ok(response) => response,
        Err(error) => {
            server.metrics.refused(error.code());
            error.into_response()
        }
    }
}

async fn route(server: &Server, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let path = percent_decoded(parts.uri.path());
    match path.as_str() {
        "/version" => return Ok(json_response(&discovery::version())),
        "/livez" | "/readyz" => return Ok("ok".into_response()),
        _ => {}
    }
    let user = authenticate(&server.access, &parts.headers)?;
    let query = Query::parse(parts.uri.query());
    let location = Location::parse(&server.catalog, &path);
    let watch = query.get("watch").is_some();
    let has_name = location.as_ref().is_none_or(|l| l.name.is_some());
    let verb = Verb::of_request(parts.method.as_str(), has_name, watch);
    let answer = match server.meter.request(&user, Instant::now()) {
        Ok(()) => serve(server, &user, &path, location, &query, parts, body).await,
        Err(refused) => Err(refused),
    };
    let code = answer
        .as_ref()
        .map_or_else(ApiError::code, |response| response.status().as_u16());
    server.metrics.answered(&user.role, verb, code);
    answer
}

/// Answers a user whose request was counted.
async fn serve(
    server: &Server,
    user: &User,
    path: &str,
    location: Option<Location>,
    query: &Query,
    parts: &Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let Some(location) = location else {
        if parts.method == Method::POST && REVIEWS.iter().any(|(review, _)| *review == path) {
            return review(server, user, path, body).await;
        }
        authorize_path(user, parts.method.as_str(), path)?;
        let found = (parts.method == Method::GET)
            .then(|| fixed(server, path, &parts.headers))
            .flatten();
        return found.ok_or_else(ApiError::no_such_resource);
    };
    let allowed = authorize(server, user, parts.method.as_str(), &location, query);
    if parts.method == Method::GET {
        allowed?;
        return get(server, user, &location, parts, query);
    }
    let server = &server.acting_for(user, parts.method == Method::PATCH);
    let tried = async {
        allowed?;
        let body = read_body(body).await?;
        write(server, &location, parts, query, body).await
    };
    let result = tried.await;
    audit::note(server, user, parts, &location, query, &result);
    let reply = result?;
    respond(server, &location, &parts.headers, &reply)
}

fn get(
    server: &Server,
    user: &User,
    location: &Location,
    parts: &Parts,
    query: &Query,
) -> Result<Response, ApiError> {
    if let Some(name) = &location.name {
        let body = read::get(server, location, name, &parts.headers, query)?;
        return Ok(json_answer(body));
    }
    let shape = Shape::of(&parts.headers, query.get("includeObject"))?;
    let options = ListOptions::parse(&location.resource, query)?;
    if options.watch {
        let place = server.meter.watch(user, Instant::now())?;
        let place = (place, server.metrics.watch(&user.role));
        return watch::watch(server, location, options, shape, place);
    }
    Ok(json_answer(read::list(server, location, &options, shape)?))
}

async fn write(
    server: &Server,
    location: &Location,
    parts: &Parts,
    query: &Query,
    body: Bytes,
) -> Result<Reply, ApiError> {
    let headers = &parts.headers;
    match (parts.method.as_str(), &location.name, location.door) {
        ("POST", None, Door::Main) => write::create(server, location, headers, query, body).await,
        ("PUT", Some(_), Door::Main | Door::Status) => {
            write::update(server, location, headers, query, body).await
        }
        ("PATCH", Some(_), Door::Main | Door::Status) => {
            write::patch(server, location, headers, query, body).await
        }
        // Nobody deletes all namespaces at once.
        ("DELETE", None, Door::Main) if location.resource.slot == NAMESPACE_SLOT => {
            Err(ApiError::method_not_allowed())
        }
        ("DELETE", _, Door::Main) => write::delete(server, location, query, body).await,
        ("PUT" | "PATCH", None, Door::Main) if location.resource.family == Family::Custom => {
            Err(ApiError::bad_request("name must be provided"))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Discovery, OpenAPI and health.
fn fixed(server: &Server, path: &str, headers: &HeaderMap) -> Option<Response> {
    let catalog = &server.catalog;
    let trimmed = path.trim_end_matches('/');
    if matches!(trimmed, "/api" | "/apis") && discovery::wants_aggregated(headers) {
        let mut response = json_response(&discovery::aggregated(catalog, trimmed == "/api"));
        let media = HeaderValue::from_static(discovery::AGGREGATED);
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        return Some(response);
    }
    let segments: Vec<&str> = trimmed.trim_start_matches('/').split('/').collect();
    let value = match segments.as_slice() {
        ["healthz"] => return Some("ok".into_response()),
        ["openapi", "v2"] => {
            let mut response = openapi_v2::document(catalog).into_response();
            let media = HeaderValue::from_static(openapi_v2::MEDIA);
            response.headers_mut().insert(header::CONTENT_TYPE, media);
            return Some(response);
        }
        ["api"] => discovery::core_versions(),
        ["apis"] => discovery::groups(catalog),
        ["api", version] => discovery::resources(catalog, "", version)?,
        ["apis", group] => discovery::one_group(catalog, group)?,
        ["apis", group, version] => discovery::resources(catalog, group, version)?,
        ["openapi", "v3"] => openapi::index(catalog),
        ["openapi", "v3", document @ ..] => openapi::document(catalog, &document.join("/"))?,
        _ => return None,
    };
    Some(json_response(&value))
}

fn respond(
    server: &Server,
    location: &Location,
    headers: &HeaderMap,
    reply: &Reply,
) -> Result<Response, ApiError> {
    let body = if reply.is_object {
        let shape = Shape::of(headers, None)?;
        shape.one(&location.resource, &reply.body, true, server.now())
    } else {
        reply.body.clone()
    };
    let mut response = with_code(json_response(&body), reply.code);
    for warning in &reply.warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(response)
}

async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, BODY_LIMIT)
        .await
        .map_err(|_| ApiError::too_large())
}

fn json_response(value: &Value) -> Response {
    json_answer(Body::from(value.to_string()))
}

fn json_answer(body: Body) -> Response {
    let mut response = Response::new(body);
    let media = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

fn with_code(mut response: Response, code: u16) -> Response {
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    response
}

fn percent_decoded(path: &str) -> String {
    // `+` means itself in a path, unlike in a query.
    let query = path.replace('+', "%2B");
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .map(|(key, _)| key.into_owned())
        .next()
        .unwrap_or_default()
}
