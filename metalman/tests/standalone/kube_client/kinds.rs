//! What is served, how it is listed, and to whom.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, Secret};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use metalman_api::machine::Machine;
use metalman_api::operation::MachineOperation;
use serde_json::{Value, json};

use super::{gvk, machine, machines, operation, operations, refusal};
use crate::harness::{self, Running};

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
