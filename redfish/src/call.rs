//! What the status of an answer means.
//!
//! Pure: an answer goes in, the same answer or an error comes out. 202 is a good answer here;
//! following its task is the caller's next step.

use http::Method;

use crate::error::Error;
use crate::model::{Messages, error_in_success};
use crate::operation::Operation;
use crate::quirks;
use crate::wire::Response;

/// Judges an answer to `operation` on `path`. 401 is judged by the session before it comes here;
/// one that still arrives is a denial, not a wrong password.
pub(crate) fn check(
    operation: Operation,
    method: &Method,
    path: &str,
    response: Response,
) -> Result<Response, Error> {
    let status = response.status.as_u16();
    if response.status.is_success() {
        if method == Method::GET && status != 202 && !response.body.is_object() {
            return Err(Error::InvalidResponse {
                operation,
                what: format!("{path} is no JSON object"),
            });
        }
        return match error_in_success(&response.body) {
            Some(message) => Err(Error::Rejected {
                operation,
                status,
                message,
            }),
            None => Ok(response),
        };
    }
    if response.status.is_redirection() {
        let location = response.header("location").unwrap_or_default().to_owned();
        return Err(Error::Redirected {
            operation,
            location,
        });
    }
    let retry_after = response.retry_after();
    let messages = Messages::parse(&response.body);
    let message = messages.text.clone();
    if quirks::is_session_limit(&messages) {
        return Err(Error::SessionLimit {
            retry_after,
            message,
        });
    }
    if messages.has("PasswordChangeRequired") {
        return Err(Error::PasswordChangeRequired {
            operation,
            account: messages.account,
        });
    }
    Err(match status {
        401 | 403 => Error::AccessDenied { operation, message },
        404 | 410 => Error::NotFound {
            operation,
            path: path.to_owned(),
            message,
        },
        405 | 501 => Error::Unsupported {
            operation,
            status,
            message,
        },
        429 | 503 => Error::Busy {
            operation,
            status,
            retry_after,
            message,
        },
        500.. => Error::ServerFault {
            operation,
            status,
            retry_after,
            message,
        },
        _ => Error::Rejected {
            operation,
            status,
            message,
        },
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn judge(status: u16, body: Value) -> Result<Response, Error> {
        let response = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body,
        };
        check(Operation::Reset, &Method::POST, "/p", response)
    }

    #[test]
    fn every_status_has_one_reaction() {
        for (status, reason) in [
            (400, "Rejected"),
            (401, "AccessDenied"),
            (403, "AccessDenied"),
            (404, "ResourceNotFound"),
            (405, "Unsupported"),
            (409, "Rejected"),
            (412, "Rejected"),
            (429, "BMCBusy"),
            (500, "BMCFault"),
            (501, "Unsupported"),
            (503, "BMCBusy"),
            (308, "Redirected"),
        ] {
            assert_eq!(
                judge(status, Value::Null).unwrap_err().reason(),
                reason,
                "{status}"
            );
        }
        assert!(judge(204, Value::Null).is_ok());
        assert!(judge(202, Value::Null).is_ok());
    }

    #[test]
    fn demanded_password_change_names_the_account() {
        let body = json!({"error": {"@Message.ExtendedInfo": [{
            "MessageId": "Base.1.8.PasswordChangeRequired",
            "MessageArgs": ["/redfish/v1/AccountService/Accounts/1"],
        }]}});
        let Error::PasswordChangeRequired { account, .. } = judge(403, body).unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(
            account.as_deref(),
            Some("/redfish/v1/AccountService/Accounts/1")
        );
    }

    #[test]
    fn session_limit_is_told_apart_from_a_busy_bmc() {
        let body = json!({"error": {"code": "Base.1.8.SessionLimitExceeded"}});
        assert_eq!(judge(503, body).unwrap_err().reason(), "SessionLimit");
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(status in 100_u16..1000, body in crate::model::arbitrary::json()) {
            judge(status, body).ok();
        }
    }
}
