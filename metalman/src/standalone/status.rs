//! Answers that are not objects: the `Status` object of every refusal.
//!
//! The words are those of the real API server, because people and programs (kubectl, kube) read
//! them. It does not decide when to refuse. Invariant: every error leaves as a `Status` with a
//! `reason` and a `code` that agree.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::fields::Fields as _;

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

/// What a refusal is about: plural resource, group and object name.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// API group, empty for core.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Object name.
    pub name: &'a str,
}

impl Subject<'_> {
    /// `machines.unbounded-cloud.io`, or `secrets` in core.
    fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    fn details(&self) -> Value {
        let mut details = json!({ "kind": self.resource });
        for (key, text) in [("name", self.name), ("group", self.group)] {
            if !text.is_empty() {
                details.set(key, json!(text));
            }
        }
        details
    }
}

/// One field that is wrong, in the words of `k8s.io/apimachinery`'s field errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `FieldValueInvalid`, `FieldValueRequired`, …
    pub reason: &'static str,
    /// Path such as `spec.dhcpLeases[0].mac`.
    pub field: String,
    /// Text after the path.
    pub message: String,
}

impl FieldError {
    /// `Invalid value: <value>: detail`.
    pub fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {}: {detail}", shown(value)),
        )
    }

    /// `Required value`, with an optional detail.
    pub fn required(field: &str, detail: &str) -> Self {
        let tail = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        Self::new("FieldValueRequired", field, format!("Required value{tail}"))
    }

    /// `Unsupported value: "x": supported values: "a", "b"`.
    pub fn unsupported(field: &str, value: &Value, supported: &[Value]) -> Self {
        let list: Vec<String> = supported.iter().map(shown).collect();
        let message = format!(
            "Unsupported value: {}: supported values: {}",
            shown(value),
            list.join(", ")
        );
        Self::new("FieldValueNotSupported", field, message)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: &str, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }

    /// An error of any reason.
    pub fn new(reason: &'static str, field: &str, message: String) -> Self {
        Self {
            reason,
            field: field.to_owned(),
            message,
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A value as the real server prints it: strings quoted, the rest as JSON.
fn shown(value: &Value) -> String {
    value.to_string()
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: String, details: Value) -> Self {
        Self {
            code,
            reason,
            message,
            details,
        }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into(), Value::Null)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".to_owned(), Value::Null)
    }

    /// 403.
    pub fn forbidden(subject: Subject<'_>, why: &str) -> Self {
        let name = match subject.name {
            "" => String::new(),
            name => format!(" \"{name}\""),
        };
        let message = format!("{}{name} is forbidden: {why}", subject.qualified());
        Self::new(403, "Forbidden", message, subject.details())
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(why: &str) -> Self {
        Self::new(403, "Forbidden", format!("forbidden: {why}"), json!({}))
    }

    /// 404 for a path that names no resource.
    pub fn no_such_resource() -> Self {
        let text = "the server could not find the requested resource";
        Self::new(404, "NotFound", text.to_owned(), json!({}))
    }

    /// 404 for one object.
    pub fn not_found(subject: Subject<'_>) -> Self {
        let message = format!("{} \"{}\" not found", subject.qualified(), subject.name);
        Self::new(404, "NotFound", message, subject.details())
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        let text = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", text.to_owned(), json!({}))
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        let text = "only the following media types are accepted: application/json";
        Self::new(406, "NotAcceptable", text.to_owned(), Value::Null)
    }

    /// 409 on create.
    pub fn already_exists(subject: Subject<'_>) -> Self {
        let message = format!(
            "{} \"{}\" already exists",
            subject.qualified(),
            subject.name
        );
        Self::new(409, "AlreadyExists", message, subject.details())
    }

    /// 409 on a write that was based on something else than the stored object.
    pub fn conflict(subject: Subject<'_>, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{}\": {why}",
            subject.qualified(),
            subject.name
        );
        Self::new(409, "Conflict", message, subject.details())
    }

    /// 409 with the usual advice: read again and retry.
    pub fn modified(subject: Subject<'_>) -> Self {
        Self::conflict(
            subject,
            "the object has been modified; please apply your changes to the latest version and \
             try again",
        )
    }

    /// 409 of a server-side apply: `(manager, field)` pairs that others own.
    pub fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "field": field,
                       "message": format!("conflict with {manager}")})
            })
            .collect();
        let message = match conflicts {
            [(manager, field)] => {
                format!("Apply failed with 1 conflict: conflict with {manager}: {field}")
            }
            many => {
                let mut managers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
                for (manager, field) in many {
                    let fields = managers.entry(manager).or_default();
                    fields.push(format!("\n- {field}"));
                }
                let lines: Vec<String> = managers
                    .iter()
                    .map(|(manager, fields)| {
                        format!("conflicts with {manager}:{}", fields.concat())
                    })
                    .collect();
                let count = many.len();
                format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
            }
        };
        Self::new(409, "Conflict", message, json!({ "causes": causes }))
    }

    /// 410: the version asked for is no longer in the change log.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message.into(), Value::Null)
    }

    /// 413.
    pub fn too_large() -> Self {
        let text = "Request entity too large: limit is 3145728";
        Self::new(413, "RequestEntityTooLarge", text.to_owned(), Value::Null)
    }

    /// 415.
    pub fn unsupported_media_type(supported: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {supported}"
        );
        Self::new(415, "UnsupportedMediaType", message, Value::Null)
    }

    /// 422 with the fields that are wrong. `kind` is the object's kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.field}))
            .collect();
        let mut details = json!({ "causes": causes });
        if !kind.is_empty() {
            details.set("kind", json!(kind));
        }
        if !name.is_empty() {
            details.set("name", json!(name));
        }
        if !group.is_empty() {
            details.set("group", json!(group));
        }
        Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {list}"),
            details,
        )
    }

    /// 422 for options of a request: `kind` is `CreateOptions`, `ListOptions`, …
    pub fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        Self::invalid("meta.k8s.io", kind, "", errors)
    }

    /// 422 for a JSON patch that does not fit the object.
    pub fn unfit_patch() -> Self {
        let text = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", text.to_owned(), json!({}))
    }

    /// 403 for new objects in a namespace that is going away.
    pub fn namespace_terminating(subject: Subject<'_>, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut error = Self::forbidden(subject, &why);
        let message = format!("namespace {namespace} is being terminated");
        let cause = json!({"reason": "NamespaceTerminating", "message": message,
                           "field": "metadata.namespace"});
        error.details.set("causes", json!([cause]));
        error
    }

    /// 429 when a limit of the server is reached.
    pub fn too_many_requests(what: &str) -> Self {
        Self::too_many_requests_for(what, Duration::from_secs(1))
    }

    /// 429 until `wait` has passed; told in whole seconds, at least one.
    pub fn too_many_requests_for(what: &str, wait: Duration) -> Self {
        let message = format!("too many {what}, please try again later");
        let seconds = wait.as_secs_f64().ceil().max(1.0);
        let details = json!({"retryAfterSeconds": Duration::from_secs_f64(seconds).as_secs()});
        Self::new(429, "TooManyRequests", message, details)
    }

    /// Seconds to wait before the next try, where they are told.
    pub fn retry_after(&self) -> Option<u64> {
        self.details.at("retryAfterSeconds").as_u64()
    }

    /// 500. The cause goes to the log, not to the client.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message.into(), Value::Null)
    }

    /// 504: the version asked for lies in the future.
    pub fn version_too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let details = json!({"retryAfterSeconds": 1, "causes": [
            {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]});
        Self::new(504, "Timeout", message, details)
    }

    /// HTTP status code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status.set("details", self.details.clone());
        }
        status
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.reason, self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let seconds = self.retry_after().filter(|_| self.code == 429);
        let mut response = (code, self.to_value().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(seconds) = seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
