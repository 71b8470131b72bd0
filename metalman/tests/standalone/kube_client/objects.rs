//! Objects: their life, their two doors, who owns what, refusals, dry runs.

use futures::StreamExt as _;
use kube::ResourceExt as _;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    PropagationPolicy,
};
use serde_json::{Value, json};

use super::{machine, machines, operation, operations, refusal};
use crate::harness::Running;

#[tokio::test]
async fn objects_live_and_die_like_on_a_real_server() {
    let running = Running::start().await;
    let api = machines(&running.client().await);
    let made = api
        .create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    assert!(made.uid().is_some() && made.creation_timestamp().is_some());
    assert_eq!(made.metadata.generation, Some(1));
    let (code, reason, message) = refusal(
        api.create(&PostParams::default(), &machine("a"))
            .await
            .unwrap_err(),
    );
    assert_eq!((code, reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(message, "machines.unbounded-cloud.io \"a\" already exists");

    let mut changed = made.clone();
    changed.labels_mut().insert("x".into(), "y".into());
    let labelled = api
        .replace("a", &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_eq!(
        labelled.metadata.generation,
        Some(1),
        "labels make no new generation"
    );
    assert_eq!(labelled.uid(), made.uid());
    let (code, reason, message) = refusal(
        api.replace("a", &PostParams::default(), &changed)
            .await
            .unwrap_err(),
    );
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(
        message.contains("the object has been modified"),
        "{message}"
    );

    let patch = Patch::Merge(json!({"spec": {"provider": "p"}}));
    let patched = api
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    let again = api
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(
        again.resource_version(),
        patched.resource_version(),
        "nothing changed"
    );

    let wrong = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some("other".into()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(refusal(api.delete("a", &wrong).await.unwrap_err()).0, 409);
    let done = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(done.right().is_some_and(|status| status.is_success()));
    assert_eq!(
        refusal(api.get("a").await.unwrap_err()).2,
        "machines.unbounded-cloud.io \"a\" not found"
    );
    running.stop().await;
}

#[tokio::test]
async fn status_and_spec_are_separate_doors() {
    let running = Running::start().await;
    let api = machines(&running.client().await);
    let mut both = machine("a");
    both.data["status"] = json!({"message": "from create"});
    api.create(&PostParams::default(), &both).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().data["status"], Value::Null);
    let patch = Patch::Merge(
        json!({"status": {"message": "m"}, "spec": {"provider": "no"},
                                    "metadata": {"labels": {"no": "no"}}}),
    );
    let status = api
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(status.data["status"]["message"], "m");
    assert_eq!(status.data["spec"].get("provider"), None);
    assert!(!status.labels().contains_key("no"));
    assert_eq!(status.metadata.generation, Some(1));
    let patch = Patch::Merge(json!({"status": {"message": "no"}, "spec": {"provider": "yes"}}));
    let spec = api
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(spec.data["status"]["message"], "m");
    assert_eq!(spec.data["spec"]["provider"], "yes");
    running.stop().await;
}

#[tokio::test]
async fn agents_share_a_status_by_server_side_apply() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = operations(&client);
    api.create(&PostParams::default(), &operation("o", "NodeReboot", "a"))
        .await
        .unwrap();
    let apply = |target: &str, phase: &str| {
        Patch::Apply(json!({"apiVersion": "unbounded-cloud.io/v1alpha3",
            "kind": "MachineOperation", "metadata": {"name": "o"},
            "status": {"targets": [{"machineRef": target, "phase": phase}]}}))
    };
    for (agent, target, phase) in [
        ("agent-a", "a", "InProgress"),
        ("agent-b", "b", "Pending"),
        ("agent-a", "a", "Complete"),
    ] {
        api.patch_status("o", &PatchParams::apply(agent), &apply(target, phase))
            .await
            .unwrap();
    }
    let targets = api.get("o").await.unwrap().data["status"]["targets"].clone();
    let short: Vec<(&str, &str)> = targets
        .as_array()
        .unwrap()
        .iter()
        .map(|t| {
            (
                t["machineRef"].as_str().unwrap(),
                t["phase"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(short, [("a", "Complete"), ("b", "Pending")]);
    let stolen = api
        .patch_status("o", &PatchParams::apply("agent-b"), &apply("a", "Failed"))
        .await;
    let (code, reason, message) = refusal(stolen.unwrap_err());
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(
        message.contains("conflict with \"agent-a\" with subresource \"status\""),
        "{message}"
    );
    running.stop().await;
}

#[tokio::test]
async fn bad_objects_are_refused_with_the_real_words() {
    let running = Running::start().await;
    let api = operations(&running.client().await);
    let create = async |object: &DynamicObject| {
        refusal(
            api.create(&PostParams::default(), object)
                .await
                .unwrap_err(),
        )
    };
    let (code, reason, message) = create(&operation("o", "Explode", "a")).await;
    assert_eq!((code, reason.as_str()), (422, "Invalid"));
    assert!(
        message.starts_with(
            "MachineOperation.unbounded-cloud.io \"o\" is invalid: [spec.operationKind: \
             Unsupported value: \"Explode\": supported values: "
        ),
        "{message}"
    );
    let mut neither = operation("o", "HostReboot", "a");
    neither.data["spec"]
        .as_object_mut()
        .unwrap()
        .remove("machineRef");
    assert_eq!(
        create(&neither).await.0,
        422,
        "exactly one of machineRef and machineSelector"
    );
    assert_eq!(create(&operation("O", "HostReboot", "a")).await.0, 422);

    let made = api
        .create(&PostParams::default(), &operation("o", "HostReboot", "a"))
        .await;
    assert!(made.is_ok(), "{made:?}");
    let patch = Patch::Merge(json!({"spec": {"operationKind": "HostPowerOff"}}));
    let (code, _, message) = refusal(
        api.patch("o", &PatchParams::default(), &patch)
            .await
            .unwrap_err(),
    );
    assert_eq!(code, 422, "the spec is immutable");
    assert!(message.contains(": spec: Invalid value: "), "{message}");
    running.stop().await;
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let running = Running::start().await;
    let api = machines(&running.client().await);
    let mut held = machine("a");
    held.metadata.finalizers = Some(vec!["unbounded-cloud.io/test".into()]);
    api.create(&PostParams::default(), &held).await.unwrap();
    let marked = api
        .delete("a", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    let patch = Patch::Merge(json!({"metadata": {"finalizers": ["x.io/late"]}}));
    let late = api
        .patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap_err();
    assert!(refusal(late).2.contains("no new finalizers can be added"));
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(refusal(api.get("a").await.unwrap_err()).0, 404);
    running.stop().await;
}

#[tokio::test]
async fn dry_runs_and_collections() {
    let running = Running::start().await;
    let api = machines(&running.client().await);
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&dry, &machine("a")).await.unwrap();
    assert_eq!(refusal(api.get("a").await.unwrap_err()).0, 404);
    let mut generated = machine("");
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("gen-".into());
    let names: Vec<String> = futures::stream::iter(0..3)
        .then(|_| async {
            api.create(&PostParams::default(), &generated)
                .await
                .unwrap()
                .name_any()
        })
        .collect()
        .await;
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("gen-") && name.len() == 9),
        "{names:?}"
    );
    let gone = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    api.delete_collection(
        &gone,
        &ListParams::default().labels("unbounded-cloud.io/site=lab"),
    )
    .await
    .unwrap();
    assert!(
        api.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    running.stop().await;
}
