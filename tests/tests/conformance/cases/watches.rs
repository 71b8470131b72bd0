//! Watches: order, selectors, versions, bookmarks, ends.

use serde_json::{Value, json};

use super::{machine, red, widget};
use crate::session::{OURS, Session};
use crate::suite::Case;

fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    events.iter().map(word).collect()
}

async fn version(s: &Session, list: &str) -> String {
    s.get(list).only(200).await.version()
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "watches",
            "every change since a version, in order",
            |s| async move {
                let path = s.widgets().await;
                let since = version(&s, &path).await;
                s.post(&path, &red("a")).is(201).await;
                s.merge(format!("{path}/a"), &json!({"spec": {"size": 4}}))
                    .is(200)
                    .await;
                s.merge(
                    format!("{path}/a/status"),
                    &json!({"status": {"phase": "Up"}}),
                )
                .is(200)
                .await;
                s.delete(format!("{path}/a")).is(200).await;
                let events = s
                    .watch(&format!("{path}?watch=1&resourceVersion={since}"), 4)
                    .await;
                assert_eq!(words(&events), ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]);
            },
        ),
        Case::new(
            "watches",
            "without a version begins with what is there",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                s.post(&path, &red("b")).is(201).await;
                assert_eq!(s.get(&path).is(200).await.names(), ["a", "b"]);
                let events = s.watch(&format!("{path}?watch=1"), 2).await;
                assert_eq!(words(&events), ["ADDED", "ADDED"]);
            },
        ),
        Case::new(
            "watches",
            "version 0 begins with what is there",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                assert_eq!(s.get(&path).is(200).await.names(), ["a"]);
                let events = s
                    .watch(&format!("{path}?watch=true&resourceVersion=0"), 1)
                    .await;
                assert_eq!(words(&events), ["ADDED"]);
            },
        ),
        Case::new(
            "watches",
            "objects come into and leave a label selector",
            |s| async move {
                let path = s.widgets().await;
                let since = version(&s, &path).await;
                s.post(&path, &red("a")).is(201).await;
                for value in ["yes", "no", "yes"] {
                    s.merge(
                        format!("{path}/a"),
                        &json!({"metadata": {"labels": {"w": value}}}),
                    )
                    .is(200)
                    .await;
                }
                s.delete(format!("{path}/a")).is(200).await;
                let events = s
                    .watch(
                        &format!("{path}?watch=1&labelSelector=w%3Dyes&resourceVersion={since}"),
                        4,
                    )
                    .await;
                assert_eq!(words(&events), ["ADDED", "DELETED", "ADDED", "DELETED"]);
            },
        ),
        Case::new("watches", "of one name", |s| async move {
            let path = s.widgets().await;
            let since = version(&s, &path).await;
            s.post(&path, &red("a")).is(201).await;
            s.post(&path, &red("b")).is(201).await;
            s.merge(format!("{path}/b"), &json!({"spec": {"size": 4}}))
                .is(200)
                .await;
            let events = s
                .watch(
                    &format!(
                        "{path}?watch=1&fieldSelector=metadata.name%3Db&resourceVersion={since}"
                    ),
                    2,
                )
                .await;
            assert_eq!(words(&events), ["ADDED", "MODIFIED"]);
        }),
        Case::new("watches", "by a selectable field", |s| async move {
            let path = s.widgets().await;
            let since = version(&s, &path).await;
            s.post(&path, &red("a")).is(201).await;
            s.merge(format!("{path}/a"), &json!({"spec": {"colour": "green"}}))
                .is(200)
                .await;
            let events = s
                .watch(
                    &format!(
                        "{path}?watch=1&fieldSelector=spec.colour%3Dgreen&resourceVersion={since}"
                    ),
                    1,
                )
                .await;
            assert_eq!(words(&events), ["ADDED"]);
        }),
        Case::new("watches", "ends after timeoutSeconds", |s| async move {
            let path = s.widgets().await;
            let since = version(&s, &path).await;
            let events = s
                .watch(
                    &format!("{path}?watch=1&timeoutSeconds=1&resourceVersion={since}"),
                    1,
                )
                .await;
            assert!(events.is_empty());
        }),
        Case::new(
            "watches",
            "sendInitialEvents ends its beginning with a bookmark",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
                let events = s.watch(&format!("{path}?{query}"), 2).await;
                assert_eq!(words(&events), ["ADDED", "BOOKMARK"]);
                assert_eq!(
                    events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
                    "true"
                );
            },
        ),
        Case::new("watches", "sendInitialEvents of nothing", |s| async move {
            let path = s.widgets().await;
            let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
            let events = s.watch(&format!("{path}?{query}"), 1).await;
            assert_eq!(words(&events), ["BOOKMARK"]);
        }),
        Case::new(
            "watches",
            "sendInitialEvents needs its rule",
            |s| async move {
                let path = s.widgets().await;
                s.get(format!("{path}?watch=1&sendInitialEvents=true"))
                    .is(422)
                    .await;
                s.get(format!("{path}?watch=1&sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1")).is(422).await;
                s.get(format!(
                    "{path}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                ))
                .is(422)
                .await;
            },
        ),
        Case::new("watches", "a version that is too old", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            assert_eq!(s.get(&path).is(200).await.names(), ["a"]);
            let events = s
                .watch(
                    &format!("{path}?watch=1&resourceVersion=1&timeoutSeconds=2"),
                    1,
                )
                .await;
            let first = events.first().cloned().unwrap_or_default();
            // Only after enough changes; a version that is still kept gives its changes.
            s.note("kind of the first event", &first["type"]);
        }),
        Case::new("watches", "a version that is no number", |s| async move {
            let path = s.widgets().await;
            s.get(format!("{path}?watch=1&resourceVersion=abc"))
                .send()
                .await;
            s.get(format!("{path}?resourceVersion=abc")).send().await;
        }),
        Case::new("watches", "as a Table", |s| async move {
            let path = s.widgets().await;
            let since = version(&s, &path).await;
            s.post(&path, &red("a")).is(201).await;
            s.merge(format!("{path}/a"), &json!({"spec": {"size": 4}}))
                .is(200)
                .await;
            let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
            let events = s
                .watch_as(
                    &format!("{path}?watch=1&resourceVersion={since}"),
                    2,
                    accept,
                )
                .await;
            assert_eq!(events[1]["object"]["kind"], "Table");
        }),
        Case::new("watches", "only the metadata", |s| async move {
            let path = s.widgets().await;
            let since = version(&s, &path).await;
            s.post(&path, &red("a")).is(201).await;
            let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
            let events = s
                .watch_as(
                    &format!("{path}?watch=1&resourceVersion={since}"),
                    1,
                    accept,
                )
                .await;
            assert_eq!(events[0]["object"]["kind"], "PartialObjectMetadata");
        }),
        Case::new("watches", "of all namespaces", |s| async move {
            let path = s.widgets().await;
            let since = version(&s, &path).await;
            let mut body = red("a");
            body["metadata"]["labels"] = json!({"case": s.id});
            s.post(&path, &body).is(201).await;
            let all = path.replace(&format!("/namespaces/{}", s.id), "");
            let query = format!(
                "watch=1&resourceVersion={since}&labelSelector=case%3D{}",
                s.id
            );
            let events = s.watch(&format!("{all}?{query}"), 1).await;
            assert_eq!(words(&events), ["ADDED"]);
        }),
        Case::new(
            "watches",
            "under load, nothing is lost or out of order",
            |s| async move {
                let path = s.widgets().await;
                let since = version(&s, &path).await;
                let writers = (0..4).map(|writer| {
                    let (s, path) = (s.clone(), path.clone());
                    async move {
                        for number in 0..25 {
                            let name = format!("w{writer}-{number}");
                            assert_eq!(s.post(&path, &red(&name)).quietly().await.code, 201);
                            let patch = json!({"spec": {"size": 4}});
                            assert_eq!(
                                s.merge(format!("{path}/{name}"), &patch)
                                    .quietly()
                                    .await
                                    .code,
                                200
                            );
                        }
                    }
                });
                let watched = follow(&s, &path, &since, 200);
                let (events, _) = futures::join!(watched, futures::future::join_all(writers));
                let mut last = 0;
                for event in &events {
                    let version = event["object"]["metadata"]["resourceVersion"]
                        .as_str()
                        .unwrap()
                        .parse::<u64>()
                        .unwrap();
                    assert!(version > last, "{version} after {last}");
                    last = version;
                }
                s.note("events", &json!(events.len()));
            },
        ),
        Case::new(
            "watches",
            "of Machines, with the status of another writer",
            |s| async move {
                let name = s.name("m");
                let list = format!("{OURS}/machines");
                let mut body = machine(&name);
                body["metadata"]["labels"] = json!({"case": s.id});
                let since = version(&s, &list).await;
                s.post(&list, &body).is(201).await;
                s.merge(
                    format!("{list}/{name}/status"),
                    &json!({"status": {"message": "m"}}),
                )
                .is(200)
                .await;
                let query = format!(
                    "watch=1&labelSelector=case%3D{}&resourceVersion={since}",
                    s.id
                );
                let events = s.watch(&format!("{list}?{query}"), 2).await;
                assert_eq!(words(&events), ["ADDED", "MODIFIED"]);
            },
        ),
        Case::new(
            "watches",
            "the last state comes with a deletion",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &widget("a", &json!({"colour": "green", "size": 7})))
                    .is(201)
                    .await;
                let since = version(&s, &path).await;
                s.delete(format!("{path}/a")).is(200).await;
                let events = s
                    .watch(&format!("{path}?watch=1&resourceVersion={since}"), 1)
                    .await;
                assert_eq!(events[0]["object"]["spec"]["size"], 7);
            },
        ),
    ]
}

/// Events without a note: their order differs from run to run.
async fn follow(s: &Session, path: &str, since: &str, count: usize) -> Vec<Value> {
    let quiet = s.clone_quiet();
    quiet
        .watch(&format!("{path}?watch=1&resourceVersion={since}"), count)
        .await
}
