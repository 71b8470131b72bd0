//! A site moved from one embedded API to another, on both databases, with its status.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use metalman::transfer::{self, Options};
use metalman_api::machine::Machine;
use metalman_api::operation::MachineOperation;
use serde_json::{Value, json};

use crate::harness::Running;

const ALL: Options = Options {
    secrets: true,
    status: true,
};

async fn make<K>(api: Api<K>, object: Value)
where
    K: serde::de::DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    let object: K = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn fill(client: &Client) {
    let all = client.clone();
    make::<Namespace>(
        Api::all(all.clone()),
        json!({"metadata": {"name": "site-a"}}),
    )
    .await;
    make::<Secret>(
        Api::namespaced(all.clone(), "site-a"),
        json!({"metadata": {"name": "bmc"}, "stringData": {"password": "on"}}),
    )
    .await;
    make::<ConfigMap>(
        Api::namespaced(all.clone(), "site-a"),
        json!({"metadata": {"name": "words"}, "data": {"a": "yes", "b": "1_000", "c": "0o7",
            "d": "x\ny: |\n  z\t\u{7f}", "e": "", "f": "~", "g": "2001-01-01", "y": "#"}}),
    )
    .await;
    let machine = json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
        "metadata": {"name": "node-1", "labels": {"unbounded-cloud.io/site": "a"}},
        "spec": {"provider": "p", "operations": {"repaveCounter": 7}}});
    make::<Machine>(Api::all(all.clone()), machine).await;
    let operation = json!({"apiVersion": "unbounded-cloud.io/v1alpha3",
        "kind": "MachineOperation", "metadata": {"name": "done"},
        "spec": {"machineRef": "node-1", "operationKind": "HostReplace"}});
    make::<MachineOperation>(Api::all(all.clone()), operation).await;
    make::<Node>(
        Api::all(all.clone()),
        json!({"metadata": {"name": "node-1"}}),
    )
    .await;
    let status = Patch::Merge(json!({"status": {"phase": "Complete", "message": "all done"}}));
    let operations: Api<MachineOperation> = Api::all(all.clone());
    let patch = PatchParams::default();
    operations
        .patch_status("done", &patch, &status)
        .await
        .unwrap();
    let status = Patch::Merge(json!({"status": {"operations": {"repaveCounter": 7}}}));
    let machines: Api<Machine> = Api::all(all);
    machines
        .patch_status("node-1", &patch, &status)
        .await
        .unwrap();
}

async fn moves_to(target: Running) {
    let source = Running::start().await;
    let (from, to) = (source.client().await, target.client().await);
    fill(&from).await;
    let exported = transfer::export(&from, ALL).await.unwrap();
    for outcome in transfer::import(&to, &exported, ALL).await.unwrap() {
        outcome.result.expect(&outcome.object);
    }
    assert_eq!(transfer::export(&to, ALL).await.unwrap(), exported);

    let machine = Api::<Machine>::all(to.clone()).get("node-1").await.unwrap();
    assert_eq!(
        machine.spec.operations, None,
        "no counter asks for a repave there"
    );
    let operation = Api::<MachineOperation>::all(to.clone())
        .get("done")
        .await
        .unwrap();
    assert_eq!(operation.spec.suspend, Some(true));
    assert_eq!(
        operation.status.unwrap().message.as_deref(),
        Some("all done")
    );
    let words: Api<ConfigMap> = Api::namespaced(to.clone(), "site-a");
    let data = words.get("words").await.unwrap().data.unwrap();
    assert_eq!(data["d"], "x\ny: |\n  z\t\u{7f}");

    // Again, without Secrets and status: nothing changes, and nothing secret is written.
    let plain = transfer::export(&from, Options::default()).await.unwrap();
    assert!(
        !plain.contains("password") && !plain.contains("all done"),
        "{plain}"
    );
    for outcome in transfer::import(&to, &plain, Options::default())
        .await
        .unwrap()
    {
        outcome.result.expect(&outcome.object);
    }
    assert_eq!(transfer::export(&to, ALL).await.unwrap(), exported);
    source.stop().await;
    target.stop().await;
}

#[tokio::test]
async fn a_site_moves_to_sqlite() {
    moves_to(Running::start().await).await;
}

#[tokio::test]
async fn a_site_moves_to_postgresql() {
    if let Some(target) = Running::start_on_postgres().await {
        moves_to(target).await;
    }
}
