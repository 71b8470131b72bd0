//! Lists: pages, versions, selectors.

use serde_json::json;

use super::{machine, operation, red, widget};
use crate::session::{OURS, Session};
use crate::suite::Case;

async fn five(s: &Session) -> String {
    let path = s.widgets().await;
    for (name, colour, size) in [
        ("a", "red", 1),
        ("b", "green", 2),
        ("c", "red", 3),
        ("d", "green", 4),
        ("e", "red", 5),
    ] {
        let mut body = widget(name, &json!({"colour": colour, "size": size}));
        body["metadata"]["labels"] = json!({"colour": colour, "name": name});
        if size > 2 {
            body["metadata"]["labels"]["big"] = json!("");
        }
        s.post(&path, &body).only(201).await;
    }
    path
}

async fn labels(s: &Session, selector: &str, names: &[&str]) {
    let path = five(s).await;
    let answer = s
        .get(format!("{path}?labelSelector={selector}"))
        .only(200)
        .await;
    s.note("names", &json!(answer.names()));
    assert_eq!(answer.names(), names);
}

async fn fields(s: &Session, selector: &str, names: &[&str]) {
    let path = five(s).await;
    let answer = s
        .get(format!("{path}?fieldSelector={selector}"))
        .only(200)
        .await;
    s.note("names", &json!(answer.names()));
    assert_eq!(answer.names(), names);
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("lists", "whole, in the order of names", |s| async move {
            let path = five(&s).await;
            assert_eq!(s.get(path).is(200).await.names(), ["a", "b", "c", "d", "e"]);
        }),
        Case::new("lists", "of nothing", |s| async move {
            let path = s.widgets().await;
            s.get(path).is(200).await;
        }),
        Case::new("lists", "in pages", |s| async move {
            let path = five(&s).await;
            let one = s.get(format!("{path}?limit=2")).is(200).await;
            assert_eq!(
                (one.names(), one.at("/metadata/remainingItemCount")),
                (vec!["a".into(), "b".into()], json!(3))
            );
            let two = s
                .get(format!(
                    "{path}?limit=2&continue={}",
                    one.text("/metadata/continue")
                ))
                .is(200)
                .await;
            assert_eq!(
                (two.names(), two.version()),
                (vec!["c".into(), "d".into()], one.version())
            );
            let three = s
                .get(format!(
                    "{path}?limit=2&continue={}",
                    two.text("/metadata/continue")
                ))
                .is(200)
                .await;
            assert_eq!(
                (three.names(), three.text("/metadata/continue")),
                (vec!["e".into()], String::new())
            );
        }),
        Case::new("lists", "in pages with a selector", |s| async move {
            let path = five(&s).await;
            let one = s
                .get(format!("{path}?limit=2&labelSelector=colour%3Dred"))
                .is(200)
                .await;
            assert_eq!(one.names(), ["a", "c"]);
            assert!(one.at("/metadata/remainingItemCount").is_null());
            let two = s
                .get(format!(
                    "{path}?limit=2&labelSelector=colour%3Dred&continue={}",
                    one.text("/metadata/continue")
                ))
                .is(200)
                .await;
            assert_eq!(two.names(), ["e"]);
        }),
        Case::new(
            "lists",
            "a page that is as long as the list",
            |s| async move {
                let path = five(&s).await;
                let all = s.get(format!("{path}?limit=5")).is(200).await;
                assert!(all.text("/metadata/continue").is_empty());
            },
        ),
        Case::new(
            "lists",
            "a later page does not see what came since",
            |s| async move {
                let path = five(&s).await;
                let one = s.get(format!("{path}?limit=2")).is(200).await;
                s.post(&path, &red("c2")).only(201).await;
                let two = s
                    .get(format!(
                        "{path}?limit=9&continue={}",
                        one.text("/metadata/continue")
                    ))
                    .only(200)
                    .await;
                s.note("names", &json!(two.names()));
            },
        ),
        Case::new("lists", "a continue token that is none", |s| async move {
            let path = five(&s).await;
            s.get(format!("{path}?limit=2&continue=nonsense"))
                .only(400)
                .await;
        }),
        Case::new("lists", "a limit that is no number", |s| async move {
            let path = five(&s).await;
            s.get(format!("{path}?limit=many")).only(400).await;
        }),
        Case::new("lists", "from version 0", |s| async move {
            let path = five(&s).await;
            // The cache of the real server is behind until a plain list has been answered from it.
            s.get(&path).only(200).await;
            let answer = s.get(format!("{path}?resourceVersion=0")).only(200).await;
            s.note("names", &json!(answer.names()));
        }),
        Case::new("lists", "not older than a version", |s| async move {
            let path = five(&s).await;
            let version = s.get(&path).only(200).await.version();
            let answer = s
                .get(format!(
                    "{path}?resourceVersion={version}&resourceVersionMatch=NotOlderThan"
                ))
                .only(200)
                .await;
            s.note("names", &json!(answer.names()));
        }),
        Case::new("lists", "at exactly an older version", |s| async move {
            let path = s.widgets().await;
            let made = s.post(&path, &red("a")).only(201).await;
            s.post(&path, &red("b")).only(201).await;
            let query = format!(
                "resourceVersion={}&resourceVersionMatch=Exact",
                made.version()
            );
            let answer = s.get(format!("{path}?{query}")).send().await;
            s.note("names", &json!(answer.names()));
        }),
        Case::new("lists", "a version of the future", |s| async move {
            let path = five(&s).await;
            s.get(format!(
                "{path}?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"
            ))
            .only(504)
            .await;
        }),
        Case::new(
            "lists",
            "resourceVersionMatch without a version",
            |s| async move {
                let path = s.widgets().await;
                s.get(format!("{path}?resourceVersionMatch=Exact"))
                    .is(422)
                    .await;
                s.get(format!("{path}?resourceVersionMatch=Odd&resourceVersion=1"))
                    .is(422)
                    .await;
            },
        ),
        Case::new("lists", "only the metadata", |s| async move {
            let path = five(&s).await;
            let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
            s.get(path).header("accept", accept).is(200).await;
        }),
        Case::new("lists", "labels: equal", |s| async move {
            labels(&s, "colour%3Dred", &["a", "c", "e"]).await;
        }),
        Case::new("lists", "labels: equal, doubled", |s| async move {
            labels(&s, "colour%3D%3Dred", &["a", "c", "e"]).await;
        }),
        Case::new("lists", "labels: not equal", |s| async move {
            labels(&s, "colour!%3Dred", &["b", "d"]).await;
        }),
        Case::new("lists", "labels: in", |s| async move {
            labels(&s, "name%20in%20(a,%20d)", &["a", "d"]).await;
        }),
        Case::new("lists", "labels: not in", |s| async move {
            labels(&s, "name%20notin%20(a,d)", &["b", "c", "e"]).await;
        }),
        Case::new("lists", "labels: exists", |s| async move {
            labels(&s, "big", &["c", "d", "e"]).await;
        }),
        Case::new("lists", "labels: does not exist", |s| async move {
            labels(&s, "!big", &["a", "b"]).await;
        }),
        Case::new("lists", "labels: several", |s| async move {
            labels(&s, "big,colour%20in%20(red),name!%3De", &["c"]).await;
        }),
        Case::new("lists", "labels: empty value", |s| async move {
            labels(&s, "big%3D", &["c", "d", "e"]).await;
        }),
        Case::new("lists", "labels: greater", |s| async move {
            let path = s.widgets().await;
            for (name, n) in [("a", "5"), ("b", "50"), ("c", "x")] {
                let mut body = red(name);
                body["metadata"]["labels"] = json!({"n": n});
                s.post(&path, &body).only(201).await;
            }
            let answer = s.get(format!("{path}?labelSelector=n%3E9")).only(200).await;
            assert_eq!(answer.names(), ["b"]);
            let answer = s.get(format!("{path}?labelSelector=n%3C9")).only(200).await;
            assert_eq!(answer.names(), ["a"]);
        }),
        Case::new("lists", "labels: of wrong form", |s| async move {
            let path = s.widgets().await;
            for bad in ["a%20b", "x%20in", "%3D%3D", "a%3Db%20c", "!x%3Dy"] {
                s.get(format!("{path}?labelSelector={bad}")).only(400).await;
            }
        }),
        Case::new("lists", "fields: name", |s| async move {
            fields(&s, "metadata.name%3Dc", &["c"]).await;
        }),
        Case::new("lists", "fields: not a name", |s| async move {
            fields(&s, "metadata.name!%3Dc", &["a", "b", "d", "e"]).await;
        }),
        Case::new("lists", "fields: selectable text", |s| async move {
            fields(&s, "spec.colour%3Dgreen", &["b", "d"]).await;
        }),
        Case::new("lists", "fields: selectable number", |s| async move {
            fields(&s, "spec.size%3D3", &["c"]).await;
        }),
        Case::new("lists", "fields: two", |s| async move {
            fields(&s, "spec.colour%3Dred,spec.size!%3D3", &["a", "e"]).await;
        }),
        Case::new(
            "lists",
            "fields: one that cannot be selected",
            |s| async move {
                let path = s.widgets().await;
                s.get(format!("{path}?fieldSelector=spec.note%3Dx"))
                    .is(400)
                    .await;
            },
        ),
        Case::new(
            "lists",
            "fields of ours: phase of Machines, kind and machine of operations",
            |s| async move {
                let name = s.name("m");
                s.post(format!("{OURS}/machines"), &machine(&name))
                    .is(201)
                    .await;
                let answer = s
                    .get(format!(
                        "{OURS}/machines?fieldSelector=metadata.name%3D{name},status.phase%3DNone"
                    ))
                    .only(200)
                    .await;
                assert!(answer.names().is_empty());
                let spec = json!({"operationKind": "HostReboot", "machineRef": name});
                s.post(
                    format!("{OURS}/machineoperations"),
                    &operation(&name, &spec),
                )
                .is(201)
                .await;
                let query = format!(
                    "fieldSelector=spec.machineRef%3D{name},spec.operationKind%3DHostReboot"
                );
                let answer = s
                    .get(format!("{OURS}/machineoperations?{query}"))
                    .is(200)
                    .await;
                assert_eq!(answer.names(), [name]);
            },
        ),
    ]
}
