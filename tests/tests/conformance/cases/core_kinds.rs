//! Secret, ConfigMap, Event, Lease, Node: what they do beyond their schema.

use serde_json::{Value, json};

use super::config_map;
use crate::session::Session;
use crate::suite::Case;

async fn secret(s: &Session, fields: Value) -> (String, Value) {
    let path = s.namespaced("/api/v1", "secrets").await;
    let mut body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    (path, body)
}

fn event(s: &Session, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "reason": "Made", "message": "It was made.",
        "type": "Normal", "count": 1, "source": {"component": "metalman"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"kind": "Widget", "name": "w", "namespace": s.id, "uid": "u"}})
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "core",
            "kind and version may be left to the path",
            |s| async move {
                let path = s.namespaced("/api/v1", "configmaps").await;
                let bare = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
                s.post(&path, &bare).only(201).await;
                s.put(format!("{path}/a"), &bare).only(200).await;
                let mut half = bare.clone();
                half["kind"] = json!("ConfigMap");
                s.put(format!("{path}/a"), &half).only(200).await;
                half["kind"] = json!("Secret");
                s.put(format!("{path}/a"), &half).only(400).await;
                s.post(s.widgets().await, &bare).only(400).await;
                let kept = s.get(format!("{path}/a")).only(200).await;
                s.note("kind", &kept.at("/kind"));
            },
        ),
        Case::new("core", "stringData becomes data", |s| async move {
            let (path, body) = secret(
                &s,
                json!({"stringData": {"p": "secret"}, "data": {"q": "cQ=="}}),
            )
            .await;
            let made = s.post(&path, &body).only(201).await;
            s.note("data", &made.at("/data"));
            s.note("type", &made.at("/type"));
            assert!(made.at("/stringData").is_null());
        }),
        Case::new(
            "core",
            "the type of a Secret cannot change",
            |s| async move {
                let (path, body) = secret(&s, json!({"type": "x.io/a"})).await;
                s.post(&path, &body).only(201).await;
                s.merge(format!("{path}/a"), &json!({"type": "x.io/b"}))
                    .is(422)
                    .await;
            },
        ),
        Case::new("core", "an immutable ConfigMap", |s| async move {
            let path = s.namespaced("/api/v1", "configmaps").await;
            let mut body = config_map("a", &json!({"k": "v"}));
            body["immutable"] = json!(true);
            s.post(&path, &body).only(201).await;
            s.merge(format!("{path}/a"), &json!({"data": {"k": "w"}}))
                .is(422)
                .await;
            s.merge(format!("{path}/a"), &json!({"immutable": false}))
                .is(422)
                .await;
            s.merge(
                format!("{path}/a"),
                &json!({"metadata": {"labels": {"x": "y"}}}),
            )
            .only(200)
            .await;
        }),
        Case::new("core", "an immutable Secret", |s| async move {
            let (path, body) =
                secret(&s, json!({"immutable": true, "stringData": {"p": "q"}})).await;
            s.post(&path, &body).only(201).await;
            s.merge(format!("{path}/a"), &json!({"stringData": {"p": "r"}}))
                .is(422)
                .await;
        }),
        Case::new("core", "data that is not base64", |s| async move {
            let (path, body) = secret(&s, json!({"data": {"p": "%%"}})).await;
            s.post(&path, &body).only(400).await;
        }),
        Case::new("core", "keys of a ConfigMap", |s| async move {
            let path = s.namespaced("/api/v1", "configmaps").await;
            s.post(&path, &config_map("a", &json!({"a b": "v"})))
                .is(422)
                .await;
            s.post(&path, &config_map("a", &json!({"..": "v"})))
                .is(422)
                .await;
            s.post(&path, &config_map("a", &json!({"a.B_c-1": "v"})))
                .only(201)
                .await;
        }),
        Case::new("core", "values of wrong types", |s| async move {
            let path = s.namespaced("/api/v1", "configmaps").await;
            s.post(&path, &config_map("a", &json!({"k": 1})))
                .only(400)
                .await;
            s.post(&path, &config_map("a", &json!([]))).only(400).await;
        }),
        Case::new(
            "core",
            "a Lease is written and taken over",
            |s| async move {
                let path = s.namespaced("/apis/coordination.k8s.io/v1", "leases").await;
                let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
                "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}});
                let made = s.post(&path, &lease).only(201).await;
                s.note("spec", &made.at("/spec"));
                let mut next = made.body.clone();
                next["spec"]["holderIdentity"] = json!("you");
                s.put(format!("{path}/a"), &next).only(200).await;
                s.put(format!("{path}/a"), &next).is(409).await;
            },
        ),
        Case::new(
            "core",
            "a Lease with numbers out of bounds",
            |s| async move {
                let path = s.namespaced("/apis/coordination.k8s.io/v1", "leases").await;
                let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
                "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
                s.post(&path, &lease).is(422).await;
            },
        ),
        Case::new("core", "an Event in both groups", |s| async move {
            let path = s.namespaced("/api/v1", "events").await;
            s.post(&path, &event(&s, "a")).only(201).await;
            let view = path.replace("/api/v1", "/apis/events.k8s.io/v1");
            let seen = s.get(format!("{view}/a")).only(200).await;
            for field in [
                "/note",
                "/regarding",
                "/reason",
                "/type",
                "/deprecatedCount",
                "/deprecatedSource",
            ] {
                s.note(field, &seen.at(field));
            }
        }),
        Case::new(
            "core",
            "an Event by the fields of its object",
            |s| async move {
                let path = s.namespaced("/api/v1", "events").await;
                s.post(&path, &event(&s, "a")).only(201).await;
                let mut other = event(&s, "b");
                other["involvedObject"]["name"] = json!("other");
                s.post(&path, &other).only(201).await;
                let query = format!(
                    "fieldSelector=involvedObject.kind%3DWidget,involvedObject.name%3Dw,involvedObject.namespace%3D{}",
                    s.id
                );
                let found = s.get(format!("{path}?{query}")).only(200).await;
                assert_eq!(found.names(), ["a"]);
            },
        ),
        Case::new(
            "core",
            "an Event of another namespace than its object",
            |s| async move {
                let path = s.namespaced("/api/v1", "events").await;
                let mut body = event(&s, "a");
                body["involvedObject"]["namespace"] = json!("other");
                s.post(&path, &body).is(422).await;
            },
        ),
        Case::new(
            "core",
            "a Node and its unschedulable field",
            |s| async move {
                let name = s.name("n");
                let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"case": s.id}}});
                s.post("/api/v1/nodes", &node).only(201).await;
                let patch = json!({"spec": {"unschedulable": true}});
                let after = s
                    .strategic(format!("/api/v1/nodes/{name}"), &patch)
                    .only(200)
                    .await;
                assert_eq!(after.at("/spec/unschedulable"), json!(true));
                let query = format!(
                    "labelSelector=case%3D{}&fieldSelector=spec.unschedulable%3Dtrue",
                    s.id
                );
                assert_eq!(
                    s.get(format!("/api/v1/nodes?{query}"))
                        .only(200)
                        .await
                        .names(),
                    std::slice::from_ref(&name)
                );
                let patch = json!({"spec": {"unschedulable": null}});
                s.strategic(format!("/api/v1/nodes/{name}"), &patch)
                    .only(200)
                    .await;
                assert!(
                    s.get(format!("/api/v1/nodes?{query}"))
                        .only(200)
                        .await
                        .names()
                        .is_empty()
                );
            },
        ),
        Case::new("core", "a Node's status has its own door", |s| async move {
            let name = s.name("n");
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
            s.post("/api/v1/nodes", &node).only(201).await;
            let patch =
                json!({"status": {"nodeInfo": {"bootID": "b"}}, "spec": {"unschedulable": true}});
            let after = s
                .merge(format!("/api/v1/nodes/{name}/status"), &patch)
                .only(200)
                .await;
            s.note("boot id", &after.at("/status/nodeInfo/bootID"));
            s.note("unschedulable", &after.at("/spec/unschedulable"));
        }),
        Case::new(
            "core",
            "apply of a ConfigMap by two managers",
            |s| async move {
                let path = s.namespaced("/api/v1", "configmaps").await;
                s.apply(
                    &format!("{path}/a"),
                    "one",
                    &config_map("a", &json!({"k": "v"})),
                )
                .only(201)
                .await;
                let after = s
                    .apply(
                        &format!("{path}/a"),
                        "two",
                        &config_map("a", &json!({"l": "w"})),
                    )
                    .only(200)
                    .await;
                s.note("data", &after.at("/data"));
                s.apply(
                    &format!("{path}/a"),
                    "two",
                    &config_map("a", &json!({"k": "w"})),
                )
                .is(409)
                .await;
                let after = s
                    .apply(&format!("{path}/a"), "one", &config_map("a", &json!({})))
                    .only(200)
                    .await;
                s.note("data", &after.at("/data"));
            },
        ),
    ]
}
