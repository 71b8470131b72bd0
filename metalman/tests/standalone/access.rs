//! Roles and tokens of the embedded API, as clients meet them.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Error, ResourceExt as _};
use metalman::store::TokenRole;
use metalman_api::machine::Machine;
use metalman_api::operation::MachineOperation;
use serde_json::json;

use crate::harness::{self, Running};

/// Code and sentence of a refusal.
fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    let error = result.unwrap_err();
    let Error::Api(status) = error else {
        panic!("not a refusal of the API: {error}");
    };
    (status.code, status.message)
}

fn machine(name: &str) -> Machine {
    serde_json::from_value(
        json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
        "metadata": {"name": name}, "spec": {}}),
    )
    .unwrap()
}

fn operation(name: &str, machine: &str) -> MachineOperation {
    serde_json::from_value(json!({"apiVersion": "unbounded-cloud.io/v1alpha3",
        "kind": "MachineOperation", "metadata": {"name": name},
        "spec": {"machineRef": machine, "operationKind": "NodeReboot"}}))
    .unwrap()
}

fn secret() -> Secret {
    serde_json::from_value(json!({"metadata": {"name": "bmc"}, "stringData": {"p": "x"}})).unwrap()
}

struct Site {
    running: Running,
    admin: Client,
}

impl Site {
    /// Two Machines, an operation of each, a Secret.
    async fn start() -> Self {
        let running = Running::start().await;
        let admin = running.client().await;
        let post = PostParams::default();
        for name in ["node-1", "node-2"] {
            let machines: Api<Machine> = Api::all(admin.clone());
            machines.create(&post, &machine(name)).await.unwrap();
            let operations: Api<MachineOperation> = Api::all(admin.clone());
            let operation = operation(&format!("op-{name}"), name);
            operations.create(&post, &operation).await.unwrap();
        }
        let secrets: Api<Secret> = Api::namespaced(admin.clone(), "default");
        secrets.create(&post, &secret()).await.unwrap();
        Self { running, admin }
    }

    async fn user(&self, name: &str, role: TokenRole) -> Client {
        harness::client(self.running.user(name, role).await).await
    }

    async fn agent(&self, machine: &str) -> Client {
        let machines: Api<Machine> = Api::all(self.admin.clone());
        let uid = machines.get(machine).await.unwrap().uid().unwrap();
        harness::client(self.running.agent(machine, &uid).await).await
    }
}

#[tokio::test]
async fn a_viewer_reads_all_but_secrets_and_writes_nothing() {
    let site = Site::start().await;
    let viewer = site.user("vera", TokenRole::Viewer).await;
    let machines: Api<Machine> = Api::all(viewer.clone());
    assert_eq!(
        machines
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    assert_eq!(
        refused(machines.delete("node-1", &DeleteParams::default()).await),
        (
            403,
            "machines.unbounded-cloud.io \"node-1\" is forbidden: User \"vera\" cannot delete \
             resource \"machines\" in API group \"unbounded-cloud.io\" at the cluster scope"
                .to_owned()
        )
    );
    let secrets: Api<Secret> = Api::namespaced(viewer.clone(), "default");
    assert_eq!(
        refused(secrets.get("bmc").await).1,
        "secrets \"bmc\" is forbidden: User \"vera\" cannot get resource \"secrets\" in API group \
         \"\" in the namespace \"default\""
    );
    assert_eq!(
        refused(
            Api::<Secret>::all(viewer.clone())
                .list(&ListParams::default())
                .await
        )
        .1,
        "secrets is forbidden: User \"vera\" cannot list resource \"secrets\" in API group \"\" at \
         the cluster scope"
    );
    let patch = Patch::Merge(json!({"status": {"message": "x"}}));
    let status = machines
        .patch_status("node-1", &PatchParams::default(), &patch)
        .await;
    assert_eq!(refused(status).0, 403);
    site.running.stop().await;
}

#[tokio::test]
async fn an_operator_runs_machines_and_sees_no_secret() {
    let site = Site::start().await;
    let operator = site.user("olga", TokenRole::Operator).await;
    let post = PostParams::default();
    let machines: Api<Machine> = Api::all(operator.clone());
    machines.create(&post, &machine("node-3")).await.unwrap();
    let operations: Api<MachineOperation> = Api::all(operator.clone());
    operations
        .create(&post, &operation("three", "node-3"))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"status": {"phase": "Complete"}}));
    let fake = operations
        .patch_status("three", &PatchParams::default(), &patch)
        .await;
    assert_eq!(refused(fake).0, 403, "progress is written by the engine");
    let maps: Api<ConfigMap> = Api::namespaced(operator.clone(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "user-data"}})).unwrap();
    maps.create(&post, &map).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), "default");
    assert_eq!(refused(secrets.get("bmc").await).0, 403);
    assert_eq!(refused(secrets.create(&post, &secret()).await).0, 403);
    // A patch that would make an object needs the right to create it.
    let nodes: Api<Node> = Api::all(operator.clone());
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}});
    let applied = nodes
        .patch("x", &PatchParams::apply("t"), &Patch::Apply(node))
        .await;
    let (code, message) = refused(applied);
    assert!(
        code == 403 && message.contains("cannot create resource \"nodes\""),
        "{message}"
    );
    assert!(
        Api::<Node>::all(site.admin.clone())
            .get_opt("x")
            .await
            .unwrap()
            .is_none()
    );
    site.running.stop().await;
}

