//! Names, labels, annotations, finalizers: what is refused, in the real words.

use serde_json::{Value, json};

use super::red;
use crate::session::Session;
use crate::suite::Case;

async fn refused(s: &Session, metadata: Value) {
    let path = s.widgets().await;
    let mut body = red("a");
    body["metadata"] = metadata;
    s.post(&path, &body).is(422).await;
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("metadata", "names of wrong form", |s| async move {
            for name in ["A", "a_b", "-a", "a-", "a..b", "a b", "é"] {
                refused(&s, json!({ "name": name })).await;
            }
        }),
        Case::new("metadata", "a name that is too long", |s| async move {
            refused(&s, json!({"name": "a".repeat(254)})).await;
        }),
        Case::new("metadata", "the longest name", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red(&"a".repeat(253))).is(201).await;
        }),
        Case::new("metadata", "label keys of wrong form", |s| async move {
            for key in ["", "/x", "x/", "A/b", "a b", "a/b/c", &"k".repeat(64)] {
                refused(&s, json!({"name": "a", "labels": {key: "v"}})).await;
            }
        }),
        Case::new("metadata", "label values of wrong form", |s| async move {
            for value in ["-", "a b", "a-", &"v".repeat(64)] {
                refused(&s, json!({"name": "a", "labels": {"k": value}})).await;
            }
        }),
        Case::new(
            "metadata",
            "annotation keys of wrong form",
            |s| async move {
                for key in ["", "a b", "/x"] {
                    refused(&s, json!({"name": "a", "annotations": {key: "v"}})).await;
                }
            },
        ),
        Case::new(
            "metadata",
            "annotations that are too large",
            |s| async move {
                refused(
                    &s,
                    json!({"name": "a", "annotations": {"k": "v".repeat(256 * 1024)}}),
                )
                .await;
            },
        ),
        Case::new("metadata", "finalizers of wrong form", |s| async move {
            for finalizer in ["", "a b", "x.io/"] {
                refused(&s, json!({"name": "a", "finalizers": [finalizer]})).await;
            }
        }),
        Case::new("metadata", "labels that are no text", |s| async move {
            let path = s.widgets().await;
            let mut body = red("a");
            body["metadata"]["labels"] = json!({"k": 5});
            s.post(&path, &body).only(400).await;
        }),
        Case::new(
            "metadata",
            "an owner reference without its fields",
            |s| async move {
                let owner = json!({"apiVersion": "v1", "kind": "", "name": "", "uid": ""});
                refused(&s, json!({"name": "a", "ownerReferences": [owner]})).await;
            },
        ),
        Case::new("metadata", "two controllers", |s| async move {
            let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid, "controller": true});
            refused(
                &s,
                json!({"name": "a", "ownerReferences": [owner("1"), owner("2")]}),
            )
            .await;
        }),
        Case::new("metadata", "names of namespaces", |s| async move {
            for name in ["A", "a.b"] {
                let body =
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                s.post("/api/v1/namespaces", &body).is(422).await;
            }
        }),
    ]
}
