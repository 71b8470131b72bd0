//! The embedded API as kube-rs sees it: objects, watches, status, selectors, restarts.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Secret};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams, Preconditions, PropagationPolicy, WatchEvent, WatchParams,
};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Error, ResourceExt as _};
use metalman_api::machine::Machine;
use metalman_api::operation::MachineOperation;
use serde_json::{Value, json};

use crate::harness::{self, Running};

fn gvk(kind: &str, plural: &str) -> ApiResource {
    let gvk = GroupVersionKind::gvk("unbounded-cloud.io", "v1alpha3", kind);
    ApiResource::from_gvk_with_plural(&gvk, plural)
}

fn machines(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &gvk("Machine", "machines"))
}

fn operations(client: &Client) -> Api<DynamicObject> {
    Api::all_with(
        client.clone(),
        &gvk("MachineOperation", "machineoperations"),
    )
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

fn machine(name: &str) -> DynamicObject {
    object(
        json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
                  "metadata": {"name": name, "labels": {"unbounded-cloud.io/site": "lab"}},
                  "spec": {}}),
    )
}

fn operation(name: &str, kind: &str, machine: &str) -> DynamicObject {
    object(
        json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
                  "metadata": {"name": name},
                  "spec": {"operationKind": kind, "machineRef": machine}}),
    )
}

fn error_code(event: WatchEvent<impl std::fmt::Debug>) -> u16 {
    let WatchEvent::Error(status) = event else {
        panic!("{event:?}")
    };
    status.code
}

fn refusal(error: Error) -> (u16, String, String) {
    let Error::Api(status) = error else {
        panic!("not a refusal of the API: {error}")
    };
    (status.code, status.reason.clone(), status.message.clone())
}

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
async fn watches_see_every_change_in_order() {
    let running = Running::start().await;
    let api = machines(&running.client().await);
    api.create(&PostParams::default(), &machine("early"))
        .await
        .unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    api.create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    let params = WatchParams::default().labels("watched=yes").timeout(20);
    let mut selected = api.watch(&params, &version).await.unwrap().boxed();
    let mut all = api
        .watch(&WatchParams::default().timeout(20), &version)
        .await
        .unwrap()
        .boxed();
    let label = |value: Value| Patch::Merge(json!({"metadata": {"labels": {"watched": value}}}));
    for value in [json!("yes"), json!("no"), json!("yes")] {
        api.patch("a", &PatchParams::default(), &label(value))
            .await
            .unwrap();
    }
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let word = |event: WatchEvent<DynamicObject>| match event {
        WatchEvent::Added(_) => "added",
        WatchEvent::Modified(_) => "modified",
        WatchEvent::Deleted(_) => "deleted",
        WatchEvent::Bookmark(_) => "bookmark",
        WatchEvent::Error(_) => "error",
    };
    let mut words = Vec::new();
    for _ in 0..4 {
        words.push(word(selected.try_next().await.unwrap().unwrap()));
    }
    assert_eq!(words, ["added", "deleted", "added", "deleted"]);
    words.clear();
    for _ in 0..5 {
        words.push(word(all.try_next().await.unwrap().unwrap()));
    }
    assert_eq!(
        words,
        ["added", "modified", "modified", "modified", "deleted"]
    );
    running.stop().await;
}

#[tokio::test]
async fn kube_watchers_work_in_both_modes() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = machines(&client);
    for name in ["a", "b", "c"] {
        api.create(&PostParams::default(), &machine(name))
            .await
            .unwrap();
    }
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let stream = watcher(api.clone(), config).applied_objects().take(3);
        let seen = tokio::time::timeout(Duration::from_secs(20), stream.try_collect::<Vec<_>>());
        let names: Vec<String> = seen
            .await
            .unwrap()
            .unwrap()
            .iter()
            .map(kube::ResourceExt::name_any)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
    let config_maps: Api<ConfigMap> = Api::all(client);
    let stream = watcher(config_maps, watcher::Config::default().streaming_lists()).take(2);
    let events = tokio::time::timeout(Duration::from_secs(20), stream.try_collect::<Vec<_>>());
    assert_eq!(events.await.unwrap().unwrap().len(), 2, "Init and InitDone");
    running.stop().await;
}

