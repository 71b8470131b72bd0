//! What clients learn before they ask for objects.

use serde_json::{Value, json};

use crate::session::{OURS, Session, WIDGETS};
use crate::suite::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "discovery",
            "our group lists its resources",
            |s| async move {
                note_resources(&s, OURS).await;
            },
        ),
        Case::new(
            "discovery",
            "a namespaced resource with status, short names and categories",
            |s| async move {
                note_resources(&s, WIDGETS).await;
            },
        ),
        Case::new("discovery", "a group of its own document", |s| async move {
            s.get("/apis/unbounded-cloud.io").is(200).await;
            s.get("/apis/test.metalman.io").is(200).await;
        }),
        Case::new("discovery", "the list of groups has ours", |s| async move {
            let answer = s.get("/apis").only(200).await;
            let groups = answer.at("/groups");
            let ours = groups
                .as_array()
                .unwrap()
                .iter()
                .find(|g| g["name"] == "unbounded-cloud.io");
            s.note("our group", &ours.cloned().unwrap());
        }),
        Case::new(
            "discovery",
            "core kinds that are served look alike",
            |s| async move {
                let answer = s.get("/api/v1").only(200).await;
                for plural in [
                    "namespaces",
                    "nodes",
                    "secrets",
                    "configmaps",
                    "events",
                    "nodes/status",
                ] {
                    s.note(plural, &core(&answer.body, plural));
                }
                let leases = s.get("/apis/coordination.k8s.io/v1").only(200).await;
                s.note("leases", &core(&leases.body, "leases"));
            },
        ),
        Case::new("discovery", "/api has one version", |s| async move {
            let answer = s.get("/api").only(200).await;
            assert_eq!(answer.at("/versions"), json!(["v1"]));
            s.note("kind", &answer.at("/kind"));
        }),
        Case::new("discovery", "an unknown group", |s| async move {
            s.get("/apis/nowhere.io").only(404).await;
            s.get("/apis/nowhere.io/v1/things").only(404).await;
        }),
        Case::new(
            "discovery",
            "an unknown resource of a known group",
            |s| async move {
                s.get(format!("{OURS}/unicorns")).only(404).await;
                s.get(format!("{OURS}/machines/a/scale")).only(404).await;
            },
        ),
        Case::new(
            "discovery",
            "OpenAPI v3 has a document for our group",
            |s| async move {
                let index = s.get("/openapi/v3").quietly().await;
                let known = index.at("/paths/apis~1unbounded-cloud.io~1v1alpha3/serverRelativeURL");
                // The old front door has no index of its own.
                s.note("index", &json!(index.code == 404 || known.is_string()));
            },
        ),
        Case::new(
            "discovery",
            "health and version answer anybody",
            |s| async move {
                for path in ["/livez", "/readyz", "/version"] {
                    s.get(path).token(None).only(200).await;
                }
            },
        ),
        Case::new(
            "discovery",
            "a resource does not exist in another version",
            |s| async move {
                s.get("/apis/unbounded-cloud.io/v1/machines")
                    .only(404)
                    .await;
            },
        ),
    ]
}

async fn note_resources(s: &Session, root: &str) {
    let answer = s.get(root).only(200).await;
    s.note("groupVersion", &answer.at("/groupVersion"));
    let mut resources = answer
        .at("/resources")
        .as_array()
        .cloned()
        .unwrap_or_default();
    resources.sort_by_key(|r| r["name"].to_string());
    for resource in resources {
        s.note("resource", &bare(resource));
    }
}

/// What is not about storage.
fn bare(mut resource: Value) -> Value {
    if let Some(map) = resource.as_object_mut() {
        map.remove("storageVersionHash");
        for (_, value) in map.iter_mut() {
            if let Some(list) = value.as_array_mut() {
                list.sort_by_key(ToString::to_string);
            }
        }
        map.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
    }
    resource
}

fn resource(list: &Value, name: &str) -> Value {
    let found = list["resources"]
        .as_array()
        .and_then(|all| all.iter().find(|r| r["name"] == name));
    bare(found.cloned().unwrap_or_default())
}

/// Without the singular name, which the old front door does not tell.
fn core(list: &Value, name: &str) -> Value {
    let mut found = resource(list, name);
    found["singularName"] = Value::Null;
    found
}
