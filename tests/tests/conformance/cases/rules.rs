//! CEL rules of definitions, with and without the old value.

use serde_json::{Value, json};

use super::{operation, red, widget};
use crate::session::{OURS, Session};
use crate::suite::Case;

async fn refused(s: &Session, spec: Value) {
    let path = s.widgets().await;
    s.post(&path, &widget("a", &spec)).is(422).await;
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("rules", "a rule of two fields", |s| async move {
            refused(&s, json!({"colour": "red", "low": 5, "high": 4})).await;
        }),
        Case::new("rules", "a rule that holds", |s| async move {
            let path = s.widgets().await;
            s.post(
                &path,
                &widget("a", &json!({"colour": "red", "low": 4, "high": 4})),
            )
            .is(201)
            .await;
        }),
        Case::new(
            "rules",
            "a message made by an expression, with reason and path",
            |s| async move {
                refused(
                    &s,
                    json!({"colour": "red", "parts": [{"name": "forbidden"}]}),
                )
                .await;
            },
        ),
        Case::new("rules", "a rule without a message", |s| async move {
            refused(&s, json!({"colour": "red", "code": "zzz"})).await;
        }),
        Case::new("rules", "two rules at once", |s| async move {
            refused(
                &s,
                json!({"colour": "red", "low": 5, "high": 4, "code": "zzz"}),
            )
            .await;
        }),
        Case::new(
            "rules",
            "are not run on a value of the wrong type",
            |s| async move {
                refused(&s, json!({"colour": 5, "low": 5, "high": 4})).await;
            },
        ),
        Case::new(
            "rules",
            "a transition that is allowed once",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                let mode = |mode: &str| json!({"spec": {"deep": {"mode": mode}}});
                s.merge(format!("{path}/a"), &mode("hand")).is(200).await;
                s.merge(format!("{path}/a"), &mode("auto")).is(422).await;
            },
        ),
        Case::new(
            "rules",
            "a transition rule does not run on create",
            |s| async move {
                let path = s.widgets().await;
                s.post(
                    &path,
                    &widget("a", &json!({"colour": "red", "deep": {"mode": "hand"}})),
                )
                .is(201)
                .await;
            },
        ),
        Case::new("rules", "run on a dry run and on apply", |s| async move {
            let path = s.widgets().await;
            let bad = widget("a", &json!({"colour": "red", "low": 5, "high": 4}));
            s.post(format!("{path}?dryRun=All"), &bad).is(422).await;
            s.apply(&format!("{path}/a"), "one", &bad).is(422).await;
        }),
        Case::new(
            "rules",
            "do not run on a write of the status",
            |s| async move {
                let path = s.widgets().await;
                s.post(&path, &red("a")).is(201).await;
                s.merge(
                    format!("{path}/a/status"),
                    &json!({"spec": {"low": 5, "high": 4}, "status": {"phase": "Up"}}),
                )
                .is(200)
                .await;
            },
        ),
        Case::new(
            "rules",
            "operation: one machine or a selector",
            |s| async move {
                let path = format!("{OURS}/machineoperations");
                let both = json!({"operationKind": "HostReboot", "machineRef": "a", "machineSelector": {"matchLabels": {"a": "b"}}});
                s.post(&path, &operation(&s.name("o"), &both)).is(422).await;
                s.post(
                    &path,
                    &operation(&s.name("o"), &json!({"operationKind": "HostReboot"})),
                )
                .is(422)
                .await;
            },
        ),
        Case::new(
            "rules",
            "operation: the spec cannot change",
            |s| async move {
                let name = s.name("o");
                let path = format!("{OURS}/machineoperations");
                let spec = json!({"operationKind": "HostReboot", "machineRef": "a", "parameters": {"x": "y"}});
                s.post(&path, &operation(&name, &spec)).is(201).await;
                let path = format!("{path}/{name}");
                s.merge(&path, &json!({"spec": {"operationKind": "HostPowerOff"}}))
                    .is(422)
                    .await;
                s.merge(&path, &json!({"spec": {"machineRef": "b"}}))
                    .is(422)
                    .await;
                s.merge(&path, &json!({"spec": {"parameters": {"x": "z"}}}))
                    .is(422)
                    .await;
                s.merge(
                    &path,
                    &json!({"spec": {"suspend": true, "ttlSecondsAfterFinished": 60}}),
                )
                .is(200)
                .await;
            },
        ),
    ]
}
