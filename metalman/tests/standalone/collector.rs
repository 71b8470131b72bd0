//! Objects whose owners go: background, foreground, orphan, several owners, across a restart.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::{Api, Client, ResourceExt as _};
use metalman_api::machine::Machine;
use serde_json::{Value, json};

use crate::harness::{Running, until};

struct Site {
    machines: Api<Machine>,
    maps: Api<ConfigMap>,
}

impl Site {
    fn new(client: Client) -> Self {
        Self {
            machines: Api::all(client.clone()),
            maps: Api::namespaced(client, "default"),
        }
    }

    async fn machine(&self, name: &str) -> Value {
        let machine = json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine",
            "metadata": {"name": name}, "spec": {}});
        let machine = serde_json::from_value(machine).unwrap();
        let made = self
            .machines
            .create(&PostParams::default(), &machine)
            .await
            .unwrap();
        json!({"apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "Machine", "name": name,
               "uid": made.uid().unwrap(), "blockOwnerDeletion": true})
    }

    async fn map(&self, name: &str, owners: &[&Value]) -> Value {
        self.held_map(name, owners, &[]).await
    }

    async fn held_map(&self, name: &str, owners: &[&Value], finalizers: &[&str]) -> Value {
        let map = json!({"metadata": {"name": name, "ownerReferences": owners,
            "finalizers": finalizers}});
        let map = serde_json::from_value(map).unwrap();
        let made = self
            .maps
            .create(&PostParams::default(), &map)
            .await
            .unwrap();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made.uid().unwrap(),
               "blockOwnerDeletion": true})
    }

    async fn delete(&self, machine: &str, policy: Option<PropagationPolicy>) {
        let options = DeleteParams {
            propagation_policy: policy,
            ..DeleteParams::default()
        };
        self.machines.delete(machine, &options).await.unwrap();
    }

    async fn is_gone(&self, map: &str) -> bool {
        self.maps.get_opt(map).await.unwrap().is_none()
    }
}

#[tokio::test]
async fn dependents_follow_their_last_owner() {
    let running = Running::start().await;
    let site = Site::new(running.client().await);
    let (one, two) = (site.machine("one").await, site.machine("two").await);
    let child = site.map("child", &[&one]).await;
    site.map("grandchild", &[&child]).await;
    site.map("shared", &[&one, &two]).await;
    site.map("free", &[]).await;
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "y"});
    site.map("foreign", &[&foreign]).await;
    site.delete("one", None).await;
    until("child and grandchild go", async || {
        site.is_gone("child").await && site.is_gone("grandchild").await
    })
    .await;
    until(
        "the shared one forgets the owner that is gone",
        async || {
            let shared = site.maps.get("shared").await.unwrap();
            let owners: Vec<_> = shared
                .owner_references()
                .iter()
                .map(|o| o.name.clone())
                .collect();
            owners == ["two"]
        },
    )
    .await;
    assert!(!site.is_gone("free").await && !site.is_gone("foreign").await);

    let never = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "never", "uid": "none"});
    site.map("late", &[&never]).await;
    until(
        "an object that is born without its owner goes",
        async || site.is_gone("late").await,
    )
    .await;
    running.stop().await;
}

#[tokio::test]
async fn foreground_waits_for_the_dependents() {
    let running = Running::start().await;
    let site = Site::new(running.client().await);
    let owner = site.machine("owner").await;
    site.held_map("held", &[&owner], &["unbounded-cloud.io/test"])
        .await;
    site.map("free", &[&owner]).await;
    site.delete("owner", Some(PropagationPolicy::Foreground))
        .await;
    until("the free one goes", async || site.is_gone("free").await).await;
    let waiting = site.machines.get("owner").await.unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());
    assert_eq!(waiting.finalizers(), ["foregroundDeletion"]);
    let release = kube::api::Patch::Merge(json!({"metadata": {"finalizers": null}}));
    site.maps
        .patch("held", &kube::api::PatchParams::default(), &release)
        .await
        .unwrap();
    until("the owner goes after its dependents", async || {
        site.machines.get_opt("owner").await.unwrap().is_none()
    })
    .await;
    assert!(site.is_gone("held").await);
    running.stop().await;
}

#[tokio::test]
async fn orphans_stay_and_forget() {
    let running = Running::start().await;
    let site = Site::new(running.client().await);
    let owner = site.machine("owner").await;
    site.map("a", &[&owner]).await;
    site.map("b", &[&owner]).await;
    site.delete("owner", Some(PropagationPolicy::Orphan)).await;
    until("the owner goes", async || {
        site.machines.get_opt("owner").await.unwrap().is_none()
    })
    .await;
    for name in ["a", "b"] {
        assert!(
            site.maps
                .get(name)
                .await
                .unwrap()
                .owner_references()
                .is_empty()
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_restart_forgets_nobody() {
    let running = Running::start().await;
    let site = Site::new(running.client().await);
    let owner = site.machine("owner").await;
    site.map("child", &[&owner]).await;
    let running = running.restart().await;
    let site = Site::new(running.client().await);
    site.delete("owner", Some(PropagationPolicy::Background))
        .await;
    until("the child goes", async || site.is_gone("child").await).await;
    running.stop().await;
}
