//! Redfish errors: a status with `@Message.ExtendedInfo`.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

/// An error of the Base registry.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    key: &'static str,
    message: String,
    header: Option<(HeaderName, String)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, key: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            key,
            message: message.into(),
            header: None,
        }
    }

    pub(super) fn bad(key: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, key, message)
    }

    pub(super) fn missing() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ResourceMissingAtURI",
            "There is no such resource.",
        )
    }

    pub(super) fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "InsufficientPrivilege",
            "There are insufficient privileges for the account or credentials associated with the current session to perform the requested operation.",
        )
    }

    pub(super) fn must_change_password(account: u64) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "PasswordChangeRequired",
            format!(
                "The password provided for this account must be changed before access is granted. PATCH the Password property for this account located at the target URI '/redfish/v1/AccountService/Accounts/{account}' to complete this process."
            ),
        )
    }

    /// The message as an annotation of an answer that is no error.
    pub(super) fn info(&self) -> Value {
        let body = error_body(self.key, &self.message);
        let list = body.pointer("/error/@Message.ExtendedInfo").cloned();
        json!({"@Message.ExtendedInfo": list})
    }

    pub(super) fn not_allowed(allow: &str) -> Self {
        let mut refusal = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "OperationNotAllowed",
            "The HTTP method is not allowed on this resource.",
        );
        refusal.header = Some((ALLOW, allow.to_owned()));
        refusal
    }

    pub(super) fn unauthorized(key: &'static str, message: &str) -> Self {
        let mut refusal = Self::new(StatusCode::UNAUTHORIZED, key, message);
        refusal.header = Some((WWW_AUTHENTICATE, "Basic realm=\"Redfish\"".to_owned()));
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = error_body(self.key, &self.message);
        let mut response = (self.status, axum::Json(body)).into_response();
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

pub(super) fn error_body(key: &str, message: &str) -> Value {
    let id = format!("Base.1.18.{key}");
    json!({"error": {
        "code": id,
        "message": message,
        "@Message.ExtendedInfo": [{
            "@odata.type": "#Message.v1_1_1.Message",
            "MessageId": id,
            "Message": message,
            "MessageArgs": [],
            "Severity": "Critical",
            "MessageSeverity": "Critical",
            "Resolution": "None.",
        }],
    }})
}
