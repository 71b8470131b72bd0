//! POST, PUT, PATCH and DELETE: bodies and options to jobs of the writer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;

use super::protobuf;
use super::request::{ListOptions, Location, Query, dry_run};
use super::router::Server;
use crate::standalone::fields::Fields as _;
use crate::standalone::ops::{self, DeleteOptions, Patch, Propagation, Target, WriteOptions};
use crate::standalone::resource::Family;
use crate::standalone::status::{ApiError, FieldError};
use crate::standalone::strategy::Door;
use crate::standalone::writer::Reply;

const MANAGER_LENGTH: usize = 128;
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn target(location: &Location) -> Target {
    Target {
        resource: Arc::clone(&location.resource),
        namespace: location.namespace.clone().unwrap_or_default(),
        name: location.name.clone().unwrap_or_default(),
        door: location.door,
    }
}

fn options(headers: &HeaderMap, query: &Query, kind: &str) -> Result<WriteOptions, ApiError> {
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("unknown");
    let agent = agent.split('/').next().unwrap_or(agent);
    let manager: String = query
        .get("fieldManager")
        .unwrap_or(agent)
        .chars()
        .take(MANAGER_LENGTH)
        .collect();
    Ok(WriteOptions {
        dry_run: query.dry_run(kind)?,
        unknown: query.unknown_fields(kind)?,
        manager,
        force: query.get("force") == Some("true"),
    })
}

fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    value
        .unwrap_or("application/json")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
}

fn json_body(body: &[u8]) -> Result<Value, ApiError> {
    let mut value = serde_json::from_slice(body)
        .map_err(|e| ApiError::bad_request(format!("error decoding the body: {e}")))?;
    whole_numbers(&mut value);
    Ok(value)
}

/// Writes `1.0` as `1`, which is how the real server keeps it.
fn whole_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < EXACT);
            if let Some(whole) = float.and_then(|f| format!("{f:.0}").parse::<i64>().ok()) {
                *number = whole.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// JSON is tried first: it is what clients send under either name.
fn yaml_body(body: &[u8]) -> Result<Value, ApiError> {
    if let Ok(value) = json_body(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| ApiError::bad_request(format!("error decoding the body: {e}")))?;
    yaml::from_str(text).map_err(|e| ApiError::bad_request(format!("error decoding the body: {e}")))
}

/// The body of a review: JSON, or protobuf as kubectl sends it.
pub(super) fn review_body(body: &[u8]) -> Result<Value, ApiError> {
    if body.starts_with(protobuf::MAGIC) {
        let text = "error decoding the body: unknown fields in protobuf";
        return protobuf::decode(body).ok_or_else(|| ApiError::bad_request(text));
    }
    json_body(body)
}

fn object_body(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    match media_type(headers) {
        "application/json" | "" => json_body(body),
        "application/yaml" => yaml_body(body),
        PROTOBUF => protobuf::decode(body)
            .ok_or_else(|| ApiError::unsupported_media_type("application/json, application/yaml")),
        _ => Err(ApiError::unsupported_media_type(
            "application/json, application/yaml",
        )),
    }
}

pub(super) async fn create(
    server: &Server,
    location: &Location,
    headers: &HeaderMap,
    query: &Query,
    body: Bytes,
) -> Result<Reply, ApiError> {
    let options = options(headers, query, "CreateOptions")?;
    let mut target = target(location);
    let body = object_body(headers, &body)?;
    if target.resource.namespaced && location.namespace.is_none() {
        // POST to all namespaces takes the namespace from the body.
        let given = body
            .at("metadata")
            .at("namespace")
            .as_str()
            .unwrap_or("default");
        given.clone_into(&mut target.namespace);
    }
    let catalog = Arc::clone(&server.catalog);
    server
        .writer
        .submit(move |tx| ops::create(tx, &catalog, &target, body, &options))
        .await
}

pub(super) async fn update(
    server: &Server,
    location: &Location,
    headers: &HeaderMap,
    query: &Query,
    body: Bytes,
) -> Result<Reply, ApiError> {
    let options = options(headers, query, "UpdateOptions")?;
    let target = target(location);
    let body = object_body(headers, &body)?;
    let catalog = Arc::clone(&server.catalog);
    server
        .writer
        .submit(move |tx| ops::update(tx, &catalog, &target, body, &options))
        .await
}

pub(super) async fn patch(
    server: &Server,
    location: &Location,
    headers: &HeaderMap,
    query: &Query,
    body: Bytes,
) -> Result<Reply, ApiError> {
    let options = options(headers, query, "PatchOptions")?;
    let target = target(location);
    let media = media_type(headers).to_owned();
    let patch = match media.as_str() {
        "application/json-patch+json" => Patch::Json(json_body(&body)?),
        "application/merge-patch+json" => Patch::Merge(json_body(&body)?),
        "application/strategic-merge-patch+json" if target.resource.family != Family::Custom => {
            Patch::Strategic(json_body(&body)?)
        }
        "application/apply-patch+yaml" => {
            if query.get("fieldManager").is_none() {
                let error = FieldError::required("fieldManager", "is required for apply patch");
                return Err(ApiError::invalid_options("PatchOptions", &[error]));
            }
            Patch::Apply(yaml_body(&body)?)
        }
        _ => {
            return Err(ApiError::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, \
                 application/apply-patch+yaml",
            ));
        }
    };
    let catalog = Arc::clone(&server.catalog);
    server
        .writer
        .submit(move |tx| ops::patch(tx, &catalog, &target, patch, &options))
        .await
}

/// `propagationPolicy` of the body or the query, or the older `orphanDependents`.
fn propagation(query: &Query, body: &Value) -> Result<Option<Propagation>, ApiError> {
    let policy = body.at("propagationPolicy").as_str();
    let Some(word) = policy.or_else(|| query.get("propagationPolicy")) else {
        let orphan = body.at("orphanDependents").as_bool();
        return Ok(orphan.map(|orphan| {
            if orphan {
                Propagation::Orphan
            } else {
                Propagation::Background
            }
        }));
    };
    let known = Propagation::ALL.into_iter().find(|p| p.word() == word);
    known.map(Some).ok_or_else(|| {
        let mut words: Vec<Value> = Propagation::ALL
            .iter()
            .map(|p| Value::from(p.word()))
            .collect();
        words.push(Value::from("nil"));
        let error = FieldError::unsupported("propagationPolicy", &Value::from(word), &words);
        ApiError::invalid_options("DeleteOptions", &[error])
    })
}

pub(super) async fn delete(
    server: &Server,
    location: &Location,
    query: &Query,
    body: Bytes,
) -> Result<Reply, ApiError> {
    if location.door == Door::Status {
        return Err(ApiError::method_not_allowed());
    }
    let body = if body.is_empty() {
        Value::Null
    } else {
        yaml_body(&body)?
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let options = DeleteOptions {
        uid: text(body.at("preconditions").at("uid")),
        version: text(body.at("preconditions").at("resourceVersion")),
        propagation: propagation(query, &body)?,
        dry_run: query.dry_run("DeleteOptions")? || dry_run("DeleteOptions", body.at("dryRun"))?,
    };
    let (target, catalog) = (target(location), Arc::clone(&server.catalog));
    if location.name.is_some() {
        return server
            .writer
            .submit(move |tx| ops::delete(tx, &catalog, &target, &options))
            .await;
    }
    let selector = ListOptions::parse(&target.resource, query)?.selector;
    let namespace = location.namespace.clone();
    server
        .writer
        .submit(move |tx| {
            let namespace = namespace.as_deref();
            ops::delete_collection(tx, &catalog, &target, namespace, &selector, &options)
        })
        .await
}
