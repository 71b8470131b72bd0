//! Who may ask, and what a client is told about that.

use serde_json::{Value, json};

use super::{config_map, red};
use crate::session::OURS;
use crate::suite::Case;

/// Largest body that is read, in bytes.
const LARGEST: usize = 3 * 1024 * 1024;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("access", "without a token", |s| async move {
            let path = s.widgets().await;
            // The real server would let anonymous users in and then forbid them; both refuse.
            let answer = s.get(&path).token(None).quietly().await;
            assert!(matches!(answer.code, 401 | 403), "{}", answer.code);
        }),
        Case::new("access", "with a token nobody knows", |s| async move {
            let path = s.widgets().await;
            s.get(&path).token(Some("wrong")).is(401).await;
            s.post(&path, &red("a")).token(Some("wrong")).is(401).await;
            s.get("/apis").token(Some("wrong")).is(401).await;
        }),
        Case::new(
            "access",
            "SelfSubjectAccessReview of the administrator",
            |s| async move {
                let body = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {"group": "unbounded-cloud.io", "resource": "machines", "verb": "delete"}}});
                let answer = s
                    .post(
                        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                        &body,
                    )
                    .only(201)
                    .await;
                assert_eq!(answer.at("/status/allowed"), json!(true));
                s.note("spec", &answer.at("/spec"));
            },
        ),
        Case::new(
            "access",
            "TokenReview of a token nobody knows",
            |s| async move {
                let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "wrong"}});
                let answer = s
                    .post("/apis/authentication.k8s.io/v1/tokenreviews", &body)
                    .only(201)
                    .await;
                assert_ne!(answer.at("/status/authenticated"), json!(true));
                s.note("user", &answer.at("/status/user"));
            },
        ),
        Case::new("access", "a body that is too large", |s| async move {
            let path = s.widgets().await;
            let mut body = red("a");
            body["spec"]["note"] = json!("x".repeat(4 * 1024 * 1024));
            s.post(&path, &body).is(413).await;
        }),
        Case::new(
            "access",
            "bodies of the largest size and one byte more",
            |s| async move {
                let padded = |body: &Value, size: usize| {
                    let text = body.to_string();
                    let blanks = " ".repeat(size - text.len());
                    text + &blanks
                };
                let (widgets, maps) = (
                    s.widgets().await,
                    s.namespaced("/api/v1", "configmaps").await,
                );
                for (path, body) in [
                    (widgets, red("a")),
                    (maps, config_map("a", &json!({"k": "v"}))),
                ] {
                    let fits = padded(&body, LARGEST);
                    let larger = padded(&body, LARGEST + 1);
                    s.post(&path, &body).text(&larger).is(413).await;
                    let made = s.post(&path, &body).text(&fits).only(201).await;
                    let one = format!("{path}/a");
                    s.put(&one, &body).text(&larger).is(413).await;
                    s.put(&one, &body)
                        .text(&padded(&made.body, LARGEST))
                        .only(200)
                        .await;
                    s.merge(&one, &body).text(&larger).is(413).await;
                    s.merge(&one, &body).text(&fits).only(200).await;
                }
            },
        ),
        Case::new("access", "paths that try to leave", |s| async move {
            for path in [
                "/apis/../api/v1/secrets/x",
                "/api/v1/namespaces/default/../../x",
            ] {
                let code = s.get(path).quietly().await.code;
                s.note("refused", &Value::from(code >= 400));
            }
            s.get(format!("{OURS}/machines/%2e%2e%2fx")).only(404).await;
        }),
    ]
}
