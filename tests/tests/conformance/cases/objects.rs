//! Create, get, replace, delete.

use serde_json::json;

use super::{config_map, machine, red, widget};
use crate::session::{OURS, WIDGETS};
use crate::suite::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "objects",
            "create sets uid, version, time and generation",
            |s| async move {
                let path = s.widgets().await;
                let made = s.post(&path, &red("a")).is(201).await;
                assert!(made.text("/metadata/uid").len() == 36 && !made.version().is_empty());
                assert_eq!(made.at("/metadata/generation"), json!(1));
                s.get(format!("{path}/a")).is(200).await;
            },
        ),
        Case::new("objects", "create with generateName", |s| async move {
            let path = s.widgets().await;
            let mut body = red("");
            body["metadata"] = json!({"generateName": "w-"});
            let one = s.post(&path, &body).is(201).await;
            let two = s.post(&path, &body).is(201).await;
            assert_ne!(one.text("/metadata/name"), two.text("/metadata/name"));
            assert_eq!(one.text("/metadata/name").len(), 7);
        }),
        Case::new("objects", "a long generateName is cut", |s| async move {
            let path = s.widgets().await;
            let mut body = red("");
            body["metadata"] = json!({"generateName": "x".repeat(80)});
            let made = s.post(&path, &body).is(201).await;
            assert_eq!(made.text("/metadata/name").len(), 63);
        }),
        Case::new("objects", "create twice", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.post(&path, &red("a")).is(409).await;
        }),
        Case::new("objects", "create without any name", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("")).is(422).await;
        }),
        Case::new(
            "objects",
            "create a cluster-scoped object of ours",
            |s| async move {
                s.post(format!("{OURS}/machines"), &machine(&s.name("a")))
                    .is(201)
                    .await;
                s.get(format!("{OURS}/machines/{}", s.name("a")))
                    .is(200)
                    .await;
            },
        ),
        Case::new(
            "objects",
            "create ignores what the server sets",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
                body["metadata"]["generation"] = json!(77);
                body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
                body["metadata"]["deletionTimestamp"] = json!("2001-01-01T00:00:00Z");
                body["metadata"]["selfLink"] = json!("/x");
                let made = s.post(&path, &body).is(201).await;
                assert_eq!(made.at("/metadata/generation"), json!(1));
                assert!(made.at("/metadata/deletionTimestamp").is_null());
                assert!(!made.text("/metadata/creationTimestamp").starts_with("2001"));
            },
        ),
        Case::new(
            "objects",
            "create refuses a resourceVersion",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["metadata"]["resourceVersion"] = json!("5");
                s.post(&path, &body).send().await;
            },
        ),
        Case::new(
            "objects",
            "create in another namespace than the path says",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["metadata"]["namespace"] = json!("other");
                s.post(&path, &body).is(400).await;
            },
        ),
        Case::new(
            "objects",
            "create in a namespace that is not there",
            |s| async move {
                s.post(
                    format!("{WIDGETS}/namespaces/{}/widgets", s.name("none")),
                    &red("a"),
                )
                .is(404)
                .await;
            },
        ),
        Case::new(
            "objects",
            "create with the wrong kind or version",
            |s| async move {
                let path = s.widgets().await;
                let mut body = red("a");
                body["kind"] = json!("Gadget");
                s.post(&path, &body).is(422).await;
                body["kind"] = json!("Widget");
                body["apiVersion"] = json!("test.metalman.io/v2");
                s.post(&path, &body).is(400).await;
            },
        ),
        Case::new(
            "objects",
            "a body without kind or apiVersion",
            |s| async move {
                let path = s.widgets().await;
                s.post(
                    &path,
                    &json!({"apiVersion": "test.metalman.io/v1", "metadata": {"name": "a"}}),
                )
                .only(400)
                .await;
                s.post(&path, &json!({"kind": "Widget", "metadata": {"name": "a"}}))
                    .only(400)
                    .await;
            },
        ),
        Case::new("objects", "a body that is no object", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &json!([1])).only(400).await;
            s.post(&path, &json!({})).text("{ no json").only(400).await;
        }),
        Case::new(
            "objects",
            "a body of an unknown media type",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a"))
                    .header("content-type", "text/plain")
                    .only(415)
                    .await;
            },
        ),
        Case::new("objects", "a body in YAML", |s| async move {
            let path = s.widgets().await;
            let text = "apiVersion: test.metalman.io/v1\nkind: Widget\nmetadata: {name: a}\nspec: {colour: red, size: 4}\n";
            let made = s
                .post(&path, &json!({}))
                .header("content-type", "application/yaml")
                .text(text)
                .is(201)
                .await;
            assert_eq!(made.at("/spec/size"), json!(4));
        }),
        Case::new("objects", "get of what is not there", |s| async move {
            let path = s.widgets().await;
            s.get(format!("{path}/none")).is(404).await;
            s.get(format!("{OURS}/machines/{}", s.name("none")))
                .is(404)
                .await;
            s.get(format!("/api/v1/namespaces/{}/configmaps/none", s.id))
                .is(404)
                .await;
        }),
        Case::new("objects", "get only the metadata", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
            let answer = s
                .get(format!("{path}/a"))
                .header("accept", accept)
                .is(200)
                .await;
            assert_eq!(answer.text("/kind"), "PartialObjectMetadata");
        }),
        Case::new("objects", "an Accept that cannot be met", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.get(format!("{path}/a"))
                .header("accept", "text/html")
                .only(406)
                .await;
        }),
        Case::new(
            "objects",
            "replace raises the generation for the spec only",
            |s| async move {
                let path = s.widgets().await;
                let mut object = s.post(&path, &red("a")).is(201).await.body;
                object["spec"]["size"] = json!(5);
                let mut object = s.put(format!("{path}/a"), &object).is(200).await.body;
                assert_eq!(object["metadata"]["generation"], json!(2));
                object["metadata"]["labels"] = json!({"x": "y"});
                let object = s.put(format!("{path}/a"), &object).is(200).await;
                assert_eq!(object.at("/metadata/generation"), json!(2));
            },
        ),
        Case::new(
            "objects",
            "replace with the same content changes nothing",
            |s| async move {
                let path = s.widgets().await;
                let made = s.post(&path, &red("a")).is(201).await;
                let again = s.put(format!("{path}/a"), &made.body).is(200).await;
                assert_eq!(made.version(), again.version());
            },
        ),
        Case::new("objects", "replace of an old version", |s| async move {
            let path = s.widgets().await;
            let made = s.post(&path, &red("a")).is(201).await.body;
            let mut newer = made.clone();
            newer["spec"]["size"] = json!(4);
            s.put(format!("{path}/a"), &newer).is(200).await;
            s.put(format!("{path}/a"), &newer).is(409).await;
        }),
        Case::new("objects", "replace without a version", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.put(
                format!("{path}/a"),
                &widget("a", &json!({"colour": "green"})),
            )
            .is(422)
            .await;
        }),
        Case::new("objects", "replace of what is not there", |s| async move {
            let path = s.widgets().await;
            s.put(format!("{path}/a"), &red("a")).is(404).await;
        }),
        Case::new("objects", "replace under another name", |s| async move {
            let path = s.widgets().await;
            let made = s.post(&path, &red("a")).is(201).await.body;
            s.put(format!("{path}/b"), &made).is(400).await;
        }),
        Case::new("objects", "replace with another uid", |s| async move {
            let path = s.widgets().await;
            let mut made = s.post(&path, &red("a")).is(201).await.body;
            made["metadata"]["uid"] = json!("11111111-1111-1111-1111-111111111111");
            s.put(format!("{path}/a"), &made).is(409).await;
        }),
        Case::new(
            "objects",
            "replace cannot change what the server sets",
            |s| async move {
                let path = s.widgets().await;
                let mut made = s.post(&path, &red("a")).is(201).await.body;
                made["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
                made["metadata"]["generation"] = json!(50);
                let after = s.put(format!("{path}/a"), &made).is(200).await;
                assert_eq!(after.at("/metadata/generation"), json!(1));
                assert!(
                    !after
                        .text("/metadata/creationTimestamp")
                        .starts_with("2001")
                );
            },
        ),
        Case::new(
            "objects",
            "methods that a path does not have",
            |s| async move {
                let path = s.widgets().await;
                s.put(&path, &red("a")).send().await;
                s.post(format!("{path}/a"), &red("a")).send().await;
                s.merge(&path, &json!({})).send().await;
            },
        ),
        Case::new(
            "objects",
            "dry run of every write leaves nothing",
            |s| async move {
                let path = s.widgets().await;
                s.post(format!("{path}?dryRun=All"), &red("a"))
                    .is(201)
                    .await;
                s.get(format!("{path}/a")).is(404).await;
                let made = s.post(&path, &red("b")).is(201).await;
                let mut next = made.body.clone();
                next["spec"]["size"] = json!(9);
                let tried = s.put(format!("{path}/b?dryRun=All"), &next).is(200).await;
                assert_eq!(tried.at("/spec/size"), json!(9));
                s.merge(
                    format!("{path}/b?dryRun=All"),
                    &json!({"spec": {"size": 8}}),
                )
                .is(200)
                .await;
                s.delete(format!("{path}/b?dryRun=All")).is(200).await;
                let after = s.get(format!("{path}/b")).is(200).await;
                assert_eq!(after.version(), made.version());
            },
        ),
        Case::new(
            "objects",
            "a dry run that would fail, fails",
            |s| async move {
                let path = s.widgets().await;
                s.post(
                    format!("{path}?dryRun=All"),
                    &widget("a", &json!({"colour": "blue"})),
                )
                .is(422)
                .await;
                s.post(format!("{path}?dryRun=Some"), &red("a"))
                    .only(422)
                    .await;
            },
        ),
        Case::new("objects", "delete answers with the uid", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            let gone = s.delete(format!("{path}/a")).is(200).await;
            assert_eq!(gone.text("/status"), "Success");
            s.get(format!("{path}/a")).is(404).await;
            s.delete(format!("{path}/a")).is(404).await;
        }),
        Case::new(
            "objects",
            "a core object goes through the same steps",
            |s| async move {
                let path = s.namespaced("/api/v1", "configmaps").await;
                let made = s
                    .post(&path, &config_map("a", &json!({"k": "v"})))
                    .is(201)
                    .await;
                let mut next = made.body.clone();
                next["data"]["k"] = json!("w");
                s.put(format!("{path}/a"), &next).is(200).await;
                s.put(format!("{path}/a"), &next).is(409).await;
                s.delete(format!("{path}/a")).is(200).await;
            },
        ),
    ]
}
