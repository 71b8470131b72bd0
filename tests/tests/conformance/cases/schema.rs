//! Validation and defaults: the words of the real server.

use serde_json::{Value, json};

use super::{machine, operation, widget};
use crate::session::{OURS, Session};
use crate::suite::Case;

async fn refused(s: &Session, spec: Value) {
    let path = s.widgets().await;
    s.post(&path, &widget("a", &spec)).is(422).await;
}

async fn machine_refused(s: &Session, spec: Value) {
    let mut body = machine(&s.name("m"));
    body["spec"] = spec;
    s.post(format!("{OURS}/machines"), &body).is(422).await;
}

async fn operation_refused(s: &Session, spec: Value) {
    s.post(
        format!("{OURS}/machineoperations"),
        &operation(&s.name("o"), &spec),
    )
    .is(422)
    .await;
}

fn lease(mac: &str, ipv4: &str) -> Value {
    json!({"pxe": {"image": "oci-layout:/i", "dhcpLeases": [{"mac": mac, "ipv4": ipv4, "subnetMask": "255.255.255.0"}]}})
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("schema", "defaults, also in depth", |s| async move {
            let path = s.widgets().await;
            let spec =
                json!({"colour": "red", "parts": [{"name": "x"}, {"name": "y", "count": 5}]});
            let made = s.post(&path, &widget("a", &spec)).is(201).await;
            assert_eq!(made.at("/spec/deep"), json!({"level": 7, "mode": "auto"}));
            assert_eq!(made.at("/spec/parts/0/count"), json!(1));
        }),
        Case::new(
            "schema",
            "null where it is a value and where it is none",
            |s| async move {
                let path = s.widgets().await;
                let spec = json!({"colour": "red", "note": null, "size": null, "flag": null, "deep": {"level": null}});
                s.post(&path, &widget("a", &spec)).is(201).await;
            },
        ),
        Case::new("schema", "a missing field", |s| async move {
            refused(&s, json!({})).await;
        }),
        Case::new("schema", "no spec at all", |s| async move {
            let path = s.widgets().await;
            let mut body = widget("a", &json!({}));
            body.as_object_mut().unwrap().remove("spec");
            s.post(&path, &body).is(201).await;
        }),
        Case::new(
            "schema",
            "a value that is not in the list",
            |s| async move {
                refused(&s, json!({"colour": "blue"})).await;
            },
        ),
        Case::new("schema", "numbers out of bounds", |s| async move {
            refused(&s, json!({"colour": "red", "size": 0})).await;
            refused(&s, json!({"colour": "red", "size": 11})).await;
            refused(&s, json!({"colour": "red", "share": 0})).await;
            refused(&s, json!({"colour": "red", "ratio": 0.75})).await;
            refused(&s, json!({"colour": "red", "size": 99_999_999_999_i64})).await;
        }),
        Case::new("schema", "types that are wrong", |s| async move {
            for (field, value) in [
                ("size", json!("3")),
                ("size", json!(1.5)),
                ("ratio", json!("x")),
                ("colour", json!(5)),
                ("flag", json!("true")),
                ("plain", json!({})),
                ("parts", json!([1])),
                ("deep", json!([])),
                ("tags", json!("x")),
                ("whole", json!({"a": 1})),
                ("note", json!(1)),
                ("port", json!(1.5)),
                ("port", json!(true)),
                ("plain", json!([1, "x"])),
                ("free", json!(1)),
            ] {
                let mut spec = json!({"colour": "red"});
                spec[field] = value;
                refused(&s, spec).await;
            }
        }),
        Case::new("schema", "a spec that is no object", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &widget("a", &json!("x"))).is(422).await;
            s.post(&path, &widget("a", &json!([]))).is(422).await;
        }),
        Case::new(
            "schema",
            "text that is too short, too long or of wrong form",
            |s| async move {
                refused(&s, json!({"colour": "red", "code": "a"})).await;
                refused(&s, json!({"colour": "red", "code": "abcdef"})).await;
                refused(&s, json!({"colour": "red", "code": "AB"})).await;
            },
        ),
        Case::new("schema", "formats", |s| async move {
            refused(&s, json!({"colour": "red", "when": "yesterday"})).await;
            refused(&s, json!({"colour": "red", "address": "1.2.3"})).await;
        }),
        Case::new("schema", "formats that hold", |s| async move {
            let path = s.widgets().await;
            let spec = json!({"colour": "red", "when": "2026-01-01T00:00:00.5+02:00", "address": "10.0.0.1", "port": "http"});
            s.post(&path, &widget("a", &spec)).is(201).await;
            s.post(&path, &widget("b", &json!({"colour": "red", "port": 80})))
                .is(201)
                .await;
        }),
        Case::new("schema", "lists that are too long", |s| async move {
            refused(&s, json!({"colour": "red", "plain": [1, 2, 3, 4]})).await;
        }),
        Case::new(
            "schema",
            "the same item twice in a set and in a keyed list",
            |s| async move {
                refused(&s, json!({"colour": "red", "tags": ["a", "b", "a"]})).await;
                refused(
                    &s,
                    json!({"colour": "red", "parts": [{"name": "x"}, {"name": "x", "count": 3}]}),
                )
                .await;
            },
        ),
        Case::new("schema", "an item without its key", |s| async move {
            refused(&s, json!({"colour": "red", "parts": [{"count": 2}]})).await;
        }),
        Case::new("schema", "several faults at once", |s| async move {
            refused(
                &s,
                json!({"colour": "blue", "size": 99, "flag": 1, "parts": [{}]}),
            )
            .await;
        }),
        Case::new("schema", "a bad name and a bad field", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &widget("A_", &json!({"colour": "blue"})))
                .is(422)
                .await;
        }),
        Case::new(
            "schema",
            "unknown fields are pruned, free ones are kept",
            |s| async move {
                let path = s.widgets().await;
                let mut body = widget(
                    "a",
                    &json!({"colour": "red", "none": 1, "deep": {"none": 2}, "free": {"any": {"thing": [1]}}}),
                );
                body["extra"] = json!(1);
                let made = s
                    .post(format!("{path}?fieldValidation=Ignore"), &body)
                    .is(201)
                    .await;
                assert!(made.at("/spec/none").is_null() && made.at("/extra").is_null());
                assert_eq!(made.at("/spec/free/any/thing"), json!([1]));
            },
        ),
        Case::new("schema", "numbers keep their form", |s| async move {
            let path = s.widgets().await;
            let spec = json!({"colour": "red", "ratio": 1.0, "low": 9_007_199_254_740_993_i64, "free": {"f": 1.0, "e": 1e3}});
            s.post(&path, &widget("a", &spec)).is(201).await;
        }),
        Case::new(
            "schema",
            "an old fault is forgiven while it stays",
            |s| async move {
                // No object with a fault can be made here; an unchanged good one is the base of the rule.
                let path = s.widgets().await;
                let made = s
                    .post(&path, &widget("a", &json!({"colour": "red", "size": 10})))
                    .is(201)
                    .await;
                let mut next = made.body.clone();
                next["spec"]["size"] = json!(11);
                s.put(format!("{path}/a"), &next).is(422).await;
            },
        ),
        Case::new(
            "schema",
            "Machine: addresses of wrong form",
            |s| async move {
                machine_refused(&s, lease("52:54:00", "10.0.0.1")).await;
                machine_refused(&s, lease("52:54:00:77:00:11", "10.0.0")).await;
                machine_refused(&s, lease("52:54:00:77:00:11", "")).await;
            },
        ),
        Case::new(
            "schema",
            "Machine: fields that are missing",
            |s| async move {
                machine_refused(&s, json!({"ssh": {}})).await;
                machine_refused(&s, json!({"pxe": {"image": "i", "redfish": {}}})).await;
                machine_refused(&s, json!({"pxe": {"image": "i", "dhcpLeases": [{}]}})).await;
            },
        ),
        Case::new("schema", "Machine: types that are wrong", |s| async move {
            machine_refused(&s, json!({"pxe": []})).await;
            machine_refused(&s, json!({"pxe": {"image": 5}})).await;
            machine_refused(&s, json!("x")).await;
            machine_refused(&s, json!({"provider": 5, "kubernetes": "x"})).await;
        }),
        Case::new("schema", "Machine: pruning and defaults", |s| async move {
            let mut body = machine(&s.name("m"));
            body["spec"] = lease("52:54:00:77:00:11", "10.0.0.1");
            body["spec"]["unknown"] = json!(1);
            s.post(format!("{OURS}/machines"), &body).is(201).await;
        }),
        Case::new(
            "schema",
            "operation: kinds, references and numbers",
            |s| async move {
                operation_refused(&s, json!({"operationKind": "Explode", "machineRef": "a"})).await;
                operation_refused(&s, json!({"machineRef": "a"})).await;
                operation_refused(&s, json!({"operationKind": "HostReboot", "machineRef": ""}))
                    .await;
                operation_refused(&s, json!({"operationKind": "HostReboot", "machineRef": "a", "ttlSecondsAfterFinished": -1})).await;
                operation_refused(&s, json!({"operationKind": "HostReboot", "machineRef": "a", "parameters": {"a": 1}})).await;
                operation_refused(&s, json!({"operationKind": "HostReboot", "machineSelector": {"matchExpressions": [{}]}})).await;
            },
        ),
        Case::new(
            "schema",
            "configuration: defaults and faults",
            |s| async move {
                let body = |spec: Value| {
                    json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineConfiguration",
                "metadata": {"name": s.name("c")}, "spec": spec})
                };
                let path = format!("{OURS}/machineconfigurations");
                s.post(
                    &path,
                    &body(json!({"revisionHistoryLimit": -1, "template": {"agent": {}}})),
                )
                .is(422)
                .await;
                s.post(
                    &path,
                    &body(json!({"template": {"host": {"provisioningFormat": "Odd"}}})),
                )
                .is(422)
                .await;
                s.post(&path, &body(json!({"template": {}}))).send().await;
            },
        ),
        Case::new(
            "schema",
            "status: validation through its own door",
            |s| async move {
                let name = s.name("o");
                let path = format!("{OURS}/machineoperations");
                let spec = json!({"operationKind": "HostReboot", "machineRef": "a"});
                s.post(&path, &operation(&name, &spec)).is(201).await;
                let path = format!("{path}/{name}/status");
                s.merge(&path, &json!({"status": {"phase": "Odd"}}))
                    .is(422)
                    .await;
                s.merge(&path, &json!({"status": {"conditions": [{"type": "A"}]}}))
                    .is(422)
                    .await;
                s.merge(&path, &json!({"status": {"startedAt": "now"}}))
                    .is(422)
                    .await;
                s.merge(&path, &json!({"status": {"phase": "Pending", "none": 1}}))
                    .is(200)
                    .await;
            },
        ),
    ]
}
