//! Redfish errors: a status with `@Message.ExtendedInfo`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

/// An error of the Base registry.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    key: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, key: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            key,
            message: message.into(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(error_body(self.key, &self.message))).into_response()
    }
}

pub(super) fn error_body(key: &str, message: &str) -> Value {
    let id = format!("Base.1.8.{key}");
    json!({"error": {
        "code": id,
        "message": message,
        "@Message.ExtendedInfo": [{
            "@odata.type": "#Message.v1_1_1.Message",
            "MessageId": id,
            "Message": message,
            "Severity": "Critical",
            "Resolution": "None.",
        }],
    }})
}

pub(super) async fn not_found() -> Refusal {
    missing()
}

pub(super) async fn not_allowed() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "OperationNotAllowed",
        "The HTTP method is not allowed on this resource.",
    )
}

pub(super) fn missing() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "ResourceMissingAtURI",
        "There is no such resource.",
    )
}
