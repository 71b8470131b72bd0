//! Who may ask: bearer tokens and the review resources that tell a client what it may do.
//!
//! Today there is one user, the administrator. Invariant: tokens are compared in constant time and
//! never stored or logged in the clear.

use http::{HeaderMap, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::standalone::fields::Fields as _;
use crate::standalone::status::ApiError;

/// Somebody who showed a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name for the audit log.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// The tokens that open the door.
#[derive(Debug, Clone)]
pub struct Access {
    admin: [u8; 32],
}

impl Access {
    /// Access by the administrator's token alone.
    pub fn new(admin_token: &str) -> Self {
        Self {
            admin: digest(admin_token),
        }
    }

    /// The user a token belongs to.
    pub fn user(&self, token: &str) -> Option<User> {
        let shown = digest(token);
        let difference = shown
            .iter()
            .zip(&self.admin)
            .fold(0_u8, |sum, (left, right)| sum | (left ^ right));
        (difference == 0).then(|| User {
            name: "admin".to_owned(),
            groups: vec![
                "system:masters".to_owned(),
                "system:authenticated".to_owned(),
            ],
        })
    }

    /// The user of a request.
    ///
    /// # Errors
    /// 401 without a token that is known.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<User, ApiError> {
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, token)| self.user(token.trim()))
            .ok_or_else(ApiError::unauthorized)
    }

    /// Answers a review: a POST to one of [`REVIEWS`] by `user`. `None` when `path` is none.
    pub fn review(&self, path: &str, user: &User, mut body: Value) -> Option<Value> {
        let (_, kind) = REVIEWS.iter().find(|(review, _)| *review == path)?;
        let info = |user: &User| json!({"username": user.name, "groups": user.groups});
        let status = match *kind {
            // The administrator may do everything.
            "SelfSubjectAccessReview" => json!({"allowed": true, "reason": "administrator"}),
            "SelfSubjectRulesReview" => json!({"incomplete": false,
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}),
            "SelfSubjectReview" => json!({ "userInfo": info(user) }),
            _ => match self.user(body.at("spec").at("token").as_str().unwrap_or_default()) {
                Some(found) => json!({"authenticated": true, "user": info(&found)}),
                None => {
                    json!({"authenticated": false, "user": {}, "error": "invalid bearer token"})
                }
            },
        };
        if !body.is_object() {
            body = json!({});
        }
        let (api, _) = path.trim_start_matches("/apis/").rsplit_once('/')?;
        body.set("kind", json!(kind));
        body.set("apiVersion", json!(api));
        body.set("status", status);
        if let Some(spec) = body.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("token");
        }
        Some(body)
    }
}

/// Paths of the review resources and their kinds.
pub(super) const REVIEWS: [(&str, &str); 4] = [
    (
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "SelfSubjectReview",
    ),
    ("/apis/authentication.k8s.io/v1/tokenreviews", "TokenReview"),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
    ),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
    ),
];

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let access = Access::new("right");
        assert!(access.user("right").is_some());
        assert!(access.user("wrong").is_none());
        assert!(access.user("").is_none());
        let mut headers = HeaderMap::new();
        assert_eq!(access.authenticate(&headers).unwrap_err().code(), 401);
        headers.insert(header::AUTHORIZATION, "Basic right".parse().unwrap());
        assert!(access.authenticate(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "bearer right".parse().unwrap());
        assert_eq!(access.authenticate(&headers).unwrap().name, "admin");
    }

    #[test]
    fn token_reviews_do_not_echo_the_token() {
        let access = Access::new("right");
        let user = access.user("right").unwrap();
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let ask = |token| {
            access
                .review(path, &user, json!({"spec": {"token": token}}))
                .unwrap()
        };
        assert_eq!(ask("right")["status"]["user"]["username"], "admin");
        assert_eq!(ask("wrong")["status"]["authenticated"], false);
        assert!(!ask("right").to_string().contains("right"));
        assert_eq!(ask("right")["apiVersion"], "authentication.k8s.io/v1");
    }
}
