//! Printer columns.

use serde_json::{Value, json};

use super::{config_map, machine, operation, red, widget};
use crate::session::{OURS, Session};
use crate::suite::Case;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// Tables without the definitions' descriptions, which are those of another release in core.
async fn core_table(s: &Session, path: &str) {
    let table = s.get(path).header("accept", TABLE).only(200).await;
    let short = |column: &Value| {
        json!([
            column["name"],
            column["type"],
            column["format"],
            column["priority"]
        ])
    };
    let columns = table.at("/columnDefinitions");
    let columns: Vec<Value> = columns.as_array().unwrap().iter().map(short).collect();
    s.note("columns", &json!(columns));
    let rows = table.at("/rows");
    for row in rows.as_array().unwrap() {
        s.note("row", &json!({ "cells": row["cells"] }));
    }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("tables", "columns of every type", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let spec = json!({"colour": "green", "size": 7, "flag": false, "note": "n", "when": "2020-01-01T00:00:00Z",
                              "parts": [{"name": "x"}, {"name": "y"}]});
            s.post(&path, &widget("b", &spec)).is(201).await;
            // The age of a date grows; its cell is compared by the next case.
            let table = s
                .get(format!("{path}?fieldSelector=metadata.name%3Da"))
                .header("accept", TABLE)
                .is(200)
                .await;
            assert_eq!(table.text("/kind"), "Table");
            let table = s
                .get(format!("{path}/b"))
                .header("accept", TABLE)
                .only(200)
                .await;
            let mut cells = table.at("/rows/0/cells");
            cells.as_array_mut().unwrap().remove(5);
            s.note("cells", &cells);
        }),
        Case::new("tables", "dates in words", |s| async move {
            let path = s.widgets().await;
            let words = [("a", "2999-01-01T00:00:00Z"), ("b", "nonsense")];
            for (name, when) in words {
                s.post(
                    &path,
                    &widget(name, &json!({"colour": "red", "when": when})),
                )
                .send()
                .await;
            }
            s.get(path).header("accept", TABLE).is(200).await;
        }),
        Case::new(
            "tables",
            "a list with a selector and a limit",
            |s| async move {
                let path = s.widgets().await;
                for name in ["a", "b", "c"] {
                    s.post(&path, &red(name)).is(201).await;
                }
                s.get(format!("{path}?limit=2"))
                    .header("accept", TABLE)
                    .is(200)
                    .await;
            },
        ),
        Case::new("tables", "with no or whole objects", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.get(format!("{path}?includeObject=None"))
                .header("accept", TABLE)
                .is(200)
                .await;
            s.get(format!("{path}?includeObject=Object"))
                .header("accept", TABLE)
                .is(200)
                .await;
        }),
        Case::new("tables", "of nothing", |s| async move {
            let path = s.widgets().await;
            s.get(path).header("accept", TABLE).is(200).await;
        }),
        Case::new("tables", "Machines", |s| async move {
            let name = s.name("m");
            let mut body = machine(&name);
            body["metadata"]["labels"] = json!({"unbounded-cloud.io/site": "lab"});
            body["spec"] = json!({"pxe": {"image": "oci-layout:/images/host", "dhcpLeases": [
                {"mac": "52:54:00:77:00:11", "ipv4": "10.77.0.11", "subnetMask": "255.255.255.0"}]}});
            s.post(format!("{OURS}/machines"), &body).is(201).await;
            s.get(format!("{OURS}/machines/{name}"))
                .header("accept", TABLE)
                .is(200)
                .await;
        }),
        Case::new("tables", "operations", |s| async move {
            let name = s.name("o");
            let spec = json!({"operationKind": "HostReboot", "machineRef": "m"});
            s.post(
                format!("{OURS}/machineoperations"),
                &operation(&name, &spec),
            )
            .is(201)
            .await;
            s.get(format!("{OURS}/machineoperations/{name}"))
                .header("accept", TABLE)
                .is(200)
                .await;
        }),
        Case::new("tables", "ConfigMaps and Secrets", |s| async move {
            let maps = s.namespaced("/api/v1", "configmaps").await;
            s.post(&maps, &config_map("a", &json!({"k": "v", "l": "w"})))
                .only(201)
                .await;
            core_table(&s, &format!("{maps}/a")).await;
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"p": "q"}});
            let secrets = maps.replace("configmaps", "secrets");
            s.post(&secrets, &secret).only(201).await;
            core_table(&s, &format!("{secrets}/a")).await;
        }),
        Case::new("tables", "Namespaces", |s| async move {
            s.widgets().await;
            core_table(&s, &format!("/api/v1/namespaces/{}", s.id)).await;
        }),
        Case::new("tables", "Nodes", |s| async move {
            let name = s.name("n");
            let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels":
                {"node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": true}});
            s.post("/api/v1/nodes", &node).only(201).await;
            let status = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
                "nodeInfo": {"architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "containerd://1",
                    "kernelVersion": "6.1", "kubeProxyVersion": "v1", "kubeletVersion": "v1.36.0", "machineID": "m",
                    "operatingSystem": "linux", "osImage": "Debian", "systemUUID": "u"}}});
            s.strategic(format!("/api/v1/nodes/{name}/status"), &status)
                .only(200)
                .await;
            core_table(&s, &format!("/api/v1/nodes/{name}")).await;
        }),
        Case::new("tables", "Leases", |s| async move {
            let path = s.namespaced("/apis/coordination.k8s.io/v1", "leases").await;
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"},
                               "spec": {"holderIdentity": "me"}});
            s.post(&path, &lease).only(201).await;
            core_table(&s, &format!("{path}/a")).await;
        }),
        Case::new("tables", "Events", |s| async move {
            let path = s.namespaced("/api/v1", "events").await;
            let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "reason": "Made",
                "message": "It was made.", "type": "Normal", "count": 3, "source": {"component": "metalman"},
                "firstTimestamp": "2020-01-01T00:00:00Z", "lastTimestamp": "2020-01-01T00:00:00Z",
                "involvedObject": {"kind": "Widget", "name": "w", "namespace": s.id}});
            s.post(&path, &event).only(201).await;
            let table = s
                .get(format!("{path}/a"))
                .header("accept", TABLE)
                .only(200)
                .await;
            let mut cells = table.at("/rows/0/cells").as_array().cloned().unwrap();
            // Ages of 2020 grow by the day.
            cells.retain(|cell| {
                !cell
                    .as_str()
                    .is_some_and(|text| text.ends_with('d') && text.len() < 7)
            });
            s.note("cells", &json!(cells));
        }),
    ]
}