#[tokio::test]
async fn an_agent_keeps_to_its_own_machine() {
    let site = Site::start().await;
    let agent = site.agent("node-1").await;
    let (get, patch) = (ListParams::default(), PatchParams::default());
    let machines: Api<Machine> = Api::all(agent.clone());
    machines.get("node-1").await.unwrap();
    assert_eq!(refused(machines.get("node-2").await).0, 403);
    assert_eq!(refused(machines.list(&get).await).0, 403);
    let only = ListParams::default().fields("metadata.name=node-1");
    assert_eq!(machines.list(&only).await.unwrap().items.len(), 1);
    for sly in [
        "metadata.name!=node-1",
        "metadata.name!=a\\,metadata.name=node-1",
    ] {
        let list = machines.list(&ListParams::default().fields(sly)).await;
        assert!(
            matches!(list, Err(Error::Api(s)) if s.code == 403 || s.code == 400),
            "{sly}"
        );
    }
    let report = Patch::Merge(json!({"status": {"message": "from the host"}}));
    machines
        .patch_status("node-1", &patch, &report)
        .await
        .unwrap();
    assert_eq!(
        refused(machines.patch_status("node-2", &patch, &report).await).0,
        403
    );
    let spec = Patch::Merge(json!({"spec": {"provider": "x"}}));
    assert_eq!(
        refused(machines.patch("node-1", &patch, &spec).await).0,
        403
    );

    let secrets: Api<Secret> = Api::namespaced(agent.clone(), "default");
    assert_eq!(refused(secrets.get("bmc").await).0, 403);
    assert_eq!(
        refused(Api::<Secret>::all(agent.clone()).list(&get).await).0,
        403
    );
    let maps: Api<ConfigMap> = Api::namespaced(agent.clone(), "default");
    assert_eq!(refused(maps.list(&get).await).0, 403);

    let nodes: Api<Node> = Api::all(agent.clone());
    let node = |name: &str| -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    };
    nodes
        .create(&PostParams::default(), &node("node-1"))
        .await
        .unwrap();
    let (code, message) = refused(nodes.create(&PostParams::default(), &node("node-2")).await);
    assert!(
        code == 403 && message.contains("not allowed to modify node \"node-2\""),
        "{message}"
    );
    let leases: Api<Lease> = Api::namespaced(agent.clone(), "kube-node-lease");
    let lease = |name: &str| -> Lease {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {}})).unwrap()
    };
    leases
        .create(&PostParams::default(), &lease("node-1"))
        .await
        .unwrap();
    assert_eq!(
        refused(
            leases
                .create(&PostParams::default(), &lease("node-2"))
                .await
        )
        .0,
        403
    );
    site.running.stop().await;
}