#[tokio::test]
async fn lists_are_selected_and_paged() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = operations(&client);
    for index in 0..5 {
        let name = format!("o{index}");
        let target = if index % 2 == 0 { "even" } else { "odd" };
        api.create(
            &PostParams::default(),
            &operation(&name, "HostReboot", target),
        )
        .await
        .unwrap();
    }
    let patch = Patch::Merge(json!({"status": {"phase": "Failed"}}));
    api.patch_status("o1", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let names = async |params: &ListParams| -> Vec<String> {
        let list = api.list(params).await.unwrap();
        list.items.iter().map(kube::ResourceExt::name_any).collect()
    };
    assert_eq!(
        names(&ListParams::default().fields("spec.machineRef=odd")).await,
        ["o1", "o3"]
    );
    assert_eq!(
        names(&ListParams::default().fields("status.phase=Failed")).await,
        ["o1"]
    );
    assert_eq!(
        names(&ListParams::default().fields("metadata.name=o2")).await,
        ["o2"]
    );
    let bad = api
        .list(&ListParams::default().fields("spec.parameters=1"))
        .await
        .unwrap_err();
    assert_eq!(refusal(bad).0, 400);

    let page = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(
        (page.items.len(), page.metadata.remaining_item_count),
        (2, Some(3))
    );
    let token = page.metadata.continue_.unwrap();
    let rest = api
        .list(&ListParams::default().continue_token(&token))
        .await
        .unwrap();
    assert_eq!(rest.items.len(), 3);
    assert_eq!(
        rest.metadata.resource_version,
        page.metadata.resource_version
    );
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
async fn core_kinds_are_there_and_nothing_else() {
    let running = Running::start().await;
    let client = running.client().await;
    let system = "unbounded-system";
    let secrets: Api<Secret> = Api::namespaced(client.clone(), system);
    let secret: Secret = serde_json::from_value(
        json!({"metadata": {"name": "bmc-node-1"}, "stringData": {"password": "p"}}),
    )
    .unwrap();
    let made = secrets
        .create(&PostParams::default(), &secret)
        .await
        .unwrap();
    assert_eq!(made.data.unwrap()["password"].0, b"p");
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    let nowhere: Api<Secret> = Api::namespaced(client.clone(), "nowhere");
    let missing = nowhere
        .create(&PostParams::default(), &secret)
        .await
        .unwrap_err();
    assert_eq!(refusal(missing).2, "namespaces \"nowhere\" not found");

    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"},
        "status": {"conditions": [{"type": "Ready", "status": "False"}]}}))
    .unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let patch = Patch::Strategic(json!({"status": {"conditions": [
        {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}]}}));
    let node = nodes
        .patch_status("n", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(node.status.unwrap().conditions.unwrap().len(), 2);

    let leases: Api<Lease> = Api::namespaced(client.clone(), system);
    let patch = Patch::Apply(
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "metalman"}, "spec": {"holderIdentity": "me"}}),
    );
    let lease = leases
        .patch("metalman", &PatchParams::apply("me"), &patch)
        .await
        .unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some("me"));

    let path = "/apis/apps/v1/deployments";
    let unknown = client
        .request::<Value>(http::Request::get(path).body(vec![]).unwrap())
        .await;
    assert_eq!(refusal(unknown.unwrap_err()).1, "NotFound");

    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete(system, &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(refusal(namespaces.get(system).await.unwrap_err()).0, 404);
    assert!(
        secrets
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    running.stop().await;
}

#[tokio::test]
async fn both_event_apis_show_one_store() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = machines(&client);
    let made = api
        .create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    let reporter = kube::runtime::events::Reporter::from("metalman-test");
    let recorder = kube::runtime::events::Recorder::new(client.clone(), reporter);
    let reference = kube::Resource::object_ref(&made, &gvk("Machine", "machines"));
    let event = kube::runtime::events::Event {
        type_: kube::runtime::events::EventType::Normal,
        reason: "PoweredOn".into(),
        note: Some("power is on".into()),
        action: "PowerOn".into(),
        secondary: None,
    };
    recorder.publish(&event, &reference).await.unwrap();
    recorder.publish(&event, &reference).await.unwrap();
    let events: Api<Event> = Api::all(client.clone());
    let params = ListParams::default().fields(&format!(
        "involvedObject.name=a,involvedObject.uid={}",
        made.uid().unwrap()
    ));
    let found = events.list(&params).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message.as_deref(), Some("power is on"));
    assert_eq!(found[0].series.as_ref().and_then(|s| s.count), Some(2));
    let view: Api<k8s_openapi::api::events::v1::Event> = Api::all(client);
    assert_eq!(
        view.list(&ListParams::default()).await.unwrap().items[0]
            .note
            .as_deref(),
        Some("power is on")
    );
    running.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_objects_versions_and_watches() {
    survives_a_restart(Running::start().await).await;
}

