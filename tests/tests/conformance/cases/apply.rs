//! Server-side apply and the managers of fields.

use serde_json::{Value, json};

use super::{machine, operation, red, widget};
use crate::session::OURS;
use crate::suite::Case;

fn parts(list: &Value) -> Value {
    json!({"apiVersion": "test.metalman.io/v1", "kind": "Widget", "metadata": {"name": "a"},
           "spec": {"colour": "red", "parts": list}})
}

fn partial(spec: &Value) -> Value {
    widget("a", spec)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("apply", "creates and owns", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            let made = s.apply(&path, "one", &red("a")).is(201).await;
            let managed = made.at("/metadata/managedFields/0");
            assert_eq!(
                (&managed["manager"], &managed["operation"]),
                (&json!("one"), &json!("Apply"))
            );
        }),
        Case::new("apply", "the same again changes nothing", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            let made = s.apply(&path, "one", &red("a")).is(201).await;
            let again = s.apply(&path, "one", &red("a")).is(200).await;
            assert_eq!(made.version(), again.version());
        }),
        Case::new("apply", "without a manager", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "", &red("a")).is(422).await;
        }),
        Case::new(
            "apply",
            "another value of a field of somebody else",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(&path, "one", &partial(&json!({"colour": "red", "size": 4})))
                    .is(201)
                    .await;
                s.apply(&path, "two", &partial(&json!({"colour": "green"})))
                    .is(409)
                    .await;
                s.apply(
                    &path,
                    "two",
                    &partial(&json!({"colour": "green", "size": 5})),
                )
                .is(409)
                .await;
            },
        ),
        Case::new("apply", "force takes the field", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "one", &partial(&json!({"colour": "red", "size": 4})))
                .is(201)
                .await;
            let after = s
                .apply(
                    &format!("{path}?force=true"),
                    "two",
                    &partial(&json!({"colour": "green"})),
                )
                .is(200)
                .await;
            assert_eq!(after.text("/spec/colour"), "green");
            s.apply(&path, "one", &partial(&json!({"colour": "red", "size": 4})))
                .is(409)
                .await;
        }),
        Case::new("apply", "the same value is shared", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "one", &red("a")).is(201).await;
            s.apply(&path, "two", &red("a")).is(200).await;
            // Both own it: dropping one keeps it.
            let after = s
                .apply(&path, "one", &partial(&json!({"size": 4})))
                .is(200)
                .await;
            assert_eq!(after.text("/spec/colour"), "red");
        }),
        Case::new(
            "apply",
            "a field that is no longer applied goes",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(
                    &path,
                    "one",
                    &partial(&json!({"colour": "red", "note": "n", "flag": true})),
                )
                .is(201)
                .await;
                let after = s
                    .apply(
                        &path,
                        "one",
                        &partial(&json!({"colour": "red", "flag": true})),
                    )
                    .is(200)
                    .await;
                assert!(after.at("/spec/note").is_null());
            },
        ),
        Case::new(
            "apply",
            "a default comes back for a field that goes",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(&path, "one", &partial(&json!({"colour": "red", "size": 9})))
                    .is(201)
                    .await;
                let after = s.apply(&path, "one", &red("a")).is(200).await;
                assert_eq!(after.at("/spec/size"), json!(3));
            },
        ),
        Case::new(
            "apply",
            "items of a keyed list belong to their managers",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(&path, "one", &parts(&json!([{"name": "x", "count": 1}])))
                    .is(201)
                    .await;
                s.apply(&path, "two", &parts(&json!([{"name": "y", "count": 2}])))
                    .is(200)
                    .await;
                let after = s
                    .apply(&path, "one", &parts(&json!([{"name": "z", "count": 1}])))
                    .is(200)
                    .await;
                let names: Vec<Value> = after
                    .at("/spec/parts")
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| p["name"].clone())
                    .collect();
                assert_eq!(names.len(), 2, "{names:?}");
                s.apply(&path, "two", &parts(&json!([{"name": "z", "count": 7}])))
                    .is(409)
                    .await;
            },
        ),
        Case::new("apply", "keyed lists keep an order", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "one", &parts(&json!([{"name": "b"}, {"name": "a"}])))
                .is(201)
                .await;
            s.apply(&path, "two", &parts(&json!([{"name": "c"}])))
                .is(200)
                .await;
            s.apply(
                &path,
                "one",
                &parts(&json!([{"name": "a"}, {"name": "b"}, {"name": "d"}])),
            )
            .is(200)
            .await;
        }),
        Case::new("apply", "sets are joined", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(
                &path,
                "one",
                &partial(&json!({"colour": "red", "tags": ["b", "a"]})),
            )
            .is(201)
            .await;
            s.apply(&path, "two", &partial(&json!({"tags": ["c"]})))
                .is(200)
                .await;
            s.apply(
                &path,
                "one",
                &partial(&json!({"colour": "red", "tags": ["a"]})),
            )
            .is(200)
            .await;
        }),
        Case::new(
            "apply",
            "plain lists and atomic maps are one field",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                let spec = json!({"colour": "red", "plain": [1, 2], "whole": {"a": "1"}});
                s.apply(&path, "one", &partial(&spec)).is(201).await;
                s.apply(&path, "two", &partial(&json!({"plain": [3]})))
                    .is(409)
                    .await;
                s.apply(&path, "two", &partial(&json!({"whole": {"b": "2"}})))
                    .is(409)
                    .await;
                let spec = json!({"colour": "red", "plain": [2], "whole": {"b": "1"}});
                s.apply(&path, "one", &partial(&spec)).is(200).await;
            },
        ),
        Case::new("apply", "free fields are owned too", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            let spec = json!({"colour": "red", "free": {"a": {"b": 1}, "list": [1]}});
            s.apply(&path, "one", &partial(&spec)).is(201).await;
            s.apply(&path, "two", &partial(&json!({"free": {"a": {"c": 2}}})))
                .is(200)
                .await;
            s.apply(&path, "two", &partial(&json!({"free": {"a": {"b": 2}}})))
                .is(409)
                .await;
        }),
        Case::new(
            "apply",
            "labels and annotations are owned one by one",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                let with = |labels: Value| {
                    let mut body = red("a");
                    body["metadata"]["labels"] = labels;
                    body
                };
                s.apply(&path, "one", &with(json!({"x": "1"})))
                    .is(201)
                    .await;
                s.apply(&path, "two", &with(json!({"y": "2"})))
                    .is(200)
                    .await;
                let after = s.apply(&path, "one", &with(json!({}))).is(200).await;
                assert_eq!(after.at("/metadata/labels"), json!({"y": "2"}));
            },
        ),
        Case::new(
            "apply",
            "an update takes fields from an applier",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(&path, "one", &partial(&json!({"colour": "red", "size": 4})))
                    .is(201)
                    .await;
                s.merge(
                    format!("{path}?fieldManager=editor"),
                    &json!({"spec": {"size": 5}}),
                )
                .is(200)
                .await;
                s.apply(&path, "one", &partial(&json!({"colour": "red", "size": 4})))
                    .is(409)
                    .await;
                s.apply(&path, "one", &partial(&json!({"colour": "red"})))
                    .is(200)
                    .await;
            },
        ),
        Case::new(
            "apply",
            "an update that removes a field ends its ownership",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(
                    &path,
                    "one",
                    &partial(&json!({"colour": "red", "note": "n"})),
                )
                .is(201)
                .await;
                s.merge(
                    format!("{path}?fieldManager=editor"),
                    &json!({"spec": {"note": null}}),
                )
                .is(200)
                .await;
            },
        ),
        Case::new("apply", "over an object made by create", |s| async move {
            let list = s.widgets().await;
            s.post(format!("{list}?fieldManager=maker"), &red("a"))
                .is(201)
                .await;
            s.apply(
                &format!("{list}/a"),
                "one",
                &partial(&json!({"flag": true})),
            )
            .is(200)
            .await;
            s.apply(
                &format!("{list}/a"),
                "one",
                &partial(&json!({"colour": "green"})),
            )
            .is(409)
            .await;
        }),
        Case::new(
            "apply",
            "of the status subresource has owners of its own",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                s.apply(&path, "one", &red("a")).is(201).await;
                let status = |phase: &str| {
                    json!({"apiVersion": "test.metalman.io/v1", "kind": "Widget",
                "metadata": {"name": "a"}, "status": {"phase": phase}})
                };
                s.apply(&format!("{path}/status"), "one", &status("Up"))
                    .is(200)
                    .await;
                s.apply(&format!("{path}/status"), "two", &status("Down"))
                    .is(409)
                    .await;
                s.apply(&format!("{path}/status?force=true"), "two", &status("Down"))
                    .is(200)
                    .await;
            },
        ),
        Case::new("apply", "of a status does not create", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&format!("{path}/status"), "one", &red("a"))
                .is(404)
                .await;
        }),
        Case::new(
            "apply",
            "spec and status through the wrong doors",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                let mut body = red("a");
                body["status"] = json!({"phase": "Up"});
                s.apply(&path, "one", &body).is(201).await;
                body["spec"]["size"] = json!(9);
                let after = s
                    .apply(&format!("{path}/status"), "one", &body)
                    .is(200)
                    .await;
                assert_eq!(after.at("/spec/size"), json!(3));
                assert_eq!(after.text("/status/phase"), "Up");
            },
        ),
        Case::new(
            "apply",
            "agents share the targets of an operation",
            |s| async move {
                let name = s.name("o");
                let path = format!("{OURS}/machineoperations/{name}/status");
                let spec = json!({"operationKind": "NodeReboot", "machineRef": "a"});
                s.post(
                    format!("{OURS}/machineoperations"),
                    &operation(&name, &spec),
                )
                .is(201)
                .await;
                let apply = |target: &str, phase: &str| {
                    json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
                       "metadata": {"name": name}, "status": {"targets": [{"machineRef": target, "phase": phase}]}})
                };
                s.apply(&path, "agent-a", &apply("a", "InProgress"))
                    .is(200)
                    .await;
                s.apply(&path, "agent-b", &apply("b", "Pending"))
                    .is(200)
                    .await;
                s.apply(&path, "agent-a", &apply("a", "Complete"))
                    .is(200)
                    .await;
                s.apply(&path, "agent-b", &apply("a", "Failed"))
                    .is(409)
                    .await;
            },
        ),
        Case::new("apply", "a Machine as people write it", |s| async move {
            let name = s.name("m");
            let mut body = machine(&name);
            body["metadata"]["labels"] = json!({"unbounded-cloud.io/site": "lab"});
            body["spec"] = json!({"pxe": {"image": "oci-layout:/images/host", "dhcpLeases": [
                {"mac": "52:54:00:77:00:11", "ipv4": "10.77.0.11", "subnetMask": "255.255.255.0"}]}});
            let path = format!("{OURS}/machines/{name}");
            s.apply(&path, "kubectl", &body).is(201).await;
            body["spec"]["pxe"]["dhcpLeases"][0]["gateway"] = json!("10.77.0.1");
            s.apply(&path, "kubectl", &body).is(200).await;
            s.merge(
                format!("{path}/status?fieldManager=metalman"),
                &json!({"status": {"message": "m"}}),
            )
            .is(200)
            .await;
        }),
        Case::new("apply", "with a uid or a version", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            let mut body = red("a");
            body["metadata"]["resourceVersion"] = json!("1");
            s.apply(&path, "one", &body).is(201).await;

            s.apply(&path, "one", &body).is(409).await;
        }),
        Case::new("apply", "with managed fields in the body", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            let made = s.apply(&path, "one", &red("a")).is(201).await;
            s.apply(&path, "one", &made.body).is(400).await;
        }),
        Case::new("apply", "a body that is not valid", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "one", &partial(&json!({"colour": "blue"})))
                .is(422)
                .await;
            s.apply(
                &path,
                "one",
                &partial(&json!({"colour": "red", "plain": "x"})),
            )
            .send()
            .await;
            s.apply(&path, "one", &red("b")).is(400).await;
        }),
        Case::new("apply", "unknown fields", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            let body = partial(&json!({"colour": "red", "none": 1}));
            s.apply(&format!("{path}?fieldValidation=Strict"), "one", &body)
                .send()
                .await;
            s.apply(&format!("{path}?fieldValidation=Warn"), "one", &body)
                .send()
                .await;
        }),
        Case::new(
            "apply",
            "a default that comes back in a replaced list is no change",
            |s| async move {
                let name = s.name("o");
                let path = format!("{OURS}/machineoperations/{name}");
                let spec = json!({"operationKind": "NodeReboot", "machineRef": "a"});
                let body = operation(&name, &spec);
                s.apply(&path, "one", &body).is(201).await;
                let lease = json!({"mac": "52:54:00:77:00:11", "ipv4": "10.0.0.1", "subnetMask": "255.0.0.0"});
                let mut body = machine(&s.name("m"));
                body["spec"] = json!({"pxe": {"image": "i", "redfish": {"url": "https://b",
                    "username": "u", "passwordRef": {"name": "p", "namespace": "d"}}, "dhcpLeases": [lease]}});
                let path = format!("{OURS}/machines/{}", s.name("m"));
                s.apply(&path, "one", &body).is(201).await;
                body["metadata"]["labels"] = json!({"x": "y"});
                let again = s.apply(&path, "one", &body).is(200).await;
                assert_eq!(again.at("/metadata/generation"), json!(1));
            },
        ),
        Case::new("apply", "as a dry run", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&format!("{path}?dryRun=All"), "one", &red("a"))
                .is(201)
                .await;
            s.get(&path).is(404).await;
        }),
        Case::new("apply", "managed fields can be cleared", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "one", &red("a")).is(201).await;
            s.merge(&path, &json!({"metadata": {"managedFields": [{}]}}))
                .is(200)
                .await;
            s.apply(&path, "two", &partial(&json!({"colour": "green"})))
                .is(409)
                .await;
        }),
        Case::new("apply", "updates by two managers", |s| async move {
            let list = s.widgets().await;
            s.post(format!("{list}?fieldManager=one"), &red("a"))
                .is(201)
                .await;
            s.merge(
                format!("{list}/a?fieldManager=two"),
                &json!({"spec": {"size": 4, "parts": [{"name": "p"}]}}),
            )
            .is(200)
            .await;
            s.merge(
                format!("{list}/a/status?fieldManager=three"),
                &json!({"status": {"phase": "Up",
                "conditions": [{"type": "Ready", "status": "True"}]}}),
            )
            .is(200)
            .await;
            s.merge(
                format!("{list}/a/status?fieldManager=four"),
                &json!({"status": {
                "conditions": [{"type": "Ready", "status": "False"}, {"type": "New"}]}}),
            )
            .is(200)
            .await;
        }),
        Case::new("apply", "a list with the same key twice", |s| async move {
            let path = format!("{}/a", s.widgets().await);
            s.apply(&path, "one", &parts(&json!([{"name": "x"}, {"name": "x"}])))
                .send()
                .await;
        }),
    ]
}
