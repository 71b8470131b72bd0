//! From method and path to an answer, and the headers that every answer wears.

use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LINK,
};
use http::{Method, StatusCode};
use serde_json::Value;

use super::gate::SESSIONS;
use super::message::Refusal;
use super::query::Query;
use super::view::{Thing, View, view};
use super::{accounts, actions, document, patch, sessions, tasks};
use crate::accounts::{Role, Who};
use crate::bmc::Bmc;
use crate::tasks::TaskPlan;
use crate::tree::{Keeps, ROOT};

const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// A fault rule wants the write to be confirmed and not done.
    pub(super) ignore: bool,
    /// A fault rule wants a task.
    pub(super) task: Option<TaskPlan>,
}

impl Asked {
    /// The body of a write.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        let body: Value = serde_json::from_slice(&self.body).map_err(|_| {
            Refusal::bad(
                "MalformedJSON",
                "The request body submitted was malformed JSON.",
            )
        })?;
        if body.is_object() {
            return Ok(body);
        }
        Err(Refusal::bad(
            "UnrecognizedRequestBody",
            "The request body is not a JSON object.",
        ))
    }
}

/// Answers somebody whom the gate let in.
pub(super) async fn answer(bmc: &Bmc, who: Option<Who>, asked: Asked) -> Response {
    let response = routed(bmc, who, &asked).await;
    dressed(response.unwrap_or_else(IntoResponse::into_response))
}

/// Adds what every answer wears.
pub(super) fn dressed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

async fn routed(bmc: &Bmc, who: Option<Who>, asked: &Asked) -> Result<Response, Refusal> {
    if let Some(wanted) = asked.headers.get(&ODATA_VERSION)
        && wanted != "4.0"
    {
        return Err(Refusal::new(
            StatusCode::PRECONDITION_FAILED,
            "HeaderInvalid",
            "Only OData-Version 4.0 is supported.",
        ));
    }
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PATCH,
        Method::PUT,
        Method::DELETE,
    ];
    if !known.contains(&asked.method) {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "OperationNotAllowed",
            "The HTTP method is not implemented.",
        ));
    }
    let is_read = matches!(asked.method, Method::GET | Method::HEAD);
    if let Some(mut found) = document::find(bmc, &asked.path) {
        if !is_read {
            return Err(Refusal::not_allowed("GET, HEAD"));
        }
        found
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(found);
    }
    let path = asked.path.trim_end_matches('/');
    let path = path.strip_prefix(ROOT).ok_or_else(Refusal::missing)?;
    let path = match path.strip_prefix('/') {
        Some(path) => path,
        None if path.is_empty() => path,
        None => return Err(Refusal::missing()),
    };
    if let Some(who) = who.filter(|who| who.must_change) {
        let own = format!("AccountService/Accounts/{}", who.account);
        let is_login = asked.method == Method::POST && asked.path.trim_end_matches('/') == SESSIONS;
        if path != own && !is_login && !path.is_empty() {
            return Err(Refusal::must_change_password(who.account));
        }
    }
    if let Some(id) = path.strip_prefix("TaskService/TaskMonitors/") {
        return tasks::monitor(bmc, id);
    }
    if let Some((resource, action)) = path.split_once("/Actions/") {
        if asked.method != Method::POST {
            return Err(Refusal::not_allowed("POST"));
        }
        // An operator runs the machine; the BMC itself is the administrator's.
        if resource.starts_with("Systems/") {
            may(who, &[Role::Administrator, Role::Operator])?;
        } else {
            may(who, &[Role::Administrator])?;
        }
        return actions::act(bmc, resource, action, asked).await;
    }
    if is_read {
        return read(bmc, path, asked);
    }
    write(bmc, who, path, asked)
}

fn may(who: Option<Who>, roles: &[Role]) -> Result<(), Refusal> {
    match who {
        Some(who) if roles.contains(&who.role) => Ok(()),
        Some(_) | None => Err(Refusal::forbidden()),
    }
}

fn read(bmc: &Bmc, path: &str, asked: &Asked) -> Result<Response, Refusal> {
    let query = Query::parse(asked.query.as_deref())?;
    let mut found = {
        let mut state = bmc.state();
        let found = view(bmc, &state, path, &query).ok_or_else(Refusal::missing)?;
        if let Thing::Task(id) = found.thing {
            state.tasks.poll(id);
        }
        found
    };
    let tag = found.etag.as_deref();
    let known = asked
        .headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = if known.is_some() && known == tag {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        query.narrow(&mut found.body);
        axum::Json(&found.body).into_response()
    };
    let headers = response.headers_mut();
    let mut add = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    add(ALLOW, found.allow);
    add(LINK, &described_by(&found));
    if let Some(tag) = &found.etag {
        add(ETAG, tag);
    }
    Ok(response)
}

fn described_by(found: &View) -> String {
    let kind = found
        .body
        .get("@odata.type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut parts = kind.trim_start_matches('#').split('.');
    let name = parts.next().unwrap_or_default();
    let schema = match parts.next().filter(|part| part.starts_with("v1_")) {
        Some(version) => format!("{name}.{version}"),
        None => name.to_owned(),
    };
    format!("<http://redfish.dmtf.org/schemas/v1/{schema}.json>; rel=describedby")
}

fn write(bmc: &Bmc, who: Option<Who>, path: &str, asked: &Asked) -> Result<Response, Refusal> {
    // What is there decides before who may, so that nobody learns more than from a read.
    let path = path.strip_suffix("/Members").unwrap_or(path);
    let found = view(bmc, &bmc.state(), path, &Query::default()).ok_or_else(Refusal::missing)?;
    let administrator = [Role::Administrator];
    let is_allowed = found
        .allow
        .split(", ")
        .any(|method| method == asked.method.as_str());
    if !is_allowed {
        return Err(Refusal::not_allowed(found.allow));
    }
    match (&asked.method, &found.thing) {
        (&Method::POST, Thing::List(Some(Keeps::Sessions))) => sessions::create(bmc, asked),
        (&Method::POST, Thing::List(Some(Keeps::Accounts))) => {
            may(who, &administrator)?;
            accounts::create(bmc, asked)
        }
        (&Method::DELETE, Thing::Session(id)) => sessions::delete(bmc, who, *id),
        (&Method::DELETE, Thing::Account(id)) => {
            may(who, &administrator)?;
            accounts::delete(bmc, *id)
        }
        (&Method::PATCH, Thing::Account(id)) => accounts::change(bmc, who, *id, path, asked),
        (&Method::PATCH, Thing::Resource { writable, .. }) => {
            let is_machine = ["Systems/", "Chassis/"]
                .iter()
                .any(|root| path.starts_with(root));
            if is_machine {
                may(who, &[Role::Administrator, Role::Operator])?;
            } else {
                may(who, &administrator)?;
            }
            patch::change(bmc, path, writable, asked)
        }
        _ => Err(Refusal::not_allowed(found.allow)),
    }
}