#[tokio::test]
async fn a_restart_on_postgres_keeps_objects_versions_and_watches() {
    if let Some(running) = Running::start_on_postgres().await {
        survives_a_restart(running).await;
    }
}

async fn survives_a_restart(running: Running) {
    let api = machines(&running.client().await);
    let first = api
        .create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    let second = api
        .create(&PostParams::default(), &machine("b"))
        .await
        .unwrap();
    let running = running.restart().await;
    let api = machines(&running.client().await);
    let kept = api.get("a").await.unwrap();
    assert_eq!(kept, first);
    let params = WatchParams::default().timeout(20);
    let version = first.resource_version().unwrap();
    let mut stream = api.watch(&params, &version).await.unwrap().boxed();
    let event = stream.try_next().await.unwrap().unwrap();
    assert!(
        matches!(event, WatchEvent::Added(ref o) if o.name_any() == "b"),
        "{event:?}"
    );
    let third = api
        .create(&PostParams::default(), &machine("c"))
        .await
        .unwrap();
    let number = |o: &DynamicObject| o.resource_version().unwrap().parse::<u64>().unwrap();
    assert!(number(&third) > number(&second));
    running.stop().await;
}

#[tokio::test]
async fn versions_that_are_not_kept_are_gone() {
    let running = Running::start().await;
    let client = running.client().await;
    let api = machines(&client);
    for version in ["0999999999", "18446744073709551615"] {
        let stream = api.watch(&WatchParams::default().timeout(5), version).await;
        let gone = match stream {
            Err(error) => refusal(error).0,
            Ok(stream) => error_code(stream.boxed().try_next().await.unwrap().unwrap()),
        };
        assert_eq!(gone, 410);
    }
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "m"}, "data": {"n": "0"}})).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let old = made.resource_version().unwrap();
    futures::stream::iter(0..5300_u32)
        .map(|n| {
            let maps = maps.clone();
            async move {
                let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
                maps.patch("m", &PatchParams::default(), &patch)
                    .await
                    .unwrap();
            }
        })
        .buffer_unordered(64)
        .collect::<()>()
        .await;
    let gone = maps.watch(&WatchParams::default().timeout(5), &old).await;
    let code = match gone {
        Err(error) => refusal(error).0,
        Ok(stream) => error_code(stream.boxed().try_next().await.unwrap().unwrap()),
    };
    assert_eq!(code, 410);
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

#[tokio::test]
async fn only_the_token_opens_the_door() {
    let running = Running::start().await;
    let mut kubeconfig = running.api.kubeconfig();
    kubeconfig.auth_infos[0].auth_info.as_mut().unwrap().token = Some("wrong".to_owned().into());
    let client = harness::client(kubeconfig).await;
    let denied = machines(&client)
        .list(&ListParams::default())
        .await
        .unwrap_err();
    assert_eq!(refusal(denied).0, 401);
    assert!(
        client.apiserver_version().await.is_ok(),
        "/version is for everybody"
    );
    running.stop().await;
}

#[tokio::test]
async fn typed_objects_fit() {
    let running = Running::start().await;
    let client = running.client().await;
    let typed: Api<Machine> = Api::all(client.clone());
    let dynamic = machines(&client);
    dynamic
        .create(&PostParams::default(), &machine("a"))
        .await
        .unwrap();
    assert_eq!(typed.get("a").await.unwrap().name_any(), "a");
    let typed: Api<MachineOperation> = Api::all(client);
    assert!(
        typed
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    running.stop().await;
}