#[tokio::test]
async fn an_agent_reports_its_own_target_only() {
    let site = Site::start().await;
    let agent = site.agent("node-1").await;
    let operations: Api<MachineOperation> = Api::all(agent.clone());
    operations.get("op-node-1").await.unwrap();
    assert_eq!(refused(operations.get("op-node-2").await).0, 403);
    assert_eq!(
        refused(operations.get("absent").await).0,
        403,
        "existence is not told"
    );
    assert_eq!(
        refused(operations.list(&ListParams::default()).await).0,
        403
    );
    let own = ListParams::default().fields("spec.machineRef=node-1");
    assert_eq!(operations.list(&own).await.unwrap().items.len(), 1);
    let others = ListParams::default().fields("spec.machineRef=node-2");
    assert_eq!(refused(operations.list(&others).await).0, 403);

    let report = |machine: &str| {
        Patch::Apply(
            json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
            "status": {"targets": [{"machineRef": machine, "phase": "InProgress"}]}}),
        )
    };
    let apply = PatchParams::apply("agent").force();
    operations
        .patch_status("op-node-1", &apply, &report("node-1"))
        .await
        .unwrap();
    let (code, message) = refused(
        operations
            .patch_status("op-node-1", &apply, &report("node-2"))
            .await,
    );
    assert!(
        code == 403 && message.contains("its own entry"),
        "{message}"
    );
    let phase = Patch::Merge(json!({"status": {"phase": "Complete"}}));
    let whole = operations
        .patch_status("op-node-1", &PatchParams::default(), &phase)
        .await;
    assert_eq!(refused(whole).0, 403);
    let kept = Api::<MachineOperation>::all(site.admin.clone())
        .get("op-node-1")
        .await
        .unwrap();
    let targets = kept.status.unwrap().targets;
    assert_eq!(
        targets
            .iter()
            .map(|t| t.machine_ref.as_str())
            .collect::<Vec<_>>(),
        ["node-1"]
    );
    site.running.stop().await;
}

#[tokio::test]
async fn tokens_end_with_revocation_and_with_their_machine() {
    let site = Site::start().await;
    let viewer = site.user("vera", TokenRole::Viewer).await;
    let agent = site.agent("node-1").await;
    let (seen, own): (Api<Machine>, Api<Machine>) = (Api::all(viewer), Api::all(agent));
    seen.get("node-1").await.unwrap();
    own.get("node-1").await.unwrap();
    let now = metalman::clock::now();
    assert_eq!(
        site.running
            .store
            .api_tokens()
            .revoke("vera", now)
            .await
            .unwrap(),
        1
    );
    harness::until("the revoked token to end", async || {
        seen.get("node-1").await.is_err()
    })
    .await;
    assert_eq!(refused(seen.get("node-1").await).0, 401);

    let machines: Api<Machine> = Api::all(site.admin.clone());
    machines
        .delete("node-1", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(
        refused(own.get("node-1").await).0,
        401,
        "no Machine, no token"
    );
    machines
        .create(&PostParams::default(), &machine("node-1"))
        .await
        .unwrap();
    assert_eq!(
        refused(own.get("node-1").await).0,
        401,
        "another Machine of that name"
    );
    site.running.stop().await;
}

#[tokio::test]
async fn writes_are_in_the_audit_log_with_their_outcome() {
    let site = Site::start().await;
    let viewer = site.user("vera", TokenRole::Viewer).await;
    let machines: Api<Machine> = Api::all(viewer);
    assert_eq!(
        refused(machines.delete("node-1", &DeleteParams::default()).await).0,
        403
    );
    let store = site.running.store.clone();
    site.running.stop().await;
    let kept = store.audit().list(None, 100).await.unwrap();
    let lines: Vec<_> = kept
        .iter()
        .map(|e| format!("{} {} {} {}", e.actor, e.action, e.object, e.detail["code"]))
        .collect();
    for line in [
        "vera delete machines.unbounded-cloud.io node-1 403",
        "admin create machines.unbounded-cloud.io node-1 201",
        "admin create secrets default bmc 201",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:#?}");
    }
    assert!(
        !kept
            .iter()
            .any(|e| e.detail.to_string().contains("stringData"))
    );
}
