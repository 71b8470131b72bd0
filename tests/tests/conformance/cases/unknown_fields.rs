//! `fieldValidation`.

use serde_json::{Value, json};

use super::{machine, red, widget};
use crate::session::OURS;
use crate::suite::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "apply",
            "a map of unknown fields is emptied",
            |s| async move {
                let path = format!("{}/a", s.widgets().await);
                let with = |free: Value| widget("a", &json!({"colour": "red", "free": free}));
                s.apply(&path, "one", &with(json!({"a": {"b": 1}})))
                    .is(201)
                    .await;
                s.apply(&path, "one", &with(json!({}))).is(200).await;
            },
        ),
        Case::new(
            "apply",
            "a set that was empty before is emptied",
            |s| async move {
                let all = s.widgets().await;
                let path = format!("{all}/a");
                let with = |tags: Value| widget("a", &json!({"colour": "red", "tags": tags}));
                s.post(&all, &with(json!([]))).is(201).await;
                s.apply(&path, "one", &with(json!(["b"]))).is(200).await;
                s.apply(&path, "one", &widget("a", &json!({"colour": "red"})))
                    .is(200)
                    .await;
            },
        ),
        Case::new(
            "unknown fields",
            "Strict refuses a create",
            |s| async move {
                let path = format!("{}?fieldValidation=Strict", s.widgets().await);
                let mut body = widget("a", &json!({"colour": "red", "none": 1, "deep": {"x": 1}}));
                s.post(&path, &body).is(400).await;
                body["extra"] = json!({});
                body["metadata"]["odd"] = json!(1);
                s.post(&path, &body).is(400).await;
            },
        ),
        Case::new(
            "unknown fields",
            "Strict refuses in a list",
            |s| async move {
                let path = format!("{}?fieldValidation=Strict", s.widgets().await);
                s.post(&path, &widget("a", &json!({"colour": "red", "parts": [{"name": "x"}, {"name": "y", "odd": 1}]}))).is(400).await;
            },
        ),
        Case::new(
            "unknown fields",
            "Warn is the default and warns",
            |s| async move {
                let path = s.widgets().await;
                let made = s
                    .post(
                        &path,
                        &widget("a", &json!({"colour": "red", "none": 1, "deep": {"x": 1}})),
                    )
                    .is(201)
                    .await;
                assert_eq!(made.warnings.len(), 2);
                s.post(
                    format!("{path}?fieldValidation=Warn"),
                    &widget("b", &json!({"colour": "red", "none": 1})),
                )
                .is(201)
                .await;
            },
        ),
        Case::new("unknown fields", "Ignore is silent", |s| async move {
            let path = s.widgets().await;
            let made = s
                .post(
                    format!("{path}?fieldValidation=Ignore"),
                    &widget("a", &json!({"colour": "red", "none": 1})),
                )
                .is(201)
                .await;
            assert!(made.warnings.is_empty());
        }),
        Case::new(
            "unknown fields",
            "another word is refused",
            |s| async move {
                let path = s.widgets().await;
                s.post(format!("{path}?fieldValidation=Loose"), &red("a"))
                    .is(422)
                    .await;
            },
        ),
        Case::new(
            "unknown fields",
            "Strict refuses a replace and patches",
            |s| async move {
                let path = s.widgets().await;
                let mut made = s.post(&path, &red("a")).is(201).await.body;
                made["spec"]["none"] = json!(1);
                s.put(format!("{path}/a?fieldValidation=Strict"), &made)
                    .is(400)
                    .await;
                s.merge(
                    format!("{path}/a?fieldValidation=Strict"),
                    &json!({"spec": {"none": 1}}),
                )
                .only(422)
                .await;
                let patch = json!([{"op": "add", "path": "/spec/none", "value": 1}]);
                s.json_patch(format!("{path}/a?fieldValidation=Strict"), &patch)
                    .only(422)
                    .await;
            },
        ),
        Case::new("unknown fields", "Warn on a patch", |s| async move {
            let path = s.widgets().await;
            s.post(&path, &red("a")).is(201).await;
            s.merge(
                format!("{path}/a"),
                &json!({"spec": {"none": 1, "size": 4}}),
            )
            .is(200)
            .await;
        }),
        Case::new("unknown fields", "the same key twice", |s| async move {
            let path = s.widgets().await;
            let text = "{\"apiVersion\":\"test.metalman.io/v1\",\"kind\":\"Widget\",\"metadata\":{\"name\":\"a\"},\
                        \"spec\":{\"colour\":\"red\",\"size\":4,\"size\":5}}";
            s.post(format!("{path}?fieldValidation=Strict"), &json!({}))
                .text(text)
                .send()
                .await;
            s.post(format!("{path}?fieldValidation=Warn"), &json!({}))
                .text(text)
                .send()
                .await;
        }),
        Case::new(
            "unknown fields",
            "Machine: a mistyped field",
            |s| async move {
                let mut body = machine(&s.name("m"));
                body["spec"] = json!({"pxe": {"imagge": "x", "image": "y"}, "sitee": 1});
                s.post(format!("{OURS}/machines?fieldValidation=Strict"), &body)
                    .is(400)
                    .await;
                s.post(format!("{OURS}/machines?fieldValidation=Warn"), &body)
                    .is(201)
                    .await;
            },
        ),
        Case::new("unknown fields", "of the metadata", |s| async move {
            let path = s.widgets().await;
            let mut body = red("a");
            body["metadata"]["odd"] = json!(1);
            s.post(format!("{path}?fieldValidation=Warn"), &body)
                .is(201)
                .await;
        }),
    ]
}
