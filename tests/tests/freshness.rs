//! A Machine that was changed right before an operation was created: watches come in no order between
//! them, so the operation may be seen first. It works with the changed Machine all the same.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use metalman_api::{
    install::InstallPlan,
    machine::Machine,
    operation::{MachineOperation, Phase, Stage},
};
use metalman_tests::{
    apis::{Embedded, Endpoint, Reference, assets},
    image,
    proxy::Proxy,
    rack::Rack,
    registry::{LOGIN, Registry},
    wait,
};
use serde_json::json;

/// A rack whose appliance reaches its API server through a proxy.
struct Late {
    rack: Rack,
    proxy: Proxy,
}

impl Late {
    async fn start(endpoint: &Endpoint) -> Result<Self> {
        Self::start_with(endpoint, Vec::new()).await
    }

    /// The same, with more arguments of `metalman serve`.
    async fn start_with(endpoint: &Endpoint, arguments: Vec<String>) -> Result<Self> {
        let found = Kubeconfig::read_from(&endpoint.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(found, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        if namespaces.get_opt("unbounded-system").await?.is_none() {
            let namespace = json!({ "metadata": { "name": "unbounded-system" } });
            let namespace = serde_json::from_value(namespace)?;
            namespaces
                .create(&PostParams::default(), &namespace)
                .await?;
        }
        let proxy = Proxy::start(endpoint).await?;
        let rack = Rack::start_at(proxy.kubeconfig(), client, arguments).await?;
        rack.condition("node-1", "BootFilesReady", "True").await?;
        rack.condition("node-1", "RedfishReady", "True").await?;
        Ok(Self { rack, proxy })
    }

    /// One more machine image; returns its reference.
    fn host_image(&self, name: &str) -> Result<String> {
        let layout = self.rack.layout(name);
        image::write_layout(&layout, &[("disk/disk.img", name.as_bytes())])?;
        Ok(format!("oci-layout:{}", layout.display()))
    }

    async fn patch(&self, change: serde_json::Value) -> Result<()> {
        let api: Api<Machine> = Api::all(self.rack.client.0.clone());
        api.patch("node-1", &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }

    async fn create(&self, name: &str, spec: serde_json::Value) -> Result<()> {
        let api: Api<MachineOperation> = Api::all(self.rack.client.0.clone());
        let operation = json!({
            "apiVersion": "unbounded-cloud.io/v1alpha3", "kind": "MachineOperation",
            "metadata": { "name": name }, "spec": spec,
        });
        api.create(&PostParams::default(), &serde_json::from_value(operation)?)
            .await?;
        Ok(())
    }

    /// Waits until an operation says that it waits, and for what.
    async fn waits(&self, name: &str, reason: &str, says: &str) -> Result<()> {
        let what = format!("{name} to say {reason}");
        let told = wait::until(&what, async || {
            let status = self.rack.operation(name).await.ok()?.status?;
            let completed = status.conditions.iter().find(|c| c.type_ == "Completed")?;
            let message = status.message.as_deref().unwrap_or_default();
            (completed.reason == reason && completed.message == message).then_some(status.clone())
        })
        .await
        .with_context(|| self.rack.appliance.log())?;
        ensure!(told.phase == Some(Phase::Pending), "{told:?}");
        let message = told.message.unwrap_or_default();
        ensure!(message.contains(says), "{message}");
        Ok(())
    }
}

/// Image, disk rule and labels were changed while the watch of Machines stood still.
async fn the_machine_of_now_is_used(endpoint: &Endpoint) -> Result<()> {
    let late = Late::start(endpoint).await?;
    let rack = &late.rack;
    let new = late.host_image("new")?;
    late.proxy.hold(Some("machines"));
    late.patch(json!({ "spec": { "pxe": { "image": new } } }))
        .await?;
    rack.operate("replace", "HostReplace", "node-1").await?;
    let target = rack.reaches("replace", Stage::WaitingRepave).await?;
    let input = target.input.context("an input")?;
    ensure!(input.host_image.as_deref() == Some(&*new), "{input:?}");

    let rule = json!({ "serial": "THE-RIGHT-ONE" });
    late.patch(json!({ "spec": { "pxe": { "disk": rule } } }))
        .await?;
    let host = rack.host()?;
    let token = host.install_token().await?;
    late.proxy.refuse(Some("machines"));
    let refused = host.claim(&token, "installer").await?;
    ensure!(refused.status() == 503, "{}", refused.status());
    ensure!(refused.text().await?.contains("Machine node-1"));
    late.proxy.refuse(None);
    let plan = host.claim(&token, "installer").await?;
    let plan: InstallPlan = plan.error_for_status()?.json().await?;
    ensure!(plan.image.raw_sha256 == image::sha256(b"new"), "{plan:?}");
    ensure!(
        plan.disk.serial.as_deref() == Some("THE-RIGHT-ONE"),
        "{:?}",
        plan.disk
    );
    // What the watch brings late is older than what is known.
    late.proxy.hold(None);
    host.write_image(&token, "installer", &plan).await?;
    rack.reaches("replace", Stage::WaitingBoot).await?;
    host.report_boot(&plan, "first-boot").await?;
    rack.ends("replace", Phase::Complete).await?;

    // Which machines a selector means is read afresh, by one list.
    late.proxy.hold(Some("machines"));
    late.patch(json!({ "metadata": { "labels": { "pool": "blue" } } }))
        .await?;
    let before = late.proxy.reads("machines").len();
    let labels = json!({ "unbounded-cloud.io/site": "lab", "pool": "blue" });
    let selector = json!({ "matchLabels": labels });
    late.create(
        "off",
        json!({ "operationKind": "HostPowerOff", "machineSelector": selector }),
    )
    .await?;
    let ended = rack.ends("off", Phase::Complete).await?;
    ensure!(ended.status.context("a status")?.targets.len() == 1);
    let reads = late.proxy.reads("machines").split_off(before);
    ensure!(reads.len() == 1, "{reads:?}");
    Ok(())
}

/// The password of a BMC was changed while the watch of Secrets stood still.
async fn the_password_of_now_is_used(endpoint: &Endpoint) -> Result<()> {
    let late = Late::start(endpoint).await?;
    let rack = &late.rack;
    late.proxy.hold(Some("secrets"));
    rack.bmc.set_password("brand new");
    rack.bmc.clear_sessions();
    rack.set_password("brand new").await?;
    rack.operate("on", "HostPowerOn", "node-1").await?;
    rack.ends("on", Phase::Complete).await?;
    let counters = rack.bmc.counters();
    ensure!(
        counters.logins_refused <= 1 && counters.lockouts == 0,
        "{counters:?}"
    );
    Ok(())
}

/// An operation says what it waits for while Machines cannot be read, and goes on afterwards.
async fn an_unread_machine_is_waited_for(endpoint: &Endpoint) -> Result<()> {
    let late = Late::start(endpoint).await?;
    let rack = &late.rack;
    late.proxy.refuse(Some("machines"));
    rack.operate("one", "HostPowerOn", "node-1").await?;
    let selector = json!({ "matchLabels": { "unbounded-cloud.io/site": "lab" } });
    late.create(
        "all",
        json!({ "operationKind": "HostPowerOff", "machineSelector": selector }),
    )
    .await?;
    late.waits("one", "WaitingForApiServer", "Machine node-1")
        .await?;
    late.waits("all", "WaitingForApiServer", "spec.machineSelector")
        .await?;
    ensure!(rack.power_changes() == (0, 0), "{:?}", rack.bmc.log().power);
    late.proxy.refuse(None);
    rack.ends("one", Phase::Complete).await?;
    rack.ends("all", Phase::Complete).await?;

    rack.operate("early", "HostPowerOn", "node-2").await?;
    late.waits("early", "WaitingForMachine", "Machine node-2")
        .await?;
    let lease = json!({
        "mac": "52:54:00:77:00:12", "ipv4": "127.0.0.12", "subnetMask": "255.0.0.0" });
    let second = json!({ "dhcpLeases": [lease] });
    rack.apply_machine("node-2", second).await?;
    rack.ends("early", Phase::Complete).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_changed_right_before_is_used_as_it_is() -> Result<()> {
    let embedded = Embedded::start().await?;
    the_machine_of_now_is_used(&embedded.endpoint).await?;
    embedded.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_right_before_is_used() -> Result<()> {
    let embedded = Embedded::start().await?;
    the_password_of_now_is_used(&embedded.endpoint).await?;
    embedded.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_secret_that_was_corrected_right_before_is_used() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(registry) = Registry::start(dir.path(), true).await? else {
        return Ok(());
    };
    let embedded = Embedded::start().await?;
    let plain = format!("--images-plain-http-hosts={}", registry.host());
    let late = Late::start_with(&embedded.endpoint, vec![plain]).await?;
    let rack = &late.rack;
    let layout = rack.layout("pushed");
    image::write_layout(&layout, &[("disk/disk.img", b"from a registry")])?;
    registry.push(&layout, "rack/host", "v1").await?;
    rack.apply_pull_secret("pull", registry.host(), ("site", "guess"))
        .await?;
    let reference = json!({ "name": "pull", "namespace": "unbounded-system" });
    let image = format!("{}/rack/host:v1", registry.host());
    late.patch(json!({ "spec": { "pxe": { "image": image, "pullSecretRef": reference } } }))
        .await?;
    rack.operate("wrong", "HostReplace", "node-1").await?;
    rack.ends("wrong", Phase::Failed).await?;

    late.proxy.hold(Some("secrets"));
    let secrets: Api<Secret> = Api::namespaced(rack.client.0.clone(), "unbounded-system");
    let login = json!({ "username": LOGIN.0, "password": LOGIN.1 });
    let config = json!({ "auths": { registry.host(): login } }).to_string();
    let right = Patch::Merge(json!({ "stringData": { ".dockerconfigjson": config } }));
    secrets
        .patch("pull", &PatchParams::default(), &right)
        .await?;
    rack.operate("right", "HostReplace", "node-1").await?;
    rack.reaches("right", Stage::WaitingRepave).await?;
    embedded.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_waits_for_an_api_server_that_does_not_answer() -> Result<()> {
    let embedded = Embedded::start().await?;
    an_unread_machine_is_waited_for(&embedded.endpoint).await?;
    embedded.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_hold_with_a_real_api_server() -> Result<()> {
    let Some(assets) = assets() else {
        let mut err = std::io::stderr();
        writeln!(
            err,
            "NOT TRIED with a real server: KUBEBUILDER_ASSETS is not set"
        )?;
        return Ok(());
    };
    for scenario in 0..3 {
        let real = Reference::start(&assets).await?;
        match scenario {
            0 => the_machine_of_now_is_used(&real.endpoint).await?,
            1 => the_password_of_now_is_used(&real.endpoint).await?,
            _ => an_unread_machine_is_waited_for(&real.endpoint).await?,
        }
        real.stop().await?;
    }
    Ok(())
}
