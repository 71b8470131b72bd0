//! Status isolation, finalizers, preconditions, collections, namespaces, owners.

use serde_json::{Value, json};

use super::{config_map, machine, red};
use crate::session::{OURS, Session};
use crate::suite::Case;

async fn until_gone(s: &Session, path: &str) {
    let ask = || async { (s.get(path).quietly().await.code == 404).then_some(()) };
    metalman_tests::wait::until(path, ask).await.unwrap();
    s.note("gone", &Value::Null);
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("status", "is dropped on create", |s| async move {
            let path = s.widgets().await;
            let mut body = red("a");
            body["status"] = json!({"phase": "Up"});
            assert!(s.post(&path, &body).is(201).await.at("/status").is_null());
        }),
        Case::new(
            "status",
            "does not change through the main door",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                s.merge(
                    format!("{path}/a/status"),
                    &json!({"status": {"phase": "Up"}}),
                )
                .is(200)
                .await;
                let after = s
                    .merge(
                        format!("{path}/a"),
                        &json!({"status": {"phase": "Down"}, "spec": {"size": 4}}),
                    )
                    .is(200)
                    .await;
                assert_eq!(after.text("/status/phase"), "Up");
            },
        ),
        Case::new("status", "its door changes nothing else", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let patch = json!({"status": {"phase": "Up"}, "spec": {"size": 9}, "metadata": {"labels": {"x": "y"}, "annotations": {"p": "q"}}});
            let after = s.merge(format!("{path}/a/status"), &patch).is(200).await;
            assert_eq!(
                (after.at("/spec/size"), after.at("/metadata/generation")),
                (json!(3), json!(1))
            );
            assert!(after.at("/metadata/labels").is_null());
        }),
        Case::new("status", "replace through its door", |s| async move {
            let path = s.widgets().await;
            let mut made = s.post(&path, &red("a")).is(201).await.body;
            made["status"] = json!({"ready": 2});
            let after = s.put(format!("{path}/a/status"), &made).is(200).await;
            assert_eq!(after.at("/status/ready"), json!(2));
            s.put(format!("{path}/a/status"), &made).is(409).await;
        }),
        Case::new("status", "can be read through its door", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.get(format!("{path}/a/status")).is(200).await;
            s.delete(format!("{path}/a/status")).only(405).await;
            s.post(format!("{path}/a/status"), &red("a"))
                .only(405)
                .await;
        }),
        Case::new("status", "of a Machine", |s| async move {
            let name = s.name("m");
            s.post(format!("{OURS}/machines"), &machine(&name))
                .is(201)
                .await;
            let path = format!("{OURS}/machines/{name}/status");
            s.json_patch(
                &path,
                &json!([{"op": "add", "path": "/status", "value": {"message": "m"}}]),
            )
            .is(200)
            .await;
            s.merge(&path, &json!({"status": null})).is(200).await;
        }),
        Case::new(
            "finalizers",
            "hold a deletion until they are gone",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["metadata"]["finalizers"] = json!(["x.io/hold"]);
                s.post(&path, &body).is(201).await;
                let first = s.delete(format!("{path}/a")).is(200).await;
                assert!(first.at("/metadata/deletionTimestamp").is_string());
                let again = s.delete(format!("{path}/a")).is(200).await;
                assert_eq!(first.version(), again.version());
                s.merge(format!("{path}/a"), &json!({"spec": {"size": 4}}))
                    .is(200)
                    .await;
                s.merge(
                    format!("{path}/a"),
                    &json!({"metadata": {"finalizers": null}}),
                )
                .is(200)
                .await;
                s.get(format!("{path}/a")).is(404).await;
            },
        ),
        Case::new("finalizers", "cannot be added late", |s| async move {
            let path = s.widgets().await;
            let mut body = red("a");
            body["metadata"]["finalizers"] = json!(["x.io/hold"]);
            s.post(&path, &body).is(201).await;
            s.delete(format!("{path}/a")).is(200).await;
            s.merge(
                format!("{path}/a"),
                &json!({"metadata": {"finalizers": ["x.io/hold", "x.io/more"]}}),
            )
            .is(422)
            .await;
        }),
        Case::new(
            "finalizers",
            "raise the generation when the deletion begins",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["metadata"]["finalizers"] = json!(["x.io/hold"]);
                s.post(&path, &body).is(201).await;
                s.delete(format!("{path}/a")).is(200).await;
                assert_eq!(
                    s.get(format!("{path}/a"))
                        .is(200)
                        .await
                        .at("/metadata/generation"),
                    json!(2)
                );
            },
        ),
        Case::new(
            "preconditions",
            "on uid and version of a deletion",
            |s| async move {
                let path = s.widgets().await;
                let made = s.post(&path, &red("a")).is(201).await;
                let wrong =
                    json!({"preconditions": {"uid": "11111111-1111-1111-1111-111111111111"}});
                s.delete_with(format!("{path}/a"), &wrong).is(409).await;
                let wrong = json!({"preconditions": {"resourceVersion": "1"}});
                s.delete_with(format!("{path}/a"), &wrong).only(409).await;
                let right = json!({"preconditions": {"uid": made.text("/metadata/uid"), "resourceVersion": made.version()}});
                s.delete_with(format!("{path}/a"), &right).is(200).await;
            },
        ),
        Case::new(
            "preconditions",
            "deletion options that make no sense",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                s.delete_with(format!("{path}/a"), &json!({"propagationPolicy": "Odd"}))
                    .is(422)
                    .await;
                s.delete_with(format!("{path}/a"), &json!({"dryRun": ["Odd"]}))
                    .is(422)
                    .await;
            },
        ),
        Case::new(
            "deletion",
            "in the foreground waits for dependents",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                let gone = s
                    .delete_with(
                        format!("{path}/a"),
                        &json!({"propagationPolicy": "Foreground"}),
                    )
                    .only(200)
                    .await;
                drop(gone);
                until_gone(&s, &format!("{path}/a")).await;
            },
        ),
        Case::new("deletion", "of a collection", |s| async move {
            let path = s.widgets().await;
            for name in ["a", "b", "c"] {
                let mut body = red(name);
                body["metadata"]["labels"] =
                    json!({"keep": if name == "b" { "yes" } else { "no" }});
                s.post(&path, &body).is(201).await;
            }
            s.delete(format!("{path}?labelSelector=keep%3Dno&dryRun=All"))
                .only(200)
                .await;
            assert_eq!(s.get(&path).only(200).await.names().len(), 3);
            s.delete(format!("{path}?labelSelector=keep%3Dno"))
                .is(200)
                .await;
            assert_eq!(s.get(&path).is(200).await.names(), ["b"]);
            s.delete(&path).is(200).await;
            s.delete(&path).is(200).await;
        }),
        Case::new("deletion", "of a core collection by name", |s| async move {
            let path = s.namespaced("/api/v1", "configmaps").await;
            for name in ["a", "b"] {
                s.post(&path, &config_map(name, &json!({}))).only(201).await;
            }
            s.delete(format!("{path}?fieldSelector=metadata.name%3Da"))
                .only(200)
                .await;
            let left = s.get(&path).only(200).await;
            s.note(
                "names",
                &json!(
                    left.names()
                        .iter()
                        .filter(|name| name.len() == 1)
                        .collect::<Vec<_>>()
                ),
            );
        }),
        Case::new("deletion", "of a core object", |s| async move {
            let path = s.namespaced("/api/v1", "configmaps").await;
            s.post(&path, &config_map("a", &json!({}))).only(201).await;
            s.delete_with(
                format!("{path}/a"),
                &json!({"propagationPolicy": "Background"}),
            )
            .is(200)
            .await;
        }),
        Case::new("namespaces", "go with what is in them", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let maps = format!("/api/v1/namespaces/{}/configmaps", s.id);
            s.post(&maps, &config_map("a", &json!({}))).only(201).await;
            s.delete(format!("/api/v1/namespaces/{}", s.id))
                .only(200)
                .await;
            until_gone(&s, &format!("{path}/a")).await;
            until_gone(&s, &format!("{maps}/a")).await;
            until_gone(&s, &format!("/api/v1/namespaces/{}", s.id)).await;
        }),
        Case::new(
            "namespaces",
            "that is going takes nothing new",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["metadata"]["finalizers"] = json!(["x.io/hold"]);
                s.post(&path, &body).is(201).await;
                s.delete(format!("/api/v1/namespaces/{}", s.id))
                    .only(200)
                    .await;
                // The real server notices a moment later.
                let tried = format!("{path}?dryRun=All");
                let ask = || async {
                    let code = s.post(&tried, &red("b")).quietly().await.code;
                    (code == 403).then_some(())
                };
                metalman_tests::wait::until("a refusal", ask).await.unwrap();
                s.post(&path, &red("b")).is(403).await;
                s.merge(
                    format!("{path}/a"),
                    &json!({"metadata": {"finalizers": null}}),
                )
                .only(200)
                .await;
                until_gone(&s, &format!("/api/v1/namespaces/{}", s.id)).await;
            },
        ),
        Case::new("namespaces", "those that must stay", |s| async move {
            s.delete("/api/v1/namespaces/default").is(403).await;
        }),
        Case::new(
            "namespaces",
            "have a phase and their name as a label",
            |s| async move {
                let body =
                    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": s.id}});
                s.post("/api/v1/namespaces", &body).only(201).await;
                let made = s
                    .get(format!("/api/v1/namespaces/{}", s.id))
                    .only(200)
                    .await;
                s.note("spec", &made.at("/spec"));
                s.note("status", &made.at("/status"));
                s.note("labels", &made.at("/metadata/labels"));
            },
        ),
    ]
}
