//! Merge patch, JSON patch, strategic merge patch.

use serde_json::json;

use super::{config_map, machine, red};
use crate::session::OURS;
use crate::suite::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "patches",
            "merge sets, replaces and removes",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                let mut body = red("a");
                body["metadata"]["labels"] = json!({"one": "1", "two": "2"});
                body["spec"]["plain"] = json!([1, 2]);
                s.post(path.trim_end_matches("/a"), &body).is(201).await;
                let patch = json!({"metadata": {"labels": {"one": null, "three": "3"}},
                               "spec": {"plain": [3], "size": 4}});
                let after = s.merge(&path, &patch).is(200).await;
                assert_eq!(
                    after.at("/metadata/labels"),
                    json!({"two": "2", "three": "3"})
                );
                assert_eq!(after.at("/spec/plain"), json!([3]));
            },
        ),
        Case::new(
            "patches",
            "merge that changes nothing keeps the version",
            |s| async move {
                let path = s.widgets().await;
                let made = s.post(&path, &red("a")).is(201).await;
                let after = s
                    .merge(format!("{path}/a"), &json!({"spec": {"colour": "red"}}))
                    .is(200)
                    .await;
                assert_eq!(made.version(), after.version());
            },
        ),
        Case::new("patches", "merge with an old version", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let patch = json!({"metadata": {"resourceVersion": "1"}, "spec": {"size": 4}});
            s.merge(format!("{path}/a"), &patch).is(409).await;
        }),
        Case::new(
            "patches",
            "merge that makes the object invalid",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                s.merge(format!("{path}/a"), &json!({"spec": {"colour": null}}))
                    .is(422)
                    .await;
                s.merge(format!("{path}/a"), &json!({"spec": {"size": "big"}}))
                    .is(422)
                    .await;
            },
        ),
        Case::new("patches", "merge brings defaults back", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let after = s
                .merge(
                    format!("{path}/a"),
                    &json!({"spec": {"size": null, "deep": null}}),
                )
                .is(200)
                .await;
            assert_eq!(after.at("/spec/size"), json!(3));
            assert_eq!(after.at("/spec/deep/level"), json!(7));
        }),
        Case::new("patches", "merge of what is not there", |s| async move {
            let path = s.widgets().await;
            s.merge(format!("{path}/none"), &json!({"spec": {}}))
                .is(404)
                .await;
        }),
        Case::new("patches", "merge cannot rename", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.merge(format!("{path}/a"), &json!({"metadata": {"name": "b"}}))
                .is(400)
                .await;
            s.merge(
                format!("{path}/a"),
                &json!({"metadata": {"namespace": "b"}}),
            )
            .is(400)
            .await;
        }),
        Case::new("patches", "merge cannot change the kind", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.merge(format!("{path}/a"), &json!({"kind": "Gadget"}))
                .is(422)
                .await;
        }),
        Case::new(
            "patches",
            "JSON patch adds, tests, replaces, moves, copies and removes",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                let mut body = red("a");
                body["metadata"]["labels"] = json!({"one": "1", "x/y": "2"});
                body["spec"]["plain"] = json!([1]);
                s.post(path.trim_end_matches("/a"), &body).is(201).await;
                let patch = json!([
                {"op": "test", "path": "/spec/colour", "value": "red"},
                {"op": "add", "path": "/spec/plain/-", "value": 2},
                {"op": "replace", "path": "/spec/colour", "value": "green"},
                {"op": "move", "from": "/metadata/labels/x~1y", "path": "/metadata/labels/z"},
                {"op": "copy", "from": "/metadata/labels/z", "path": "/metadata/labels/w"},
                {"op": "remove", "path": "/metadata/labels/one"}]);
                let after = s.json_patch(&path, &patch).is(200).await;
                assert_eq!(after.at("/metadata/labels"), json!({"w": "2", "z": "2"}));
            },
        ),
        Case::new("patches", "JSON patch whose test fails", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let patch = json!([{"op": "test", "path": "/spec/colour", "value": "green"},
                               {"op": "replace", "path": "/spec/size", "value": 4}]);
            s.json_patch(format!("{path}/a"), &patch).is(422).await;
        }),
        Case::new(
            "patches",
            "JSON patch of a path that is not there",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                s.json_patch(
                    format!("{path}/a"),
                    &json!([{"op": "replace", "path": "/spec/none", "value": 4}]),
                )
                .is(422)
                .await;
                s.json_patch(
                    format!("{path}/a"),
                    &json!([{"op": "add", "path": "/none/deep", "value": 4}]),
                )
                .is(422)
                .await;
                s.json_patch(
                    format!("{path}/a"),
                    &json!([{"op": "remove", "path": "/spec/none"}]),
                )
                .is(422)
                .await;
            },
        ),
        Case::new("patches", "JSON patch that is none", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.json_patch(format!("{path}/a"), &json!({"spec": {}}))
                .only(400)
                .await;
            s.json_patch(
                format!("{path}/a"),
                &json!([{"op": "explode", "path": "/spec"}]),
            )
            .only(400)
            .await;
        }),
        Case::new("patches", "an empty patch of each kind", |s| async move {
            let path = s.widgets().await;
            let made = s.post(&path, &red("a")).is(201).await;
            let one = s.merge(format!("{path}/a"), &json!({})).is(200).await;
            let two = s.json_patch(format!("{path}/a"), &json!([])).is(200).await;
            assert_eq!(
                [one.version(), two.version()],
                [made.version(), made.version()]
            );
        }),
        Case::new(
            "patches",
            "custom resources have no strategic merge",
            |s| async move {
                let name = s.name("a");
                s.post(format!("{OURS}/machines"), &machine(&name))
                    .is(201)
                    .await;
                s.strategic(format!("{OURS}/machines/{name}"), &json!({"spec": {}}))
                    .is(415)
                    .await;
            },
        ),
        Case::new("patches", "an unknown kind of patch", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.merge(format!("{path}/a"), &json!({}))
                .header("content-type", "application/json")
                .only(415)
                .await;
        }),
        Case::new("patches", "strategic merge of a map", |s| async move {
            let path = s.namespaced("/api/v1", "configmaps").await;
            s.post(&path, &config_map("a", &json!({"k": "v", "l": "w"})))
                .is(201)
                .await;
            let after = s
                .strategic(format!("{path}/a"), &json!({"data": {"k": null, "m": "x"}}))
                .is(200)
                .await;
            assert_eq!(after.at("/data"), json!({"l": "w", "m": "x"}));
            let patch = json!({"data": {"$patch": "replace", "only": "this"}});
            let after = s.strategic(format!("{path}/a"), &patch).is(200).await;
            assert_eq!(after.at("/data"), json!({"only": "this"}));
        }),
        Case::new(
            "patches",
            "strategic merge of conditions and taints of a Node",
            |s| async move {
                let name = s.name("n");
                let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {
                "taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]}});
                s.post("/api/v1/nodes", &node).only(201).await;
                let path = format!("/api/v1/nodes/{name}");
                let condition = |kind: &str, status: &str| {
                    json!({"type": kind, "status": status,
                "reason": "r", "message": "m", "lastHeartbeatTime": "2026-01-01T00:00:00Z",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
                };
                let status = json!({"status": {"conditions": [condition("Ready", "True"), condition("Disk", "False")]}});
                s.strategic(format!("{path}/status"), &status)
                    .only(200)
                    .await;
                let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}],
                                           "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
                let after = s
                    .strategic(format!("{path}/status"), &status)
                    .only(200)
                    .await;
                s.note("conditions", &after.at("/status/conditions"));
                s.note("addresses", &after.at("/status/addresses"));
                let patch = json!({"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}});
                let after = s.strategic(path, &patch).only(200).await;
                s.note("taints", &after.at("/spec/taints"));
            },
        ),
        Case::new(
            "patches",
            "strategic merge of finalizers, with an order",
            |s| async move {
                let path = s.namespaced("/api/v1", "configmaps").await;
                let mut body = config_map("a", &json!({}));
                body["metadata"]["finalizers"] = json!(["x.io/a", "x.io/b"]);
                s.post(&path, &body).only(201).await;
                let patch = json!({"metadata": {"finalizers": ["x.io/c"],
                "$setElementOrder/finalizers": ["x.io/c", "x.io/a", "x.io/b"]}});
                let after = s.strategic(format!("{path}/a"), &patch).only(200).await;
                s.note("finalizers", &after.at("/metadata/finalizers"));
                let patch =
                    json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/a"]}});
                let after = s.strategic(format!("{path}/a"), &patch).only(200).await;
                s.note("finalizers", &after.at("/metadata/finalizers"));
            },
        ),
    ]
}
